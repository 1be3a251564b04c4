"""Which columns of a data frame say the labels of an image: one, or one for each of several."""

from __future__ import annotations

from typing import Any

from bobbin_spark import BobbinError
from bobbin_spark.columns import gathered

GATHERED = "label_cols"
"""The column that several are gathered in."""


def label_column(label_cols: Any) -> str | None:
    """The column of labels, if one is said."""
    names = several(label_cols)
    return GATHERED if isinstance(names, list) else names


def one_column(name: str, columns: Any) -> str | None:
    """The column that an argument names, if it names any."""
    names = several(columns, name)
    if isinstance(names, list):
        raise ValueError(f"{name}: found {names}: expected one column")
    return names


def several(columns: Any, name: str = "label_cols") -> str | list[str] | None:
    """One column, a list of more, or none."""
    if columns is None or isinstance(columns, str):
        return columns
    if len(columns) == 0:
        raise ValueError(f"{name}: found {list(columns)}: expected one column at least")
    return str(columns[0]) if len(columns) == 1 else [str(column) for column in columns]


def with_labels(frame: Any, label_cols: Any) -> Any:
    """The frame with its labels in one column."""
    names = several(label_cols)
    if not isinstance(names, list):
        return frame
    if GATHERED in getattr(frame, "columns", ()):
        raise BobbinError(f"column `{GATHERED}`: found one in the data: expected none, as several labels are gathered there")
    return gathered(frame, names, GATHERED)
