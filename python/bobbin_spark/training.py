"""What to train, where and on how many workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .columns import Columns
from .errors import BobbinError

REPLICATED = "replicated"
PARTITIONED = "partitioned"


@dataclass(frozen=True)
class Training:
    """What to train, as the flags of ``train`` say it."""

    recipe: str = "fast"
    """A shipped recipe or a TOML file."""
    workers: int = 2
    """Ranks, of which each is a Spark task."""
    placement: str = REPLICATED
    """Whether every worker holds the whole set, or each its own part."""
    arguments: Sequence[str] = ()
    """More flags of ``train``."""
    init: str | None = None
    """A file of weights to start from, or its address."""
    out: str | None = None
    """The run directory, by default ``runs/RECIPE-NUMBER`` here; or an address that Spark's Hadoop can write."""
    resume: str | None = None
    """A run directory whose run is to go on."""
    force: bool = False
    """Whether a run in ``out`` may be replaced."""
    verbose: bool = True
    """Whether the driver prints what ``train`` prints, as it comes."""
    columns: Columns = Columns()
    """Of data frames."""

    def check(self) -> None:
        """Fails unless this can be asked for at all."""
        placements = (REPLICATED, PARTITIONED)
        if self.placement not in placements:
            raise BobbinError(
                f"--placement: found {self.placement}, expected {' or '.join(placements)}", 2
            )
        if not isinstance(self.workers, int) or self.workers < 1:
            raise BobbinError(f"--workers: found {self.workers}, expected at least 1", 2)
        if self.resume is not None:
            for flag, given in (("--out", self.out), ("--force", self.force)):
                if given:
                    raise BobbinError(f"{flag}: not with --resume, which goes on where the run is", 2)
        if any(text.removeprefix("--set=").startswith("data.directory") for text in self.arguments):
            raise BobbinError("--set data.directory: on Spark the data are said by --data", 2)
