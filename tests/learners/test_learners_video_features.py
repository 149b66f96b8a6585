"""Features of a front apart from the rest, the captioner of clips, and what learners of clips
refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from learner_fakes import LEARNER_PARTS, PARTS, Letters, fit, loader, trainer_of
from PIL import Image
from torch import Tensor

from seqloom.cells import LSTM, ConvLSTM
from seqloom.data.batch import Batch
from seqloom.data.spec import ClassSide, DataSpec, FeatureSide, TokenSide, VideoSide
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.decoding import BeamSearch, GreedySearch
from seqloom.errors import ConfigError
from seqloom.layers.attention import GeneralAttention
from seqloom.layers.frames import SmallFrames, SmallVolumes, TorchvisionVolumes
from seqloom.layers.outputs import Squared
from seqloom.layers.recurrent import StackOptions
from seqloom.learners import FrontTraining, VideoCaptionerLearner, VideoClassifierLearner
from seqloom.sequences import Padded
from seqloom.topologies import (
    DelayedSequenceToSequence,
    EncoderDecoder,
    FrameAverage,
    VideoClassifier,
)
from seqloom.unrolling import Auto

# No validation loader, few batches: Lightning's hints do not fit these tiny runs.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
SIDE = 8
CLASSES = ClassSide(("left", "right", "still"))
CLIPS = VideoSide(FrameSampling(by="all"), ClipTransform(height=SIDE, width=SIDE))
LETTERS = TokenSide(Letters())
FROZEN = FrontTraining(unfreeze_at_epoch=None, features="cached")


def front_recipe(kind: Any = SmallFrames, **options: Any) -> Any:
    defaults: dict[str, Any] = {
        "channels": [4, 8],
        "norm": "batch",
        "grid": 1,
        "motion": "none",
        "max_frames": 64,
        "checkpointed": False,
    }
    return partial(kind, **{**defaults, **options})


def volumes_recipe() -> Any:
    """Of T frames about T / 8 steps."""
    options = {"grid": 1, "motion": "none", "max_frames": 64, "checkpointed": False}
    return partial(TorchvisionVolumes, name="r3d_18", weights=None, **options)


def make_classifier(**options: Any) -> VideoClassifierLearner:
    torch.manual_seed(0)
    parts = {
        **PARTS,
        "frames": options.pop("frames", front_recipe()),
        "feature_size": 8,
        "bidirectional": False,
        "pooling": "last",
        **options.pop("parts", {}),
    }
    defaults: dict[str, Any] = {
        **LEARNER_PARTS,
        "spec": DataSpec(CLIPS, CLASSES),
        "model": partial(VideoClassifier, **parts),
        "front": FROZEN,
    }
    return VideoClassifierLearner(**{**defaults, **options})


def make_captioner(**options: Any) -> VideoCaptionerLearner:
    torch.manual_seed(0)
    model = partial(
        EncoderDecoder,
        embedding_size=8,
        hidden_size=16,
        num_encoder_layers=1,
        num_decoder_layers=1,
        bidirectional=True,
        stack=StackOptions(),
        dropout=0.0,
        locked_dropout=False,
        tie="none",
        bridge="projected",
        wiring="late",
        cell=LSTM,
        unrolling=Auto(),
        attention=GeneralAttention,
        output=PARTS["output"],
    )
    defaults: dict[str, Any] = {
        **LEARNER_PARTS,
        "spec": DataSpec(CLIPS, LETTERS),
        "model": model,
        "frames": front_recipe(norm="group"),
        "front": FrontTraining(),
        "optimizer": partial(torch.optim.Adam, lr=0.02),
        "search": BeamSearch(beam_size=2),
        "scheduled_sampling": 0.0,
        "normalize": "tokens",
    }
    return VideoCaptionerLearner(**{**defaults, **options})


def random_clip(num_frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_frames, 3, SIDE, SIDE)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def written(folder: Path, num_frames: int, seed: int = 0) -> str:
    """A clip as a folder of pictures, which lose nothing; 25 a second."""
    folder.mkdir()
    for number, frame in enumerate(random_clip(num_frames, seed)):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return str(folder)


SENTENCES = ("ab", "c", "deed", "ba")


def caption_batch(lengths: Sequence[int] = (3, 9, 1, 5)) -> Batch:
    clips = [random_clip(length, seed=row) for row, length in enumerate(lengths)]
    targets = [torch.tensor([*Letters().encode(text), 2]) for text in SENTENCES]
    paths = tuple(f"clip_{row}" for row in range(4))
    source, target = Padded.from_list(clips), Padded.from_list(targets)
    return Batch(torch.arange(4), source, target, paths, SENTENCES)


@pytest.mark.parametrize("cell", [LSTM, ConvLSTM])
@pytest.mark.parametrize("kind", [SmallFrames, SmallVolumes])
def test_features_of_a_clip_are_those_that_its_model_reads(kind: Any, cell: Any) -> None:
    learner = make_classifier(frames=front_recipe(kind, motion="both"), parts={"cell": cell})
    clip = random_clip(5)
    learner.train()
    before = [values.clone() for values in learner.state_dict().values()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = learner.features_of(clip)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert learner.training
    assert all(
        torch.equal(*pair) for pair in zip(before, learner.state_dict().values(), strict=True)
    )
    learner.eval()
    expected = learner.model.features(Padded.from_list([clip])).values[0]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        learner.model(Padded.from_list([found])), learner.model(Padded.from_list([clip]))
    )


def test_features_of_a_front_that_learns_are_those_of_evaluation() -> None:
    learner = make_classifier(front=FrontTraining()).train()
    statistics = {name: b.clone() for name, b in learner.front.named_buffers()}
    found = learner.features_of(random_clip(5))
    assert learner.front.training
    assert all(torch.equal(b, statistics[name]) for name, b in learner.front.named_buffers())
    torch.testing.assert_close(found, learner.eval().features_of(random_clip(5)))


def test_training_on_kept_features_is_training_on_frames() -> None:
    batch = caption_batch()
    classes = Batch(batch.index, batch.source, torch.tensor([0, 1, 2, 0]))
    learner, other = make_classifier(), make_classifier()
    rows = [learner.features_of(clip) for clip in batch.source.to_list()]
    kept = Batch(batch.index, Padded.from_list(rows), classes.target)
    fit(learner, [classes] * 3)
    fit(other, [kept] * 3)
    for one, two in zip(learner.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two)


KEY_CHANGES: dict[str, Callable[[], VideoClassifierLearner]] = {
    "grid": lambda: make_classifier(frames=front_recipe(grid=2)),
    "motion": lambda: make_classifier(frames=front_recipe(motion="difference")),
    "norm": lambda: make_classifier(frames=front_recipe(norm="group")),
    "channels": lambda: make_classifier(frames=front_recipe(channels=[8, 8])),
    "kind": lambda: make_classifier(frames=front_recipe(SmallVolumes)),
    "maps": lambda: make_classifier(parts={"cell": ConvLSTM}),
}


@pytest.mark.parametrize("change", KEY_CHANGES)
def test_the_key_of_features_changes_with_what_matters(change: str) -> None:
    assert KEY_CHANGES[change]().feature_key() != make_classifier().feature_key()


def test_the_key_of_features_changes_with_every_weight_and_statistic() -> None:
    learner = make_classifier()
    keys = {learner.feature_key()}
    tensors = [values for values in learner.front.state_dict().values() if values.ndim]
    assert len(tensors) == 10  # of two blocks: a kernel, two weights and two statistics each
    for values in [*tensors, learner.front.mean, learner.front.deviation]:
        values.flatten()[-1] += 1e-6
        keys.add(learner.feature_key())
    assert len(keys) == 13


def test_the_key_of_features_changes_with_nothing_else() -> None:
    key = make_classifier().feature_key()
    assert len(key) == 64
    assert make_classifier().train().feature_key() == make_classifier().eval().feature_key() == key
    same = make_classifier(
        frames=front_recipe(max_frames=3, checkpointed=True), front=FrontTraining(lr_factor=0.5)
    )
    assert same.feature_key() == key
    torch.nn.init.zeros_(same.model.output.projection.weight)
    assert same.feature_key() == key
    batch = caption_batch()
    learner = make_classifier(front=FrontTraining(unfreeze_at_epoch=None))
    fit(learner, [Batch(batch.index, batch.source, torch.tensor([0, 1, 2, 0]))])
    assert learner.feature_key() == key, "a frozen front keeps its key through training"


def test_a_captioner_learns_its_clips(tmp_path: Path) -> None:
    learner, batch = make_captioner(), caption_batch()
    trainer = fit(learner, [batch] * 120)
    (told,) = trainer.test(learner, loader([batch]), verbose=False)
    assert told["test/exact_match"] == 1.0
    learner.eval()
    paths = [written(tmp_path / str(row), n, row) for row, n in enumerate((3, 9, 1, 5))]
    together = learner.answer(paths, num_best=2)
    assert tuple(best.text for best, *_ in together) == SENTENCES
    for path, answers in zip(paths, together, strict=True):
        (alone,) = learner.answer([path], num_best=2)
        assert [a.text for a in alone] == [a.text for a in answers]
        assert [a.score for a in alone] == pytest.approx([a.score for a in answers], abs=1e-4)
    assert learner.answer([]) == []


@pytest.mark.parametrize("search", [GreedySearch(max_length_offset=6), BeamSearch(beam_size=3)])
@pytest.mark.parametrize("kind", [SmallFrames, SmallVolumes])
def test_attention_is_told_over_moments_of_the_clip(tmp_path: Path, kind: Any, search: Any) -> None:
    learner = make_captioner(frames=front_recipe(kind, norm="group"), search=search).eval()
    paths = [written(tmp_path / str(n), n, n) for n in (3, 9, 1)]
    maps = learner.attention_maps(paths)
    for num_frames, one in zip((3, 9, 1), maps, strict=True):
        assert one["input_pieces"] == [f"{number / 25:.2f} s" for number in range(num_frames)]
        assert len(one["weights"]) == len(one["output_pieces"])
        for row in one["weights"]:
            assert len(row) == num_frames
            assert sum(row) == pytest.approx(1.0, abs=1e-5)


def test_attention_over_fewer_steps_than_frames_keeps_their_times(tmp_path: Path) -> None:
    learner = make_captioner(frames=volumes_recipe()).eval()
    paths = [written(tmp_path / "long", 17), written(tmp_path / "short", 4)]
    long, short = learner.attention_maps(paths)
    assert long["input_pieces"] == ["0.00 s", "0.20 s", "0.44 s"]
    assert all(len(row) == 3 for row in long["weights"])
    assert short["input_pieces"] == ["0.00 s"], "one step, and none of the longer clip's"
    assert all(row == [1.0] for row in short["weights"])


def test_a_captioner_shows_the_clip_without_classes(tmp_path: Path) -> None:
    (evidence,) = make_captioner().evidence([written(tmp_path / "clip", 4)])
    assert torch.equal(evidence.frames, random_clip(4))
    assert evidence.times_s.tolist() == pytest.approx([0, 0.04, 0.08, 0.12])
    assert evidence.classes == ()
    assert evidence.probabilities.shape == (4, 0)


def test_a_captioner_has_stages_and_a_rate_of_its_front_too() -> None:
    learner = make_captioner(front=FrontTraining(unfreeze_at_epoch=1, lr_factor=0.5))
    before = [p.clone() for p in learner.front.parameters()]
    trainer = fit(learner, [caption_batch()] * 2)
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == pytest.approx(
        [0.02, 0.02, 0.01, 0.01]
    )
    assert all(torch.equal(*pair) for pair in zip(before, learner.front.parameters(), strict=True))
    fit(learner, [caption_batch()], max_epochs=2)
    assert not any(
        torch.equal(*pair) for pair in zip(before, learner.front.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unfreeze_at_epoch": -1}, "unfreeze_at_epoch=-1"),
        ({"lr_factor": -0.1}, r"lr_factor=-0\.1"),
        ({"features": "kept"}, "features=kept.*computed or cached"),
        ({"features": "cached"}, "features=cached.*unfreeze_at_epoch=null"),
        ({"features": "cached", "unfreeze_at_epoch": 3}, "features=cached"),
    ],
)
def test_a_front_cannot_be_trained_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FrontTraining(**options)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (make_classifier, {"spec": DataSpec(FeatureSide(3), CLASSES)}, "video_classifier"),
        (make_classifier, {"spec": DataSpec(CLIPS, LETTERS)}, "not clips with classes"),
        (make_classifier, {"parts": {"output": Squared}}, "output=categorical"),
        (make_classifier, {"frames": front_recipe(grid=3)}, r"8 x 8 pixels.*frames\.grid=3"),
        (make_captioner, {"spec": DataSpec(LETTERS, LETTERS)}, "no clips"),
        (make_captioner, {"spec": DataSpec(CLIPS, CLASSES)}, "no text to write"),
        (make_captioner, {"frames": front_recipe(grid=3)}, r"8 x 8 pixels.*frames\.grid=3"),
    ],
)
def test_what_does_not_fit_is_refused(
    make: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_a_captioner_needs_an_encoder_and_a_decoder() -> None:
    model = partial(DelayedSequenceToSequence, delay=None, embedding_size=8, tie="none", **PARTS)
    with pytest.raises(ConfigError, match=r"DelayedSequenceToSequence.*model=encoder_decoder"):
        make_captioner(model=model)


def test_the_average_of_frames_is_a_model_of_the_classifier() -> None:
    model = partial(
        FrameAverage, frames=front_recipe(), hidden_size=8, dropout=0.0, output=PARTS["output"]
    )
    learner = make_classifier(model=model, front=FrontTraining())
    batch = caption_batch()
    classes = Batch(
        batch.index, batch.source, torch.tensor([0, 1, 2, 0]), batch.source_text, ("left",) * 4
    )
    fit(learner, [classes])
    (told,) = trainer_of().test(learner, loader([classes]), verbose=False)
    assert set(told) == {"test/nll", "test/accuracy", "test/f1"}
