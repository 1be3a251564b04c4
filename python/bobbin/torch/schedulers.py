"""Schedulers of PyTorch as the section ``[schedule]`` of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch.optim import lr_scheduler

from .errors import UnsupportedModule, class_name

FREQUENCIES = ("batch", "epoch")


@dataclass(frozen=True)
class Schedule:
    """A schedule that counts in steps of the optimiser, as if each were an epoch."""

    section: dict[str, Any] = field(default_factory=dict)
    #: Steps after which the curve has ended, if it has an end.
    steps: int | None = None
    #: Steps before the last whose rate is PyTorch's, if PyTorch rises again or fails after it.
    ends: int | None = None


def translate(scheduler: Any, every: int) -> Schedule:
    """The schedule of a scheduler of ``torch.optim.lr_scheduler`` whose ``step()`` is called every so many steps.

    Raises ``UnsupportedModule`` for one that Bobbin has no equivalent for.
    """
    if scheduler is None:
        return Schedule()
    make = _KINDS.get(type(scheduler))
    if make is None:
        known = ", ".join(kind.__name__ for kind in _KINDS)
        raise UnsupportedModule(f"scheduler: found {class_name(scheduler)}, expected one of {known}")
    if scheduler.last_epoch != 0:
        kind, steps = class_name(scheduler), scheduler.last_epoch
        raise UnsupportedModule(f"scheduler: {kind} has taken {steps} steps already: expected a new one")
    return make(scheduler, every)


def base_rate(group: dict[str, Any], scheduler: Any) -> float:
    """The learning rate of a group that the curve of its scheduler, at its first step, is a factor of."""
    kind = type(scheduler)
    if kind is lr_scheduler.OneCycleLR:
        return float(group["max_lr"])
    if kind is lr_scheduler.LinearLR:
        # It has scaled the rate once, when it was made.
        start, before = float(scheduler.start_factor), float(group["initial_lr"])
        now = float(group["lr"])
        return before if math.isclose(before * start, now, rel_tol=1e-12) else now / start
    return float(group["lr"])


def _step(scheduler: Any, every: int) -> Schedule:
    return Schedule({"kind": "step", "step_size": scheduler.step_size * every, "gamma": float(scheduler.gamma)})


def _multi_step(scheduler: Any, every: int) -> Schedule:
    milestones = sorted(scheduler.milestones)
    if len(milestones) < sum(scheduler.milestones.values()):
        raise UnsupportedModule("scheduler: MultiStepLR has a milestone twice: expected each once")
    steps = [milestone * every for milestone in milestones]
    return Schedule({"kind": "multi-step", "milestones": steps, "gamma": float(scheduler.gamma)})


def _exponential(scheduler: Any, every: int) -> Schedule:
    gamma = float(scheduler.gamma)
    if every == 1:
        return Schedule({"kind": "exponential", "gamma": gamma})
    return Schedule({"kind": "step", "step_size": every, "gamma": gamma})


def _by_batch(scheduler: Any, every: int, setting: str) -> None:
    if every != 1:
        kind = type(scheduler).__name__
        raise UnsupportedModule(
            f"scheduler: {kind} is stepped once an epoch, and Bobbin's falls with every batch: expected "
            f'scheduler_step_freq="batch" and {setting} as a number of batches'
        )


def _cosine(scheduler: Any, every: int) -> Schedule:
    _by_batch(scheduler, every, "T_max")
    lowest, rates = float(scheduler.eta_min), sorted({float(g["lr"]) for g in scheduler.optimizer.param_groups})
    if lowest != 0 and len(rates) > 1:
        raise UnsupportedModule(
            f"scheduler: CosineAnnealingLR has eta_min={lowest}, and the optimizer groups of lr {rates}, which would "
            "end at different rates in Bobbin: expected eta_min=0, or one lr"
        )
    total = int(scheduler.T_max)
    return Schedule({"kind": "cosine", "min_lr": lowest}, total, ends=total)


def _polynomial(scheduler: Any, every: int) -> Schedule:
    _by_batch(scheduler, every, "total_iters")
    return Schedule({"kind": "polynomial", "power": float(scheduler.power)}, int(scheduler.total_iters))


def _one_cycle(scheduler: Any, every: int) -> Schedule:
    _by_batch(scheduler, every, "total_steps")
    if getattr(scheduler, "cycle_momentum", False):
        raise UnsupportedModule("scheduler: OneCycleLR has cycle_momentum=True: expected cycle_momentum=False")
    anneal = getattr(scheduler, "_anneal_func_type", None) or scheduler.anneal_func.__name__
    phases, total = scheduler._schedule_phases, scheduler.total_steps
    if "cos" not in anneal or len(phases) != 2:
        raise UnsupportedModule('scheduler: OneCycleLR: expected anneal_strategy="cos" and three_phase=False')
    group = scheduler.optimizer.param_groups[0]
    section = {
        "kind": "one-cycle",
        "rise": (phases[0]["end_step"] + 1) / total,
        "start_divisor": group["max_lr"] / group["initial_lr"],
        "end_divisor": group["initial_lr"] / group["min_lr"],
    }
    return Schedule(section, int(total), ends=int(total) - 1)


def _linear(scheduler: Any, every: int) -> Schedule:
    """A warm-up. Bobbin's first step is one rise above ``warmup_start``, PyTorch's is ``start_factor`` itself."""
    _by_batch(scheduler, every, "total_iters")
    start, total = float(scheduler.start_factor), int(scheduler.total_iters)
    before = (start * (total + 1) - 1) / total
    if scheduler.end_factor != 1 or before < 0:
        least = 1 / (total + 1)
        raise UnsupportedModule(
            f"scheduler: LinearLR from {start} to {scheduler.end_factor}: expected end_factor=1.0 and a "
            f"start_factor of {least:.3g} at least"
        )
    return Schedule({"kind": "constant", "warmup": float(total + 1), "warmup_start": before})


# By the class itself: one derived from it may have a curve of its own.
_KINDS: dict[type, Callable[[Any, int], Schedule]] = {
    lr_scheduler.StepLR: _step,
    lr_scheduler.MultiStepLR: _multi_step,
    lr_scheduler.ExponentialLR: _exponential,
    lr_scheduler.CosineAnnealingLR: _cosine,
    lr_scheduler.PolynomialLR: _polynomial,
    lr_scheduler.OneCycleLR: _one_cycle,
    lr_scheduler.LinearLR: _linear,
}
