"""Files of estimators: local paths, and the checkpoints of a directory."""

from __future__ import annotations

import os
from pathlib import Path

_CHECKPOINT = "model-{}.safetensors"


def local(path: str | os.PathLike[str], what: str) -> Path:
    """The path. Raises ``ValueError`` if it is an address, such as ``hdfs://…``."""
    if "://" in os.fspath(path):
        raise ValueError(f"{what}: found {os.fspath(path)!r}: expected a local path")
    return Path(path)


def checkpoint(directory: Path, iteration: int) -> Path:
    """The file for the network after so many steps."""
    return directory / _CHECKPOINT.format(iteration)


def find_checkpoint(directory: Path, version: int | None) -> Path:
    """The checkpoint after ``version`` steps, or the latest. Raises ``ValueError`` if there is none."""
    stems = [(path.stem.removeprefix("model-"), path) for path in directory.glob(_CHECKPOINT.format("*"))]
    found = {int(number): path for number, path in stems if number.isdecimal()}
    if not found:
        raise ValueError(f"{directory}: found no checkpoints: expected {_CHECKPOINT.format('STEP')}")
    if version is not None and version not in found:
        raise ValueError(f"{directory}: found checkpoints {sorted(found)}: expected one after {version} steps")
    return found[max(found) if version is None else version]
