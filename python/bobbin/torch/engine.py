"""A PyTorch program as a network in training: its recipe, its weights, and the check that both give the same logits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .. import Dataset, Model, Trainer
from . import losses, optimizers, schedulers
from .data import Batch
from .errors import UnsupportedModule
from .network import Network, put_weights, translate, weights_of
from .pixels import Scaling

# How far logits may be apart, as a part of the largest.
TOLERANCE = 1e-4
# Images that both are asked about.
CHECKED = 16
# Shards are whole sixteens of images.
_LANES = 16


@dataclass
class Program:
    """What a user has written."""

    module: nn.Module
    loss: Any
    optimizer: Any
    scheduler: Any
    #: Steps between two steps of the scheduler.
    every: int = 1
    config: dict[str, Any] = field(default_factory=dict)
    clipping: dict[str, float] = field(default_factory=dict)
    #: Of products: ``f32`` or ``bf16``.
    precision: str = "f32"

    def untrained(self) -> Program:
        """The module alone, to be asked about images."""
        return Program(self.module, None, None, None, precision=self.precision)


class Engine:
    """Bobbin's side of a program."""

    def __init__(self, program: Program, batch: Batch, scaling: Scaling, threads: int | None) -> None:
        """Of the first batch, which says what images are like."""
        x, y = batch
        if program.precision == "f32" and _is_in_autocast():
            raise ValueError(
                "torch.autocast: found it around an estimator with precision='f32': expected from_torch(precision='bf16'), "
                "or a call outside of it"
            )
        if len(x) == 1 and program.optimizer is None:
            # A batch norm of vectors needs two images to be trained, which these are not.
            x, y = np.repeat(x, 2, 0), None if y is None else np.repeat(y, 2)
        self._module, self.scaling = program.module, scaling
        self.network = translate(program.module, tuple(x.shape[1:]))
        pixels = scaling.to_bytes(x)
        labels = np.zeros(len(x), np.int64) if y is None else y
        recipe = recipe_of(program, self.network, scaling, len(x))
        self._ends = schedulers.translate(program.scheduler, program.every).ends
        #: Images of a batch at most, where batch norm is over all of them.
        self._most = None if "shard" in program.config else recipe["data"].get("shard")
        classes = [str(i) for i in range(2 if self.network.outputs == 1 else self.network.outputs)]
        highest = int(labels.max(initial=0))
        if highest >= len(classes):
            raise ValueError(f"data: found label {highest}: expected labels below {len(classes)}, as many as outputs")
        data = Dataset.from_arrays(pixels, labels, class_names=classes)
        weights = weights_of(program.module, self.network)
        self.trainer = Trainer(recipe, data, weights=weights, threads=threads)
        # What is compared is f32 with f32, in which the module is.
        checked = self.trainer
        if program.precision != "f32":
            checked = Trainer(recipe, data, weights=weights, threads=threads, precision="f32")
        self._check_logits(checked.model(), pixels[:CHECKED])

    def step(self, x: NDArray[Any], y: NDArray[np.int64]) -> float:
        """One step of the optimiser; returns the mean loss of the images before it."""
        if self._most is not None and len(x) > self._most:
            raise ValueError(
                f"data: found a batch of {len(x)} images, after one of at most {self._most}: expected no larger one, "
                'as batch norm is over whole batches; config={"shard": N} says over how many images it is'
            )
        done = self.trainer.step
        if self._ends is not None and done > self._ends:
            raise ValueError(
                f"scheduler: step {done + 1} is past its end (T_max or total_steps), where PyTorch's rate rises again or "
                "fails: expected it to span all batches of training"
            )
        return self.trainer.step_on(self.scaling.to_bytes(x), y)

    def outputs_of(self, model: Model, x: NDArray[Any]) -> NDArray[np.float32]:
        """What the network, as it was when ``model`` was made of it, gives for images, [n, outputs]."""
        logits = model(self.scaling.to_bytes(x))
        # Of two classes Bobbin has logits of both, of which that of the first is zero.
        return logits[:, 1:] if self.network.outputs == 1 else logits

    def fill(self, module: nn.Module) -> None:
        """Writes the weights into the module."""
        put_weights(module, self.network, self.trainer.state_dict())

    def _check_logits(self, model: Model, pixels: NDArray[np.uint8]) -> None:
        """Whether the network computes what the module does."""
        modes = [(m, m.training) for m in self._module.modules()]
        self._module.eval()
        try:
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                expected = self._module(self.scaling.to_floats(pixels)).numpy().reshape(len(pixels), -1)
        finally:
            for m, mode in modes:
                m.training = mode
        found = self.outputs_of(model, pixels)
        off, largest = np.abs(found - expected).max(), np.abs(expected).max()
        if not off <= TOLERANCE * max(largest, 1e-6):
            raise UnsupportedModule(
                f"the network: its outputs are up to {off:.3g} apart from those of the module (the largest is "
                f"{largest:.3g}): something in `forward` was read wrongly, such as an in-place change of what is used "
                "again (`x += y`); write `forward` without it"
            )


def _is_in_autocast() -> bool:
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # PyTorch before 2.4.
        return bool(torch.is_autocast_cpu_enabled())


def recipe_of(program: Program, network: Network, scaling: Scaling, batch_size: int) -> dict[str, Any]:
    """The recipe of a program, whose epochs are single steps: a loader has an order, and epochs, of its own."""
    model: dict[str, Any] = {"layers": network.layers, "precision": program.precision}
    optimizer: dict[str, Any] = {}
    if program.loss is not None:
        model |= losses.translate(program.loss, network)
    elif network.outputs == 1:
        model["loss"] = "bce"
    # First, as it says which kinds there are.
    schedule = schedulers.translate(program.scheduler, program.every)
    if program.optimizer is not None:
        optimizer = optimizers.translate(program.optimizer, program.module, network, program.scheduler)
        optimizer |= program.clipping
    data: dict[str, Any] = {
        "batch_size": batch_size,
        "validation": "none",
        "normalize": {"mean": list(scaling.mean), "std": list(scaling.std)},
    }
    if (shard := _shard(program.config.get("shard"), network, batch_size)) is not None:
        data["shard"] = shard
    recipe: dict[str, Any] = {"model": model, "data": data}
    if optimizer:
        recipe["optimizer"] = optimizer
    if schedule.section:
        recipe["schedule"] = schedule.section
    recipe["stop"] = {"epochs": schedule.steps or 1}
    seed = program.config.get("seed", 0)
    return {"seed": seed, **recipe}


def _shard(given: Any, network: Network, batch_size: int) -> int | None:
    """A batch norm is over the whole batch in PyTorch, and over a shard here."""
    if given is not None:
        return int(given)
    if any(layer["kind"] == "batch-norm" for layer in network.layers):
        return -(-batch_size // _LANES) * _LANES
    return None
