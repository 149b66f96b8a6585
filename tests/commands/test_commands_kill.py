"""A run that is killed at random moments ends bit for bit as one left alone: the proof itself, on a
smaller run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROOF = Path(__file__).resolve().parents[2] / "scripts" / "prove_resume.py"


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_killed_run_ends_as_one_left_alone(num_workers: int) -> None:
    proof = subprocess.run(
        [
            sys.executable,
            str(PROOF),
            f"num_workers={num_workers}",
            "num_kills=2",
            "num_threads=1",
            "data.num_train=600",
            "data.num_val=20",
            "data.num_test=15",
            "tokenizer.vocab_size=300",
            "batching.batch_size=16",
            "model.embedding_size=16",
            "model.hidden_size=32",
            "decoding.beam_size=2",
        ],
        capture_output=True,
        text=True,
    )
    assert proof.returncode == 0, proof.stdout + proof.stderr
