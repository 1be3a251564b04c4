"""The Spark session of ``backend="spark"``: that of the process, or one that ``init_orca_context`` has made."""

from __future__ import annotations

import os
import sys
from typing import Any

MODES = ("standalone", "spark-submit", "k8s-client", "yarn-client")
_MASTERS = {"standalone": "spark://HOST:7077", "k8s-client": "k8s://https://HOST:PORT"}

_session: Any = None
_workers: int | None = None


def begin(cluster_mode: str, cores: int | None, memory: str | None, nodes: int, master: str | None, conf: Any) -> Any:
    """Makes or finds the session of a cluster with ``nodes`` executors of ``cores`` cores and ``memory`` each; returns it.

    Under ``spark-submit`` it is the one that spark-submit describes; ``standalone`` and ``k8s-client`` need the address of
    a master.
    """
    global _session, _workers
    if cluster_mode in _MASTERS and master is None:
        found = f"found cluster_mode={cluster_mode!r} without master"
        raise ValueError(f"init_orca_context: {found}: expected master={_MASTERS[cluster_mode]!r}")
    builder = _builder().appName("bobbin")
    if cluster_mode != "spark-submit":
        builder = builder.master("yarn" if cluster_mode == "yarn-client" else master)
        builder = builder.config("spark.executor.instances", nodes).config("spark.dynamicAllocation.enabled", "false")
        if cores is not None:
            # A rank is a task, and has all cores of its executor.
            builder = builder.config("spark.executor.cores", cores).config("spark.task.cpus", cores)
            builder = builder.config("spark.cores.max", cores * nodes)
        if memory is not None:
            builder = builder.config("spark.executor.memory", memory)
    for name, value in dict(conf or {}).items():
        builder = builder.config(name, value)
    _session, _workers = builder.getOrCreate(), nodes
    return _session


def session() -> Any:
    """The session to train in: that of ``init_orca_context``, the one that is there, or one of this machine."""
    global _session
    if _session is None:
        _session = _builder().appName("bobbin").getOrCreate()
    return _session


def workers() -> int:
    """How many ranks train: as many as nodes, or else one for each task that runs at once."""
    context = session().sparkContext
    return _workers or max(1, int(context.defaultParallelism))


def stop() -> None:
    """Stops the session, if there is one of ours."""
    global _session, _workers
    if _session is not None:
        _session.stop()
    _session = _workers = None


def _builder() -> Any:
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise ImportError('backend="spark" needs PySpark: pip install pyspark==4.1.1 pyarrow pandas') from error
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    return SparkSession.builder
