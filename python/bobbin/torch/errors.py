"""What of a PyTorch program Bobbin has no equivalent for, and where it stands."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from typing import Any


class UnsupportedModule(ValueError):
    """Something of a PyTorch program that Bobbin cannot take.

    The message names the module, the line of ``forward``, what was found, and what would do instead.
    """


@dataclass(frozen=True)
class Place:
    """Where an operation stands: the path of its module, and the line that calls it."""

    module: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = f"module `{self.module}`" if self.module else "the network"
        if not self.file:
            return where
        code = linecache.getline(self.file, self.line).strip()
        return f"{where}, {self.file} line {self.line}" + (f" (`{code}`)" if code else "")


def unsupported(place: Place, found: str, instead: str) -> UnsupportedModule:
    """The error for what was found at a place, and what would do."""
    return UnsupportedModule(f"{place}: {found}; {instead}")


def class_name(thing: Any) -> str:
    """The name of its class, with that of the module for a class that PyTorch has not."""
    kind = type(thing)
    is_known = kind.__module__.startswith("torch.") or kind.__module__ == "builtins"
    return kind.__qualname__ if is_known else f"{kind.__module__}.{kind.__qualname__}"
