"""Files of estimators: local paths, the checkpoints of a directory, what is noted in them, and weights of PyTorch."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable
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
    metadata = _metadata(file) or {}
    if "checkpoint" not in metadata or not metadata.get("note"):
        return None
    found: dict[str, Any] = json.loads(metadata["note"])
    return found


def _metadata(file: Path) -> dict[str, Any] | None:
    """The metadata of a safetensors file; nothing of a file that is none."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length)) if length < file.stat().st_size else None
    except (OSError, ValueError):
        return None
    return header.get("__metadata__", {}) if isinstance(header, dict) else None


def state_dict(file: Path) -> dict[str, Any] | None:
    """The tensors of a file of ``torch.save``, or of safetensors that is none of Bobbin's; nothing of another file."""
    if file.suffix in (".pt", ".pth"):
        try:
            found = torch.load(file, weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"{file}: found no file of torch.save: {str(error).splitlines()[0]}") from None
        found = found.get("state_dict", found) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise ValueError(f"{file}: found no state_dict: expected a dict of tensors")
        return found
    metadata = _metadata(file)
    return None if metadata is None or "input" in metadata else tensors(file)


def check_names(own: Iterable[str], found: Iterable[str], file: Path) -> None:
    """Raises ``ValueError`` unless a file has what a module has."""
    missing = sorted(set(own) ^ set(found))
    if missing:
        raise ValueError(f"{file}: `{missing[0]}` is not in both the file and the module: expected the same network")


def put_state(module: torch.nn.Module, state: dict[str, Any], file: Path) -> None:
    """Writes a ``state_dict`` into the module. Raises ``ValueError``, with nothing written, unless it is of that network."""
    own = module.state_dict()
    check_names(own, state, file)
    for name, tensor in own.items():
        found, expected = tuple(state[name].shape), tuple(tensor.shape)
        if found != expected:
            raise ValueError(f"{file}: `{name}`: found shape {found}: expected {expected}, that of the module")
    module.load_state_dict(state)


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
