"""What `seqloom watch` costs: its share of a core while it follows running jobs.

    python scripts/benchmark_watch.py [num_jobs=100] [seconds=15] [output=FILE]

Makes a sweep of `num_jobs` jobs that run and log once a second (only their files grow), and starts
`seqloom watch` on it in three ways: terminal and page (asked for every second, as a browser does),
terminal alone, page alone. The processor time between the 5th second, when it has started, and the
end is divided by the time that passed. Linux only: it reads /proc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from seqloom.runs import MetricsFile
from seqloom.runs.lock import RunLock
from seqloom.sweeps.record import JobRecord, SweepRecord

START_S = 5.0
PORT = 8137
WAYS = {
    "terminal and page": (f"port={PORT}",),
    "terminal": ("page=false",),
    "page": (f"port={PORT}", "terminal=false"),
}


def make_sweep(folder: Path, num_jobs: int, held: ExitStack) -> list[MetricsFile]:
    """A sweep that this process holds, with running jobs; their metrics files."""
    jobs = [JobRecord(n, str(n), [f"seed={n}"], "running") for n in range(num_jobs)]
    SweepRecord("benchmark/watch", "", {"val/loss": "min"}, num_jobs, jobs).write(folder)
    held.callback(RunLock(folder).release)
    files = []
    for job in jobs:
        place = folder / job.folder
        place.mkdir()
        config = "task: {name: watch, monitor: val/loss, mode: min}\ntrainer: {max_steps: 100000}\n"
        (place / "config.yaml").write_text(config, encoding="utf-8")
        held.callback(RunLock(place).release)
        files.append(MetricsFile(place / "metrics.csv"))
        held.callback(files[-1].close)
    return files


def log_every_second(files: list[MetricsFile], is_over: threading.Event) -> None:
    step = 0
    while not is_over.wait(1.0):
        step += 1
        for file in files:
            file.append(step, {"train/loss": 1 / step, "val/loss": 2 / step})


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share_of_a_core(folder: Path, words: tuple[str, ...], seconds: float) -> float:
    """Of `seqloom watch` with these words, once it has started."""
    command = [sys.executable, "-m", "seqloom", "watch", f"runs={folder}", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(START_S)
        before_s, started_s = processor_s(process.pid), time.monotonic()
        while time.monotonic() - started_s < seconds:
            time.sleep(1)
            if words[0].startswith("port="):
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/state.json").read()
        return (processor_s(process.pid) - before_s) / (time.monotonic() - started_s)
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    num_jobs, seconds = int(words.get("num_jobs", "100")), float(words.get("seconds", "15"))
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as held:
        files, is_over = make_sweep(Path(temporary), num_jobs, held), threading.Event()
        writer = threading.Thread(target=log_every_second, args=(files, is_over))
        writer.start()
        held.callback(writer.join)
        held.callback(is_over.set)
        shares = {way: share_of_a_core(Path(temporary), w, seconds) for way, w in WAYS.items()}
    sys.stdout.write(f"| {num_jobs} running jobs | share of a core |\n|---|---|\n")
    for way, share in shares.items():
        sys.stdout.write(f"| {way} | {share:.1%} |\n")
    if "output" in words:
        text = json.dumps({"num_jobs": num_jobs, "share": shares}, indent=2)
        Path(words["output"]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
