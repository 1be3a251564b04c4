"""What callers give where a number or a trigger is expected."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

from .triggers import MaxEpoch, Trigger


def count(name: str, given: Any, instead: str = "a number of 1 or more") -> int:
    """A whole number from 1 on, also NumPy's."""
    try:
        found = operator.index(given)
    except TypeError:
        found = 0
    if found < 1 or isinstance(given, bool):
        raise ValueError(f"{name}: found {given!r}: expected {instead}")
    return found


def end_of(epochs: Any, done: int) -> Trigger:
    """When a fit of so many epochs more ends, of which there are some already."""
    if isinstance(epochs, Trigger):
        return epochs
    return MaxEpoch(done + count("epochs", epochs, "a number of 1 or more, or a trigger such as MaxIteration(100)"))


def checkpoints(trigger: Any, directory: Path | None) -> list[Trigger]:
    """The trigger of checkpoints, if there is one, and a directory for them."""
    if trigger is None:
        return []
    if not isinstance(trigger, Trigger):
        raise ValueError(f"checkpoint_trigger: found {trigger!r}: expected a trigger, such as EveryEpoch()")
    if directory is None:
        raise ValueError("checkpoint_trigger: found without model_dir: expected model_dir in from_torch")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"model_dir: {directory}: cannot be a directory for checkpoints: {error.strerror}") from None
    return [trigger]
