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


def label_file(part: str) -> str:
    """The name of the file of labels of a part."""
    return f"{part}-labels-idx1-ubyte"


class IdxWriter:
    """Writes the images and labels of one part of a data set, however many come.

    The header holds the count, so it is written again at the end; the files have names that nothing
    reads until :meth:`close`.
    """

    def __init__(self, directory: Path, part: str, shape: tuple[int, int, int]) -> None:
        height, width, channels = shape
        sizes = [height, width] if channels == 1 else [height, width, channels]
        self.count = 0
        self._length = height * width * channels
        self._images = _File(directory / image_files(part)[channels > 1], sizes)
        self._labels = _File(directory / label_file(part), [])

    def write(self, images: bytes, labels: bytes) -> None:
        """Adds as many images as there are labels."""
        if len(images) != len(labels) * self._length:
            length = len(images) // max(1, len(labels))
            raise BobbinError(
                f"images of {length} bytes, where others have {self._length}: expected one size"
            )
        self._images.file.write(images)
        self._labels.file.write(labels)
        self.count += len(labels)

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
