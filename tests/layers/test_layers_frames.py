"""Fronts against clips taken one by one: padding is never computed and never seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.errors import ConfigError
from seqloom.layers.frames import ClipFront, FrameFront, SmallFrames, SmallVolumes
from seqloom.layers.frames.front import DEVIATION, DIFFERENCE_SCALE, MEAN, MOTIONS
from seqloom.sequences import Padded

SIDE = 12
LENGTHS = [3, 1, 5, 2, 7, 3, 1, 4, 6, 2, 2, 5, 1, 3, 4, 7]
KINDS = {"frames": SmallFrames, "volumes": SmallVolumes}


def front_of(kind: str = "frames", **options: Any) -> ClipFront:
    """In float64, with the same weights whenever the same sizes are asked for."""
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "channels": [8, 16],
        "norm": "group",
        "grid": 2,
        "motion": "none",
        "max_frames": 512,
        "checkpointed": False,
    }
    front: ClipFront = KINDS[kind](**{**defaults, **options})
    return front.double()


def clips_of(lengths: list[int], *, padding: int = 2, seed: int = 0, noise: int = 1) -> Padded:
    """Random clips; what lies behind a clip depends on `noise` alone."""
    real = random_bytes((sum(lengths), 3, SIDE, SIDE), seed)
    values = random_bytes((len(lengths), max(lengths) + padding, 3, SIDE, SIDE), 1000 + noise)
    clips = Padded(values, torch.tensor(lengths))
    values[clips.mask()] = real
    return clips


def random_bytes(shape: Any, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, tuple(shape), generator=generator, dtype=torch.uint8)


def alone(clips: Padded, row: int) -> Padded:
    return Padded.from_list([clips.to_list()[row]])


def gradients(front: nn.Module, value: Tensor) -> list[Tensor]:
    """Of a sum that weighs every feature differently."""
    weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).reshape(value.shape)
    found = torch.autograd.grad((value * weights).sum(), list(front.parameters()))
    return list(found)


def statistics(front: nn.Module) -> list[Tensor]:
    return [buffer.clone() for name, buffer in front.named_buffers() if "running" in name]


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def count_frames(front: ClipFront) -> list[int]:
    """Filled with the frames of each call of the encoder."""
    counts: list[int] = []
    is_volume = not isinstance(front, FrameFront)

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts.append(len(inputs[0]) * (inputs[0].shape[2] if is_volume else 1))

    front.encoder.register_forward_pre_hook(hook)
    return counts


@pytest.mark.parametrize("as_maps", [False, True])
@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_alone_is_the_clip_in_a_batch(
    kind: str, training: bool, motion: str, as_maps: bool
) -> None:
    front, clips = front_of(kind, motion=motion).train(training), clips_of(LENGTHS)
    together = front(clips, as_maps=as_maps)
    for row in (0, 1, 4, 15):
        single = front(alone(clips, row), as_maps=as_maps).values[0]
        inside = together.values[row, : LENGTHS[row]]
        close(inside, single)
        for found, expected in zip(gradients(front, inside), gradients(front, single), strict=True):
            close(found, expected)
        front.zero_grad()
        together = front(clips, as_maps=as_maps)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_in_evaluation_any_norm_knows_nothing_of_others(kind: str, norm: str) -> None:
    front, clips = front_of(kind, norm=norm).eval(), clips_of(LENGTHS)
    together = front(clips)
    assert together.lengths.tolist() == LENGTHS
    for row, steps in enumerate(together.to_list()):
        close(steps, front(alone(clips, row)).values[0])


def test_batch_norm_in_training_sees_the_valid_frames_and_no_others() -> None:
    front, reference = front_of(norm="batch"), front_of(norm="batch")
    clips = clips_of(LENGTHS)
    features = front(clips)
    flat = torch.cat(clips.to_list()).double() / 255
    mean, deviation = (torch.tensor(x).reshape(3, 1, 1).double() for x in (MEAN, DEVIATION))
    maps = reference.encoder((flat - mean) / deviation)
    expected = F.adaptive_avg_pool2d(maps, 2).flatten(1)
    found = torch.cat(features.to_list())
    # The front's colours were rounded to float32 once.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(statistics(front), statistics(reference), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(gradients(front, found), gradients(reference, expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_padding_is_filled_with_changes_nothing_at_all(kind: str, norm: str) -> None:
    found = []
    for noise, padding in ((1, 2), (2, 2), (3, 0)):
        front = front_of(kind, norm=norm, motion="both")
        features = torch.cat(front(clips_of(LENGTHS, noise=noise, padding=padding)).to_list())
        found.append([features, *gradients(front, features), *statistics(front)])
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_that_reach_the_encoder_are_the_real_ones(kind: str) -> None:
    front = front_of(kind)
    counts = count_frames(front)
    front(clips_of(LENGTHS, padding=5))
    assert sum(counts) == sum(LENGTHS)


@pytest.mark.parametrize("max_frames", [1, 4, 55, 56, 57])
def test_chunks_of_frames_are_one_call(max_frames: int) -> None:
    clips, whole = clips_of(LENGTHS), front_of(motion="both")
    cut = front_of(motion="both", max_frames=max_frames)
    counts = count_frames(cut)
    one, other = torch.cat(whole(clips).to_list()), torch.cat(cut(clips).to_list())
    close(one, other)
    for found, expected in zip(gradients(cut, other), gradients(whole, one), strict=True):
        close(found, expected)
    assert sum(counts) == sum(LENGTHS)
    assert max(counts) <= max_frames
    assert max(counts) - min(counts) <= 1


def test_a_last_chunk_is_no_lone_frame_for_batch_norm() -> None:
    # Maps of one field: of a single frame there would be one value a channel, which torch refuses.
    front = front_of(norm="batch", channels=[4, 4, 4, 4], grid=1, max_frames=4)
    assert front(clips_of([5])).values.isfinite().all()


def test_volumes_of_one_length_are_computed_together_up_to_the_limit() -> None:
    clips, whole = clips_of(LENGTHS), front_of("volumes")
    cut = front_of("volumes", max_frames=6)
    counts = count_frames(cut)
    close(torch.cat(whole(clips).to_list()), torch.cat(cut(clips).to_list()))
    assert max(counts) == 7  # a clip of 7 frames is never cut
    assert sum(counts) == sum(LENGTHS)
    together = count_frames(whole)
    whole(clips)
    assert len(together) == len(set(LENGTHS))


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("kind", KINDS)
def test_checkpointed_is_plain(kind: str, norm: str) -> None:
    clips = clips_of(LENGTHS)
    found = []
    for checkpointed in (False, True):
        front = front_of(kind, norm=norm, checkpointed=checkpointed, max_frames=30)
        counts = count_frames(front)
        features = torch.cat(front(clips).to_list())
        grads = gradients(front, features)
        numbers = [b for name, b in front.named_buffers() if name.endswith("num_batches_tracked")]
        found.append([features, *grads, *statistics(front), *numbers])
        # A pass for the features and, checkpointed, another for the gradients.
        assert sum(counts) == sum(LENGTHS) * (2 if checkpointed else 1)
    for one, other in zip(*found, strict=True):
        close(one, other)


def test_checkpoints_are_kept_out_of_evaluation() -> None:
    front = front_of(checkpointed=True).eval()
    counts = count_frames(front)
    gradients(front, front(clips_of([2, 3])).values)
    assert sum(counts) == 5


def seen(front: ClipFront, clips: Padded) -> Tensor:
    """What reaches the encoder, clip after clip."""
    inputs: list[Tensor] = []
    handle = front.encoder.register_forward_pre_hook(
        lambda module, values: inputs.append(values[0])
    )
    front(clips)
    handle.remove()
    return torch.cat(inputs)


@pytest.mark.parametrize("motion", MOTIONS)
def test_motion_is_what_a_loop_over_frames_sees(motion: str) -> None:
    clips = clips_of([3, 1, 4])
    front = front_of(motion=motion)
    expected = []
    for clip in clips.to_list():
        frames = front.normalized(clip)
        for step, frame in enumerate(frames):
            change = (frame - frames[step - 1]) * DIFFERENCE_SCALE if step else frame * 0
            parts = {"none": [frame], "difference": [change], "both": [frame, change]}[motion]
            expected.append(torch.cat(parts))
    found = seen(front, clips)
    close(found, torch.stack(expected))
    volumes = front_of("volumes", motion=motion)
    in_time = [clip.transpose(0, 1) for clip in torch.stack(expected).split([3, 1, 4])]
    for row, one in enumerate(in_time):
        close(seen(volumes, alone(clips, row))[0], one)


def test_colours_are_those_of_imagenet() -> None:
    front = front_of()
    grey = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    expected = [(1 - mean) / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    assert front.normalized(grey)[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [1, 3])
def test_a_vector_is_the_mean_of_each_field_of_its_map(kind: str, grid: int) -> None:
    front, clips = front_of(kind, grid=grid), clips_of([2, 3])
    maps, vectors = front(clips, as_maps=True).values, front(clips).values
    assert maps.shape[2] == front.num_channels
    assert vectors.shape[2] == front.feature_size == front.num_channels * grid * grid
    side = maps.shape[-1] // grid
    fields = [
        maps[..., i * side : (i + 1) * side, j * side : (j + 1) * side].mean(dim=(-2, -1))
        for i in range(grid)
        for j in range(grid)
    ]
    close(vectors, torch.stack(fields, dim=-1).flatten(2))


def test_what_is_no_bytes_is_features() -> None:
    features = Padded(torch.randn(2, 3, 5), torch.tensor([3, 1]))
    assert front_of()(features) is features


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_it_keeps_its_statistics_and_gives_no_gradient(kind: str) -> None:
    front, clips = front_of(kind, norm="batch"), clips_of(LENGTHS)
    front.frozen = True
    outer = nn.Sequential(front).train()
    assert not any(module.training for module in front.modules())
    before = statistics(front)
    features = front(clips)
    assert not features.values.requires_grad
    for row in (0, 4):  # as in evaluation, so alone as in a batch
        close(features.to_list()[row], front(alone(clips, row)).values[0])
    assert all(torch.equal(*pair) for pair in zip(before, statistics(front), strict=True))
    front.frozen = False
    outer.train()
    assert front(clips).values.requires_grad
    assert not torch.equal(before[0], statistics(front)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_one_frame_is_a_clip(kind: str) -> None:
    front = front_of(kind, motion="both")
    features = front(clips_of([1], padding=0))
    assert features.values.shape == (1, 1, front.feature_size)
    assert features.values.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"motion": "flow"}, "frames.motion=flow"),
        ({"grid": 0}, "frames.grid=0"),
        ({"max_frames": 0}, "frames.max_frames=0"),
        ({"channels": []}, "no block of channels"),
        ({"channels": [8, 0]}, "no block of channels"),
        ({"norm": "layer"}, "frames.norm=layer"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_option_that_cannot_be_is_an_error(
    kind: str, options: dict[str, Any], message: str
) -> None:
    make: Callable[..., ClipFront] = partial(front_of, kind)
    with pytest.raises(ConfigError, match=message):
        make(**options)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_that_are_too_small_for_the_grid_are_an_error(kind: str) -> None:
    front = front_of(kind, norm="batch", channels=[8, 8], grid=3)
    before = statistics(front)
    front.check_size(12, 9)
    with pytest.raises(ConfigError, match=r"12 x 8 pixels.*side of 2.*frames\.grid=3"):
        front.check_size(12, 8)
    assert front.training, "it goes on as it was"
    assert all(torch.equal(*pair) for pair in zip(before, statistics(front), strict=True))


@pytest.mark.parametrize("channels", [[5], [12], [8, 24]])
def test_group_norm_takes_any_number_of_channels(channels: list[int]) -> None:
    front = front_of(channels=channels)
    assert front(clips_of([2])).values.isfinite().all()
