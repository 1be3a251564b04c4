"""The barrier stage of a job, submitted until the job has trained."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import RDD, InheritableThread, SparkContext

from . import cluster
from .errors import BobbinError, NoCheckpoint
from .job import Job
from .outcome import Gone, Lost, Outcome, Refused, Trained
from .progress import Progress

_log = logging.getLogger("bobbin_spark")
# Between the first task that waits at a barrier and the last; Spark would wait for a year.
_BARRIER_SECONDS = 600
_IDLE_SECONDS = 30
_LOOK_SECONDS = 0.2

Work = Callable[..., Iterator[Outcome]]


def run_together(
    context: SparkContext, rows_of: Callable[[int], RDD], workers: int, job: Job, work: Work, progress: Progress
) -> Trained:
    """Runs ``work(job, rows of a partition)`` on all partitions at once, until the job has trained.

    A job that was lost is submitted again, as often as Spark would submit a stage. It is not left to
    Spark itself, which tells a Python task nothing of its attempt, never repeats a barrier stage that is
    the last of its job, and waits without end for slots that a dead executor took along. Where every worker
    has the whole set, those that are left go on alone: the bits do not depend on their number.
    """
    context._jsc.sc().conf().set("spark.barrier.sync.timeout", str(_BARRIER_SECONDS))
    attempts = int(context.getConf().get("spark.stage.maxConsecutiveAttempts", "4"))
    for attempt in range(attempts):
        job = replace(job, attempt=attempt, begun=progress.begun())
        stage = rows_of(workers).barrier().mapPartitions(functools.partial(work, job))
        outcome = _watched(context, stage, progress, workers, attempt)
        if isinstance(outcome, Trained):
            progress.end(outcome)
            return outcome
        if isinstance(outcome, Refused):
            raise BobbinError(outcome.problem, outcome.code)
        if isinstance(outcome, Gone):
            raise NoCheckpoint(outcome.problem)
        if attempt + 1 < attempts:
            number = attempt + 1
            _log.warning("attempt %d of %d was lost, trying again: %s", number, attempts, outcome.reason)
            _wait_until_idle(context)
            workers = _workers_left(context, workers, job)
    raise BobbinError(f"the job was lost {attempts} times, the last time since {outcome.reason}")


def _workers_left(context: SparkContext, workers: int, job: Job) -> int:
    """How many workers the next attempt has."""
    found = 0 if job.columns is not None else cluster.slots_for(context, workers)
    if found == 0:
        # Rows that are dealt out need all of their workers; and nobody goes on alone.
        cluster.require_slots(context, workers, lost=True)
        return workers
    if found < workers:
        _log.warning("%d of %d workers are left, and go on: the bits do not depend on their number", found, workers)
    return found


def _watched(context: SparkContext, stage: RDD, progress: Progress, workers: int, attempt: int) -> Outcome:
    """What becomes of a stage. It is collected on a thread of its own, so that this one tells how far it is, and
    an interruption ends the stage at once."""
    ended: list[Any] = []

    def collect() -> None:
        try:
            ended.append(_outcome(stage))
        except BaseException as error:  # Told on the thread that waits.
            ended.append(error)

    with progress.described(workers, attempt) as group:
        thread: threading.Thread = InheritableThread(target=collect)
        thread.start()
        try:
            while thread.is_alive():
                progress.take(_LOOK_SECONDS)
            progress.take(0)
        except BaseException:
            context.cancelJobGroup(group)
            thread.join(_IDLE_SECONDS)
            raise
    if isinstance(ended[0], BaseException):
        raise ended[0]
    outcome: Outcome = ended[0]
    return outcome


def _outcome(stage: RDD) -> Outcome:
    """What became of a stage: that one task has trained counts more than what the others say, and that
    one was refused more than that others were lost by its end."""
    try:
        outcomes: list[Outcome] = stage.collect()
    except Py4JJavaError as error:
        # A task has not lived to tell: its executor is lost. Spark's stack traces say nothing more.
        return Lost(str(error.java_exception.getMessage()).partition("\nDriver stacktrace:")[0][:3000])
    return min(outcomes, key=lambda outcome: (Trained, Refused, Gone, Lost).index(type(outcome)))


def _wait_until_idle(context: SparkContext) -> None:
    """Waits until the tasks of a failed stage are gone, which takes seconds: they write to the same run
    directory. Those of other jobs are not waited for, beyond a bound."""
    deadline = time.monotonic() + _IDLE_SECONDS
    tracker = context._jsc.sc().statusTracker()
    while any(executor.numRunningTasks() for executor in tracker.getExecutorInfos()):
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)
