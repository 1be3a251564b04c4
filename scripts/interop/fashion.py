"""The bundled Fashion-MNIST test images, as NumPy arrays."""

import gzip
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "data" / "fashion-mnist"


def test_images(count):
    """The first images (all, if None), pixels / 255 in float32: [count, 1, 28, 28]."""
    raw = gzip.decompress((DATA / "t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return pixels[:count].astype(np.float32) / np.float32(255)


def test_labels():
    """The class of every image."""
    raw = gzip.decompress((DATA / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(raw, np.uint8, offset=8)


def allowed(about):
    """How far logits may be apart, and how many of a thousand other classes there may be, by the metadata of a model:
    where Bobbin rounds operands to bfloat16, others do not."""
    return (3e-2, 20) if about.get("precision") == "bf16" else (1e-4, 0)


def worst(found, expected):
    """How far two arrays of logits are apart, beside the largest where that is over 1; and in how many rows the largest
    is another.
    """
    assert found.shape == expected.shape, f"{found.shape} beside {expected.shape}"
    assert expected.std(0).max() > 0.05, "all images have the same logits: that proves nothing"
    differs = found.argmax(1) != expected.argmax(1)
    error = np.abs(found - expected).max() / max(1, np.abs(expected).max())
    return float(error), int(differs.sum())
