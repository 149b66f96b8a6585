"""`train.py` with a fault: `python failing_train.py RANK KIND SETTINGS...`.

KIND is what happens to the process of RANK in its fourth training step: it is killed, finds bad
data, or runs out of memory; under deaf it is killed while the others wait for what never comes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from seqloom import entry
from seqloom.errors import DataError
from seqloom.learners.base import Learner

RANK, KIND = sys.argv[1:3]
STEP = 3


def fail() -> None:
    Path(os.environ["SEQLOOM_RUN_DIR"], "fault").touch()  # From here on a test counts the time.
    if KIND in ("kill", "deaf"):
        os.kill(os.getpid(), signal.SIGKILL)
    if KIND == "data":
        raise DataError("train.de:17", "is empty", "mend it")
    raise MemoryError("no more")


original = Learner.training_step


def training_step(self: Learner, batch: Any, batch_idx: int) -> Any:
    if self.trainer.global_step == STEP:
        if os.environ.get("LOCAL_RANK", "0") == RANK:
            fail()
        elif KIND == "deaf":
            time.sleep(600)
    return original(self, batch, batch_idx)


if __name__ == "__main__":
    Learner.training_step = training_step  # type: ignore[method-assign]
    sys.exit(entry.train(sys.argv[3:]))
