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

    #: Data, columns, where it is recorded, arguments, and the recipe but for epochs and rates.
    what: tuple[Any, Any, Any, list[str], dict[str, Any]]
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
        recipe = self.what[4] | {"stop": {"epochs": self.epochs}}
        if self.rates:
            recipe["schedule"] = {"kind": "list", "factors": self._factors(), "by_step": self.by_step}
        return recipe

    def flags(self) -> list[str]:
        """Flags of a run that goes on for so long in all."""
        factors = ["--set", f"schedule.factors={json.dumps(self._factors())}"] if self.rates else []
        return ["--epochs", str(self.epochs), *factors]

    def _factors(self) -> list[float]:
        peak = self.what[4]["optimizer"]["lr"]
        return [rate / peak for rate in self.rates]

    def _settings(self) -> Any:
        """What must be the same: where a scheduler says the rates, not the highest of them."""
        recipe = copy.deepcopy(self.what[4])
        if self.rates:
            recipe["optimizer"]["lr"] = None
        return *self.what[:4], recipe, bool(self.rates), self.by_step
