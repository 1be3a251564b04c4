"""Schedulers of PyTorch where their steps cannot be taken on the way, as on Spark: the rates of a fit are planned ahead, as the
list of factors that a recipe has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import UnsupportedModule, class_name
from .optimizers import settings_of
from .schedulers import Stepping

_FOLLOW = "backend='local' and 'mpi' follow it"


class Plan:
    """The rates of a scheduler in the fits of an estimator, of which each takes the scheduler's steps."""

    def __init__(self, scheduler: Any, optimizer: Any, frequency: str) -> None:
        self._stepping = Stepping(scheduler, optimizer, frequency)
        self._scheduler, self._optimizer = scheduler, optimizer
        self.by_step = scheduler is not None and frequency == "batch"
        if self._stepping.sees:
            kind = class_name(scheduler)
            raise UnsupportedModule(f"scheduler: found {kind}, whose rates depend on results, on Spark: {_FOLLOW}")

    @contextmanager
    def of(self, epochs: int, steps: int) -> Iterator[list[float]]:
        """The highest rate of a group in each epoch, or each step of one that has so many; nothing without a scheduler.

        Within, the groups have the rates of where that is highest, and afterwards those of the end; after an exception the
        scheduler is where it was.
        """
        if self._scheduler is None:
            yield []
            return
        before = self._stepping.state()
        try:
            rates = self._taken(epochs, steps)
            end = self._rates()
            self._set(max(rates, key=max))
            yield [max(some) for some in rates]
            self._set(end)
        except BaseException:
            self._stepping.restore(before)
            raise

    def _taken(self, epochs: int, steps: int) -> list[list[float]]:
        """Takes the scheduler's steps; returns the rates of all groups before each."""
        rates, first = [], self._settings()
        for _ in range(epochs):
            for _ in range(steps if self.by_step else 1):
                rates.append(self._rates())
                self._stepping.after_batch()
                self._check(first)
            self._stepping.after_epoch(float("nan"))
            self._check(first)
        return rates

    def _check(self, first: Any) -> None:
        """Refuses a scheduler that changes more than the rate of all groups together."""
        ratios, others = self._settings()
        kind = class_name(self._scheduler)
        if others != first[1]:
            instead = "expected cycle_momentum=False" if hasattr(self._scheduler, "cycle_momentum") else "expected one of rates"
            raise UnsupportedModule(f"scheduler: found {kind}, which changes more than rates, on Spark: {instead}; {_FOLLOW}")
        if any(self._rates()) and any(first[0]) and any(abs(a - b) > 1e-9 for a, b in zip(ratios, first[0], strict=True)):
            changed = "which changes the rates of groups by different factors"
            raise UnsupportedModule(f"scheduler: found {kind}, {changed}, on Spark: expected one factor; {_FOLLOW}")

    def _settings(self) -> tuple[list[float], list[Any]]:
        """Of each group the part of the highest rate, and all other settings."""
        found = settings_of(self._optimizer)
        return [group[0] for group in found], [group[1:] for group in found]

    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self._optimizer.param_groups]

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
