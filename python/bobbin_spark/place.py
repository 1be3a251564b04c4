"""The run directory as a task sees it: whether it may be written, and what run is in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from .errors import BobbinError
from .job import Job
from .outcome import Lost, Outcome

_CHECKPOINTS = "checkpoints"
# As the programs call what they have not finished: it is no content.
_UNFINISHED = "writing-"


class RunPlace:
    """The directory ``out`` of a job, here."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._out = Path(job.out)
        self._made: list[Path] = []
        self._marker = self._out / f".{job.bundle}"
        # Names of checkpoints that there were, and that the driver has.
        self._told: set[str] = set()
        self._sent: set[str] = set()

    def check(self) -> None:
        """Fails unless the directory can be written, and is new or empty if the job begins in it."""
        out, job = self._out, self._job
        if job.resume and not out.exists():
            return  # It may be on another machine.
        try:
            self._made = [path for path in (out, *out.parents) if not path.exists()]
            out.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=out, prefix=_UNFINISHED):
                pass
            begins = job.attempt == 0 and not job.resume
            taken = any(not file.name.startswith(_UNFINISHED) for file in out.iterdir())
            if begins and taken and job.force and (found := self._recipe()):
                self._marker.write_text(found)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BobbinError(
                f"{out}: cannot write the run directory: {reason}: expected one that every executor "
                "reaches, by a path that is the same on all machines (--out)"
            ) from None
        if begins and taken and not job.force:
            raise BobbinError(
                f"{out}: exists and is not empty: expected a new or empty directory; choose another "
                "--out, or replace the run with --force"
            )

    def last_step(self) -> int:
        """The step of the last checkpoint of the run that goes on, -1 if there is none here."""
        job = self._job
        if not job.resume and (job.attempt == 0 or self._is_of_before()):
            return -1
        files = self._out.glob(f"{_CHECKPOINTS}/step-*.safetensors")
        return max((int(file.stem.removeprefix("step-")) for file in files), default=-1)

    def restore(self, archive: Path) -> None:
        """Takes the run of an archive, if there is one, and no later one here."""
        if not archive.is_dir():
            return
        shutil.copytree(archive, self._out, dirs_exist_ok=True)

    def news(self) -> tuple[list[str], dict[str, bytes]] | None:
        """If there is a checkpoint more than before: the names of all files, and those that have changed."""
        names = self._checkpoints()
        if names == self._told or not names:
            return None
        self._told = names
        found = self.files()
        for name in names - self._sent:
            with contextlib.suppress(FileNotFoundError):  # It may have been replaced by a later one.
                found[name] = (self._out / name).read_bytes()
        self._sent |= names
        return sorted(names | set(found)), found

    def _checkpoints(self) -> set[str]:
        files = self._out.glob(f"{_CHECKPOINTS}/*")
        return {f"{_CHECKPOINTS}/{file.name}" for file in files if not file.name.startswith(_UNFINISHED)}

    def files(self) -> dict[str, bytes]:
        """The run but for its checkpoints, by relative path."""
        files = {file.relative_to(self._out): file for file in sorted(self._out.rglob("*"))}
        return {
            str(name): file.read_bytes()
            for name, file in files.items()
            if name.parts[0] != _CHECKPOINTS and file != self._marker and _is_finished(file)
        }

    def settle(self, outcome: Outcome | None) -> None:
        """The job has ended so, as far as this task knows; if it may be tried again, the next attempt has
        to see what was there before. Where there is no directory, there is no marker."""
        if isinstance(outcome, Lost) or (outcome is None and self._is_of_before()):
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._marker.unlink()

    def remove_empty(self) -> None:
        """Removes the directories that were made for nothing."""
        for path in self._made:
            try:
                path.rmdir()
            except OSError:
                return

    def _is_of_before(self) -> bool:
        """Whether what is here is still the run that the job was to replace: an attempt may be lost before
        it has. A recipe is written anew by each run."""
        return self._marker.exists() and self._marker.read_text() == self._recipe()

    def _recipe(self) -> str | None:
        try:
            found = os.stat(self._out / "recipe.toml")
        except FileNotFoundError:
            return None
        return f"{found.st_ino} {found.st_mtime_ns}"


def _is_finished(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(_UNFINISHED)
