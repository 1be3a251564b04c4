"""IDX files, as the programs read them: a big-endian header, then bytes in row-major order."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from .errors import BobbinError

TRAIN = "train"
TEST = "t10k"
_BYTES = 0x08


def image_files(part: str) -> list[str]:
    """Names of the file of images of a part: grey, or with channels."""
    return [f"{part}-images-idx{axes}-ubyte" for axes in (3, 4)]


def label_files(part: str) -> list[str]:
    """Names of the file of labels of a part: one for each image, or a row of noughts and ones."""
    return [f"{part}-labels-idx{axes}-ubyte" for axes in (1, 2)]


class IdxWriter:
    """Writes the images and labels of one part of a data set, however many come. Where an image may have several labels,
    ``labels`` is how many there are to choose from.

    The header holds the count, so it is written again at the end; the files have names that nothing
    reads until :meth:`close`.
    """

    def __init__(self, directory: Path, part: str, shape: tuple[int, int, int], labels: int | None = None) -> None:
        height, width, channels = shape
        sizes = [height, width] if channels == 1 else [height, width, channels]
        self.count = 0
        self._length = height * width * channels
        self._images = _File(directory / image_files(part)[channels > 1], sizes)
        self._label_length = labels or 1
        self._labels = _File(directory / label_files(part)[labels is not None], [] if labels is None else [labels])

    def write(self, images: bytes, labels: bytes) -> None:
        """Adds as many images as there are labels, or rows of them."""
        count = len(labels) // self._label_length
        if len(images) != count * self._length:
            length = len(images) // max(1, count)
            raise BobbinError(
                f"images of {length} bytes, where others have {self._length}: expected one size"
            )
        self._images.file.write(images)
        self._labels.file.write(labels)
        self.count += count

    def close(self) -> Path:
        """Gives the files their names; returns that of the images."""
        self._labels.close(self.count)
        return self._images.close(self.count)


class _File:
    def __init__(self, path: Path, sizes: list[int]) -> None:
        self.path = path
        self._sizes = sizes
        self._part = path.with_name(path.name + ".part")
        self.file: BinaryIO = self._part.open("wb")
        self._header(0)

    def _header(self, count: int) -> None:
        sizes = [count, *self._sizes]
        self.file.write(struct.pack(f">HBB{len(sizes)}I", 0, _BYTES, len(sizes), *sizes))

    def close(self, count: int) -> Path:
        self.file.seek(0)
        self._header(count)
        self.file.close()
        return self._part.rename(self.path)
