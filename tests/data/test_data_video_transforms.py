"""What is done to the frames of a clip: shape, chance and its consistency within a clip."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError


def noise(num_frames=3, height=40, width=60):
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(num_frames, height, width, 3), dtype=np.uint8)


def planes(frames):
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def test_a_clip_of_the_right_size_is_left_as_it_is():
    frames = noise()
    clip = ClipTransform(height=40, width=60)(frames, None)
    assert torch.equal(clip, planes(frames))
    assert clip.dtype == torch.uint8
    assert clip.is_contiguous()


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (31, 97), (8, 8), (200, 20)])
@pytest.mark.parametrize("resize", ["crop", "stretch"])
def test_any_clip_gets_the_shape(shape, resize):
    transform = ClipTransform(height=24, width=16, resize=resize)
    for rng in (None, np.random.default_rng(1)):
        assert transform(noise(2, *shape), rng).shape == (2, 3, 24, 16)


def test_a_crop_is_the_middle_and_a_stretch_is_all():
    frames = noise(height=40, width=60)
    crop = ClipTransform(height=20, width=20)(frames, None)
    expected = functional.resize(planes(frames)[:, :, :, 10:50], [20, 20], antialias=True)
    assert torch.equal(crop, expected)
    # Resizing first and cutting then, as others do, differs at the cut edges alone.
    others = functional.center_crop(
        functional.resize(planes(frames), [20, 30], antialias=True), [20, 20]
    )
    assert (crop.int() - others.int())[..., 1:-1].abs().max() <= 1
    stretched = ClipTransform(height=20, width=20, resize="stretch")(frames, None)
    assert torch.equal(stretched, functional.resize(planes(frames), [20, 20], antialias=True))


@pytest.mark.parametrize("seed", range(5))
def test_chance_is_drawn_once_a_clip(seed):
    one = noise(1, 40, 60)
    frames = np.repeat(one, 6, axis=0)
    transform = ClipTransform(
        height=20,
        width=20,
        crop_scale=[0.3, 1.0],
        flip=0.5,
        brightness=0.5,
        contrast=0.5,
        saturation=0.5,
    )
    clip = transform(frames, np.random.default_rng(seed))
    assert all(torch.equal(frame, clip[0]) for frame in clip)
    assert torch.equal(clip[:1], transform(one, np.random.default_rng(seed)))
    assert not torch.equal(clip, transform(frames, np.random.default_rng(seed + 100)))


def test_chance_comes_from_the_generator_alone():
    transform = ClipTransform(height=20, width=20, crop_scale=(0.5, 0.9), brightness=0.3)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = transform(noise(), np.random.default_rng(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(first, transform(noise(), np.random.default_rng(2)))


def test_evaluation_knows_no_chance():
    plain = ClipTransform(height=20, width=20)
    changed = ClipTransform(
        height=20, width=20, crop_scale=(0.1, 0.2), flip=1, brightness=1, contrast=1, saturation=1
    )
    assert torch.equal(plain(noise(), None), changed(noise(), None))


def test_a_random_part_lies_in_the_picture_and_reaches_all_of_it():
    # Each pixel says where it is, so that a part of the right size says where it was cut.
    height, width = 12, 18
    rows, columns = np.mgrid[:height, :width]
    frames = np.stack([rows, columns, rows * 0], -1)[None].astype(np.uint8)
    transform = ClipTransform(height=12, width=12, crop_scale=(1.0, 1.0))
    lefts = {int(transform(frames, np.random.default_rng(i))[0, 1, 0, 0]) for i in range(200)}
    assert lefts == set(range(7))
    half = ClipTransform(height=6, width=6, crop_scale=(0.25, 0.25))
    corners = [half(frames, np.random.default_rng(i))[0, :2, 0, 0].tolist() for i in range(400)]
    assert {top for top, _ in corners} == set(range(7))
    assert {left for _, left in corners} == set(range(13))


def test_flip_is_as_frequent_as_it_says():
    frames = noise(2, 8, 8)
    mirrored = planes(frames).flip(-1)
    for probability, least, most in ((0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)):
        transform = ClipTransform(height=8, width=8, flip=probability)
        found = [transform(frames, np.random.default_rng(i)) for i in range(200)]
        assert least <= sum(torch.equal(clip, mirrored) for clip in found) <= most


def test_brightness_multiplies():
    frames = np.full((2, 4, 4, 3), 100, dtype=np.uint8)
    transform = ClipTransform(height=4, width=4, brightness=0.4)
    levels = [int(transform(frames, np.random.default_rng(i)).max()) for i in range(300)]
    assert 60 <= min(levels) < 70
    assert 130 < max(levels) <= 140


def test_grey_has_three_equal_channels():
    clip = ClipTransform(height=40, width=60, grayscale=True)(noise(), None)
    assert torch.equal(clip[:, 0], clip[:, 1])
    assert torch.equal(clip[:, 0], clip[:, 2])
    weights = torch.tensor([0.299, 0.587, 0.114])
    grey = (planes(noise()).float() * weights[:, None, None]).sum(1)
    assert (clip[:, 0] - grey).abs().max() < 1.1


def test_no_frame_and_one_pixel():
    transform = ClipTransform(height=5, width=7, grayscale=True, contrast=0.5, crop_scale=(0.1, 1))
    for rng in (None, np.random.default_rng(0)):
        assert transform(noise(0), rng).shape == (0, 3, 5, 7)
        assert transform(noise(1, 1, 1), rng).shape == (1, 3, 5, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 0}, r"data\.transform\.height=0: a picture has pixels"),
        ({"width": -3}, r"data\.transform\.width=-3"),
        ({"resize": "pad"}, r"data\.transform\.resize=pad: is not known; use crop or stretch"),
        ({"flip": 1.5}, r"data\.transform\.flip=1\.5"),
        ({"saturation": -0.1}, r"data\.transform\.saturation=-0\.1"),
        ({"brightness": 2}, r"data\.transform\.brightness=2"),
        ({"contrast": float("nan")}, r"data\.transform\.contrast=nan"),
        ({"crop_scale": [1.0, 0.8]}, r"data\.transform\.crop_scale=\[1\.0,0\.8\].*\[0\.8,1\.0\]"),
        ({"crop_scale": [0.5]}, r"data\.transform\.crop_scale=\[0\.5\]"),
        ({"crop_scale": [0, 1]}, r"data\.transform\.crop_scale=\[0,1\]"),
    ],
)
def test_what_cannot_be_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        ClipTransform(**options)
