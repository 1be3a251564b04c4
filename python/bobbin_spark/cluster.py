"""The cluster: its context and slots, and this package on its executors."""

from __future__ import annotations

import os
import sys
import time
import uuid
import zipfile
from pathlib import Path

from pyspark import SparkContext
from pyspark.sql import SparkSession

from .errors import BobbinError
from .scratch import driver_scratch

_SLOTS_SECONDS = 60
_STEADY_SECONDS = 5
STEADY_AFTER_A_LOSS = 10
"""How long the slots of a standalone cluster stay fewer before nobody is expected to replace those that were lost."""


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
    """Fails unless the cluster runs this many tasks at once, now or soon (:func:`slots_for`)."""
    found = slots_for(context, workers, _STEADY_SECONDS if not lost else _SLOTS_SECONDS)
    if found < workers:
        raise BobbinError(
            f"--workers {workers}: the cluster at {context.master} runs {found} tasks at once "
            f"(spark.task.cpus is {threads_per_task(context)}): expected at least {workers}, as "
            "all workers must run together"
        )


def slots_for(context: SparkContext, workers: int, steady: float = STEADY_AFTER_A_LOSS) -> int:
    """How many of as many tasks the cluster runs at once. Executors that are still starting, or are replaced, are
    waited for, a minute at most: on a standalone cluster, which has what it has, until their number has not grown for
    ``steady`` seconds."""
    if context.getConf().get("spark.dynamicAllocation.enabled", "false") == "true":
        raise BobbinError(
            "spark.dynamicAllocation.enabled is true: expected false, as all workers must run at once"
        )
    local = _is_local(context)
    standalone = str(context.master).startswith("spark://")
    begin = grown = time.monotonic()
    found = _slots(context)
    while found < workers and not local:
        now = time.monotonic()
        if now - begin > _SLOTS_SECONDS or (standalone and found > 0 and now - grown > steady):
            break
        time.sleep(0.2)
        if (slots := _slots(context)) != found:
            found, grown = slots, time.monotonic()
    return min(found, workers)


def _slots(context: SparkContext) -> int:
    spark = context._jsc.sc()
    return int(spark.maxNumConcurrentTasks(spark.resourceProfileManager().defaultResourceProfile()))
