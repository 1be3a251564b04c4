"""When something is due: at the end of an epoch, after so many steps, or when a value is reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far training has come."""

    #: Epochs that are complete.
    epoch: int
    #: Steps of the optimiser in all.
    iteration: int
    #: The loss of the last step.
    loss: float
    #: The first metric of the last validation.
    score: float | None
    #: Whether an epoch has just ended.
    epoch_ended: bool


class Trigger:
    """A condition that is asked after every step."""

    def is_due(self, progress: Progress) -> bool:
        """Whether it holds now."""
        raise NotImplementedError

    def needs_score(self) -> bool:
        """Whether it asks for the metric of a validation."""
        return False


class EveryEpoch(Trigger):
    """At the end of every epoch."""

    def is_due(self, progress: Progress) -> bool:
        return progress.epoch_ended


@dataclass(frozen=True)
class SeveralIteration(Trigger):
    """After every ``interval`` steps."""

    interval: int

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"SeveralIteration: found {self.interval}: expected 1 or more")

    def is_due(self, progress: Progress) -> bool:
        return progress.iteration > 0 and progress.iteration % self.interval == 0


class TriggerAnd(Trigger):
    """When all of several are due."""

    def __init__(self, first: Trigger, *others: Trigger) -> None:
        self._triggers = (first, *others)

    def is_due(self, progress: Progress) -> bool:
        return all(trigger.is_due(progress) for trigger in self._triggers)

    def needs_score(self) -> bool:
        return any(trigger.needs_score() for trigger in self._triggers)


class TriggerOr(Trigger):
    """When one of several is due."""

    def __init__(self, first: Trigger, *others: Trigger) -> None:
        self._triggers = (first, *others)

    def is_due(self, progress: Progress) -> bool:
        return any(trigger.is_due(progress) for trigger in self._triggers)

    def needs_score(self) -> bool:
        return any(trigger.needs_score() for trigger in self._triggers)


@dataclass(frozen=True)
class MaxEpoch(Trigger):
    """After so many epochs."""

    max: int

    def is_due(self, progress: Progress) -> bool:
        return progress.epoch >= self.max


@dataclass(frozen=True)
class MaxIteration(Trigger):
    """After so many steps."""

    max: int

    def is_due(self, progress: Progress) -> bool:
        return progress.iteration >= self.max


@dataclass(frozen=True)
class MinLoss(Trigger):
    """When the loss of a step is below ``min``."""

    min: float

    def is_due(self, progress: Progress) -> bool:
        return progress.loss < self.min


@dataclass(frozen=True)
class MaxScore(Trigger):
    """When the first metric of a validation is above ``max``."""

    max: float

    def is_due(self, progress: Progress) -> bool:
        return progress.score is not None and progress.score > self.max

    def needs_score(self) -> bool:
        return True
