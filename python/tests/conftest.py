"""What tests have in common."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import bobbin
import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]

# Dropout and random changes, so that every random choice is made; batch norm, so that there are running statistics.
RECIPE = {
    "seed": 3,
    "model": {
        "layers": [
            {"kind": "conv", "outputs": 4, "kernel": 3, "bias": False},
            {"kind": "batch-norm"},
            {"kind": "relu"},
            {"kind": "flatten"},
            {"kind": "dropout", "p": 0.25},
            {"kind": "linear"},
        ]
    },
    "data": {"batch_size": 16, "validation": "test"},
    "augment": {"shift": 1},
    "optimizer": {"kind": "adam", "lr": 0.01},
    "stop": {"epochs": 3},
}


def arrays(count: int, channels: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of 8×9 as (n, channels, rows, columns), brighter the higher their class of three, and labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    images = random.integers(0, 60, (count, channels, 8, 9)) + 80 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


@pytest.fixture
def data() -> bobbin.Dataset:
    """A data set of such images."""
    return bobbin.Dataset.from_arrays(*arrays(100), *arrays(40, seed=1))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test in a directory of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C is Python's also where a shell has started the tests in the background, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
