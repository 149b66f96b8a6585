"""The real loader in a real process that gets a real SIGKILL, with worker processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import seqloom
import os, random, signal, sys, warnings
from pathlib import Path
import numpy as np, torch
from torch import nn
from lightning.pytorch import Callback

from tracking_fakes import Learner, make_trainer
from seqloom.data.batching import WorldBatchSampler
from seqloom.data.buffers import TokenBuffer
from seqloom.data.loader import FixedTokens, Loader, PairDataset
from seqloom.runs import RunFolder
from seqloom.tracking.checkpoints import Checkpoint

warnings.simplefilter("ignore")
path, num_workers, kill_at = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rows = [[random.Random(i).randrange(4, 20) for _ in range(1 + i % 5)] for i in range(40)]
tokens = FixedTokens(TokenBuffer.from_rows(rows))
data = PairDataset(tokens, tokens)

def plan(epoch):
    order = np.random.default_rng(epoch).permutation(40)
    return list(order.reshape(10, 4))

class Pairs(Learner):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 3)
    def training_step(self, batch, batch_idx):
        return super().training_step(self.table(batch.source.values).mean(1), batch_idx)
    def validation_step(self, batch, batch_idx):
        super().validation_step(self.table(batch.source.values).mean(1), batch_idx)

class Kill(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.fit_loop.total_batch_idx == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

folder = RunFolder(path)
keep = Checkpoint(directory=folder.checkpoints, monitor="val/loss", mode="min", every_n_steps=2)
trainer = make_trainer(folder, [Kill(), keep], val_check_interval=5)
make = lambda workers: Loader(data, WorldBatchSampler(plan), fingerprint="x", num_workers=workers)
last = folder.last if folder.last.exists() else None
trainer.fit(Pairs(), make(num_workers), make(0), ckpt_path=last, weights_only=True)
"""


def run(path: Path, num_workers: int, kill_at: int) -> int:
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path]), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", SCRIPT, str(path), str(num_workers), str(kill_at)]
    return subprocess.run(arguments, env=env, capture_output=True).returncode


@pytest.mark.slow
def test_a_killed_process_with_workers_goes_on_bit_for_bit(tmp_path: Path) -> None:
    assert run(tmp_path / "whole", 0, -1) == 0
    assert run(tmp_path / "parts", 2, 16) == -9
    assert run(tmp_path / "parts", 2, -1) == 0
    paths = [tmp_path / name / "checkpoints/last.ckpt" for name in ("whole", "parts")]
    whole, parts = (torch.load(path, weights_only=True) for path in paths)
    assert whole["global_step"] == parts["global_step"] == 30
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name
