"""The cluster: its context and slots, this package on its executors, and the barrier stage."""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark import RDD, SparkContext
from pyspark.sql import SparkSession

from .errors import BobbinError
from .job import Job
from .outcome import Lost, Outcome, Refused, Trained
from .scratch import driver_scratch

_log = logging.getLogger("bobbin_spark")
# Between the first task that waits at a barrier and the last; Spark would wait for a year.
_BARRIER_SECONDS = 600
_IDLE_SECONDS = 30
_SLOTS_SECONDS = 60
_STEADY_SECONDS = 5


def context_of(spark: SparkSession) -> SparkContext:
    """The Spark context, which Spark Connect does not have."""
    if not isinstance(spark, SparkSession):
        raise BobbinError(
            f"the session is a {type(spark).__module__}.{type(spark).__name__}: expected one of "
            "classic Spark, as barrier stages are not part of Spark Connect"
        )
    context = spark.sparkContext
    if _is_local(context) and "PYSPARK_PYTHON" not in os.environ:
        context.pythonExec = sys.executable  # Its packages are there, which python3 may not have.
    return context


def _is_local(context: SparkContext) -> bool:
    return str(context.master).startswith("local")


def send_package(context: SparkContext) -> None:
    """Has every executor know this package, once for each application."""
    name = "bobbin_spark"
    if any(Path(sent).name.startswith(name) for sent in context._python_includes or []):
        return
    package = Path(__file__).resolve().parent
    # Spark does not take a second file of the same name, and a process may have several applications.
    archive = driver_scratch(context) / f"{name}-{uuid.uuid4().hex[:12]}.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(package.iterdir()):
            if path.suffix in (".py", ".sh"):
                file.write(path, f"{name}/{path.name}")
    context.addPyFile(str(archive))


def threads_per_task(context: SparkContext) -> int:
    """What a task may use: ``spark.task.cpus``."""
    return int(context.getConf().get("spark.task.cpus", "1"))


def require_slots(context: SparkContext, workers: int, lost: bool = False) -> None:
    """Fails unless the cluster runs this many tasks at once. Executors that are still starting are
    waited for, a minute at most: on a standalone cluster, which has what it has, as long as their number
    grows; elsewhere, and when some were lost and are replaced, all the time."""
    if context.getConf().get("spark.dynamicAllocation.enabled", "false") == "true":
        raise BobbinError(
            "spark.dynamicAllocation.enabled is true: expected false, as all workers must run at once"
        )
    local = _is_local(context)
    steady = str(context.master).startswith("spark://") and not lost
    begin = grown = time.monotonic()
    found = _slots(context)
    while found < workers and not local:
        now = time.monotonic()
        if now - begin > _SLOTS_SECONDS or (steady and found > 0 and now - grown > _STEADY_SECONDS):
            break
        time.sleep(0.2)
        if (slots := _slots(context)) != found:
            found, grown = slots, time.monotonic()
    if found < workers:
        raise BobbinError(
            f"--workers {workers}: the cluster at {context.master} runs {found} tasks at once "
            f"(spark.task.cpus is {threads_per_task(context)}): expected at least {workers}, as "
            "all workers must run together"
        )


def _slots(context: SparkContext) -> int:
    spark = context._jsc.sc()
    return int(spark.maxNumConcurrentTasks(spark.resourceProfileManager().defaultResourceProfile()))


def run_together(
    context: SparkContext, rows: RDD, job: Job, work: Callable[..., Iterator[Outcome]]
) -> Trained:
    """Runs ``work(job, rows of a partition)`` on all partitions at once, until the job has trained.

    A job that was lost is submitted again, as often as Spark would submit a stage. It is not left to
    Spark itself, which tells a Python task nothing of its attempt, never repeats a barrier stage that is
    the last of its job, and waits without end for slots that a dead executor took along.
    """
    context._jsc.sc().conf().set("spark.barrier.sync.timeout", str(_BARRIER_SECONDS))
    attempts = int(context.getConf().get("spark.stage.maxConsecutiveAttempts", "4"))
    for attempt in range(attempts):
        stage = rows.barrier().mapPartitions(functools.partial(work, replace(job, attempt=attempt)))
        outcome = _outcome(stage)
        if isinstance(outcome, Trained):
            return outcome
        if isinstance(outcome, Refused):
            raise BobbinError(outcome.problem, outcome.code)
        if attempt + 1 < attempts:
            number = attempt + 1
            _log.warning("attempt %d of %d was lost, trying again: %s", number, attempts, outcome.reason)
            _wait_until_idle(context)
            require_slots(context, rows.getNumPartitions(), lost=True)
    raise BobbinError(f"the job was lost {attempts} times, the last time since {outcome.reason}")


def _outcome(stage: RDD) -> Outcome:
    """What became of a stage: that one task has trained counts more than what the others say, and that
    one was refused more than that others were lost by its end."""
    try:
        outcomes: list[Outcome] = stage.collect()
    except Py4JJavaError as error:
        # A task has not lived to tell: its executor is lost. Spark's stack traces say nothing more.
        return Lost(str(error.java_exception.getMessage()).partition("\nDriver stacktrace:")[0][:3000])
    return min(outcomes, key=lambda outcome: (Trained, Refused, Lost).index(type(outcome)))


def _wait_until_idle(context: SparkContext) -> None:
    """Waits until the tasks of a failed stage are gone, which takes seconds: they write to the same run
    directory. Those of other jobs are not waited for, beyond a bound."""
    deadline = time.monotonic() + _IDLE_SECONDS
    tracker = context._jsc.sc().statusTracker()
    while any(executor.numRunningTasks() for executor in tracker.getExecutorInfos()):
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)
