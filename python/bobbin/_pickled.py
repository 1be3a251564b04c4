"""Models in pickles: the bytes of their files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ._bobbin import Model


def reduced(model: Model) -> tuple[Callable[[bytes], Model], tuple[bytes]]:
    """What a pickle holds of a model."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.safetensors")
        model.save(path)
        return restored, (path.read_bytes(),)


def restored(content: bytes) -> Model:
    """The model of a pickle."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.safetensors")
        path.write_bytes(content)
        return Model.load(path)
