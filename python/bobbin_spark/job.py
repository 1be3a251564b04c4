"""What all tasks of a training job are told."""

from __future__ import annotations

from dataclasses import dataclass

from .channel import Port
from .columns import Columns


@dataclass(frozen=True)
class Job:
    """A run of ``train`` on the ranks of a barrier stage."""

    bundle: str
    """Name of the archive that Spark unpacks for every executor: programs, recipe, perhaps data."""
    train: list[str]
    """Arguments of ``train`` but for data, threads and where to write; ``{bundle}`` stands for the
    directory of the archive."""
    data: str | None
    """A directory of IDX files that every executor sees; else the archive has them."""
    out: str
    """The run directory."""
    threads: int
    """Threads per rank."""
    resume: bool = False
    """Whether the run in ``out`` is to go on."""
    force: bool = False
    """Whether a run in ``out`` may be replaced."""
    framed: bool = False
    """Whether the IDX files were made of a data frame."""
    columns: Columns | None = None
    """Of the rows that tasks write to IDX files themselves, each its partition, as its part of the
    training images; the directory of data has the rest."""
    port: Port | None = None
    """Where the driver listens."""
    remote: str | None = None
    """The address at which the driver writes the run; a task has it in a directory of its own."""
    begun: str | None = None
    """The archive that has the run as it was, if it is at an address and goes on."""
    attempt: int = 0
    """Beyond the first, the run goes on from the last checkpoint."""
