"""Torchvision can be imported beside any torch, and only when something asks for it."""

import subprocess
import sys


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_imports_no_torch() -> None:
    done = python("import seqloom, sys; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_lightning_and_models_of_torchvision_work() -> None:
    code = """
import seqloom, lightning, torch, torchmetrics, torchvision
torch.ops.torchvision.nms, torch.ops.torchvision.qnms
print(torchvision.models.resnet18().eval()(torch.zeros(1, 3, 32, 32)).shape[1])
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1000"


def test_schemas_that_are_there_are_left_alone() -> None:
    code = """
import torch
torch.library.define("torchvision::nms", "(Tensor a, Tensor b, float c) -> Tensor")
from seqloom import _torchvision
_torchvision.declare_missing()
_torchvision.declare_missing()
_torchvision.install()
import sys
assert sum(isinstance(f, _torchvision.SchemaFinder) for f in sys.meta_path) == 1
print(torch.ops.torchvision.nms.default._schema.arguments[0].name)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "a"
