"""Makes the fixture in this folder: singular values by numpy (LAPACK, f64) of matrices that Rust can make, too.

    pip install numpy && python tests/numpy/singular_values.py

Only the values are stored, one tensor per matrix, named `family rows cols seed exponent`. tests/common/matrices.rs makes
the same matrices, bit by bit. Each operation is an IEEE 754 operation in f64, in the same order, and the last one rounds
to f32.
"""

import json
import struct
from pathlib import Path

import numpy as np


class Random:
    """A 32-bit linear congruential generator. The upper 24 bits are used."""

    def __init__(self, seed):
        self.state = seed

    def bits(self):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return self.state >> 8

    def below(self, n):
        return self.bits() % n

    def uniform(self):
        return self.bits() / 2**23 - 1.0

    def gaussian(self):
        return sum(self.uniform() for _ in range(4))

    def fill(self, draw, rows, cols):
        return np.array([draw() for _ in range(rows * cols)], dtype=np.float64).reshape(rows, cols)


def product(a, b, divisors):
    """The sum of the outer products in order, each divided by its divisor."""
    w = np.zeros((a.shape[0], b.shape[1]))
    for i, divisor in enumerate(divisors):
        w += np.outer(a[:, i], b[i]) / divisor
    return w


def matrix(family, rows, cols, seed, exponent):
    random = Random(seed)
    if family == "gaussian":
        w = random.fill(random.gaussian, rows, cols)
    elif family == "decaying":
        d = min(rows, cols)
        a, b = random.fill(random.uniform, rows, d), random.fill(random.uniform, d, cols)
        w = product(a, b, [float((1 + i) ** 2) for i in range(d)])
    elif family == "floor":
        a, b = random.fill(random.uniform, rows, 4), random.fill(random.uniform, 4, cols)
        w = product(a, b, [1.0] * 4) + random.fill(random.uniform, rows, cols) * 2.0**-14
    elif family == "rows":
        base = random.fill(random.uniform, 1 + seed % 40, cols)
        w = base[[random.below(len(base)) for _ in range(rows)]]
    elif family == "columns":
        base = random.fill(random.uniform, rows, 1 + seed % 40)
        w = base[:, np.arange(cols) % base.shape[1]]
    elif family == "integers":
        small = lambda: random.below(5) - 2.0
        a, b = random.fill(small, rows, 5), random.fill(small, 5, cols)
        w = product(a, b, [1.0] * 5)
    elif family == "ternary":
        w = random.fill(lambda: random.below(3) - 1.0, rows, cols)
    elif family == "pattern":
        w = np.outer(np.arange(rows), np.arange(cols)) % 3 - 1.0
    elif family == "blocks":
        w = np.zeros((rows, cols))
        for i in range(rows):
            for j in range(i // 16 * 16, min(i // 16 * 16 + 16, cols)):
                w[i, j] = random.uniform()
    elif family == "graded":
        w = random.fill(random.uniform, rows, cols) * 2.0 ** -(40 * np.arange(cols) // cols).astype(np.float64)
    elif family == "mixed":
        w = random.fill(lambda: random.uniform() * 2.0 ** (random.below(201) - 100), rows, cols)
    elif family == "ones":
        w = np.ones((rows, cols))
    elif family == "identity":
        w = np.eye(rows, cols)
    elif family == "zeros":
        w = np.zeros((rows, cols))
    return (w * 2.0**exponent).astype(np.float32)


SHAPES = [(128, 128), (384, 128), (64, 192), (2048, 32), (31, 1984)]
FAMILIES = ["gaussian", "decaying", "floor", "rows", "columns", "integers", "ternary", "pattern", "blocks", "graded", "mixed"]
CASES = [(family, *shape, 11, 0) for family in FAMILIES for shape in SHAPES]
# Many cases of repeated rows, where divide and conquer on the bidiagonal matrix fails.
CASES += [("rows", 256, 256, seed, 0) for seed in range(12)]
CASES += [("integers", 256, 256, 3, 0), ("pattern", 256, 256, 3, 0), ("floor", 384, 128, 5, 0)]
# Scales: 1e-30 and 1e30, subnormal, and near the greatest number, where singular values exceed f32.
CASES += [(family, 40, 24, 7, e) for family in ["gaussian", "floor", "rows"] for e in [-149, -140, -126, -100, -64, 64, 100, 125]]
CASES += [(family, *shape, 1, 0) for family in ["ones", "identity", "zeros"] for shape in [(1, 1), (1, 9), (9, 1), (2, 2), (130, 140)]]
CASES += [("gaussian", *shape, 2, 0) for shape in [(1, 1), (1, 9), (9, 1), (2, 2), (3, 2), (1, 64), (127, 129)]]


def main():
    tensors = {}
    for case in CASES:
        values = np.linalg.svd(matrix(*case).astype(np.float64), compute_uv=False)
        tensors[" ".join(map(str, case))] = values.astype("<f8")
    header, data = {"__metadata__": {"numpy": np.__version__}}, b""
    for name, values in tensors.items():
        header[name] = {"dtype": "F64", "shape": list(values.shape), "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    Path(__file__).with_suffix(".safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)


if __name__ == "__main__":
    main()
