"""Images and labels of a batch of rows as bytes, checked."""

from __future__ import annotations

from math import isqrt

import numpy as np
import pandas as pd

from .columns import Columns, Shape
from .errors import BobbinError


def image_bytes(batch: pd.DataFrame, columns: Columns) -> tuple[bytes, Shape]:
    """The images of a batch, one after another, and the size of one."""
    images: list[bytes] = []
    length = 0
    for row, image in enumerate(batch[columns.image]):
        try:
            pixels = _pixels(image)
            if not pixels:
                raise BobbinError("no bytes: expected an image")
            length = length or len(pixels)
            if len(pixels) != length:
                raise BobbinError(
                    f"{len(pixels)} bytes, where others have {length}: expected one size"
                )
        except BobbinError as error:
            where = f"column `{columns.image}`, {_row(batch, columns, row)}"
            raise BobbinError(f"{where}: {error}") from None
        images.append(pixels)
    return b"".join(images), _shape(length, columns)


def _pixels(image: object) -> bytes:
    if image is None:
        raise BobbinError("nothing: expected an image")
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    try:
        values = np.asarray(image)
    except (ValueError, OverflowError):  # Lists of several lengths, or of numbers that no array holds.
        raise BobbinError("no array of numbers, expected 0 to 255") from None
    if values.size and values.dtype.kind not in "iu":  # With nulls they are objects or floats.
        raise BobbinError("an array in which values are missing, expected 0 to 255")
    if values.size and not (0 <= values.min() and values.max() <= 255):
        raise BobbinError(f"values from {values.min()} to {values.max()}, expected 0 to 255")
    return values.astype(np.uint8).tobytes()


def _shape(length: int, columns: Columns) -> Shape:
    """Rows, columns and channels of an image of this many bytes."""
    if columns.shape is not None:
        height, width, channels = columns.shape
        if height * width * channels != length:
            raise BobbinError(
                f"column `{columns.image}`: images of {length} bytes, expected "
                f"{height * width * channels}, those of {_size(columns.shape)}"
            )
        return columns.shape
    for channels in (1, 3, 4):
        side = isqrt(length // channels)
        if length and side * side * channels == length:
            return side, side, channels
    raise BobbinError(
        f"column `{columns.image}`: images of {length} bytes are not square: expected their shape, "
        "as rows, columns and channels (--shape)"
    )


def label_bytes(batch: pd.DataFrame, columns: Columns) -> bytes:
    """The labels of a batch."""
    # Of Python's own values, as rows of an RDD have them, None would not compare; what is no number is missing.
    column = batch[columns.label]
    try:
        labels = pd.to_numeric(column, errors="coerce")
    except TypeError:  # Of lists it says so otherwise.
        labels = pd.to_numeric(column.map(lambda value: value if np.isscalar(value) else None), errors="coerce")
    labels = labels.astype(float)
    highest = len(columns.classes or range(256)) - 1
    wrong = labels.isna() | (labels < 0) | (labels > highest) | (labels % 1 != 0)
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        value = column.iloc[row]
        is_nothing = value is None or (np.isscalar(value) and pd.isna(value))
        where = f"column `{columns.label}`, {_row(batch, columns, row)}"
        expected = f"expected the number of a class, 0 to {highest}"
        raise BobbinError(f"{where}: found {'nothing' if is_nothing else value}, {expected}")
    return labels.to_numpy(np.uint8).tobytes()


def check_ids(batch: pd.DataFrame, columns: Columns, last: object) -> object:
    """Whether the ids of ordered rows order them; ``last`` is that of the row before, and the result
    that of the last row."""
    ids = batch[columns.id]
    if (missing := ids.isna()).any():
        raise BobbinError(
            f"column `{columns.id}`: a row without a value (label {batch[columns.label][missing].iloc[0]}): "
            "expected ids that order the rows"
        )
    # As text, for structs and arrays cannot be hashed.
    text = ids.astype(str)
    twice = text.duplicated() | (text == last)
    if twice.any():
        raise BobbinError(not_unique(columns, text[twice].iloc[0]))
    return text.iloc[-1]


def not_unique(columns: Columns, value: object) -> str:
    """What to say of an id that two rows have."""
    return f"column `{columns.id}`: {value} is there twice: expected ids that order the rows"


def _row(batch: pd.DataFrame, columns: Columns, row: int) -> str:
    if columns.id in batch:
        return f"row with `{columns.id}` {batch[columns.id].iloc[row]}"
    return f"row {row} of a batch"


def _size(shape: Shape) -> str:
    return "×".join(map(str, shape))
