"""Stands in for `seqloom train` in tests of sweeps: leaves a run folder in no time.

What it does is said by `seed`: 13 fails before it has a folder, 14 fails as a run does, 15 comes to
NaN, 98 is deaf, 99 works until a signal, then says interrupted (or finishes, when it goes on);
others finish.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from seqloom.runs import Summary


def told(words: list[str]) -> dict[str, str]:
    parsed = OverridesParser.create().parse_overrides(words)
    return {override.key_or_group: str(override.value()) for override in parsed}


def note(name: str, value: object) -> None:
    """A line in the present folder; one write, so that several processes do not mix theirs."""
    with open(name, "a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def main() -> int:
    words = told(sys.argv[1:])
    seed, folder = words.get("seed"), Path(words["run_dir"])
    names = ("SEQLOOM_SWEEP", "OMP_NUM_THREADS", "SEQLOOM_RUN_DIR", "LOCAL_RANK")
    note("told.jsonl", [sys.argv[1:], {n: os.environ[n] for n in names if n in os.environ}])
    if seed == "13":
        sys.stderr.write("error: seed=13: it brings no luck; choose another\n")
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    summary = Summary(task="translation", status="running", seconds=1.5, steps=7)
    (folder / "config.yaml").write_text("task: {name: translation}\n", encoding="utf-8")
    summary.write(folder / "summary.json")
    if seed == "99" and "resume" not in words:

        def leave(signum: int, frame: object) -> None:
            note("signals.jsonl", signum)
            summary.status = "interrupted"
            summary.write(folder / "summary.json")
            sys.exit(128 + signum)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, leave)
        (folder / "metrics.csv").write_text("step,epoch,seconds,val/loss\n9,0,1,0.75\n")
        note("ready.jsonl", seed)
        time.sleep(60)
    if seed == "98":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (folder / "metrics.csv").write_text("step,epoch,seconds,val/loss\n9,0,1,0.75\n")
    note("times.jsonl", [time.monotonic(), 1])
    time.sleep(0.3)
    note("times.jsonl", [time.monotonic(), -1])
    summary.status = "failed" if seed == "14" else "finished"
    summary.error = "DataError: no data" if seed == "14" else None
    score = float("nan") if seed == "15" else 0.5
    summary.best = {"monitor": "val/loss", "score": score, "step": 7, "metrics": {}}
    summary.write(folder / "summary.json")
    return int(seed == "14")


if __name__ == "__main__":
    sys.exit(main())
