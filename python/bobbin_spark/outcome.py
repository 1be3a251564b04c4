"""What the task of a rank hands back to the driver, which decides by its type whether to try again."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Trained:
    """The end of a run, from the leader."""

    output: str
    """What rank 0 printed."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The run directory but for its checkpoints, by relative path."""
    attempts: int = 1
    """How often the stage was submitted."""


@dataclass(frozen=True)
class Refused:
    """An end that a repetition would come to as well."""

    problem: str
    """The message for people."""
    code: int = 1
    """The exit code of the program that has the problem."""


@dataclass(frozen=True)
class Gone:
    """The end of a run that was to go on and has no checkpoint where its ranks are."""

    problem: str
    """The message for people."""


@dataclass(frozen=True)
class Lost:
    """The end of a rank, a daemon or a machine that a repetition may do without."""

    reason: str
    """What is known of it."""


Outcome = Trained | Refused | Gone | Lost
