"""Torchvision's networks as fronts: against torchvision's own, alone and in batches, and every way
in which first weights can be wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from seqloom.errors import ConfigError, DataError
from seqloom.layers.frames import ClipFront, TorchvisionFrames, TorchvisionVolumes
from seqloom.layers.frames.backbones import COLOURS, FRAME_FAMILIES, VOLUME_FAMILIES
from seqloom.layers.frames.front import DEVIATION, MEAN
from seqloom.sequences import Padded

# The side of a frame that leaves the last map one field or more, and no more than it must.
FRONTS = {"resnet18": 32, "mobilenet_v3_small": 32, "r3d_18": 16}
LENGTHS = [2, 1, 5, 3, 2, 1, 1, 4, 2, 3, 1, 1, 2, 1, 5, 1]


def front_of(name: str, **options: Any) -> ClipFront:
    torch.manual_seed(0)
    kind = TorchvisionVolumes if name in VOLUME_FAMILIES else TorchvisionFrames
    defaults: dict[str, Any] = {
        "weights": None,
        "grid": 1,
        "motion": "none",
        "max_frames": 128,
        "checkpointed": False,
    }
    return kind(**{"name": name, **defaults, **options})


def warmed(front: ClipFront) -> ClipFront:
    """In float64 and with statistics of normalisations that differ from the first ones."""
    generator = torch.Generator().manual_seed(1)
    for name, buffer in front.named_buffers():
        if "running_mean" in name:
            buffer.copy_(torch.randn(buffer.shape, generator=generator) / 10)
        if "running_var" in name:
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return front.double()


def clips_of(lengths: list[int], side: int, *, noise: int = 1) -> Padded:
    def drawn(seed: int, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    values = drawn(100 + noise, len(lengths), max(lengths) + 1, 3, side, side)
    clips = Padded(values, torch.tensor(lengths))
    values[clips.mask()] = drawn(0, sum(lengths), 3, side, side)
    return clips


def gradients(front: nn.Module, value: Tensor) -> list[Tensor]:
    weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).reshape(value.shape)
    return list(torch.autograd.grad((value * weights).sum(), list(front.parameters())))


def statistics(front: nn.Module) -> list[Tensor]:
    return [buffer.clone() for name, buffer in front.named_buffers() if "running" in name]


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def saved(model: nn.Module, path: Path) -> Any:
    """A network of torchvision, in evaluation, whose statistics are not the first ones."""
    generator = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():
        if "running_var" in name:
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    torch.save(model.state_dict(), path)
    return model.eval()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", FRONTS)
def test_a_clip_alone_is_the_clip_in_a_batch(name: str, frozen: bool) -> None:
    front = warmed(front_of(name, motion="both"))
    front.frozen = frozen
    front.train(frozen)  # frozen, it does not follow
    before = statistics(front)
    lengths = LENGTHS[:6] if name in VOLUME_FAMILIES else LENGTHS
    clips = clips_of(lengths, FRONTS[name])
    rows = front(clips).to_list()
    for row in (0, 2, 5):
        single = front(Padded.from_list([clips.to_list()[row]])).values[0]
        close(rows[row], single)
        assert single.requires_grad != frozen
        if not frozen and row == 0:
            for found, expected in zip(
                gradients(front, rows[row]), gradients(front, single), strict=True
            ):
                close(found, expected)
    assert all(torch.equal(*pair) for pair in zip(before, statistics(front), strict=True))


@pytest.mark.parametrize("name", ["resnet18", "r3d_18"])
def test_training_never_sees_padding(name: str) -> None:
    found = []
    for noise in (1, 2):
        front = front_of(name)
        side = 32 if name in VOLUME_FAMILIES else FRONTS[name]
        features = torch.cat(front(clips_of([2, 1, 3], side, noise=noise)).to_list())
        found.append([features, *gradients(front, features), *statistics(front)])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_statistics_in_training_are_those_of_the_valid_frames() -> None:
    front, reference = front_of("resnet18").double(), front_of("resnet18").double()
    clips = clips_of(LENGTHS[:6], 32)
    features = torch.cat(front(clips).to_list())
    maps = reference.encoder(reference.normalized(torch.cat(clips.to_list())))
    close(features, maps.mean(dim=(-2, -1)))
    for one, other in zip(statistics(front), statistics(reference), strict=True):
        close(one, other)


def test_checkpointed_counts_a_batch_once() -> None:
    found = []
    for checkpointed in (False, True):
        front = front_of("mobilenet_v3_small", checkpointed=checkpointed, max_frames=5).double()
        features = torch.cat(front(clips_of([3, 1, 5], 64)).to_list())
        found.append([features, *gradients(front, features), *front.buffers()])
    for one, other in zip(*found, strict=True):
        close(one, other)


@pytest.mark.parametrize("motion", ["none", "both"])
def test_a_file_gives_the_network_that_torchvision_would_run(tmp_path: Path, motion: str) -> None:
    from torchvision import models

    model = saved(models.resnet18(weights=None), tmp_path / "weights.pt")
    front = front_of("resnet18", weights=str(tmp_path / "weights.pt"), motion=motion).eval()
    front.load_pretrained()
    clips = clips_of([2], 48)
    frames = front.normalized(clips.values[0, :2])
    if motion == "both":  # three halved colours and a halved change, which is none at first
        frames = frames[:1] / 2
    maps: list[Tensor] = []
    model.layer4.register_forward_hook(lambda module, inputs, outputs: maps.append(outputs))
    with torch.no_grad():
        model(frames)
        found = front(clips, as_maps=True).values[0, : len(frames)]
    torch.testing.assert_close(found, maps[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["inception_v3", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "regnet_y_400mf"]
)
def test_what_a_head_reads_is_what_the_front_gives(tmp_path: Path, name: str) -> None:
    """From bytes on, so that colours and what a network does with them first are right too."""
    from torchvision import models

    options = {"transform_input": True, "init_weights": False} if "inception" in name else {}
    model = saved(models.get_model(name, weights=None, **options), tmp_path / "weights.pt")
    front = front_of(name, weights=str(tmp_path / "weights.pt")).eval()
    front.load_pretrained()
    clips, read = clips_of([1], 80), []
    head = model.fc if hasattr(model, "fc") else model.classifier
    head.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0].flatten(1)))
    colours = models.get_model_weights(name)["DEFAULT"].transforms()
    mean, deviation = (
        torch.tensor(numbers).reshape(3, 1, 1) for numbers in (colours.mean, colours.std)
    )
    with torch.no_grad():
        model((clips.values[0, :1] / 255 - mean) / deviation)
        found = front(clips).values[0, :1]
    size = read[0].abs().max()  # random networks may answer in tiny numbers
    torch.testing.assert_close(found / size, read[0] / size, rtol=1e-3, atol=1e-4)


def test_colours_are_those_that_weights_were_trained_with() -> None:
    from torchvision import models

    for name in models.list_models():
        known = name.startswith(FRAME_FAMILIES) or name in VOLUME_FAMILIES
        if known and name != "inception_v3":  # see the test before
            colours = models.get_model_weights(name)["DEFAULT"].transforms()
            expected = (tuple(colours.mean), tuple(colours.std))
            assert COLOURS.get(name, (MEAN, DEVIATION)) == expected, name


def test_a_file_of_volumes(tmp_path: Path) -> None:
    from torchvision.models.video import R3D_18_Weights, r3d_18

    model = saved(r3d_18(weights=None), tmp_path / "weights.pt")
    front = front_of("r3d_18", weights=str(tmp_path / "weights.pt")).eval()
    front.load_pretrained()
    clips, read = clips_of([9], 16), []
    model.fc.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    colours = R3D_18_Weights.DEFAULT.transforms()
    mean, deviation = (
        torch.tensor(numbers).reshape(3, 1, 1) for numbers in (colours.mean, colours.std)
    )
    with torch.no_grad():
        model(((clips.values[:, :9] / 255 - mean) / deviation).transpose(1, 2))
        found = front(clips)
    assert found.lengths.tolist() == [2]  # a step for about eight frames
    torch.testing.assert_close(found.values.mean(dim=1), read[0], rtol=1e-4, atol=1e-5)


def test_a_head_for_other_classes_does_not_matter(tmp_path: Path) -> None:
    from torchvision import models

    model = saved(models.resnet18(weights=None, num_classes=7), tmp_path / "weights.pt")
    front = front_of("resnet18", weights=str(tmp_path / "weights.pt"))
    front.load_pretrained()
    assert torch.equal(front.encoder[0].weight, model.conv1.weight)


def write_wrong_network(path: Path) -> None:
    from torchvision import models

    torch.save(models.resnet34(weights=None).state_dict(), path)


def write_other_sizes(path: Path) -> None:
    from torchvision import models

    state = models.resnet18(weights=None).state_dict()
    torch.save({**state, "conv1.weight": torch.zeros(64, 4, 7, 7)}, path)


def write_truncated(path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    path.write_bytes(path.read_bytes()[:20000])


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another network": (write_wrong_network, r"layer1\.2\.conv1\.weight and \d+ others do not fit"),
    "other sizes": (write_other_sizes, r"size mismatch for conv1\.weight"),
    "cut off": (write_truncated, "is no state dict of resnet18"),
    "empty": (lambda path: path.write_bytes(b""), "is no state dict of resnet18"),
    "text": (lambda path: path.write_text("weights " * 50), "is no state dict of resnet18"),
    "bytes": (lambda path: path.write_bytes(bytes(range(256))), "is no state dict of resnet18"),
    "a tensor": (lambda path: torch.save(torch.zeros(3), path), "is no state dict of resnet18"),
    "a list": (lambda path: torch.save([1, 2], path), "is no state dict of resnet18"),
    "no weights": (lambda path: torch.save({}, path), "others do not fit"),
    "numbers": (lambda path: torch.save({1: 2}, path), "is no state dict of resnet18"),
    "a checkpoint": (lambda path: torch.save({"state_dict": {}}, path), "others do not fit"),
    "code": (lambda path: torch.save(Path, path), "is no state dict of resnet18"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_no_state_dict_is_an_error_in_one_line(tmp_path: Path, case: str) -> None:
    write, message = BAD_FILES[case]
    path = tmp_path / "weights.pt"
    write(path)
    front = front_of("resnet18", weights=str(path))
    before = [parameter.clone() for parameter in front.parameters()]
    with pytest.raises(DataError, match=message) as caught:
        front.load_pretrained()
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 400
    assert all(torch.equal(*pair) for pair in zip(before, front.parameters(), strict=True))


def test_weights_that_are_no_file_and_no_name(tmp_path: Path) -> None:
    front = front_of("resnet18", weights=str(tmp_path / "absent.pt"))
    with pytest.raises(ConfigError, match=r"absent\.pt.*DEFAULT, IMAGENET1K_V1"):
        front.load_pretrained()


@pytest.mark.parametrize("name", ["resnet18", "r3d_18"])
def test_without_a_download_weights_stay_random_and_the_log_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from torchvision import models

    front = front_of(name, weights="DEFAULT")
    before = [parameter.clone() for parameter in front.parameters()]

    def fails(*arguments: Any, **options: Any) -> nn.Module:
        raise URLError("no route")

    monkeypatch.setattr(models, "get_model", fails)
    with caplog.at_level(logging.WARNING):
        front.load_pretrained()
    assert "frames.weights=DEFAULT could not be downloaded" in caplog.text
    assert "no route" in caplog.text
    assert all(torch.equal(*pair) for pair in zip(before, front.parameters(), strict=True))


def test_without_a_name_of_weights_nothing_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    front = front_of("mobilenet_v3_small")
    before = [parameter.clone() for parameter in front.parameters()]
    with caplog.at_level(logging.INFO):
        front.load_pretrained()
    assert "random first weights" in caplog.text
    assert all(torch.equal(*pair) for pair in zip(before, front.parameters(), strict=True))


@pytest.mark.parametrize("name", ["resnet", "resnet19", "alexnet", "vit_b_16", "r3d_19"])
def test_an_unknown_network_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"frames\.name={name}.*use resnet"):
        front_of(name)
    with pytest.raises(ConfigError, match=rf"frames\.name={name}.*use r3d_18"):
        TorchvisionVolumes(
            name=name, weights=None, grid=1, motion="none", max_frames=8, checkpointed=False
        )


@pytest.mark.parametrize(("name", "smallest"), [("inception_v3", 75), ("vgg11", 32)])
def test_frames_that_are_too_small_for_a_network_are_an_error(name: str, smallest: int) -> None:
    front = front_of(name)
    front.check_size(smallest, smallest)
    with pytest.raises(ConfigError, match=r"pixels: they do not suit this encoder") as caught:
        front.check_size(smallest, smallest - 1)
    assert "\n" not in str(caught.value)
