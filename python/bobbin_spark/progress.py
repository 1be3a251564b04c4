"""How far a job is, on the driver: lines as rank 0 prints them, a line in Spark's UI for each epoch, and the run at an
address that Hadoop writes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark import SparkContext

from .channel import Listener, Message
from .outcome import Trained
from .remote import RemoteRun

_GROUP, _DESCRIPTION = "spark.jobGroup.id", "spark.job.description"


class Progress:
    """What the driver knows of a job, and where it tells it."""

    def __init__(
        self, context: SparkContext, name: str, listener: Listener, remote: RemoteRun | None, verbose: bool
    ) -> None:
        self._context, self._name = context, name
        self._listener, self._remote, self._verbose = listener, remote, verbose
        self._attempt, self._printed = 0, 0

    def begun(self) -> str | None:
        """The archive with the run as it is so far, if it is at an address."""
        return None if self._remote is None else self._remote.send()

    @contextmanager
    def described(self, workers: int, attempt: int) -> Iterator[str]:
        """Jobs that are submitted within are called so in Spark's UI; gives the name of their group."""
        group = f"bobbin-{uuid.uuid4().hex[:12]}"
        before = {key: self._context.getLocalProperty(key) for key in (_GROUP, _DESCRIPTION)}
        self._attempt, self._printed = attempt, 0
        again = f", attempt {attempt + 1}" if attempt else ""
        self._context.setJobGroup(group, f"Bobbin: {self._name}, {workers} workers{again}")
        try:
            yield group
        finally:
            for key, value in before.items():
                self._context._jsc.sc().setLocalProperty(key, value)

    def take(self, seconds: float) -> None:
        """Tells what the leader says, waiting at most so long for it."""
        for message in self._listener.take(seconds):
            self._tell(message)

    def end(self, outcome: Trained) -> None:
        """Tells what the leader has not said on the way, as when it does not reach the driver."""
        lines = outcome.output.splitlines()
        self._say(lines[self._printed :])
        if self._remote is not None:
            self._remote.take(None, outcome.files)

    def _tell(self, message: Message) -> None:
        if message.attempt != self._attempt:
            return  # Of one that is lost.
        self._printed += len(message.lines)
        self._say(message.lines)
        if self._remote is not None and message.names is not None:
            self._remote.take(message.names, message.files)

    def _say(self, lines: list[str]) -> None:
        for line in lines:
            if self._verbose:
                print(line, flush=True)
            if line.startswith("epoch "):
                self._show(line)

    def _show(self, line: str) -> None:
        """A line in the list of jobs of Spark's UI, by a job without tasks: the description of one that runs cannot be
        changed, and the values of accumulators come when tasks end."""
        before = self._context.getLocalProperty(_DESCRIPTION)
        self._context._jsc.sc().setLocalProperty(_DESCRIPTION, f"Bobbin: {self._name}: {line}")
        self._context._jsc.emptyRDD().count()
        self._context._jsc.sc().setLocalProperty(_DESCRIPTION, before)
