"""What people are told that is no error."""

from __future__ import annotations

import sys

_told: set[str] = set()


def note(text: str) -> None:
    """Says it on stderr, once for each process."""
    if text not in _told:
        _told.add(text)
        print(f"note: {text}", file=sys.stderr, flush=True)
