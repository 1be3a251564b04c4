"""What a task of the barrier stage does: one rank of the job, below the executor that runs the task.

    executor ── task (Python) ── orted ── train          every task
                             └── mpirun                  one of them, the leader

mpirun asks for a daemon (``orted``) per task by running ``agent.sh``, which leaves the command lines
in files; the leader sends them to the other tasks, and each starts its own. Nothing needs ssh, and
each process ends with its parent: a killed executor leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark import BarrierTaskContext, SparkFiles

from . import network
from .data import Columns, write_partition
from .errors import BobbinError

STARTUP_SECONDS = 60
_PR_SET_PDEATHSIG = 1
# A peer that is cut off is noticed within 10 + 3 × 5 seconds, not within minutes.
_KEEPALIVE = {"time": 10, "intvl": 5, "probes": 3}
_LOST = re.compile(r"error: (rank \d+ of \d+, [^:]*: )?waited \d+ s for ")
_BIGGEST_LOG = 1_000_000


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
    output: str = ""
    """What ``train`` printed."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The run directory but for its checkpoints, by relative path."""
    warnings: list[str] = field(default_factory=list)
    attempts: int = 1


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
    scratch = Path(tempfile.mkdtemp(prefix="bobbin-"))
    try:
        yield from _Task(job, scratch, rows).run()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def end_with_parent() -> None:
    """Has the kernel kill this process when its parent is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Task:
    def __init__(self, job: Job, scratch: Path, rows: Iterator[Any]) -> None:
        self.rows = rows
        self.job = job
        self.scratch = scratch
        self.context = BarrierTaskContext.get()
        self.partition = self.context.partitionId()
        self.bundle = Path(SparkFiles.get(job.bundle))
        self.out = Path(job.out)
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
        own = shares[leader]["daemons"][_alias(self.partition)]
        daemon = _start(_daemon(own), environment, self.scratch / "daemon")
        if mpirun is not None:
            yield self.finish(mpirun, tasks)
        elif code := daemon.wait():
            # The leader's message says more than this one, so it is let go first.
            time.sleep(5)
            said = _read(self.scratch / "daemon.err")[-2000:]
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
        self.check_out()
        host = self.context.getTaskInfos()[self.partition].address.rsplit(":", 1)[0]
        address = network.address_of(host)
        step = self.last_step() if self.job.attempt > 0 else -1
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

    def check_out(self) -> None:
        """Whether the run directory can be made and written from here."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.out.parent):
                pass
            if not os.access(self.out, os.W_OK):
                raise PermissionError("it is not writable")
        except OSError as error:
            reason = error.strerror or str(error)
            raise BobbinError(
                f"{self.out}: cannot write the run directory: {reason}: expected one that every "
                "executor reaches, by a path that is the same on all machines (--out)"
            ) from None

    def last_step(self) -> int:
        """The step of the last checkpoint that is here, -1 without one."""
        files = self.out.glob("checkpoints/step-*.safetensors")
        return max((int(file.stem.removeprefix("step-")) for file in files), default=-1)

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
        printed = f"setpriv --pdeathsig KILL {shlex.join(command)} >{self.printed}"
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
    ) -> _Mpirun:
        addresses = [task["address"] for task in tasks]
        networks = network.common(addresses, [task["network"] for task in tasks])
        return _Mpirun(self.scratch, environment, order, networks)

    def finish(self, mpirun: _Mpirun, tasks: list[dict[str, Any]]) -> Outcome:
        code = mpirun.process.wait()
        output = _read(self.printed)
        complaints = _read(self.scratch / "mpirun.err")
        errors = [line for line in complaints.splitlines() if line.startswith("error: ")]
        # Of ranks that have lost another, a repetition may not.
        if code in (1, 2) and errors and not any(_LOST.match(error) for error in errors):
            return Outcome(problem="; ".join(dict.fromkeys(e.removeprefix("error: ") for e in errors)))
        if code != 0:
            raise RankLost(f"mpirun ended with exit code {code}\n{complaints[-2000:]}")
        files = {
            str(file.relative_to(self.out)): file.read_bytes()
            for file in sorted(self.out.rglob("*"))
            if file.is_file() and file.relative_to(self.out).parts[0] != "checkpoints"
        }
        return Outcome(output=output, files=files, attempts=1 + self.job.attempt)


class _Mpirun:
    """mpirun, which asks for the daemons by :file:`agent.sh`."""

    def __init__(
        self, scratch: Path, environment: dict[str, str], order: list[int], networks: str
    ) -> None:
        self.spool = scratch / "spool"
        self.spool.mkdir()
        self.log = scratch / "mpirun"
        (scratch / "agent.sh").write_bytes(_agent())
        parameters = {
            "plm": "rsh",
            # Daemons check it too, on machines that have this shell, but not this script.
            "plm_rsh_agent": "/bin/sh agent.sh",
            "plm_rsh_no_tree_spawn": "1",
            "oob_tcp_if_include": networks,
            "btl_tcp_if_include": networks,
            "orte_startup_timeout": str(STARTUP_SECONDS),
            **{f"oob_tcp_keepalive_{name}": str(value) for name, value in _KEEPALIVE.items()},
        }
        command = ["mpirun", "--noprefix", "--leave-session-attached", "--wdir", "/"]
        command += ["--host", ",".join(f"{_alias(p)}:1" for p in order), "-np", str(len(order))]
        for name, value in parameters.items():
            command += ["--mca", name, value]
        command += ["/bin/sh", "-c", 'exec "$BOBBIN_START"']
        environment = environment | {"BOBBIN_SPOOL": str(self.spool)}
        self.process = _start(command, environment, self.log)

    def daemons(self, order: list[int]) -> dict[str, str]:
        """The command line that starts the daemon of each task."""
        wanted = [_alias(p) for p in order]
        deadline = time.monotonic() + STARTUP_SECONDS
        while not all((self.spool / name).exists() for name in wanted):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                said = _read(self.log.with_suffix(".err")).strip()
                raise BobbinError(f"mpirun did not start its daemons, expected Open MPI 4: {said}")
            time.sleep(0.02)
        return {name: (self.spool / name).read_text() for name in wanted}


def _agent() -> bytes:
    from importlib import resources

    return resources.files(__package__).joinpath("agent.sh").read_bytes()


def _daemon(line: str) -> list[str]:
    """The daemon in a command line of mpirun's. For a user whose shell is sh that is
    ``( test ! -r ./.profile || . ./.profile; orted … )``, but a shell in between would not take the
    daemon along when it is killed."""
    words = shlex.split(line)
    return [word for word in words[words.index("orted") :] if word != ")"]


def _alias(partition: int) -> str:
    """The invented host that stands for a task."""
    return f"bobbin-{partition}"


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A child in the directory of its log that ends with this process, whatever ends it."""
    with log.with_suffix(".out").open("wb") as out, log.with_suffix(".err").open("wb") as err:
        tied = ["setpriv", "--pdeathsig", "KILL", *command]
        streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
        return subprocess.Popen(tied, cwd=log.parent, env=environment, **streams)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _BIGGEST_LOG))
        return file.read().decode(errors="replace")


def _first_problem(tasks: list[dict[str, Any]]) -> str | None:
    return next((task["problem"] for task in tasks if "problem" in task), None)
