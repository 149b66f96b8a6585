"""IDX files: LeCun's format of MNIST, an array of bytes behind a short header, plain or gzip.

Four bytes (0, 0, 8 for unsigned bytes, number of axes), then the length of each axis as a
big-endian 32 bit number, then the array. Everything that a header says is checked against what the
file holds, so a truncated or foreign file is named. Other element types are refused.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from seqloom.data.readers import require
from seqloom.errors import DataError

UNSIGNED_BYTE = 8


def find_idx(root: Path, name: str) -> Path:
    """`name` or `name.gz` under `root`; a `DataError` where there is neither."""
    packed = root / f"{name}.gz"
    return packed if packed.is_file() and not (root / name).is_file() else require(root / name)


def read_idx(path: Path, *, num_axes: int) -> np.ndarray:
    """A uint8 array of `num_axes` axes; what cannot be is a `DataError`."""
    data = _bytes(path)
    header = 4 + 4 * num_axes
    magic = bytes([0, 0, UNSIGNED_BYTE, num_axes])
    if data[:4] != magic:
        raise DataError(
            str(path),
            f"it begins with {data[:4].hex() or 'nothing'}, an IDX file of {num_axes} axes with"
            f" {magic.hex()}",
            "name MNIST's own file, or copy it again",
        )
    if len(data) < header:
        raise _truncated(path, f"its header has {len(data)} of {header} bytes")
    shape = tuple(np.frombuffer(data, dtype=">u4", count=num_axes, offset=4).tolist())
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        raise _truncated(path, f"it has {len(data)} bytes, its header says {expected}")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def read_labelled_images(
    images_path: Path, labels_path: Path, *, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, side, side] and labels [N] in 0..9, both uint8."""
    images, labels = read_idx(images_path, num_axes=3), read_idx(labels_path, num_axes=1)
    if images.shape[1:] != (side, side):
        size = " x ".join(map(str, images.shape[1:]))
        raise DataError(
            str(images_path), f"its images have {size} pixels, not {side} x {side}", "name another"
        )
    if len(images) != len(labels):
        raise DataError(
            str(labels_path),
            f"it has {len(labels)} labels, and {images_path.name} {len(images)} images",
            "put both files of the same set into data.root",
        )
    if len(labels) and labels.max() > 9:
        raise DataError(str(labels_path), f"a label is {labels.max()}, not 0..9", "name another")
    return images, labels


def _bytes(path: Path) -> bytes:
    try:
        packed = path.read_bytes()
        return gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _truncated(path, f"the gzip file is truncated or damaged ({error})") from error
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read ({error.strerror})", "mend its access rights"
        ) from error


def _truncated(path: Path, why: str) -> DataError:
    return DataError(str(path), why, "copy or download the file again")
