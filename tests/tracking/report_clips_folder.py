"""Synthetic run folders of clips: a classifier's and a captioner's. Seeded, with real pictures."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from report_run_folder import make_summary, write_predictions, write_summary

from seqloom.metrics.prediction import Prediction
from seqloom.tracking.clips import ClipPicture, choose_clips, write_clips

CLASSES = ("left", "right", "up", "down")
CONFIG = """\
seed: 1
task:
  name: {name}
  title: {title}
  topology: {topology}
data:
  target_language: en
"""


def moving_square(num_frames: int, height: int = 48, width: int = 48) -> np.ndarray:
    """[T, H, W, 3] uint8: a bright square that moves to the right."""
    frames = np.full((num_frames, height, width, 3), 40, np.uint8)
    side = max(1, width // 4)
    for t in range(num_frames):
        x = (width - side) * t // max(1, num_frames - 1)
        frames[t, height // 4 : height // 4 + side, x : x + side] = (230, 200, 30)
    return frames


def make_picture(index: int, num_frames: int = 16, **parts: Any) -> ClipPicture:
    """A clip at 10 frames a second."""
    values = {"times_s": np.arange(num_frames) / 10, "frames": moving_square(num_frames)} | parts
    return ClipPicture(index=index, **values)


def make_class_run(folder: Path, *, num: int = 60, with_clips: bool = True) -> Path:
    """A finished run of `video_classifier`, wrong in every seventh clip."""
    folder.mkdir(parents=True)
    _write_head(folder, "video_classification", "Video classification", "video_classifier")
    random_ = random.Random(5)
    rows = []
    for k in range(num):
        target = CLASSES[k % 4]
        output = CLASSES[(k + 1) % 4] if k % 7 == 0 else target
        score = round(random_.uniform(0.4, 1.0), 4)
        path = f"/data/moving digits/test/{target}/clip_{k:03d}.mp4"
        rows.append({"input": path, "target": target, "prediction": output, "score": score})
    write_predictions(folder, rows)
    if with_clips:
        write_clips(folder, [_class_picture(rows, k) for k in choose_clips(as_predictions(rows))])
    return folder


def make_caption_run(folder: Path, *, num: int = 20, num_input: int = 12) -> Path:
    """A finished run of a captioner that keeps 12 clips and their attention."""
    folder.mkdir(parents=True)
    _write_head(folder, "video_captioning", "Video captioning", "encoder_decoder")
    words = "the digit {} moves to the {} and then grows"
    rows = []
    for k in range(num):
        target = words.format("three", CLASSES[k % 4])
        output = words.format("eight" if k % 3 == 0 else "three", CLASSES[k % 4])
        path = f"/data/captions/clip_{k:03d}.mp4"
        rows.append({"input": path, "target": target, "prediction": output, "score": -k / 10})
    write_predictions(folder, rows)
    chosen = choose_clips(as_predictions(rows))
    write_clips(folder, [make_picture(k) for k in chosen])
    maps = [make_looks(k, rows[k]["prediction"], num_input) for k in chosen]
    (folder / "attention.json").write_text(json.dumps(maps), encoding="utf-8")
    return folder


def make_looks(index: int, caption: str, num_input: int) -> dict[str, Any]:
    """Attention that walks over the frames' times."""
    outputs = [*caption.split(), "</s>"]
    weights = []
    for t in range(len(outputs)):
        centre = t * num_input / len(outputs)
        raw = np.exp(-((np.arange(num_input) - centre) ** 2) / 2) + 0.01
        weights.append((raw / raw.sum()).tolist())
    pieces = [f"{1.5 * s / max(1, num_input - 1):.2f} s" for s in range(num_input)]
    return {"index": index, "input_pieces": pieces, "output_pieces": outputs, "weights": weights}


def as_predictions(rows: list[dict[str, Any]]) -> list[Prediction]:
    return [Prediction(index=k, num_input_tokens=16, **row) for k, row in enumerate(rows)]


def _class_picture(rows: list[dict[str, Any]], index: int) -> ClipPicture:
    """Evidence that starts even and ends at the prediction with its score."""
    row, steps = rows[index], np.linspace(0, 1, 16)[:, None]
    final = np.full(4, (1 - row["score"]) / 3)
    final[CLASSES.index(row["prediction"])] = row["score"]
    evidence = (1 - steps) * 0.25 + steps * final
    return make_picture(index, classes=CLASSES, evidence=evidence.tolist())


def _write_head(folder: Path, name: str, title: str, topology: str) -> None:
    text = CONFIG.format(name=name, title=title, topology=topology)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    metrics = {"test/accuracy": 0.85, "test/f1": 0.84, "test/frame_accuracy": 0.4321}
    if topology == "encoder_decoder":
        metrics = {"test/bleu": 71.2, "test/chrf": 82.3}
    write_summary(folder, make_summary() | {"task": name, "metrics": metrics, "signatures": {}})
