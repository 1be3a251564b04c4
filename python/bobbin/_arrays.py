"""Whatever a caller gives as images, labels or weights, as the arrays that the engine reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def images(given: object, layout: str, name: str) -> Array:
    """Images as (n, rows, columns, channels), contiguous, ``uint8`` or ``float32``: where they lie, if they are so
    already or have one channel."""
    if layout not in ("nchw", "nhwc"):
        raise ValueError(f"layout: found {layout!r}: expected 'nchw' or 'nhwc'")
    array: Any = as_array(given, name)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    elif array.ndim == 4:
        array = array.transpose(0, 2, 3, 1) if layout == "nchw" else array
    else:
        raise ValueError(f"{name}: found {shown(array)}: expected (n, rows, columns) or {axes(layout)}")
    channels = array.shape[3]
    if channels not in (1, 3, 4):
        raise ValueError(f"{name}: found {channels} channels: expected 1, 3 or 4; the layout {layout!r} is {axes(layout)}")
    if array.dtype != np.uint8:
        if array.dtype.kind != "f":
            raise ValueError(f"{name}: found {array.dtype}: expected uint8 from 0 to 255, or floats, of which 1 is white")
        array = array.astype(np.float32, copy=False)
    if array.flags.c_contiguous:
        return array  # type: ignore[no-any-return]
    # Channel by channel, three times as fast as all at once.
    side_by_side = np.empty(array.shape, array.dtype)
    for channel in range(channels):
        side_by_side[..., channel] = array[..., channel]
    return side_by_side


def labels(given: object, count: int, name: str) -> Array:
    """As many labels, contiguous, ``uint32``; or rows of noughts and ones, ``uint8``, of several labels to an image."""
    array = as_array(given, name)
    if array.ndim == 2 and array.dtype.kind in "biuf":
        return _label_sets(array, count, name)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: found {shown(array)}: expected a whole number for each image")
    if len(array) != count:
        raise ValueError(f"{name}: found {len(array)} labels: expected {count}, one for each image")
    if array.dtype != np.uint8:
        wrong = np.flatnonzero((array < 0) | (array > 0xFFFF_FFFF))
        if len(wrong) > 0:
            found = f"label {array[wrong[0]]} at index {wrong[0]}"
            raise ValueError(f"{name}: found {found}: expected a number from 0 on")
    return np.ascontiguousarray(array, dtype=np.uint32)


def _label_sets(array: Array, count: int, name: str) -> Array:
    if len(array) != count:
        raise ValueError(f"{name}: found {len(array)} rows of labels: expected {count}, one for each image")
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name}: found rows of other numbers than 0 and 1: expected 1 for each label that an image has")
    return np.ascontiguousarray(array, dtype=np.uint8)


def weight(given: object, name: str, shape: Sequence[int]) -> Array:
    """A parameter of this shape, contiguous, ``float32``."""
    array = as_array(given, name)
    if array.shape != tuple(shape):
        raise ValueError(f"weights: `{name}` has the shape {array.shape}: expected {tuple(shape)}")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"weights: `{name}` is of {array.dtype}: expected numbers")
    # Also of a lone number an array, which ascontiguousarray would give a dimension.
    return np.asarray(array, dtype=np.float32, order="C")


def as_array(given: object, name: str) -> Array:
    """An array of anything that is one, tensors of PyTorch among it."""
    if hasattr(given, "detach") and hasattr(given, "cpu"):
        given = given.detach().cpu()
        given = given.numpy() if hasattr(given, "numpy") else given
    try:
        return np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name}: found {type(given).__name__}: expected an array: {error}") from None


def axes(layout: str) -> str:
    """The four dimensions in words."""
    return "(n, channels, rows, columns)" if layout == "nchw" else "(n, rows, columns, channels)"


def shown(array: Array) -> str:
    """An array in words."""
    return f"{array.dtype} of shape {array.shape}"
