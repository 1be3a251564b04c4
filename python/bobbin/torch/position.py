"""Where in an epoch training is, so that it goes on with the batches that come next: after an interruption, or in another
process after a checkpoint."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


@dataclass
class Position:
    """The batches of the epoch under way that were trained on, and PyTorch's random numbers as they were at its start."""

    #: Batches that the epoch has, if that is known.
    steps: int | None = None
    #: Batches that were trained on, their images, and the sum of the losses of these.
    done: int = 0
    images: int = 0
    loss: float = 0.0
    #: The state of each generator, by what has it.
    random: dict[str, torch.Tensor] = field(default_factory=dict)

    @staticmethod
    def now(loader: Any, steps: int | None) -> Position:
        """The beginning of an epoch of a loader, of so many batches if that is known."""
        return Position(steps, random={name: generator.get_state() for name, generator in _generators(loader).items()})

    def begin(self, loader: Any) -> None:
        """Has the loader draw what it drew when this epoch began."""
        for name, generator in _generators(loader).items():
            if name in self.random:
                generator.set_state(self.random[name])

    def add(self, images: int, loss: float) -> None:
        """Notes a batch with this mean loss."""
        self.done, self.images, self.loss = self.done + 1, self.images + images, self.loss + loss * images

    def state(self) -> dict[str, Any]:
        """As JSON has it."""
        random = {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in self.random.items()}
        return {"steps": self.steps, "done": self.done, "images": self.images, "loss": self.loss, "random": random}

    @staticmethod
    def of(state: dict[str, Any]) -> Position:
        """That of ``state()``."""
        random = {
            name: torch.from_numpy(np.frombuffer(base64.b64decode(text), np.uint8).copy())
            for name, text in state["random"].items()
        }
        return Position(state["steps"], state["done"], state["images"], state["loss"], random)


def _generators(loader: Any) -> dict[str, torch.Generator]:
    """Whatever decides the order of a loader's batches, by name."""
    batches = getattr(loader, "batch_sampler", None)
    samplers = {
        "loader": loader,
        "sampler": getattr(loader, "sampler", None),
        "batch sampler": batches,
        "its sampler": getattr(batches, "sampler", None) or getattr(getattr(loader, "sampler", None), "sampler", None),
    }
    found = {name: getattr(thing, "generator", None) for name, thing in samplers.items()}
    own = {name: generator for name, generator in found.items() if isinstance(generator, torch.Generator)}
    return {"torch": torch.default_generator} | own
