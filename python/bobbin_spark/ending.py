"""How a program of Bobbin failed, as the program itself says: a JSON object with the `event` `error`.

docs/metrics.md lists the kinds and their exit codes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "BOBBIN_ERROR_FILE"
"""The environment variable that names the file for it."""

NO_TEST_SET = "no-test-set"
OTHER_DATA = "other-data"
# Of another rank, or of whoever sends signals: the same command may get through the next time.
_PASSING = ("rank-lost", "interrupted")


@dataclass(frozen=True)
class Failure:
    """Why a program failed."""

    kind: str
    """One of the words that docs/metrics.md lists."""
    message: str
    """The message for people."""
    code: int
    """The exit code of the program."""

    def is_passing(self) -> bool:
        """Whether the same command may succeed when it is given again."""
        return self.kind in _PASSING


def failure_in(file: Path) -> Failure | None:
    """The failure that a program has left in a file; None if it did not live to tell, or did not fail."""
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return Failure(found["kind"], found["message"], found["exit"])
