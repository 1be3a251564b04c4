"""Paths of what is written: on this machine, or on a file system that it has mounted."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import BobbinError


def local(path: str | os.PathLike[str], what: str) -> Path:
    """The path; ``file://`` may stand before it. Any other address is an error: as a path it would be a directory
    ``hdfs:`` here."""
    text = os.fspath(path).removeprefix("file://")
    if "://" in text:
        raise BobbinError(f"{what}: found {text}, expected a local path", 2)
    return Path(text)
