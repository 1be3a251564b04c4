"""Files of estimators: local paths, the checkpoints of a directory, what is noted in them, and weights of PyTorch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

_CHECKPOINT = "{}-{}.safetensors"


def local(path: str | os.PathLike[str], what: str) -> Path:
    """The path. Raises ``ValueError`` if it is an address, such as ``hdfs://…``."""
    if "://" in os.fspath(path):
        raise ValueError(f"{what}: found {os.fspath(path)!r}: expected a local path")
    return Path(path)


def checkpoint(directory: Path, iteration: int) -> Path:
    """The file for the network after so many steps."""
    return directory / _CHECKPOINT.format("model", iteration)


def of_model(path: Path) -> Path:
    """The file of a model: the path, or that of a run directory."""
    return path / "model.safetensors" if path.is_dir() else path


def find_checkpoint(directory: Path, version: int | None, prefix: str) -> Path:
    """The checkpoint after ``version`` steps, or the latest. Raises ``ValueError`` if there is none."""
    stems = [(path.stem.removeprefix(f"{prefix}-"), path) for path in directory.glob(_CHECKPOINT.format(prefix, "*"))]
    found = {int(number): path for number, path in stems if number.isdecimal()}
    if not found:
        raise ValueError(f"{directory}: found no checkpoints: expected {_CHECKPOINT.format(prefix, 'STEP')}")
    if version is not None and version not in found:
        raise ValueError(f"{directory}: found checkpoints {sorted(found)}: expected one after {version} steps")
    return found[max(found) if version is None else version]


def note(file: Path) -> dict[str, Any] | None:
    """What an estimator has noted in a file; nothing of files that hold no optimiser's memory, or of others' making."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    metadata = header.get("__metadata__", {})
    if "checkpoint" not in metadata or not metadata.get("note"):
        return None
    found: dict[str, Any] = json.loads(metadata["note"])
    return found


def tensors(file: Path) -> dict[str, Any]:
    """The tensors of a safetensors file of PyTorch."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    kinds = {"F32": np.float32, "F64": np.float64, "F16": np.float16, "I64": np.int64}
    found = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        if about["dtype"] not in kinds:
            raise ValueError(f"{file}: {name}: found numbers of {about['dtype']}: expected {', '.join(kinds)}")
        begin, end = (8 + length + place for place in about["data_offsets"])
        array = np.frombuffer(content[begin:end], kinds[about["dtype"]]).reshape(about["shape"])
        found[name] = torch.from_numpy(array.copy())
    return found
