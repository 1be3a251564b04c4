"""Runs as the program makes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from . import _bobbin
from ._bobbin import Dataset
from ._fields import settings


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    directory: Path
    """What it has left: ``model.safetensors``, ``report.html``, ``metrics.jsonl``, …"""
    reason: str
    """Why it ended: ``epochs``, ``iterations``, ``patience``, …"""
    steps: int
    """Steps of the optimiser."""
    epochs: list[dict[str, Any]] = field(repr=False)
    """What ``metrics.jsonl`` says of each epoch."""

    @property
    def loss(self) -> float | None:
        """Of the validation images, after the last epoch; of the training images where there are no others."""
        return self._last("validation_loss", "loss")

    @property
    def accuracy(self) -> float | None:
        """The same, from 0 to 1."""
        return self._last("top1", "accuracy")

    def _last(self, *keys: str) -> float | None:
        found = [self.epochs[-1][key] for key in keys] if self.epochs else []
        return next((value for value in found if value is not None), None)

    def model(self) -> _bobbin.Model:
        """The trained network."""
        return _bobbin.Model.load(self.directory)


def train(
    recipe: str | PathLike[str] | Mapping[str, object] | None = None,
    data: Dataset | str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    *,
    force: bool = False,
    threads: int | None = None,
    verbose: bool = True,
    callback: Callable[[dict[str, Any]], object] | None = None,
    **fields: object,
) -> Run:
    """A run as ``bobbin train`` makes it, with the same files and the same bits.

    ``recipe`` is the name of a shipped recipe, the path of a TOML file, TOML text or a dict of sections: by default
    ``fast`` for the bundled Fashion-MNIST, ``pictures`` for other data. ``data`` is a data set or its directory.
    ``fields`` set fields of the recipe: those with flags in the program by their names (``epochs=5, lr=0.1``), others by
    their sections (``optimizer={"ema": 0.999}``, ``**{"augment.flip": 0.5}``).

    ``callback`` has each line of ``metrics.jsonl`` as a dict. An exception of it, and Ctrl-C, end the run after the
    step under way, with a checkpoint.
    """
    if recipe is None:
        recipe = "fast" if data is None else "pictures"
    told = _Told(verbose, callback)
    reason, directory, steps = _bobbin.record(recipe, settings(fields), data, out, force, threads, told.line)
    return Run(Path(directory), reason, steps, told.epochs)


def resume(
    directory: str | PathLike[str],
    data: Dataset | None = None,
    *,
    epochs: int | None = None,
    threads: int | None = None,
    verbose: bool = True,
    callback: Callable[[dict[str, Any]], object] | None = None,
) -> Run:
    """Goes on with the run of a directory from its latest checkpoint, to the bits of a run that was not interrupted.

    ``data`` is needed where it was in memory. ``epochs`` makes the run longer. The rest is as in ``train``; the epochs
    of the run that is returned are those since.
    """
    told = _Told(verbose, callback)
    reason, place, steps = _bobbin.resume(directory, data, epochs, threads, told.line)
    return Run(Path(place), reason, steps, told.epochs)


class _Told:
    """What is told of a run."""

    def __init__(self, verbose: bool, callback: Callable[[dict[str, Any]], object] | None) -> None:
        self.epochs: list[dict[str, Any]] = []
        self._verbose, self._callback = verbose, callback

    def line(self, text: str) -> None:
        """Takes a line of ``metrics.jsonl``."""
        line = json.loads(text)
        if line["event"] == "epoch":
            self.epochs.append(line)
            if self._verbose:
                print(_row(line), flush=True)
        if self._callback is not None:
            self._callback(line)


def _row(line: Mapping[str, Any]) -> str:
    """An epoch on a line."""
    row = f"epoch {line['epoch']}  loss {line['loss']:.4f}  accuracy {100 * line['accuracy']:.2f} %"
    if line["top1"] is not None:
        row += f"  validation loss {line['validation_loss']:.4f}  validation accuracy {100 * line['top1']:.2f} %"
    return f"{row}  {line['images_per_second']:.0f} images/s  {line['seconds']:.2f} s"
