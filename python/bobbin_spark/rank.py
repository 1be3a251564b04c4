"""The rank of a task: the process of ``train`` that mpirun starts for it, and what is left of that."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from . import ending
from .bundle import executable
from .job import Job
from .mpirun import read_end


class Rank:
    """The rank below a task, with its files in the scratch directory of the task."""

    def __init__(self, job: Job, bundle: Path, scratch: Path, data: Path, number: int) -> None:
        self._job = job
        self._bundle = bundle
        self._scratch = scratch
        self._data = data
        self._number = number
        self._start = scratch / "start"
        self._printed = scratch / "train.out"
        self._read = 0
        self._failure = scratch / "failure.json"

    def environment(self) -> dict[str, str]:
        """The environment of mpirun, of the daemon and of the rank."""
        own = {
            "TMPDIR": str(self._scratch),
            "BOBBIN_START": str(self._start),
            "BOBBIN_RANK": str(self._number),
            ending.VARIABLE: str(self._failure),
        }
        if os.geteuid() == 0:
            # The executors are root's already, as they often are in containers.
            names = (f"{library}_ALLOW_RUN_AS_ROOT" for library in ("OMPI", "PRTE"))
            own |= {name + part: "1" for name in names for part in ("", "_CONFIRM")}
        return os.environ | own

    def write_start(self, goes_on: bool) -> None:
        """Writes what mpirun starts, whether from the beginning or from the last checkpoint: paths may
        differ from machine to machine."""
        command = shlex.join(self._command(goes_on))
        # Rank 0, the leader's, has something to print, and mpirun would give it a terminal.
        printed = f"setpriv --pdeathsig KILL {command} >{shlex.quote(str(self._printed))}"
        # Ranks compare where the run is: of one at an address each has a copy, by the same name below its own directory.
        place = "" if self._job.remote is None else f"cd {shlex.quote(str(self._scratch))}\n"
        self._start.write_text(f"#!/bin/sh\n{place}exec {printed}\n")
        self._start.chmod(0o700)

    def _command(self, goes_on: bool) -> list[str]:
        job = self._job
        out = job.out if job.remote is None else Path(job.out).name
        arguments = [text.replace("{bundle}", str(self._bundle)) for text in job.train]
        if goes_on:
            for flag in ("--recipe", "--init"):
                if flag in arguments:
                    place = arguments.index(flag)
                    del arguments[place : place + 2]
            where = ["--resume", out]
        else:
            # A run that stopped before its first checkpoint is begun again.
            where = ["--out", out, *(["--force"] if job.force or job.attempt > 0 else [])]
        data = ["--data", str(self._data), "--threads", str(job.threads)]
        if job.columns is not None:
            data.append("--partitioned")
        return [executable(self._bundle, "train"), *data, *where, *arguments]

    def new_lines(self) -> list[str]:
        """What it has printed since this was asked last, in whole lines."""
        try:
            with self._printed.open("rb") as file:
                file.seek(self._read)
                found = file.read()
        except FileNotFoundError:
            return []
        whole = found[: found.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode(errors="replace").splitlines()

    def output(self) -> str:
        """What it has printed."""
        return read_end(self._printed)

    def failure(self) -> ending.Failure | None:
        """Why it has failed, if it has said so."""
        return ending.failure_in(self._failure)
