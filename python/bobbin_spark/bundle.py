"""The archive of programs and files that Spark unpacks for every executor."""

from __future__ import annotations

import os
import tarfile
import uuid
from pathlib import Path

from pyspark import SparkContext

from .errors import BobbinError
from .scratch import driver_scratch

# In a checkout; of an installed package BOBBIN_PROGRAMS says where they are.
_PROGRAMS = Path(__file__).resolve().parents[2] / "target" / "release"


class Bundle:
    """An archive that Spark unpacks for every executor, so that nothing need be installed there but
    Open MPI."""

    def __init__(self, context: SparkContext, programs: list[str]) -> None:
        self._context = context
        self.name = f"bobbin-{uuid.uuid4().hex[:12]}"
        self._path = driver_scratch(context) / f"{self.name}.tar"
        self._tar = tarfile.open(self._path, "w")
        self._sent = False
        for program in programs:
            path = programs_directory() / program
            if not path.is_file():
                raise BobbinError(
                    f"{path}: no such program: expected the result of `cargo build --release "
                    "--features mpi`; another place is said by BOBBIN_PROGRAMS"
                )
            self._tar.add(path, f"bin/{program}")

    def add(self, path: str | Path, name: str) -> str:
        """Adds a file or a directory; returns what the executors call it."""
        self._tar.add(path, name)
        return f"{{bundle}}/{name}"

    def send(self) -> None:
        """Has Spark give it to every executor."""
        self._tar.close()
        self._context.addArchive(f"{self._path}#{self.name}")
        self._sent = True

    def empty(self) -> None:
        """Frees its space on the driver. Something must stay: Spark gives every archive to every executor,
        and one that starts later, or that fetches it only now, would fail for want of it."""
        self._tar.close()
        if self._sent:
            tarfile.open(self._path, "w").close()
        else:
            self._path.unlink()


def programs_directory() -> Path:
    """Where the programs are that the executors are sent: ``$BOBBIN_PROGRAMS`` or the build."""
    return Path(os.environ.get("BOBBIN_PROGRAMS", _PROGRAMS))


def executable(bundle: Path, name: str) -> str:
    """A program of the bundle, which Spark unpacks without the right to be run."""
    path = bundle / "bin" / name
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return str(path)
