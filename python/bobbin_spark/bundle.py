"""The archives of programs and files that Spark unpacks for every executor."""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from pathlib import Path
from weakref import WeakKeyDictionary

from pyspark import SparkContext, SparkFiles

from .errors import BobbinError
from .scratch import driver_scratch

# In a checkout; of an installed package BOBBIN_PROGRAMS says where they are.
_PROGRAMS = Path(__file__).resolve().parents[2] / "target" / "release"
# Of each application: the archives of the programs that its executors have, by the program's file and age.
_sent: WeakKeyDictionary[SparkContext, dict[tuple[Path, int], str]] = WeakKeyDictionary()


class Bundle:
    """What a job has the executors know: files, in an archive of its own, and programs, so that nothing need be
    installed there but Open MPI. An executor keeps every archive until its application ends, so a program is sent once
    for all jobs of an application."""

    def __init__(self, context: SparkContext, programs: list[str]) -> None:
        self._context = context
        self.name = f"bobbin-{uuid.uuid4().hex[:12]}"
        self._path = driver_scratch(context) / f"{self.name}.tar"
        self._tar = tarfile.open(self._path, "w")
        self._sent = False
        for program in programs:
            archive = _send_program(context, programs_directory() / program).encode()
            entry = tarfile.TarInfo(f"bin/{program}")
            entry.size = len(archive)
            self._tar.addfile(entry, io.BytesIO(archive))

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


def _send_program(context: SparkContext, path: Path) -> str:
    """Has Spark give a program to every executor, unless they have it; returns the name of its archive."""
    if not path.is_file():
        raise BobbinError(
            f"{path}: no such program: expected the result of `cargo build --release --features mpi`; another place is "
            "said by BOBBIN_PROGRAMS"
        )
    sent = _sent.setdefault(context, {})
    key = path.resolve(), path.stat().st_mtime_ns
    if key not in sent:
        name = f"bobbin-{path.name}-{uuid.uuid4().hex[:12]}"
        archive = driver_scratch(context) / f"{name}.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(path, path.name)
        context.addArchive(f"{archive}#{name}")
        sent[key] = name
    return sent[key]


def executable(bundle: Path, name: str) -> str:
    """A program that came with a bundle, which names its archive. Spark unpacks it without the right to be run."""
    path = Path(SparkFiles.get((bundle / "bin" / name).read_text())) / name
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return str(path)
