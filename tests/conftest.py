"""What every test starts from: no network, one thread a worker, the package's own import cure.

`shared_data` is the folder of small real data sets that do not belong to the project; tests that
need one are skipped where it is absent.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("SEQLOOM_CACHE", tempfile.mkdtemp(prefix="seqloom-tests-"))
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

import seqloom

ROOT = Path(__file__).resolve().parents[1]
# Processes that tests start find the package too, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
)

# Before any test imports torchvision: the cure is at work.
assert seqloom.__version__


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: SEQLOOM_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("SEQLOOM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}; set SEQLOOM_DATA")
    return folder
