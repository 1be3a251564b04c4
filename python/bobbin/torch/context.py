"""Orca's context: on how many cores estimators train, and as how many ranks."""

from __future__ import annotations

import os

_MODES = ("local", "standalone", "spark-submit", "k8s-client", "yarn-client")

_threads: int | None = None
_ranks = 1


def init_orca_context(
    cluster_mode: str = "local", cores: int | str = "*", num_nodes: int = 1, memory: str | None = None
) -> None:
    """Says how many cores the estimators from now on may use, ``"*"`` is all of this machine; and as how many ranks
    those with ``backend="mpi"`` train, ``num_nodes``.

    There is nothing to be started or reserved, so ``memory`` is ignored: what there is of Orca's other arguments
    docs/from-torch.md says.
    """
    global _threads, _ranks
    if cluster_mode != "local":
        known = "" if cluster_mode in _MODES else f", which is none of {', '.join(_MODES)}"
        raise ValueError(
            f"init_orca_context: found cluster_mode={cluster_mode!r}{known}: expected 'local'; on Spark train with "
            "deploy/spark, on other machines with backend=\"mpi\" and BOBBIN_MPIRUN=\"mpirun --hostfile hosts\""
        )
    found = os.cpu_count() or 1 if cores == "*" else cores
    if not isinstance(found, int) or found < 1:
        raise ValueError(f"init_orca_context: found cores={cores!r}: expected a number of 1 or more, or '*'")
    if num_nodes < 1:
        raise ValueError(f"init_orca_context: found num_nodes={num_nodes}: expected 1 or more")
    _threads, _ranks = None if cores == "*" else found, num_nodes


def stop_orca_context() -> None:
    """Estimators from now on use all cores again, and one rank."""
    global _threads, _ranks
    _threads, _ranks = None, 1


def threads() -> int | None:
    """The number of threads of an estimator, if someone has said it: of each of its ranks, if it has any."""
    return _threads


def ranks() -> int:
    """The number of ranks of an estimator with ``backend="mpi"``."""
    return _ranks
