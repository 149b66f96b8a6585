"""The adding problem: remember two numbers of a long sequence and say their sum.

Hochreiter & Schmidhuber, "Long Short-Term Memory", 1997, section 5.4, in the form of Arjovsky,
Shah & Bengio, "Unitary Evolution Recurrent Neural Networks", 2016, and of Bai, Kolter & Koltun,
"An Empirical Evaluation of Generic Convolutional and Recurrent Networks", 2018: T steps of a value
drawn evenly from 0..1 and a marker that is 1 at one step of each half. Always answering 1 has a
mean squared error of 1/6 = 0.167.
"""

from __future__ import annotations

import numpy as np


def adding(num: int, rng: np.random.Generator, *, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """`num` examples: [num, num_steps, 2] float32 of (value, marker), and sums [num, 1] float32."""
    middle = num_steps // 2
    values = rng.random((num, num_steps), dtype=np.float32)
    marked = rng.integers(middle, size=num), rng.integers(middle, num_steps, size=num)
    rows = np.arange(num)
    markers = np.zeros_like(values)
    sums = np.zeros((num, 1), dtype=np.float32)
    for places in marked:
        markers[rows, places] = 1
        sums[:, 0] += values[rows, places]
    return np.stack([values, markers], axis=2), sums
