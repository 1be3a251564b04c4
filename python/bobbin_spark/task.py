"""What a task of the barrier stage does: one rank of the job, below the executor that runs the task.

    executor ── task (Python) ── orted ── train          every task
                             └── mpirun                  one of them, the leader

mpirun asks for a daemon (``orted``) per task by running ``agent.sh``, which leaves the command lines
in files; the leader sends them to the other tasks, and each starts its own. Nothing needs ssh, and
each process ends with its parent: a killed executor leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyspark import BarrierTaskContext, SparkFiles

from . import mpirun, network
from .channel import Message, Speaker, require_driver
from .columns import Columns
from .data import write_partition
from .ending import Failure
from .errors import BobbinError
from .job import Job
from .mpirun import Mpirun, alias, daemon_of, end_with_parent, read_end, start_child
from .outcome import Gone, Lost, Outcome, Refused, Trained
from .place import RunPlace
from .rank import Rank
from .remote import RUN
from .scratch import executor_scratch
from .words import in_words

_LOOK_SECONDS = 0.25


def run(job: Job, rows: Iterator[Any]) -> Iterator[Outcome]:
    """The work of a task: yields what became of the run, as far as this task knows."""
    end_with_parent()
    scratch = Path(tempfile.mkdtemp(prefix="bobbin-", dir=executor_scratch()))
    if job.remote is not None:
        job = replace(job, out=str(scratch / RUN))
    place = RunPlace(job)
    try:
        outcome = _Task(job, scratch, place, rows).run()
        place.settle(outcome)
        if outcome is not None:
            yield outcome
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
        self.speaker = Speaker(None, job.attempt)

    def run(self) -> Outcome | None:
        """What became of the run; None if the leader knows better."""
        tasks = self.gather(self.describe)
        if problem := _first_problem(tasks):
            return Refused(problem)
        leader, order = self.order(tasks)
        if self.job.resume and tasks[leader]["step"] < 0:
            expected = "expected the directory of a run, which all executors reach"
            return Gone(f"{self.public(self.job.out)}: found no checkpoint to go on from: {expected}")
        data, number = Path(tasks[self.partition]["data"]), order.index(self.partition)
        rank = Rank(self.job, self.bundle, self.scratch, data, number)
        rank.write_start(goes_on=self.job.resume or tasks[leader]["step"] >= 0)

        launched = None
        if self.partition == leader:
            self.speaker = Speaker(self.job.port, self.job.attempt)
            launched = Mpirun(self.scratch, rank.environment(), order, _networks(tasks))
        shares = self.gather(lambda: {} if launched is None else {"daemons": launched.daemons(order)})
        if problem := _first_problem(shares):
            return Refused(problem)
        own = daemon_of(shares[leader]["daemons"][alias(self.partition)])
        daemon = start_child(own, rank.environment(), self.scratch / "daemon")
        code = daemon.wait() if launched is None else self.follow(launched, rank)
        if failure := rank.failure():
            return self.outcome_of(failure, tasks)
        if code != 0:
            name = "daemon" if launched is None else "mpirun"
            said = read_end(self.scratch / f"{name}.err")[-2000:]
            return Lost(f"{name} of task {self.partition} ended with exit code {code}\n{said}")
        if launched is None:
            return None
        return Trained(self.public(rank.output()), self.place.files(), 1 + self.job.attempt)

    def follow(self, launched: Mpirun, rank: Rank) -> int:
        """Tells the driver what there is to tell until the job has ended; returns the exit code."""
        ended = False
        while not ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                launched.process.wait(_LOOK_SECONDS)
            ended = launched.process.poll() is not None
            lines = [self.public(line) for line in rank.new_lines()]
            news = None if self.job.remote is None else self.place.news()
            names, files = news or (None, {})
            if lines or news:
                self.speaker.say(Message(self.job.attempt, lines, names, files))
        return int(launched.process.returncode)

    def public(self, text: str) -> str:
        """What a program says, with the address of the run for the directory that it is in here."""
        return text if self.job.remote is None else text.replace(self.job.out, self.job.remote)

    def gather(self, part: Callable[[], dict[str, Any]]) -> list[dict[str, Any]]:
        """What every task says; takes a second. A task that cannot say it sends its problem."""
        try:
            message = part()
        except BobbinError as error:
            message = {"problem": f"{socket.gethostname()}: {error}"}
        return [json.loads(text) for text in self.context.allGather(json.dumps(message))]

    def describe(self) -> dict[str, Any]:
        """This task, for the others."""
        if (problem := mpirun.missing()) is not None:
            raise BobbinError(problem)
        data = Path(self.job.data) if self.job.data else self.bundle / "data"
        if not data.is_dir():
            raise BobbinError(f"{data}: no such directory: expected the IDX files of --data")
        if self.job.columns is not None:
            data = self.write_part(data, self.job.columns)
        if self.job.remote is not None:
            # Any task may become the leader, and the run is lost if that does not reach the driver.
            require_driver(self.job.port)
        if self.job.begun is not None:
            self.place.restore(Path(SparkFiles.get(self.job.begun)) / RUN)
        self.place.check()
        host = self.context.getTaskInfos()[self.partition].address.rsplit(":", 1)[0]
        address = network.address_of(host)
        return {
            "address": address,
            "network": network.network_of(address),
            "step": self.place.last_step(),
            "data": str(data),
        }

    def write_part(self, rest: Path, columns: Columns) -> Path:
        """Writes this partition's rows to a directory of their own, beside what all ranks have."""
        directory = self.scratch / "data"
        directory.mkdir()
        for file in rest.iterdir():
            (directory / file.name).symlink_to(file)
        write_partition(self.rows, columns, directory, self.partition)
        return directory

    def order(self, tasks: list[dict[str, Any]]) -> tuple[int, list[int]]:
        """The partition of the leader, and the partitions in the order of their ranks."""
        if self.job.columns is not None:
            # Whose images are whose is part of the run: rank 0 is partition 0, come what may.
            return 0, list(range(len(tasks)))
        # Only where the last checkpoint is can a run go on, unless all see the same directory.
        leader = max(range(len(tasks)), key=lambda p: (tasks[p]["step"], -p))
        return leader, [leader, *(p for p in range(len(tasks)) if p != leader)]

    def outcome_of(self, failure: Failure, tasks: list[dict[str, Any]]) -> Outcome:
        """What the failure of this task's rank means for the job."""
        if failure.is_passing():
            return Lost(failure.message)
        message = self.public(failure.message)
        if self.job.framed:
            message = in_words(failure, [task["data"] for task in tasks])
        return Refused(message, failure.code)


def _networks(tasks: list[dict[str, Any]]) -> str:
    return network.common([task["address"] for task in tasks], [task["network"] for task in tasks])


def _first_problem(tasks: list[dict[str, Any]]) -> str | None:
    return next((task["problem"] for task in tasks if "problem" in task), None)
