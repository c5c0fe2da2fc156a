"""The files that the scripts read, with the readers that are usual and fast."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATASETS = Path(__file__).parents[2] / "datasets"

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def digits() -> tuple[Floats, Labels, Floats, Labels]:
    """Inputs in [0, 1] and labels to train on, then those to test on: a fifth."""
    table: Floats = np.loadtxt(DATASETS / "digits.csv", np.float32, delimiter=",", skiprows=1)
    np.random.default_rng(0).shuffle(table)
    x, labels = table[:, :-1] / np.float32(16), table[:, -1].astype(np.int64)
    test = len(x) // 5
    return x[test:], labels[test:], x[:test], labels[:test]


def mnist() -> tuple[Floats, Labels, Floats, Labels]:
    """Pixels in [0, 1] and labels to train on, then those to test on."""
    train, test = images("train"), images("t10k")
    return (*train, *test)


def images(part: str) -> tuple[Floats, Labels]:
    """Pixels and labels of one part of MNIST."""
    pixels = gzip.decompress((DATASETS / "mnist" / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((DATASETS / "mnist" / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 784).astype(np.float32)
    x /= 255
    return x, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)
