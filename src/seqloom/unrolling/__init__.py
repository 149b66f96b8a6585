"""A cell over time: `dynamic`, `static`, `fused`, `scan`, and `auto`, which picks one."""

from seqloom.unrolling.auto import Auto as Auto
from seqloom.unrolling.base import Unrolling as Unrolling
from seqloom.unrolling.dynamic import Dynamic as Dynamic
from seqloom.unrolling.fused import Fused as Fused
from seqloom.unrolling.scan import Scan as Scan
from seqloom.unrolling.static import Static as Static
