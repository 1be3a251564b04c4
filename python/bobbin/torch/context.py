"""Orca's context, for one machine."""

from __future__ import annotations

import os

_threads: int | None = None


def init_orca_context(
    cluster_mode: str = "local", cores: int | str = "*", num_nodes: int = 1, memory: str | None = None
) -> None:
    """Says how many cores the estimators from now on may use; ``"*"`` is all of this machine.

    There is nothing to be started or reserved, so ``memory`` is ignored: what there is of Orca's other arguments
    docs/from-torch.md says.
    """
    global _threads
    if cluster_mode != "local" or num_nodes != 1:
        raise ValueError(
            f"init_orca_context: found cluster_mode={cluster_mode!r}, num_nodes={num_nodes}: expected 'local' and 1; "
            "several machines train by `mpirun bobbin train` or deploy/spark"
        )
    found = os.cpu_count() or 1 if cores == "*" else cores
    if not isinstance(found, int) or found < 1:
        raise ValueError(f"init_orca_context: found cores={cores!r}: expected a number of 1 or more, or '*'")
    _threads = None if cores == "*" else found


def stop_orca_context() -> None:
    """Estimators from now on use all cores again."""
    global _threads
    _threads = None


def threads() -> int | None:
    """The number of threads of an estimator, if someone has said it."""
    return _threads
