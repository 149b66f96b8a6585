"""The cure for torchvision beside a torch it was not compiled for (a CPU wheel, say).

Its compiled operators cannot load there, and then `import torchvision`, and with it torchmetrics
and lightning, dies with "operator torchvision::nms does not exist": its fake kernels are registered
for operators nobody declared. The idea: at the moment torchvision imports those registrations,
after it has tried its own library, declare the two schemas that are still missing. A finder on
`sys.meta_path` knows that moment, so nothing is imported before it is needed. The price: the finder
is asked once for every import. Models and transforms of torchvision then work, its operators do
not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Schemas of the operators that torchvision registers fake kernels for by name.
SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class SchemaFinder(MetaPathFinder):
    """Finds nothing; declares the missing schemas when torchvision comes to its registrations."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision._meta_registrations":
            declare_missing()
        return None


def declare_missing() -> None:
    """Declares each schema that no loaded library has declared."""
    import torch

    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


def install() -> None:
    """Puts the finder first, once."""
    if not any(isinstance(finder, SchemaFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, SchemaFinder())
