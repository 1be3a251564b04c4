"""Images and labels of a batch of rows as bytes, checked."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from math import isqrt
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Row

from .columns import Columns, Shape
from .errors import BobbinError
from .pictures import decoded, from_struct, png

# A label is a byte.
_MOST_CLASSES = 256


def image_bytes(batch: pd.DataFrame, columns: Columns) -> tuple[bytes, Shape]:
    """The pixels of the images of a batch, one after another, and the size of one."""
    found = [_content(batch, columns, row, image) for row, image in enumerate(batch[columns.image])]
    if columns.form in ("pictures", "struct"):
        assert columns.shape is not None, "settled with the form"
        pixels = decoded(found, columns.shape, columns.fit, columns.bundle) if found else []
        for row, image in enumerate(pixels):
            if isinstance(image, str):
                raise BobbinError(f"column `{columns.image}`, {_row(batch, columns, row)}: {image}")
        return b"".join(image for image in pixels if isinstance(image, bytes)), columns.shape
    length = len(found[0]) if found else 0
    for row, image in enumerate(found):
        if len(image) != length:
            where = f"column `{columns.image}`, {_row(batch, columns, row)}"
            raise BobbinError(f"{where}: {len(image)} bytes, where others have {length}: expected one size")
    return b"".join(found), _shape(length, columns)


def _content(batch: pd.DataFrame, columns: Columns, row: int, image: object) -> bytes:
    found = content_of(image, columns)
    if isinstance(found, bytes):
        return found
    raise BobbinError(f"column `{columns.image}`, {_row(batch, columns, row)}: {found}")


def content_of(image: object, columns: Columns) -> bytes | str:
    """The pixels of an image, or the file of a picture; or what is wrong with it."""
    try:
        if columns.form == "struct":
            return png(*from_struct(_fields(image)))
        if columns.form == "pictures":
            found = image if isinstance(image, bytes | bytearray) or image is None else _fields(image)["bytes"]
        else:
            found = _pixels(image, columns.scale)
        if not found:
            raise BobbinError("nothing: expected an image")
        return bytes(found)
    except BobbinError as error:
        return str(error)


def _fields(image: object) -> dict[str, Any]:
    """A struct, as Arrow gives it or as a row of an RDD."""
    if image is None:
        raise BobbinError("nothing: expected an image")
    return image.asDict() if isinstance(image, Row) else image


def _pixels(image: object, scale: float | None) -> bytes:
    if image is None:
        raise BobbinError("nothing: expected an image")
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    try:
        values = np.asarray(image)
    except (ValueError, OverflowError):  # Lists of several lengths, or of numbers that no array holds.
        raise BobbinError("no array of numbers, expected 0 to 255") from None
    if values.size and values.dtype.kind == "f" and scale is not None:
        values = _levels(values, scale)
    if values.size and values.dtype.kind not in "iu":  # With nulls they are objects or floats.
        raise BobbinError("an array in which values are missing, expected 0 to 255")
    if values.size and not (0 <= values.min() and values.max() <= 255):
        raise BobbinError(f"values from {values.min()} to {values.max()}, expected 0 to 255")
    return values.astype(np.uint8).tobytes()


def _levels(values: np.ndarray, scale: float) -> np.ndarray:
    """Fractions as pixel values: the nearest 255th of one, or the whole number that they are."""
    most = 255 / scale
    if not (values.min() >= 0 and values.max() <= most):  # Not a number is neither.
        raise BobbinError(f"values from {values.min()} to {values.max()}, expected 0 to {most:g}")
    if scale == 1 and (values % 1 != 0).any():
        raise BobbinError("values between two pixel values, expected whole numbers of 0 to 255, or parts of one")
    # As Dataset.from_arrays does it.
    return (values.astype(np.float32) * np.float32(scale) + np.float32(0.5)).astype(np.int64)


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


def first_images(frame: DataFrame, columns: Columns, most: int) -> np.ndarray:
    """The first images of a frame, [n, rows, columns, channels]."""
    rows = columns.select(frame, [columns.image]).limit(most)

    def pack(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            if len(batch):
                pixels, shape = image_bytes(batch, columns)
                yield pd.DataFrame({"pixels": [pixels], "shape": [list(shape)]})

    found = rows.mapInPandas(pack, "pixels binary, shape array<int>").collect()
    if not found:
        raise BobbinError("the data frame has no rows: expected images")
    shapes = {tuple(row["shape"]) for row in found}
    if len(shapes) > 1:
        raise BobbinError(f"column `{columns.image}`: images of the sizes {sorted(shapes)}: expected one size")
    pixels = b"".join(bytes(row["pixels"]) for row in found)
    return np.frombuffer(pixels, np.uint8).reshape(-1, *shapes.pop())


def label_bytes(batch: pd.DataFrame, columns: Columns) -> bytes:
    """The labels of a batch, each a byte; or a row of noughts and ones, where an image may have several."""
    if columns.several:
        return _label_sets(batch, columns)
    if len(columns.classes) > _MOST_CLASSES:
        found = f"column `{columns.label}`: found labels of {len(columns.classes)} classes"
        raise BobbinError(f"{found}, expected at most {_MOST_CLASSES} in a data frame")
    # Of Python's own values, as rows of an RDD have them, None would not compare; what is no number is missing.
    column = batch[columns.label]
    if columns.classes and any(isinstance(value, str) for value in column):
        return _named(batch, columns)
    try:
        labels = pd.to_numeric(column, errors="coerce")
    except TypeError:  # Of lists it says so otherwise.
        labels = pd.to_numeric(column.map(lambda value: value if np.isscalar(value) else None), errors="coerce")
    labels = labels.astype(float)
    highest = len(columns.classes or range(_MOST_CLASSES)) - 1
    wrong = labels.isna() | (labels < 0) | (labels > highest) | (labels % 1 != 0)
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        value = column.iloc[row]
        is_nothing = value is None or (np.isscalar(value) and pd.isna(value))
        where = f"column `{columns.label}`, {_row(batch, columns, row)}"
        expected = f"expected the number of a class, 0 to {highest}"
        raise BobbinError(f"{where}: found {'nothing' if is_nothing else value}, {expected}")
    return labels.to_numpy(np.uint8).tobytes()


def _label_sets(batch: pd.DataFrame, columns: Columns) -> bytes:
    """The rows of noughts and ones."""
    count = len(columns.classes)
    sets = []
    for row, labels in enumerate(batch[columns.label]):
        try:
            sets.append(_label_set(labels, count))
        except BobbinError as error:
            where = f"column `{columns.label}`, {_row(batch, columns, row)}"
            expected = f"expected {count} numbers: 1 where the image has the label, else 0"
            raise BobbinError(f"{where}: found {error}, {expected}") from None
    return b"".join(sets)


def _label_set(labels: object, count: int) -> bytes:
    """Whether an image has each of so many labels; or the error that says what is found instead."""
    if not isinstance(labels, list | np.ndarray):
        raise BobbinError("nothing" if labels is None else _shown(labels))
    if len(labels) != count:
        raise BobbinError(f"{len(labels)} numbers")
    for label, value in enumerate(labels):
        if value not in (0, 1):  # Neither is what is missing, nor what is no number.
            is_nothing = value is None or value != value
            raise BobbinError(f"{'nothing' if is_nothing else _shown(value)} for label {label}")
    return bytes(map(int, labels))


def _named(batch: pd.DataFrame, columns: Columns) -> bytes:
    """The numbers of the classes that labels name."""
    numbers = {name: number for number, name in enumerate(columns.classes)}
    column = batch[columns.label]
    for row, name in enumerate(column):
        if not isinstance(name, str) or name not in numbers:
            where = f"column `{columns.label}`, {_row(batch, columns, row)}"
            found = "nothing" if name is None else name
            raise BobbinError(f"{where}: found {found}, expected one of {', '.join(columns.classes[:10])}")
    return bytes(numbers[name] for name in column)


def check_ids(batch: pd.DataFrame, columns: Columns, last: object) -> object:
    """Whether the ids of ordered rows order them; ``last`` is that of the row before, and the result
    that of the last row."""
    ids = batch[columns.ids]
    if (missing := ids.isna()).any():
        raise BobbinError(
            f"column `{columns.id}`: a row without a value (label {_shown(batch[columns.label][missing].iloc[0])}): "
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


def _shown(value: object) -> str:
    """A value in a message, of which it is to be no more than a line."""
    return textwrap.shorten(str(value), 60, placeholder=" …")


def _row(batch: pd.DataFrame, columns: Columns, row: int) -> str:
    if columns.id in batch:
        return f"row with `{columns.id}` {batch[columns.ids].iloc[row]}"
    return f"row {row} of a batch"


def _size(shape: Shape) -> str:
    return "×".join(map(str, shape))
