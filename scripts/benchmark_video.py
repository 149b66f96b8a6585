"""What clips cost: loading them, training on them with and without kept features, watching them.

    python scripts/benchmark_video.py [part=loader,training,timeline] [data.root=DIR] [output=FILE]
        [num_clips=64] [num_frames=16] [size=64] [num_epochs=2] [minutes=0.17,1,5,10]

`loader`: clips and frames a second of our loader (`num_frames` frames of each, no, one and two
workers), and of a plain PyAV loop that decodes and converts every frame, keeps the same ones and
transforms them in the same way (also with one colour converter a clip). `training`: seconds of an
epoch with a frozen resnet18 (random weights) and an LSTM, features computed for each batch or kept,
and the seconds that keeping them takes once.
`timeline`: the largest memory of a process that plays a clip of so many minutes (160 x 120, 10
frames a second, made here), beside that of one that plays a second. Without `data.root` clips are
made too: 3 seconds of 320 x 240 at 25 frames a second.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import seqloom  # isort: skip  # first: its cure lets torchvision be imported
import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from seqloom.cells import LSTM
from seqloom.commands.features import fill
from seqloom.commands.timeline import timeline
from seqloom.data.batching import WorldBatchSampler
from seqloom.data.loader import Loader
from seqloom.data.spec import ClassSide, DataSpec, VideoSide
from seqloom.data.video.clips import clips_under
from seqloom.data.video.dataset import ClipDataset
from seqloom.data.video.reader import open_clip
from seqloom.data.video.sampling import FrameSampling
from seqloom.data.video.transforms import ClipTransform
from seqloom.layers.frames import SmallFrames, TorchvisionFrames
from seqloom.layers.outputs import Categorical
from seqloom.layers.recurrent import StackOptions
from seqloom.learners.clip_reading import FrontTraining
from seqloom.learners.schedules import Constant
from seqloom.learners.video_classifier import VideoClassifierLearner
from seqloom.topologies import VideoClassifier
from seqloom.unrolling import Auto

assert seqloom.__version__
BATCH_SIZE = 8
CLASSES = ClassSide(("one", "two"))
FRONT = {"grid": 1, "motion": "none", "max_frames": 64, "checkpointed": False}
Row = dict[str, Any]


def make_clip(path: Path, *, seconds: float, width: int, height: int, fps: int) -> None:
    """A bright square that wanders over noise that stands still; H.264."""
    # Each clip another: features of equal clips would be kept once.
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    ground = rng.integers(0, 128, (height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * fps)):
            picture = ground.copy()
            left = 3 * number % (width - 20)
            picture[10:30, left : left + 20] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def clips_of(words: dict[str, str], folder: Path, num_clips: int) -> list[Path]:
    """At most `num_clips` of `data.root`, or as many made in `folder`."""
    if "data.root" in words:
        return clips_under(Path(words["data.root"]))[:num_clips]
    paths = [folder / f"{number:03}.mp4" for number in range(num_clips)]
    for path in paths:
        make_clip(path, seconds=3, width=320, height=240, fps=25)
    return paths


def dataset_of(paths: list[Path], side: VideoSide) -> ClipDataset:
    """In the form of training, with classes that take turns."""
    counts = np.full(len(paths), side.sampling.num_frames)
    targets = np.arange(len(paths)) % 2
    return ClipDataset(
        paths, num_frames=counts, side=side, targets=targets, target_side=CLASSES, seed=1
    )


def loader_of(dataset: ClipDataset, num_workers: int) -> Loader:
    rows = np.arange(len(dataset))
    batches = [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]
    sampler = WorldBatchSampler(lambda epoch: batches)
    return Loader(dataset, sampler, fingerprint="benchmark", num_workers=num_workers)


def load_plainly(paths: list[Path], side: VideoSide, *, one_converter: bool) -> int:
    """Every frame of every clip, as a loop of PyAV alone would; returns how many were kept.

    `to_ndarray` sets up a colour converter for each frame, which costs more than decoding it;
    `one_converter` keeps one for a clip.
    """
    kept = 0
    for path in paths:
        converter = VideoReformatter()
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = [*container.decode(stream)]
            times_s = np.array([float(frame.pts * stream.time_base) for frame in frames])
            if one_converter:
                frames = [converter.reformat(frame, format="rgb24") for frame in frames]
            pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        indices = side.sampling.choose(times_s - times_s[0], None)
        kept += len(side.transform(pictures[indices], None))
    return kept


def seconds_of(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure_loader(paths: list[Path], side: VideoSide) -> Iterator[Row]:
    """Epochs of loading alone; the second of each, when workers and files are warm."""

    def through(loader: Loader, epoch: int) -> None:
        loader.set_epoch(epoch)
        assert sum(len(batch.index) for batch in loader) == len(paths)

    def row(name: str, seconds: float) -> Row:
        clips = len(paths) / seconds
        frames = clips * side.sampling.num_frames
        return {"what": f"loader: {name}", "clips_per_s": clips, "frames_per_s": frames}

    load_plainly(paths, side, one_converter=True)
    for name, one_converter in (("plain PyAV loop", False), ("the same, one converter", True)):
        plainly = partial(load_plainly, paths, side, one_converter=one_converter)
        yield row(name, seconds_of(plainly))
    for num_workers in (0, 1, 2):
        loader = loader_of(dataset_of(paths, side), num_workers)
        through(loader, 0)
        yield row(f"{num_workers} workers", seconds_of(partial(through, loader, 1)))
        loader.close()


def learner_of(side: VideoSide, front: Any, training: FrontTraining) -> VideoClassifierLearner:
    """An LSTM of 128 over a front's features."""
    torch.manual_seed(1)
    model = partial(
        VideoClassifier,
        frames=front,
        feature_size=128,
        hidden_size=128,
        num_layers=1,
        bidirectional=False,
        pooling="last",
        dropout=0.0,
        locked_dropout=False,
        stack=StackOptions(),
        cell=LSTM,
        unrolling=Auto(),
        output=Categorical,
    )
    return VideoClassifierLearner(
        spec=DataSpec(source=side, target=CLASSES),
        model=model,
        optimizer=torch.optim.Adam,
        scheduler=Constant(warmup_steps=0),
        front=training,
        label_smoothing=0.0,
        config={},
    )


def measure_training(paths: list[Path], side: VideoSide, num_epochs: int) -> Iterator[Row]:
    """Epochs of loading, forward, backward and update; the median."""
    front = partial(TorchvisionFrames, name="resnet18", weights=None, **FRONT)
    learner = learner_of(side, front, FrontTraining(unfreeze_at_epoch=None)).train()
    optimizer = torch.optim.Adam(p for p in learner.parameters() if p.requires_grad)
    dataset = dataset_of(paths, side)

    def epoch() -> None:
        for batch in loader_of(dataset, 0):
            optimizer.zero_grad()
            loss = learner.training_loss(batch)
            (loss.loss / loss.num_tokens).backward()
            optimizer.step()

    def row(name: str) -> Row:
        seconds = statistics.median(seconds_of(epoch) for _ in range(num_epochs))
        return {"what": f"training: {name}", "seconds_per_epoch": seconds}

    epoch()  # imports and first calls, which no later epoch pays
    yield row("features computed")
    with tempfile.TemporaryDirectory() as cache:
        data = SimpleNamespace(
            side=side,
            num_workers=0,
            cache_root=Path(cache),
            clip_files=lambda split: paths,
            use_features=lambda split, features: setattr(dataset, "features", features),
        )
        keep = partial(fill, data, learner, torch.device("cpu"), splits=("train",))
        yield {"what": "training: keeping them once", "seconds_per_epoch": seconds_of(keep)}
        yield row("features kept")


def peak_mib() -> float:
    """The largest memory of this process alone, as Linux tells it."""
    # ru_maxrss would be that of the process that started this one, if that was larger.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def watch(path: Path, size: int) -> None:
    """Plays a clip in this process and prints its largest memory and the moments told."""
    side = VideoSide(FrameSampling(by="all"), ClipTransform(height=size, width=size))
    front = partial(SmallFrames, channels=(32, 64, 128), norm="group", **FRONT)
    learner = learner_of(side, front, FrontTraining()).eval()
    start = time.perf_counter()
    with torch.no_grad(), open_clip(path) as clip:
        num_moments = sum(1 for _ in timeline(clip, learner, side, every_s=1.0))
        num_frames = len(clip.times_s)
    seconds = time.perf_counter() - start
    row = {"peak_mib": peak_mib(), "num_moments": num_moments, "frames_per_s": num_frames / seconds}
    print(json.dumps(row))


def measure_timeline(folder: Path, minutes: list[float], size: int) -> Iterator[Row]:
    """A process for each length, one second first: what comes with the imports and the model."""
    for length in (1 / 60, *minutes):
        path = folder / f"{length:.3f}.mp4"
        make_clip(path, seconds=60 * length, width=160, height=120, fps=10)
        command = [sys.executable, __file__, "part=watch", f"clip={path}", f"size={size}"]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        yield {"what": f"timeline: {60 * length:.0f} s", **json.loads(told)}
        path.unlink()


def measured(words: dict[str, str]) -> Iterator[Row]:
    parts = words.get("part", "loader,training,timeline").split(",")
    size, num_frames = int(words.get("size", 64)), int(words.get("num_frames", 16))
    side = VideoSide(
        FrameSampling(by="uniform", num_frames=num_frames),
        ClipTransform(height=size, width=size),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"loader", "training"} & set(parts):
            paths = clips_of(words, folder, int(words.get("num_clips", 64)))
        if "loader" in parts:
            yield from measure_loader(paths, side)
        if "training" in parts:
            yield from measure_training(paths, side, int(words.get("num_epochs", 2)))
        if "timeline" in parts:
            minutes = [float(text) for text in words.get("minutes", "0.17,1,5,10").split(",")]
            yield from measure_timeline(folder, minutes, size)


def main() -> None:
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if words.get("part") == "watch":
        watch(Path(words["clip"]), int(words["size"]))
        return
    rows = []
    for row in measured(words):
        rows.append(row)
        values = (f"{name} {value:,.2f}" for name, value in row.items() if name != "what")
        print(f"{row['what']:32} {'   '.join(values)}", flush=True)
    result = {"num_threads": torch.get_num_threads(), "num_cores": os.cpu_count(), "rows": rows}
    if "output" in words:
        Path(words["output"]).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
