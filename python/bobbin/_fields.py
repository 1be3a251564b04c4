"""Recipes and their fields, as TOML."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping

# The fields that have flags of their own in `bobbin train`.
_FLAGS = {
    "model": "model.preset",
    "init": "model.weights",
    "epochs": "stop.epochs",
    "batch_size": "data.batch_size",
    "optimizer": "optimizer.kind",
    "lr": "optimizer.lr",
    "momentum": "optimizer.momentum",
    "schedule": "schedule.kind",
    "precision": "model.precision",
    "seed": "seed",
    "shard": "data.shard",
    "validation": "data.validation",
}


def recipe(given: object) -> tuple[bool, str]:
    """Whether a recipe is given as text, and the text: else a name or a path."""
    if isinstance(given, Mapping):
        return True, "\n".join(f"{key(name)} = {value(section, name)}" for name, section in given.items())
    if isinstance(given, os.PathLike):
        return False, os.fspath(given)
    if not isinstance(given, str):
        raise ValueError(f"recipe: found {type(given).__name__}: expected a name, a path, TOML text or a dict")
    return "\n" in given or "=" in given, given


def settings(fields: Mapping[str, object]) -> list[tuple[str, str]]:
    """Fields with their values: by the name of a flag of ``bobbin train`` (``lr=0.1``), by their path
    (``**{"optimizer.lr": 0.1}``), or as a section (``optimizer={"lr": 0.1}``)."""
    found: list[tuple[str, str]] = []
    for name, given in fields.items():
        if isinstance(given, Mapping):
            found += [(f"{name}.{field}", value(v, f"{name}.{field}")) for field, v in given.items()]
        else:
            found.append((_FLAGS.get(name, name), value(given, name)))
    return found


def value(given: object, name: str) -> str:
    """A value of TOML, on one line; ``name`` is what to call it in an error."""
    # Numbers of NumPy have it.
    given = given.item() if hasattr(given, "item") and getattr(given, "ndim", 0) == 0 else given
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int):
        return str(given)
    if isinstance(given, float):
        return repr(given) if math.isfinite(given) else str(given)
    if isinstance(given, (str, os.PathLike)):
        return text(os.fspath(given))
    if isinstance(given, Mapping):
        return "{" + ", ".join(f"{key(k)} = {value(v, f'{name}.{k}')}" for k, v in items(given)) + "}"
    if isinstance(given, (list, tuple)):
        return "[" + ", ".join(value(element, name) for element in given) + "]"
    raise ValueError(f"`{name}`: found {type(given).__name__}: expected a number, text, a list or a dict")


def items(given: Mapping[object, object]) -> Iterator[tuple[object, object]]:
    """Those that are set: TOML has no None."""
    return ((k, v) for k, v in given.items() if v is not None)


def key(given: object) -> str:
    """A key of TOML."""
    return text(str(given))


def text(given: str) -> str:
    """A string of TOML: as JSON has it, but for a character that TOML escapes and JSON does not."""
    return json.dumps(given, ensure_ascii=False).replace("\x7f", "\\u007f")
