"""What has been found on the way: kept, and written for TensorBoard where someone has asked for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Summary:
    """Values under tags, each with its step and time."""

    def __init__(self, *tags: str) -> None:
        self._values: dict[str, list[tuple[float, float, float]]] = {tag: [] for tag in tags}
        self._writer: Any = None

    def add(self, step: int, **values: float) -> None:
        """Notes values of a step under their tags."""
        now = time.time()
        for tag, value in values.items():
            self._values.setdefault(tag, []).append((step, value, now))
            if self._writer is not None:
                self._writer.add_scalar(tag, value, step, now)

    def rows(self, tag: str) -> NDArray[np.float64]:
        """A row for each value under a tag: step, value, time in seconds since 1970."""
        if tag not in self._values:
            raise ValueError(f"tag: found {tag!r}: expected one of {', '.join(self._values) or 'none yet'}")
        return np.array(self._values[tag], float).reshape(-1, 3)

    def write_to(self, directory: Path) -> None:
        """Has what is noted from now on written to TensorBoard's files in a directory."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(f"set_tensorboard: it needs the package tensorboard: {error}") from None
        if self._writer is not None:
            self._writer.close()
        self._writer = SummaryWriter(str(directory))

    def flush(self) -> None:
        """Has all that is noted in the files."""
        if self._writer is not None:
            self._writer.flush()
