"""The Spark side of a job: slots, what the executors are sent, and the barrier stage."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import tarfile
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark import RDD, SparkContext
from pyspark.sql import SparkSession

from . import task
from .errors import BobbinError

_log = logging.getLogger("bobbin_spark")
# Between the first task that waits at a barrier and the last; Spark would wait for a year.
_BARRIER_SECONDS = 600
_IDLE_SECONDS = 30
_SLOTS_SECONDS = 60
_STEADY_SECONDS = 5
_PROGRAMS = Path(__file__).resolve().parents[3] / "target" / "release"


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


def programs_directory() -> Path:
    """Where the programs are that the executors are sent: ``$BOBBIN_PROGRAMS`` or the build."""
    return Path(os.environ.get("BOBBIN_PROGRAMS", _PROGRAMS))


class Bundle:
    """An archive that Spark unpacks for every executor, so that nothing need be installed there but
    Open MPI."""

    def __init__(self, context: SparkContext, programs: list[str]) -> None:
        self._context = context
        self.name = f"bobbin-{uuid.uuid4().hex[:12]}"
        self._path = scratch(context) / f"{self.name}.tar"
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


def scratch(context: SparkContext) -> Path:
    """A new directory, which Spark deletes when the driver ends, whatever ends it."""
    return Path(tempfile.mkdtemp(prefix="bobbin-", dir=context._temp_dir))


def _is_local(context: SparkContext) -> bool:
    return str(context.master).startswith("local")


def send_package(context: SparkContext) -> None:
    """Has every executor know this package, once for each application."""
    name = "bobbin_spark"
    if any(Path(sent).name.startswith(name) for sent in context._python_includes or []):
        return
    package = Path(__file__).resolve().parent
    # Spark does not take a second file of the same name, and a process may have several applications.
    archive = scratch(context) / f"{name}-{uuid.uuid4().hex[:12]}.zip"
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
    context: SparkContext, rows: RDD, job: task.Job, work: Callable[..., Iterator[task.Outcome]]
) -> task.Outcome:
    """Runs ``work(job, rows of a partition)`` on all partitions at once and returns its outcome.

    A failed task fails the stage, and the stage is submitted again, as often as Spark would. It is not
    left to Spark itself, which tells a Python task nothing of its attempt, never repeats a barrier stage
    that is the last of its job, and waits without end for slots that a dead executor took along.
    """
    context._jsc.sc().conf().set("spark.barrier.sync.timeout", str(_BARRIER_SECONDS))
    attempts = int(context.getConf().get("spark.stage.maxConsecutiveAttempts", "4"))
    for attempt in range(attempts):
        stage = rows.barrier().mapPartitions(functools.partial(work, replace(job, attempt=attempt)))
        try:
            return stage.collect()[0]
        except Py4JJavaError as error:
            cause = _cause(error)
        if attempt + 1 < attempts:
            _log.warning("attempt %d of %d was lost, trying again: %s", attempt + 1, attempts, cause)
            _wait_until_idle(context)
            require_slots(context, rows.getNumPartitions(), lost=True)
    raise BobbinError(f"the job was lost {attempts} times, the last time since {cause}")


def _wait_until_idle(context: SparkContext) -> None:
    """Waits until the tasks of a failed stage are gone, which takes seconds: they write to the same run
    directory. Those of other jobs are not waited for, beyond a bound."""
    deadline = time.monotonic() + _IDLE_SECONDS
    tracker = context._jsc.sc().statusTracker()
    while any(executor.numRunningTasks() for executor in tracker.getExecutorInfos()):
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)


def _cause(error: Py4JJavaError) -> str:
    """Why a stage failed, out of Spark's pages of it."""
    text = str(error.java_exception.getMessage())
    for pattern in (r"RankLost: (.*?)\n SQLSTATE", r"(?:Lost|lost) executor.*", r"ExecutorLost.*"):
        if found := re.findall(pattern, text, re.DOTALL if "SQLSTATE" in pattern else 0):
            return found[-1].strip()
    return text[:3000]
