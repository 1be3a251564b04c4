"""The learning rate, which PyTorch's own scheduler decides: it takes its steps on the optimiser's groups, and Bobbin
trains with what these say."""

from __future__ import annotations

import copy
import inspect
import warnings
from typing import Any

from .errors import UnsupportedModule, class_name

FREQUENCIES = ("batch", "epoch")

# What a checkpoint keeps of a scheduler that looks at results: others are where they were after as many steps.
_SEEN = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


class Stepping:
    """A scheduler of ``torch.optim.lr_scheduler``, or anything with such a ``step()``, and when it takes one."""

    def __init__(self, scheduler: Any, optimizer: Any, freq: str) -> None:
        if scheduler is not None and getattr(scheduler, "optimizer", optimizer) is not optimizer:
            raise UnsupportedModule(
                "scheduler: it is that of another optimizer: expected scheduler.optimizer to be optimizer"
            )
        self._scheduler, self._optimizer, self._freq = scheduler, optimizer, freq
        #: Whether it asks for a result, as ReduceLROnPlateau does: then it takes a step after each epoch.
        self.sees = scheduler is not None and "metrics" in inspect.signature(scheduler.step).parameters
        self._steps = 0
        groups = [] if scheduler is None else optimizer.param_groups
        self._first_groups = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        self._first = _copied(scheduler.state_dict()) if hasattr(scheduler, "state_dict") else None

    def after_batch(self) -> None:
        """After a step of the optimiser."""
        if self._scheduler is not None and self._freq == "batch" and not self.sees:
            self._step()

    def after_epoch(self, result: float) -> None:
        """After an epoch with this loss: of the validation, or without one of training."""
        if self.sees:
            self._step(result)
        elif self._scheduler is not None and self._freq == "epoch":
            self._step()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON has it."""
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        seen = {name: getattr(self._scheduler, name) for name in _SEEN} if self.sees else {}
        return {"steps": self._steps, "rates": rates, "seen": seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Makes the scheduler the one of a state. Raises ``ValueError`` if it cannot go back to where that was."""
        if self.sees:
            for name, value in state["seen"].items():
                setattr(self._scheduler, name, value)
            for group, rate in zip(self._optimizer.param_groups, state["rates"], strict=False):
                group["lr"] = rate
        elif self._scheduler is not None:
            self._begin_anew(state["steps"])
            for _ in range(state["steps"] - self._steps):
                self._step()
        self._steps = state["steps"]

    def _begin_anew(self, steps: int) -> None:
        if steps >= self._steps:
            return
        if self._first is None:
            kind = class_name(self._scheduler)
            found = f"{kind} has taken {self._steps} steps, and the file is of {steps}"
            raise ValueError(f"scheduler: {found}: expected a new one")
        self._scheduler.load_state_dict(copy.deepcopy(self._first))
        for group, first in zip(self._optimizer.param_groups, self._first_groups, strict=False):
            group.update(first)
        self._steps = 0

    def _step(self, *result: float) -> None:
        # PyTorch warns that its own optimiser has taken no step, and of what its own SequentialLR does.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._scheduler.step(*result)
        self._steps += 1


def _copied(state: dict[str, Any]) -> dict[str, Any] | None:
    """None if it has what cannot be copied, as that of PyTorch 1's CyclicLR does."""
    try:
        return copy.deepcopy(state)
    except TypeError:
        return None
