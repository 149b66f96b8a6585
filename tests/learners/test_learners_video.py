"""The classifier of clips through a real Trainer: stages of its front, scores, answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learner_fakes import LEARNER_PARTS, PARTS, fit, loader, trainer_of
from lightning.pytorch import Callback, Trainer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.cells import GRU, ConvLSTM
from seqloom.data.batch import Batch
from seqloom.data.spec import ClassSide, DataSpec, VideoSide
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.errors import ConfigError
from seqloom.layers.frames import SmallFrames, SmallVolumes, TorchvisionVolumes
from seqloom.learners import FrontTraining, VideoClassifierLearner
from seqloom.learners.schedules import Cosine, Plateau
from seqloom.sequences import Padded
from seqloom.topologies import VideoClassifier

# No validation loader, few batches: Lightning's hints do not fit these tiny runs.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
SIDE = 8
CLASSES = ClassSide(("left", "right", "still"))
CLIPS = VideoSide(FrameSampling(by="all"), ClipTransform(height=SIDE, width=SIDE))
SPEC = DataSpec(CLIPS, CLASSES)
ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)


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


def make_learner(**options: Any) -> VideoClassifierLearner:
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
        "spec": SPEC,
        "model": partial(VideoClassifier, **parts),
        "optimizer": ADAMW,
        "front": FrontTraining(),
    }
    return VideoClassifierLearner(**{**defaults, **options})


def random_clip(num_frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_frames, 3, SIDE, SIDE)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def make_batch(lengths: Sequence[int] = (3, 5, 1, 4), seed: int = 0, first: int = 0) -> Batch:
    clips = [random_clip(length, seed + row) for row, length in enumerate(lengths)]
    target = torch.arange(len(lengths)) % 3
    names = tuple(f"clip_{first + row}.mp4" for row in range(len(lengths)))
    texts = tuple(CLASSES.names[index] for index in target.tolist())
    index = torch.arange(first, first + len(lengths))
    return Batch(index, Padded.from_list(clips), target, names, texts)


def tensors(module: nn.Module) -> list[Tensor]:
    """Weights and statistics."""
    return [values.detach().clone() for values in module.state_dict().values()]


def equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


class Diary(Callback):
    """After each update: the epoch, whether the front is frozen, its tensors, all rates."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.frozen: list[bool] = []
        self.fronts: list[list[Tensor]] = []
        self.others: list[Tensor] = []
        self.rates: list[list[float]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.epochs.append(trainer.current_epoch)
        self.frozen.append(pl_module.front.frozen)
        self.fronts.append(tensors(pl_module.front))
        self.others.append(pl_module.model.output.projection.weight.detach().clone())
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def test_a_staged_front_stands_still_and_then_learns() -> None:
    learner, diary = make_learner(front=FrontTraining(unfreeze_at_epoch=2)), Diary()
    before = tensors(learner.front)
    fit(learner, [make_batch(), make_batch(seed=9)], max_epochs=4, callbacks=[diary])
    assert diary.frozen == [epoch < 2 for epoch in diary.epochs]
    assert diary.epochs == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(equal(before, front) for front in diary.fronts[:4])
    for old, new in zip(before, diary.fronts[4], strict=True):
        assert not torch.equal(old, new)
    assert not torch.equal(diary.others[0], diary.others[1]), "the rest learns from the start"


def test_a_front_that_learns_from_the_start() -> None:
    learner, diary = make_learner(), Diary()
    before = tensors(learner.front)
    fit(learner, [make_batch()], callbacks=[diary])
    assert not any(torch.equal(*pair) for pair in zip(before, diary.fronts[0], strict=True))


def test_a_frozen_front_never_changes_and_is_not_optimised() -> None:
    learner = make_learner(front=FrontTraining(unfreeze_at_epoch=None))
    diary, before = Diary(), tensors(learner.front)
    trainer = fit(learner, [make_batch()] * 2, max_epochs=2, callbacks=[diary])
    assert all(equal(before, front) for front in diary.fronts)
    optimised = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert not optimised & {id(p) for p in learner.front.parameters()}
    assert not any(p.requires_grad for p in learner.front.parameters())
    assert all(p.grad is None for p in learner.front.parameters())


@pytest.mark.parametrize(
    "scheduler", [Cosine(warmup_steps=2), Plateau(monitor="val/loss", mode="min", patience=0)]
)
def test_a_front_has_a_rate_of_its_own_under_any_schedule(scheduler: Any) -> None:
    learner = make_learner(front=FrontTraining(lr_factor=0.1), scheduler=scheduler)
    diary = Diary()
    trainer = trainer_of(max_epochs=3, callbacks=[diary])
    trainer.fit(learner, loader([make_batch()] * 2), loader([make_batch(seed=5)]))
    groups = trainer.optimizers[0].param_groups
    own = {id(p) for p in learner.front.parameters()}
    of_front = [all(id(p) in own for p in group["params"]) for group in groups]
    assert of_front == [False, False, True, True]
    assert {id(p) for group in groups[2:] for p in group["params"]} == own
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0, 0.1, 0.0]
    for rates in diary.rates:
        assert rates == pytest.approx([rates[0], rates[0], rates[0] / 10, rates[0] / 10])
    assert len({rates[0] for rates in diary.rates}) > 1 or isinstance(scheduler, Plateau)


def test_a_rate_of_zero_leaves_weights_alone() -> None:
    learner = make_learner(front=FrontTraining(lr_factor=0.0))
    before = [p.clone() for p in learner.front.parameters()]
    fit(learner, [make_batch()])
    assert equal(before, list(learner.front.parameters()))


class SaveAt(Callback):
    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("step", [1, 2, 4, 5])
def test_a_resumed_run_is_in_the_stage_that_the_straight_one_is_in(
    tmp_path: Path, step: int
) -> None:
    path, batches = tmp_path / "middle.ckpt", [make_batch()] * 3
    staged = FrontTraining(unfreeze_at_epoch=1)
    straight, whole = make_learner(front=staged), Diary()
    fit(straight, batches, max_epochs=2, callbacks=[whole, SaveAt(path, step)])
    resumed, rest = make_learner(front=staged), Diary()
    trainer = trainer_of(max_epochs=2, callbacks=[rest])
    trainer.fit(resumed, loader(batches), ckpt_path=path)
    assert rest.frozen == whole.frozen[step:]
    assert rest.epochs == whole.epochs[step:]
    for one, other in zip(tensors(straight), tensors(resumed), strict=True):
        torch.testing.assert_close(one, other)


def test_the_classifier_of_frames_changes_nothing_but_itself() -> None:
    learner, batch = make_learner(), make_batch()
    loss = learner.training_loss(batch)
    loss.loss.backward()
    found = {name: p.grad.clone() for name, p in learner.model.named_parameters()}
    learner.zero_grad()
    learner.load_state_dict(make_learner().state_dict())
    features = learner.model.features(batch.source)
    logits = learner.model.output.logits(learner.model.classify(features))
    expected = F.cross_entropy(logits, batch.target, reduction="sum")
    assert loss.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss.num_tokens == 4
    of_frames = F.cross_entropy(learner.model.frame_logits(features), batch.target, reduction="sum")
    expected.backward(retain_graph=True)
    of_frames.backward()
    for name, parameter in learner.model.named_parameters():
        torch.testing.assert_close(parameter.grad, found[name], rtol=1e-4, atol=1e-6)


def test_the_classifier_of_frames_leaves_no_trace_in_the_clipped_norm() -> None:
    """With it and without it, all other weights go the same way, also where gradients are cut."""
    learners = [make_learner(), make_learner()]
    assert learners[1].model.frame_output is not None
    learners[1].model.frame_output.requires_grad_(False)
    for learner in learners:
        torch.manual_seed(1)  # of dropout
        fit(learner, [make_batch()] * 2, gradient_clip_val=0.05)
    for (name, one), (_, other) in zip(
        *(learner.model.named_parameters() for learner in learners), strict=True
    ):
        assert torch.equal(one, other) != name.startswith("frame_output"), name


@pytest.mark.parametrize("motion", ["none", "both"])
def test_scores_are_those_of_a_loop_over_clips(motion: str) -> None:
    learner = make_learner(frames=front_recipe(motion=motion))
    batches = [make_batch(), make_batch((2, 6, 1), seed=20, first=4)]
    (told,) = trainer_of().test(learner, loader(batches), verbose=False)
    right, right_frames, nll = [], [], []
    learner.eval()
    for batch in batches:
        for clip, target in zip(batch.source.to_list(), batch.target, strict=True):
            features = learner.model.features(Padded.from_list([clip]))
            logits = learner.model.output.logits(learner.model.classify(features))[0]
            right.append(int(logits.argmax() == target))
            nll.append(F.cross_entropy(logits, target).item())
            if motion == "none":
                frame_logits = learner.model.frame_logits(features)
                right_frames.append(int(frame_logits[0].argmax() == target))
    assert told["test/accuracy"] == pytest.approx(sum(right) / 7)
    assert told["test/nll"] == pytest.approx(sum(nll) / 7, rel=1e-5)
    assert ("test/frame_accuracy" in told) == (motion == "none")
    assert set(told) == {name for name in learner.metric_names if name.startswith("test")}
    if motion == "none":
        assert told["test/frame_accuracy"] == pytest.approx(sum(right_frames) / 7)


def test_it_learns_and_tells_each_clip() -> None:
    learner = make_learner(
        front=FrontTraining(unfreeze_at_epoch=1), frames=front_recipe(norm="group")
    )
    fit(learner, [make_batch()] * 30, max_epochs=2)
    learner.eval()
    with torch.no_grad():
        predictions = learner.evaluate(make_batch(first=7), 0, "val")
    assert [p.prediction for p in predictions] == ["left", "right", "still", "left"]
    assert [p.input for p in predictions] == [f"clip_{row}.mp4" for row in range(7, 11)]
    assert [p.index for p in predictions] == [7, 8, 9, 10]
    assert [p.num_input_tokens for p in predictions] == [3, 5, 1, 4]


def written(folder: Path, num_frames: int, seed: int = 0) -> str:
    """A clip as a folder of pictures, which lose nothing; 25 a second."""
    folder.mkdir()
    for number, frame in enumerate(random_clip(num_frames, seed)):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return str(folder)


def test_answers_are_probabilities_of_each_clip(tmp_path: Path) -> None:
    learner = make_learner().eval()
    paths = [written(tmp_path / str(n), n, seed=n) for n in (3, 1, 5)]
    answers = learner.answer(paths, num_best=9)
    for number, best in zip((3, 1, 5), answers, strict=True):
        probabilities = learner.probabilities(random_clip(number, number))
        assert float(probabilities.sum()) == pytest.approx(1.0)
        order = probabilities.argsort(descending=True).tolist()
        assert [answer.text for answer in best] == [CLASSES.names[index] for index in order]
        assert [a.score for a in best] == pytest.approx(probabilities[order].tolist(), rel=1e-5)
    assert learner.answer([]) == []
    assert [len(best) for best in learner.answer(paths)] == [1, 1, 1]
    with pytest.raises(Exception, match="absent"):
        learner.answer([str(tmp_path / "absent.mp4")])


@pytest.mark.parametrize("cell", [GRU, ConvLSTM])
def test_evidence_is_what_watching_tells(tmp_path: Path, cell: Any) -> None:
    learner = make_learner(parts={"cell": cell}, frames=front_recipe(motion="both")).eval()
    path = written(tmp_path / "clip", 7)
    (evidence,) = learner.evidence([path])
    assert evidence.times_s == pytest.approx(np.arange(7) / 25)
    assert torch.equal(evidence.frames, random_clip(7, 0))
    assert evidence.classes == CLASSES.names
    for size in (1, 3, 7):
        watched = torch.cat(list(learner.watch(random_clip(7, 0).split(size))))
        torch.testing.assert_close(watched, evidence.probabilities, rtol=1e-4, atol=1e-6)
    (best,) = learner.answer([path])[0]
    assert best.score == pytest.approx(float(evidence.probabilities[-1].max()), rel=1e-5)


def test_watching_leaves_the_callers_autocast_as_it_was() -> None:
    learner = make_learner().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in learner.watch(random_clip(3, 0).split(1)):
            assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"parts": {"bidirectional": True}}, "both ways"),
        ({"frames": front_recipe(SmallVolumes)}, "several frames"),
    ],
)
def test_a_model_that_cannot_watch_says_so_at_the_call(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        make_learner(**options).watch([])


def test_evidence_of_a_front_with_fewer_steps_has_a_row_a_frame(tmp_path: Path) -> None:
    options = {"grid": 1, "motion": "none", "max_frames": 64, "checkpointed": False}
    recipe = partial(TorchvisionVolumes, name="r3d_18", weights=None, **options)
    learner = make_learner(frames=recipe).eval()
    (evidence,) = learner.evidence([written(tmp_path / "clip", 9)])
    assert evidence.probabilities.shape == (9, 3)
    assert torch.unique(evidence.probabilities, dim=0).shape[0] == 2
