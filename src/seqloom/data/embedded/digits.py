"""Handwritten digits that scikit-learn carries: 1797 pictures of 8 x 8 pixels in 0..16.

They are the test part of Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
Of each digit, in an order drawn by the seed, the first 70% are for training, the next 15% for
validation and the rest for the test, so every split holds the digits in equal shares. The price:
pictures of one writer are in all three splits.
"""

from __future__ import annotations

import numpy as np

HIGHEST = 16
SHARES = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}


def digits(split: str, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [N, 8, 8] uint8 and labels [N] int64 of the split `train`, `val` or `test`, the
    digits mixed.
    """
    from sklearn.datasets import load_digits  # takes a second, which other data should not wait

    found = load_digits()
    rows = rows_of(found.target, split, seed=seed)
    return found.images[rows].astype(np.uint8), found.target[rows].astype(np.int64)


def rows_of(labels: np.ndarray, split: str, *, seed: int) -> np.ndarray:
    """Which of the rows with `labels` [N] belong to the split."""
    rng = np.random.default_rng(seed)
    begin, end = SHARES[split]
    orders = [rng.permutation(np.nonzero(labels == label)[0]) for label in np.unique(labels)]
    parts = [rows[round(begin * len(rows)) : round(end * len(rows))] for rows in orders]
    return rng.permutation(np.concatenate(parts))
