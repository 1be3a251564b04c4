"""A run directory at an address: the driver writes it there with what the leader sends, checkpoints as they come."""

from __future__ import annotations

from pyspark import SparkContext

from .bundle import Bundle
from .errors import BobbinError, NoCheckpoint
from .hadoop import Address
from .scratch import driver_scratch

RUN = "run"
"""What the run is called in the archive that tasks are sent."""
_CHECKPOINTS = "checkpoints"


class RemoteRun:
    """The run directory at an address, and a copy of it on the driver."""

    def __init__(self, context: SparkContext, text: str) -> None:
        self._context = context
        self._address = Address(context, text)
        self.copy = driver_scratch(context) / RUN

    def begin(self, force: bool) -> None:
        """Fails unless the directory is new or empty, or has a run that may be replaced, which is deleted."""
        names = self._address.names()
        if names and not (force and "recipe.toml" in names):
            hint = "choose another --out, or replace the run with --force" if not force else "a run that --force replaces"
            raise BobbinError(f"{self._address.text}: exists and is not empty: expected a new or empty directory; {hint}")
        if names:
            self._address.delete()
        self.copy.mkdir()

    def resume(self) -> None:
        """Takes the run that is there."""
        if "recipe.toml" not in self._address.names():
            raise NoCheckpoint(f"{self._address.text}: not a run directory: expected a recipe.toml in it")
        self._address.read(self.copy)

    def take(self, names: list[str] | None, files: dict[str, bytes]) -> None:
        """Writes what is new; of checkpoints those that are not among ``names`` are gone."""
        # Whoever goes on with the last checkpoint finds all that is older.
        for name in sorted(files, key=lambda name: (name.startswith(_CHECKPOINTS), name)):
            path = self.copy / name
            if path.is_file() and path.read_bytes() == files[name]:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
            (self._address / name).write(path)
        if names is not None:
            for path in self.copy.glob(f"{_CHECKPOINTS}/*"):
                if (name := f"{_CHECKPOINTS}/{path.name}") not in names:
                    path.unlink()
                    (self._address / name).delete()

    def send(self) -> str | None:
        """Sends the run to the executors, if it can be gone on with; returns the name of its archive."""
        if not any(self.copy.glob(f"{_CHECKPOINTS}/*")):
            return None
        bundle = Bundle(self._context, [])
        bundle.add(self.copy, RUN)
        bundle.send()
        return bundle.name
