"""A run on Spark, and whether another fit makes it longer."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from typing import Any

# Letters that an argument of a program may have, with room to spare.
_LONGEST = 100_000


@dataclass
class Run:
    """What a fit trains, and for how long."""

    #: What is equal of the same images to train on and to validate on, and of the columns of their labels.
    data: tuple[Any, Any, Any]
    columns: Any
    #: Where it is recorded for TensorBoard, if that has been said.
    log: str | None
    #: Arguments of ``bobbin train``.
    arguments: list[str]
    #: The recipe but for epochs and rates.
    base: dict[str, Any]
    epochs: int
    #: The rate of each epoch or step, where there is a scheduler.
    rates: list[float]
    by_step: bool
    #: Where it is, once it has ended.
    place: str | None = None

    def longer(self, other: Run) -> Run | None:
        """This one with the epochs of another after its own, if that is of the same data and settings."""
        found = replace(self, epochs=self.epochs + other.epochs, rates=self.rates + other.rates)
        if self._settings() != other._settings() or max(map(len, found.flags())) > _LONGEST:
            return None
        return found

    def recipe(self) -> dict[str, Any]:
        """The recipe, with epochs and rates."""
        recipe = self.base | {"stop": {"epochs": self.epochs}}
        if self.rates:
            recipe["schedule"] = {"kind": "list", "factors": self._factors(), "by_step": self.by_step}
        return recipe

    def flags(self) -> list[str]:
        """Flags of a run that goes on for so long in all."""
        factors = ["--set", f"schedule.factors={json.dumps(self._factors())}"] if self.rates else []
        return ["--epochs", str(self.epochs), *factors]

    def _factors(self) -> list[float]:
        peak = self.base["optimizer"]["lr"]
        return [rate / peak for rate in self.rates]

    def _settings(self) -> Any:
        """What must be the same: where a scheduler says the rates, not the highest of them."""
        recipe = copy.deepcopy(self.base)
        if self.rates:
            recipe["optimizer"]["lr"] = None
        return self.data, self.columns, self.log, self.arguments, recipe, bool(self.rates), self.by_step
