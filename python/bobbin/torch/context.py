"""Orca's context: on how many cores estimators train, as how many ranks, or on which cluster of Spark."""

from __future__ import annotations

import os
import sys
from typing import Any

_threads: int | None = None
_ranks = 1


def init_orca_context(
    cluster_mode: str = "local",
    cores: int | str = "*",
    num_nodes: int = 1,
    memory: str | None = None,
    master: str | None = None,
    conf: dict[str, str] | None = None,
) -> Any:
    """Says how many cores the estimators from now on may use, ``"*"`` is all of this machine; and as how many ranks
    those with ``backend="mpi"`` train, ``num_nodes``.

    Of ``backend="spark"`` it makes the session, or finds it, and returns its SparkContext: ``cluster_mode`` is
    ``"standalone"`` or ``"k8s-client"`` (with ``master``), ``"yarn-client"``, or ``"spark-submit"``, and
    ``num_nodes`` the number of workers, each an executor of ``cores`` and ``memory``; ``conf`` has more of Spark's settings.
    With ``"local"`` nothing is started or reserved, so ``memory`` is ignored.
    """
    global _threads, _ranks
    from . import spark_context

    modes = ("local", *spark_context.MODES)
    cluster_mode = {"yarn": "yarn-client", "k8s": "k8s-client"}.get(str(cluster_mode).lower(), str(cluster_mode).lower())
    if cluster_mode not in modes:
        raise ValueError(f"init_orca_context: found cluster_mode={cluster_mode!r}: expected one of {', '.join(modes)}")
    if not isinstance(num_nodes, int) or num_nodes < 1:
        raise ValueError(f"init_orca_context: found num_nodes={num_nodes!r}: expected a number of 1 or more")
    found = os.cpu_count() or 1 if cores == "*" else cores
    if not isinstance(found, int) or found < 1:
        raise ValueError(f"init_orca_context: found cores={cores!r}: expected a number of 1 or more, or '*'")
    if cluster_mode != "local":
        count = None if cores == "*" else found
        return spark_context.begin(cluster_mode, count, memory, num_nodes, master, conf).sparkContext
    _threads, _ranks = None if cores == "*" else found, num_nodes
    return None


def stop_orca_context() -> None:
    """Estimators from now on use all cores again, and one rank; ends the session of Spark."""
    global _threads, _ranks
    _threads, _ranks = None, 1
    if (spark_context := sys.modules.get(f"{__package__}.spark_context")) is not None:
        spark_context.stop()


def threads() -> int | None:
    """The number of threads of an estimator, if someone has said it: of each of its ranks, if it has any."""
    return _threads


def ranks() -> int:
    """The number of ranks of an estimator with ``backend="mpi"``."""
    return _ranks
