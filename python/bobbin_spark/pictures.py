"""Pictures of a batch of rows as pixels, decoded and fitted where the rows are by the program ``import``.

So they have the bytes that ``bobbin import`` makes of the same files, and executors need no library for pictures.
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pyspark import SparkFiles

from .bundle import executable
from .errors import BobbinError
from .scratch import executor_scratch

Shape = tuple[int, int, int]
FITS = ("pad", "crop", "stretch")
SIZE = (28, 28)
"""Rows and columns of images that were pictures, unless others are asked for: those of ``import``."""

# What files of pictures begin with. A BMP says its length too, as two bytes alone could be pixels.
_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
# The folder of the pictures, and the one beside it that `import` wants: a set has two classes.
_ROWS, _OTHER = "rows", "other"


def is_picture(beginning: bytes, length: int) -> bool:
    """Whether a file of so many bytes that begins with these, sixteen or more, is that of a picture."""
    webp = beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP"
    bmp = beginning[:2] == b"BM" and beginning[2:6] == (length & 0xFFFFFFFF).to_bytes(4, "little")
    return beginning.startswith(_BEGINNINGS) or webp or bmp


def decoded(pictures: Sequence[bytes], shape: Shape, fit: str, bundle: str) -> list[bytes | str]:
    """The pixels of each picture in this size, row by row, or why there are none."""
    with tempfile.TemporaryDirectory(prefix="bobbin-", dir=executor_scratch()) as scratch:
        height, width, channels = shape
        if channels not in (1, 3):
            raise BobbinError(f"images of {channels} channels: expected 1 or 3 where they are made of pictures")
        options = ["--size", f"{height}x{width}", "--rgb" if channels == 3 else "--grey", "--fit", fit]
        done = _imported(pictures, Path(scratch), bundle, options)
        problems = dict(re.findall(rf"^left out: .*{_ROWS}/(\d+): (.*)$", done.stderr, re.MULTILINE))
        found: list[bytes | str] = [problems.get(f"{row:07}", "no picture") for row in range(len(pictures))]
        if done.returncode != 0:
            if problems:  # None could be read.
                return found
            raise BobbinError(done.stderr.strip().removeprefix("error: "))
        data = Path(scratch, "out")
        names = (data / "train-names.txt").read_text().splitlines()
        pixels = next(data.glob("train-images-*")).read_bytes()
        length = height * width * channels
        begin = len(pixels) - length * len(names)
        for place, (folder, name) in enumerate(name.split("/") for name in names):
            if folder == _ROWS:
                found[int(name)] = pixels[begin + place * length : begin + (place + 1) * length]
        return found


def coloured(pictures: Sequence[bytes], bundle: str) -> int:
    """How many of the pictures have colour, as ``import`` sees it. Those that cannot be read have none."""
    with tempfile.TemporaryDirectory(prefix="bobbin-", dir=executor_scratch()) as scratch:
        done = _imported(pictures, Path(scratch), bundle, [])
        found = re.search(r": (\d+) of \d+ pictures have colour", done.stdout)
        return int(found[1]) if found else 0


def _imported(
    pictures: Sequence[bytes], scratch: Path, bundle: str, options: list[str]
) -> subprocess.CompletedProcess[str]:
    """What `import` says of these pictures; its data set is in `out`."""
    rows, other = scratch / "in" / _ROWS, scratch / "in" / _OTHER
    rows.mkdir(parents=True)
    other.mkdir()
    (other / "0").write_bytes(png(b"\0", (1, 1, 1)))
    for row, content in enumerate(pictures):
        (rows / f"{row:07}").write_bytes(content)
    program = executable(Path(SparkFiles.get(bundle)), "import")
    command = [program, "in", "--out", "out", "--test-fraction", "0", "--threads", "1", *options]
    return subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)


def from_struct(image: Mapping[str, object]) -> tuple[bytes, Shape]:
    """Pixels of an ``image`` of Spark's data source, and their size. It has the channels of OpenCV: blue, green, red,
    and perhaps opacity."""
    height, width, channels, data = (image[name] for name in ("height", "width", "nChannels", "data"))
    assert isinstance(height, int) and isinstance(width, int) and isinstance(channels, int)
    if channels not in _COLOUR_TYPES or not data:
        raise BobbinError("a file that Spark could not decode: expected a picture")
    pixels = np.frombuffer(bytes(data), np.uint8)  # type: ignore[call-overload]
    if len(pixels) != height * width * channels:
        found = f"{len(pixels)} bytes for {height}×{width}×{channels}"
        raise BobbinError(f"an image with {found}: expected as many bytes as pixels and channels, of 8 bits")
    if channels > 1:
        pixels = pixels.reshape(-1, channels)[:, [2, 1, 0, 3][:channels]]
    return pixels.tobytes(), (height, width, channels)


def png(pixels: bytes, shape: Shape) -> bytes:
    """A PNG file of an image of 1, 3 or 4 channels, of which nothing is lost."""
    height, width, channels = shape
    length = width * channels
    rows = b"".join(b"\0" + pixels[row * length : (row + 1) * length] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return _BEGINNINGS[0] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
