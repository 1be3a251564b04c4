"""What a task of the barrier stage does: one rank of the job, below the executor that runs the task.

    executor ── task (Python) ── orted ── train          every task
                             └── mpirun                  one of them, the leader

mpirun asks for a daemon (``orted``) per task by running ``agent.sh``, which leaves the command lines
in files; the leader sends them to the other tasks, and each starts its own. Nothing needs ssh, and
each process ends with its parent: a killed executor leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark import BarrierTaskContext, SparkFiles

from . import network
from .columns import Columns
from .data import write_partition
from .errors import BobbinError
from .mpirun import Mpirun, alias, daemon_of, end_with_parent, read_end, start_child
from .place import RunPlace

_LOST = re.compile(r"error: (rank \d+ of \d+, [^:]*: )?waited \d+ s for ")
# What train says of the IDX files that were made of a data frame, and what to say instead.
_FILES = r"/[^:;,]*?bobbin-\w+/data"
_WORDS = [
    (_FILES + r": found no test set; .*?; or", "no images to validate on: expected --validation-data; or"),
    (_FILES + r"/train-(images|labels)-\S*-ubyte", r"\1 to train on"),
    (_FILES + r"/t10k-(images|labels)-\S*-ubyte", r"\1 to validate on"),
    (_FILES + r"/labels.txt", "--classes"),
    (
        r"(those that the run began with): " + _FILES,
        r"\1: expected the same rows, --placement and, if partitioned, --workers",
    ),
    (_FILES, "data frame"),
]


@dataclass(frozen=True)
class Job:
    """What all tasks are told."""

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
    attempt: int = 0
    """Beyond the first, the run goes on from the last checkpoint."""


@dataclass(frozen=True)
class Outcome:
    """What the leader hands back."""

    problem: str | None = None
    """Why there is no result, if it is of no use to try again."""
    code: int = 1
    """Of the program that has the problem."""
    output: str = ""
    """What ``train`` printed."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The run directory but for its checkpoints, by relative path."""
    attempts: int = 1


def scratch_parent() -> str:
    """A directory that Spark deletes at the end of the application, even if this process was killed."""
    local = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    return local if os.path.isdir(local) else SparkFiles.getRootDirectory()


def program(bundle: Path, name: str) -> str:
    """A program of the bundle, which Spark unpacks without the right to be run."""
    path = bundle / "bin" / name
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return str(path)


class RankLost(Exception):
    """A rank, a daemon or a machine is gone: Spark is to start the stage again."""


def run(job: Job, rows: Iterator[Any]) -> Iterator[Outcome]:
    """The work of a task. The leader yields the outcome; the others nothing."""
    end_with_parent()
    scratch = Path(tempfile.mkdtemp(prefix="bobbin-", dir=scratch_parent()))
    place = RunPlace(job)
    try:
        yield from _Task(job, scratch, place, rows).run()
        place.settle()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        place.remove_empty()


class _Task:
    def __init__(self, job: Job, scratch: Path, place: RunPlace, rows: Iterator[Any]) -> None:
        self.rows = rows
        self.place = place
        self.job = job
        self.scratch = scratch
        self.context = BarrierTaskContext.get()
        self.partition = self.context.partitionId()
        self.bundle = Path(SparkFiles.get(job.bundle))
        self.printed = scratch / "train.out"

    def run(self) -> Iterator[Outcome]:
        tasks = self.gather(self.describe)
        if problem := _first_problem(tasks):
            yield from self.give_up(problem)
            return
        # Only where the last checkpoint is can a run go on, unless all see the same directory.
        leader = max(range(len(tasks)), key=lambda p: (tasks[p]["step"], -p))
        order = [leader, *(p for p in range(len(tasks)) if p != leader)]
        if self.job.columns is not None:
            # Whose images are whose is part of the run: rank 0 is partition 0, come what may.
            leader, order = 0, list(range(len(tasks)))
        goes_on = self.job.resume or tasks[leader]["step"] >= 0
        start = self.write_start(goes_on)
        environment = self.environment(start, order.index(self.partition))

        mpirun = None
        if self.partition == leader:
            mpirun = self.start_mpirun(environment, order, tasks)
        shares = self.gather(lambda: {} if mpirun is None else {"daemons": mpirun.daemons(order)})
        if problem := _first_problem(shares):
            yield from self.give_up(problem)
            return
        own = shares[leader]["daemons"][alias(self.partition)]
        daemon = start_child(daemon_of(own), environment, self.scratch / "daemon")
        if mpirun is not None:
            yield self.finish(mpirun, tasks)
        elif code := daemon.wait():
            # The leader's message says more than this one, so it is let go first.
            time.sleep(5)
            said = read_end(self.scratch / "daemon.err")[-2000:]
            raise RankLost(f"the daemon of task {self.partition} ended with exit code {code}\n{said}")

    def give_up(self, problem: str) -> Iterator[Outcome]:
        if self.partition == 0:
            yield Outcome(problem=problem)

    def gather(self, part: Any) -> list[dict[str, Any]]:
        """What every task says; takes a second. A task that cannot say it sends its problem."""
        try:
            message = part()
        except BobbinError as error:
            message = {"problem": f"{socket.gethostname()}: {error}"}
        return [json.loads(text) for text in self.context.allGather(json.dumps(message))]

    def describe(self) -> dict[str, Any]:
        """This task, for the others."""
        for program in ("mpirun", "orted", "setpriv"):
            if shutil.which(program) is None:
                package = "util-linux" if program == "setpriv" else "Open MPI 4: openmpi-bin"
                raise BobbinError(f"{program} is not on this machine: expected {package}")
        directory = self.data()
        if not directory.is_dir():
            raise BobbinError(f"{directory}: no such directory: expected the IDX files of --data")
        if self.job.columns is not None:
            directory = self.write_part(directory, self.job.columns)
        self.directory = directory
        self.place.check()
        host = self.context.getTaskInfos()[self.partition].address.rsplit(":", 1)[0]
        address = network.address_of(host)
        step = self.place.last_step()
        return {"address": address, "network": network.network_of(address), "step": step}

    def data(self) -> Path:
        return Path(self.job.data) if self.job.data else self.bundle / "data"

    def write_part(self, rest: Path, columns: Columns) -> Path:
        """Writes this partition's rows to a directory of their own, beside what all ranks have."""
        directory = self.scratch / "data"
        directory.mkdir()
        for file in rest.iterdir():
            (directory / file.name).symlink_to(file)
        write_partition(self.rows, columns, directory, self.partition)
        return directory

    def write_start(self, goes_on: bool) -> Path:
        """Writes what mpirun starts as this task's rank: paths may differ from machine to machine."""
        job = self.job
        arguments = [text.replace("{bundle}", str(self.bundle)) for text in job.train]
        if goes_on:
            for flag in ("--recipe", "--init"):
                if flag in arguments:
                    place = arguments.index(flag)
                    del arguments[place : place + 2]
            where = ["--resume", job.out]
        else:
            # A run that stopped before its first checkpoint is begun again.
            where = ["--out", job.out, *(["--force"] if job.force or self.job.attempt > 0 else [])]
        data = ["--data", str(self.directory), "--threads", str(job.threads)]
        if job.columns is not None:
            data.append("--partitioned")
        command = [program(self.bundle, "train"), *data, *where, *arguments]
        start = self.scratch / "start"
        # Rank 0, the leader's, has something to print, and mpirun would give it a terminal.
        printed = f"setpriv --pdeathsig KILL {shlex.join(command)} >{shlex.quote(str(self.printed))}"
        start.write_text(f"#!/bin/sh\nexec {printed}\n")
        start.chmod(0o700)
        return start

    def environment(self, start: Path, rank: int) -> dict[str, str]:
        """That of mpirun, of the daemon and of the rank."""
        own = {"TMPDIR": str(self.scratch), "BOBBIN_START": str(start), "BOBBIN_RANK": str(rank)}
        if os.geteuid() == 0:
            # The executors are root's already, as they often are in containers.
            own |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return os.environ | own

    def start_mpirun(
        self, environment: dict[str, str], order: list[int], tasks: list[dict[str, Any]]
    ) -> Mpirun:
        addresses = [task["address"] for task in tasks]
        networks = network.common(addresses, [task["network"] for task in tasks])
        return Mpirun(self.scratch, environment, order, networks)

    def finish(self, mpirun: Mpirun, tasks: list[dict[str, Any]]) -> Outcome:
        code = mpirun.process.wait()
        output = read_end(self.printed)
        complaints = read_end(self.scratch / "mpirun.err")
        errors = [line for line in complaints.splitlines() if line.startswith("error: ")]
        # Of ranks that have lost another, a repetition may not.
        if code in (1, 2) and errors and not any(_LOST.match(error) for error in errors):
            problem = "; ".join(dict.fromkeys(e.removeprefix("error: ") for e in errors))
            return Outcome(problem=_in_words(problem) if self.job.framed else problem, code=code)
        if code != 0:
            raise RankLost(f"mpirun ended with exit code {code}\n{complaints[-2000:]}")
        return Outcome(output=output, files=self.place.files(), attempts=1 + self.job.attempt)


def _in_words(problem: str) -> str:
    """The problem without the names of files that nobody knows."""
    for pattern, words in _WORDS:
        problem = re.sub(pattern, words, problem)
    return problem


def _first_problem(tasks: list[dict[str, Any]]) -> str | None:
    return next((task["problem"] for task in tasks if "problem" in task), None)
