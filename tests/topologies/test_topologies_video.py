"""Clips to classes and captions: alone as in a batch, in chunks as at once."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from topology_parts import PARTS, ids, unreached
from torch import Tensor, nn

from seqloom.cells import GRU, LSTM, ConvGRU, ConvLSTM
from seqloom.decoding import BeamSearch
from seqloom.errors import ConfigError
from seqloom.layers.attention import GeneralAttention
from seqloom.layers.frames import SmallFrames, SmallVolumes, TorchvisionVolumes
from seqloom.layers.pooling import POOLINGS
from seqloom.layers.recurrent import StackOptions
from seqloom.sequences import Padded
from seqloom.topologies import EncoderDecoder, FrameAverage, VideoCaptioner, VideoClassifier
from seqloom.unrolling import Dynamic, Fused, Static

SIDE, NUM_CLASSES = 12, 4
LENGTHS = [3, 1, 5, 2, 7, 3, 1, 4, 6, 2, 2, 5, 1, 3, 4, 7]
CELLS = {"lstm": LSTM, "gru": GRU, "conv_lstm": ConvLSTM, "conv_gru": ConvGRU}
UNROLLINGS = {"dynamic": Dynamic(), "static": Static(num_steps=12), "fused": Fused()}


def front_recipe(kind: type = SmallFrames, **options: Any) -> Any:
    defaults: dict[str, Any] = {
        "channels": [8, 16],
        "norm": "group",
        "grid": 2,
        "motion": "none",
        "max_frames": 20,
        "checkpointed": False,
    }
    return partial(kind, **{**defaults, **options})


def strong(model: nn.Module) -> Any:
    """In float64, in evaluation, with weights that are large enough for differences to show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.double().eval()


def classifier(**options: Any) -> VideoClassifier:
    defaults: dict[str, Any] = {
        **PARTS,
        "target_size": NUM_CLASSES,
        "frames": front_recipe(),
        "feature_size": 8,
        "hidden_size": 8,
        "num_layers": 1,
        "bidirectional": False,
        "pooling": "last",
    }
    model: VideoClassifier = strong(VideoClassifier(**{**defaults, **options}))
    return model


def average(**options: Any) -> FrameAverage:
    defaults: dict[str, Any] = {
        "target_size": NUM_CLASSES,
        "frames": front_recipe(),
        "hidden_size": 8,
        "dropout": 0.0,
        "output": PARTS["output"],
    }
    model: FrameAverage = strong(FrameAverage(**{**defaults, **options}))
    return model


def clips_of(lengths: list[int], *, noise: int = 1) -> Padded:
    """Random clips; what lies behind them depends on `noise` alone."""

    def drawn(seed: int, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    values = drawn(100 + noise, len(lengths), max(lengths) + 1, 3, SIDE, SIDE)
    clips = Padded(values, torch.tensor(lengths))
    values[clips.mask()] = drawn(0, sum(lengths), 3, SIDE, SIDE)
    return clips


def alone(clips: Padded, row: int) -> Padded:
    return Padded.from_list([clips.to_list()[row]])


def logits(model: Any, clips: Padded) -> Tensor:
    found: Tensor = model.output.projection(model(clips) * model.output.scale)
    return found


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def nearly(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def gradients(model: nn.Module, value: Tensor) -> list[Tensor]:
    weights = torch.arange(1.0, 1.0 + len(value), dtype=value.dtype)
    parameters = [p for name, p in model.named_parameters() if "frame_output" not in name]
    return list(torch.autograd.grad((value * weights).sum(), parameters))


def check_alone_as_in_a_batch(model: Any, lengths: list[int] = LENGTHS) -> None:
    clips = clips_of(lengths)
    for row in (1, 4, 5):
        together, single = logits(model, clips)[row], logits(model, alone(clips, row))[0]
        close(together, single)
        grads = gradients(model, together), gradients(model, single)
        for one, other in zip(*grads, strict=True):
            close(one, other)
    assert torch.equal(model(clips), model(clips_of(lengths, noise=2)))


@pytest.mark.parametrize("unrolling", UNROLLINGS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_clip_alone_is_the_clip_in_a_batch(cell: str, unrolling: str) -> None:
    model = classifier(cell=CELLS[cell], unrolling=UNROLLINGS[unrolling])
    if cell.startswith("conv") and unrolling == "fused":
        with pytest.raises(ConfigError, match="fused"):
            model(clips_of([2]))
        return
    check_alone_as_in_a_batch(model)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", ["gru", "conv_lstm"])
def test_so_it_is_both_ways_under_any_pooling(cell: str, pooling: str) -> None:
    options = {"cell": CELLS[cell], "pooling": pooling, "bidirectional": True, "num_layers": 2}
    check_alone_as_in_a_batch(classifier(**options))
    first = StackOptions(bidirectional_layers="first")
    check_alone_as_in_a_batch(classifier(**options, stack=first))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("motion", ["none", "difference", "both"])
@pytest.mark.parametrize("kind", [SmallFrames, SmallVolumes])
def test_so_it_is_behind_any_front(kind: type, motion: str, training: bool) -> None:
    model = classifier(frames=front_recipe(kind, motion=motion), pooling="mean")
    check_alone_as_in_a_batch(model.train(training))


def test_so_it_is_where_a_front_gives_fewer_steps() -> None:
    options = {"grid": 1, "motion": "none", "max_frames": 64, "checkpointed": False}
    recipe = partial(TorchvisionVolumes, name="r3d_18", weights=None, **options)
    model = classifier(frames=recipe, pooling="attention")
    with torch.no_grad():
        clips = clips_of([3, 1, 9, 17, 9])
        assert model.features(clips).lengths.tolist() == [1, 1, 2, 3, 2]
        for row in range(5):
            torch.testing.assert_close(
                logits(model, clips)[row], logits(model, alone(clips, row))[0]
            )


@pytest.mark.parametrize("kind", [SmallFrames, SmallVolumes])
def test_the_average_of_frames_is_alone_as_in_a_batch(kind: type) -> None:
    check_alone_as_in_a_batch(average(frames=front_recipe(kind)))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_every_parameter_learns(norm: str) -> None:
    for model in (
        classifier(frames=front_recipe(norm=norm), pooling="attention", num_layers=2),
        classifier(frames=front_recipe(norm=norm), cell=ConvLSTM, bidirectional=True),
        average(frames=front_recipe(norm=norm)),
    ):
        model.train()
        features = model.features(clips_of([3, 5, 2]))
        value = model.classify(features).sum()
        beside = model.frame_logits(features)
        value = value + model.output.logits(model.classify(features)).square().sum()
        value = value if beside is None else value + beside.square().sum()
        value.backward()
        assert unreached(model) == []


@pytest.mark.parametrize("cell", ["lstm", "conv_lstm"])
def test_features_once_computed_are_as_good_as_frames(cell: str) -> None:
    model, clips = classifier(cell=CELLS[cell]), clips_of([3, 1, 4])
    features = Padded.from_list([model.features(alone(clips, row)).values[0] for row in range(3)])
    assert features.values.is_floating_point()
    assert features.values.ndim == (5 if cell == "conv_lstm" else 3)
    close(model(features), model(clips))


def test_logits_of_the_average_are_the_average_of_logits() -> None:
    model, clips = average(), clips_of([3, 1, 7])
    for row, clip in enumerate(clips.to_list()):
        each = [logits(model, Padded.from_list([frame[None]]))[0] for frame in clip]
        close(logits(model, clips)[row], torch.stack(each).mean(dim=0))


def test_order_is_nothing_to_the_average_and_something_to_the_classifier() -> None:
    clip = clips_of([7]).to_list()[0]
    shuffled = Padded.from_list([clip[torch.tensor([3, 0, 6, 5, 1, 2, 4])]])
    clips = Padded.from_list([clip])
    close(logits(average(), shuffled), logits(average(), clips))
    recurrent = classifier()
    close(
        recurrent.frame_logits(recurrent.features(shuffled)),
        recurrent.frame_logits(recurrent.features(clips)),
    )
    for cell in CELLS.values():
        for pooling in POOLINGS:
            model = classifier(cell=cell, pooling=pooling)
            assert (logits(model, shuffled) - logits(model, clips)).abs().max() > 1e-3


@pytest.mark.parametrize("cell", ["lstm", "conv_lstm"])
def test_the_classifier_of_frames_sees_each_alone_and_leaves_no_trace(cell: str) -> None:
    model, clips = classifier(cell=CELLS[cell]), clips_of([3, 1, 7])
    found = model.frame_logits(model.features(clips))
    assert found is not None
    for row, clip in enumerate(clips.to_list()):
        each = []
        for frame in clip:
            features = model.features(Padded.from_list([frame[None]])).values[0, 0]
            vector = features.mean(dim=(-2, -1)) if cell == "conv_lstm" else features
            each.append(model.frame_output(vector))  # type: ignore[misc]
        close(found[row], torch.stack(each).mean(dim=0))
    found.square().sum().backward()
    reached = [name for name, p in model.named_parameters() if p.grad is not None]
    assert reached == ["frame_output.weight", "frame_output.bias"]


@pytest.mark.parametrize(
    "recipe",
    [front_recipe(motion="both"), front_recipe(motion="difference"), front_recipe(SmallVolumes)],
)
def test_features_of_several_frames_are_no_frames_answer(recipe: Any) -> None:
    model = classifier(frames=recipe)
    assert model.frame_logits(model.features(clips_of([2]))) is None
    assert average(frames=recipe).frame_logits(model.features(clips_of([2]))) is None


def watched(model: Any, clip: Tensor, size: int) -> Tensor:
    before, found = None, []
    for chunk in clip.split(size):
        readouts, before = model.advance(chunk, before)
        found.append(model.output.projection(readouts * model.output.scale))
    return torch.cat(found)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", ["lstm", "conv_lstm"])
def test_a_clip_watched_in_chunks_is_every_beginning_of_it(cell: str, pooling: str) -> None:
    clip = clips_of([10]).to_list()[0]
    motion = front_recipe(motion="both", max_frames=4)
    models: list[Any] = [classifier(cell=CELLS[cell], pooling=pooling, frames=motion, num_layers=2)]
    if pooling == "mean":
        models.append(average(frames=motion))
    for model in models:
        expected = torch.cat(
            [logits(model, Padded.from_list([clip[:end]])) for end in range(1, 11)]
        )
        for size in (1, 3, 7, 10):
            # Attention pools whole clips in float32.
            (nearly if pooling == "attention" else close)(watched(model, clip, size), expected)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"bidirectional": True}, "both ways"),
        (
            {
                "bidirectional": True,
                "num_layers": 2,
                "stack": StackOptions(bidirectional_layers="first"),
            },
            "both ways",
        ),
        ({"frames": front_recipe(SmallVolumes)}, "several frames at once"),
    ],
)
def test_what_cannot_go_on_is_refused(options: dict[str, Any], why: str) -> None:
    clip = clips_of([3]).to_list()[0]
    models: list[Any] = [classifier(**options)]
    if "frames" in options:
        models.append(average(**options))
    for model in models:
        with pytest.raises(ConfigError, match=why):
            model.check_forward()
        with pytest.raises(ConfigError, match=why):
            model.advance(clip, None)


def test_an_odd_size_has_no_two_directions() -> None:
    with pytest.raises(ConfigError, match=r"model\.hidden_size=7"):
        classifier(hidden_size=7, bidirectional=True)


def captioner(kind: type = SmallFrames, **options: Any) -> VideoCaptioner:
    front = front_recipe(kind)()
    defaults: dict[str, Any] = {
        **PARTS,
        "source_size": front.feature_size,
        "reads_ids": False,
        "target_vocab_size": 9,
        "shared_vocabulary": False,
        "embedding_size": 8,
        "hidden_size": 8,
        "num_encoder_layers": 1,
        "num_decoder_layers": 2,
        "bidirectional": True,
        "tie": "output",
        "bridge": "projected",
        "wiring": "late",
        "attention": GeneralAttention,
    }
    translator = EncoderDecoder(**{**defaults, **options})
    # Attention computes in float32.
    model: VideoCaptioner = strong(VideoCaptioner(frames=front, translator=translator)).float()
    return model


@pytest.mark.parametrize("wiring", ["late", "first_layer", "input_feeding"])
@pytest.mark.parametrize("kind", [SmallFrames, SmallVolumes])
def test_training_and_writing_are_the_same_captioner(kind: type, wiring: str) -> None:
    model, clips = captioner(kind, wiring=wiring), clips_of([3, 1, 6])
    target = ids([4, 2, 3], vocab_size=9)
    readouts, attention = model(clips, target)
    mask = clips.mask().unsqueeze(1).expand(-1, 4, -1)
    nearly(attention.sum(dim=-1), torch.ones(3, 4))
    assert bool((attention[~mask[..., : attention.shape[-1]]] == 0).all())
    for row in range(3):
        single, _ = model(alone(clips, row), target.select(torch.tensor([row])))
        length = int(target.lengths[row])
        nearly(readouts.values[row, :length], single.values[0, :length])
    state = model.start(clips)
    tokens = torch.full((3,), 1)
    for step in range(4):
        scores, weights, state = model.step(tokens, state)
        real = target.lengths > step
        nearly(scores[real], model.output.logits(readouts.values[real, step]))
        nearly(weights[real], attention[real, step])
        tokens = target.values[:, step]


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("kind", [SmallFrames, SmallVolumes])
def test_a_clip_is_told_alone_as_in_a_batch(kind: type, beam_size: int) -> None:
    model, clips = captioner(kind), clips_of(LENGTHS)
    search = BeamSearch(beam_size=beam_size)
    found = search(model, clips, num_best=beam_size, with_attention=True)
    for row in range(0, len(LENGTHS), 3):
        (single,) = search(model, alone(clips, row), num_best=beam_size, with_attention=True)
        assert [h.tokens for h in found[row]] == [h.tokens for h in single]
        for one, other in zip(found[row], single, strict=True):
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-5)
            for weights, expected in zip(one.attention, other.attention, strict=True):
                assert list(weights)[: LENGTHS[row]] == pytest.approx(list(expected), abs=1e-6)
                assert sum(expected) == pytest.approx(1.0)


def test_a_caption_of_features_is_that_of_frames() -> None:
    model, clips = captioner(), clips_of([3, 1, 4])
    target = ids([2, 3, 1], vocab_size=9)
    readouts, _ = model(model.features(clips), target)
    nearly(readouts.values, model(clips, target)[0].values)


def test_every_parameter_of_a_captioner_learns() -> None:
    model = captioner().train()
    readouts, _ = model(clips_of([3, 5, 2]), ids([4, 2, 3], vocab_size=9))
    model.output.logits(readouts.values).log_softmax(-1)[..., 4].sum().backward()
    assert unreached(model) == []
