"""Made clips: the label is in the order of the frames, and the sentence in what is to be seen."""

import csv

import numpy as np
import pytest
from data_fakes import examples
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from seqloom.data.batching import PaddedBatches
from seqloom.data.embedded.moving_digits import MOTIONS, draw_path
from seqloom.data.embedded.moving_sentences import COLOURS, NAMES, VERBS
from seqloom.data.spec import ClassSide, TokenSide
from seqloom.data.tokenizers import TokenizerOptions
from seqloom.data.video.moving_digits import MovingCaptions, MovingDigits
from seqloom.data.video.reader import open_clip
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError

SIZES = {"num_train": 240, "num_val": 16, "num_test": 160}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def made(kind, cache_dir, **options):
    defaults = {
        "sampling": FrameSampling(num_frames=12),
        "transform": ClipTransform(height=48, width=48),
        "batching": PaddedBatches(batch_size=32),
        "cache_dir": cache_dir,
    }
    datamodule = kind(**(defaults | SIZES | options))
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def global_motion(frames):
    """Of frames [T, H, W, 3]: shift in x and y, growth, and how far the shifts turn in all, as far
    as what changes tells, by least squares on the gradients of brightness.
    """
    grey = gaussian_filter(frames.astype(np.float64).mean(-1), (0, 1.5, 1.5))
    change, middle = grey[1:] - grey[:-1], (grey[1:] + grey[:-1]) / 2
    down, right = np.gradient(middle, axis=(1, 2))
    weights = gaussian_filter(change**2, (0, 2, 2))
    rows, columns = np.mgrid[: grey.shape[1], : grey.shape[2]]
    found = []
    for i, weight in enumerate(weights):
        if not weight.any():
            continue  # a short clip shows a frame twice
        weight = np.clip(weight - np.quantile(weight, 0.6), 0, None)
        x = columns - (weight * columns).sum() / weight.sum()
        y = rows - (weight * rows).sum() / weight.sum()
        gx, gy = right[i], down[i]
        terms = np.stack([gx, gy, gx * x + gy * y], -1).reshape(-1, 3)
        root = np.sqrt(weight).ravel()
        found.append(np.linalg.lstsq(terms * root[:, None], -change[i].ravel() * root)[0])
    steps = np.array(found)
    course = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    pace = np.hypot(steps[:, 0], steps[:, 1])
    turn = course[-1] - course[0] if np.median(pace) > 4 * abs(np.median(steps[:, 2])) else 0.0
    return np.median(steps, axis=0) * [1, 1, 8], turn


def by_rule(frames):
    pairs = (("right", "left"), ("down", "up"), MOTIONS[6:])
    motion, turn = global_motion(frames)
    if abs(turn) > 1.2:
        return MOTIONS[4:6][int(turn < 0)]
    kind = int(abs(motion).argmax())
    return pairs[kind][int(motion[kind] < 0)]


@pytest.fixture(scope="module")
def digits(cache_dir):
    return made(MovingDigits, cache_dir)


def test_the_label_is_in_the_motion(digits):
    assert isinstance(digits.spec.target, ClassSide)
    assert set(digits.spec.target.names) == set(MOTIONS)
    right = [
        by_rule(source.permute(0, 2, 3, 1).numpy()) == digits.spec.target.format(target)
        for source, target in examples(digits, "test")
    ]
    assert np.mean(right) >= 0.95


def test_a_bag_of_frames_does_not_tell_the_label(digits):
    sides = {}
    for split in ("train", "test"):
        found = examples(digits, split)
        frames = np.stack([source.numpy().mean(1) for source, _ in found])  # [N, T, H, W] grey
        bags = [frames.mean(1), frames.std(1), np.sort(frames, axis=1)[:, [0, -1]]]
        bags = np.concatenate([bag.reshape(len(found), -1) for bag in bags], axis=1)
        sides[split] = bags / 255, np.array([int(target) for _, target in found])
    for model in (KNeighborsClassifier(5), LogisticRegression(C=0.01, max_iter=2000)):
        assert model.fit(*sides["train"]).score(*sides["test"]) <= 0.6


@pytest.mark.parametrize("pair", [MOTIONS[i : i + 2] for i in range(0, 8, 2)])
def test_one_of_a_pair_is_the_other_backwards(pair):
    one, other = (
        draw_path(
            motion, num_frames=11, area=(0, 0, 48, 32), rng=np.random.default_rng(4)
        ).backwards()
        for motion in pair
    )
    for name in ("x", "y", "size", "angle"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name)[::-1])


def test_a_clip_is_the_same_whenever_and_wherever_it_is_made(digits, tmp_path):
    fewer = made(MovingDigits, str(tmp_path), num_train=9, num_val=1, num_test=1)
    files = fewer.clip_files("train")
    assert [path.name for path in files] == [f"{i:06d}.mp4" for i in range(9)]
    for one, other in zip(files, digits.clip_files("train"), strict=False):
        assert one.read_bytes() == other.read_bytes()
    assert files[0].read_bytes() != fewer.clip_files("test")[0].read_bytes()
    other_seed = made(MovingDigits, str(tmp_path), num_train=1, num_val=1, num_test=1, seed=2)
    assert other_seed.clip_files("train")[0].read_bytes() != files[0].read_bytes()
    assert fewer.fingerprint != digits.fingerprint


def test_a_clip_is_what_was_drawn_and_its_list_says_which(digits):
    drawn, motion = digits.draw("val", 5)
    path = digits.clip_files("val")[5]
    with open_clip(path) as clip:
        frames = clip.read(np.arange(len(clip.times_s)))
        np.testing.assert_allclose(np.diff(clip.times_s), 0.1, atol=1e-6)
    assert frames.shape == drawn.shape
    assert 10 <= len(frames) <= 24
    # Colours are halved in each direction by the codec; brightness is close.
    assert abs(frames.mean(-1) - drawn.mean(-1)).mean() < 4
    rows = list(csv.reader((path.parent / "clips.csv").read_text().splitlines()))
    assert rows[0] == ["path", "label"]
    assert rows[6] == [path.name, motion]


@pytest.mark.parametrize(("named_by", "names"), [("colour", COLOURS), ("digit", NAMES)])
def test_sentences_say_what_is_to_be_seen(cache_dir, named_by, names):
    datamodule = made(
        MovingCaptions,
        cache_dir,
        named_by=named_by,
        max_digits=2,
        size=64,
        tokenizer=TokenizerOptions(kind="word"),
        num_train=120,
    )
    assert isinstance(datamodule.spec.target, TokenSide)
    texts = {datamodule.draw("train", number)[1] for number in range(120)}
    words = set(" ".join(texts).split())
    assert words >= {*names, *" ".join(VERBS.values()).split(), "while", "then", "top", "bottom"}
    for source, target in examples(datamodule, "val"):
        assert source.shape == (12, 3, 48, 48)
        assert target[-1] == 2
    batch = next(iter(datamodule.val_dataloader()))
    expected = [datamodule.draw("val", row)[1] for row in batch.index.tolist()]
    assert list(batch.target_text) == expected


@pytest.mark.parametrize("number", range(24))
def test_digits_of_a_sentence_stay_in_the_picture(number, cache_dir):
    datamodule = MovingCaptions(
        sampling=FrameSampling(),
        transform=ClipTransform(),
        batching=PaddedBatches(batch_size=2),
        tokenizer=TokenizerOptions(kind="word"),
        max_digits=2,
        size=64,
    )
    frames, text = datamodule.draw("train", number)
    assert frames.shape[1:] == (64, 64, 3)
    bright = frames.max(-1) > 170
    # Each frame shows ink, and the ring of two pixels at the border next to none.
    assert bright.any(axis=(1, 2)).all(), text
    assert bright[:, [0, 1, -2, -1]].mean() < 0.05, text
    assert bright[:, :, [0, 1, -2, -1]].mean() < 0.05, text


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        (MovingDigits, {"size": 47}, r"data\.size=47"),
        (MovingDigits, {"size": 30}, r"data\.size=30"),
        (MovingCaptions, {}, r"tokenizer=none"),
        (
            MovingCaptions,
            {"tokenizer": TokenizerOptions(kind="word"), "max_digits": 3},
            r"data\.max_digits=3",
        ),
        (
            MovingCaptions,
            {"tokenizer": TokenizerOptions(kind="bpe", bpe_dropout=0.1)},
            r"tokenizer\.bpe_dropout=0\.1",
        ),
        (MovingDigits, {"num_val": 0}, r"data\.num_val=0"),
    ],
)
def test_what_cannot_be_made_is_refused(kind, options, why, cache_dir):
    with pytest.raises(ConfigError, match=why):
        made(kind, cache_dir, **options)
