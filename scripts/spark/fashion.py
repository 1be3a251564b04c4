"""Fashion-MNIST as Parquet."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(__file__).resolve().parents[2] / "data" / "fashion-mnist"
LABELS = DATA / "labels.txt"
CLASSES = tuple(LABELS.read_text().splitlines())


def parquet(home: Path, part: str) -> str:
    """A part of the set, its rows in disorder, written once."""
    path = home / f"{part}.parquet"
    if not path.exists():
        images, labels = pixels(part)
        frame = pd.DataFrame({"id": range(len(labels)), "label": labels.astype(np.int32)})
        frame["image"] = [image.tobytes() for image in images]
        frame.sample(frac=1, random_state=1).to_parquet(path, row_group_size=10_000)
    return str(path)


def pixels(part: str) -> tuple[np.ndarray, np.ndarray]:
    """The images of a part, each 784 bytes, and their labels."""
    images = np.frombuffer(_unpacked(f"{part}-images-idx3-ubyte")[16:], np.uint8).reshape(-1, 784)
    return images, np.frombuffer(_unpacked(f"{part}-labels-idx1-ubyte")[8:], np.uint8)


def _unpacked(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())
