"""A PyTorch program as a network in training: its recipe, its weights, and the check that both give the same logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .. import Dataset, Model, Trainer
from . import losses, optimizers
from .data import Batch
from .errors import UnsupportedModule
from .network import Network, put_weights, translate, weights_of
from .pixels import Scaling
from .program import Program
from .ranks import RankTrainer

# How far logits may be apart, as a part of the largest.
TOLERANCE = 1e-4
# Images that both are asked about.
CHECKED = 16
# Shards are whole sixteens of images.
_LANES = 16


class Engine:
    """Bobbin's side of a program."""

    def __init__(
        self, program: Program, batch: Batch, scaling: Scaling, threads: int | None = None, ranks: int | None = None
    ) -> None:
        """Of the first batch, which says what images are like; on so many ranks of MPI, if any."""
        x, y = batch
        if program.precision == "f32" and _is_in_autocast():
            raise ValueError(
                "torch.autocast: found it around an estimator with precision='f32': expected from_torch(precision='bf16'), "
                "or a call outside of it"
            )
        if len(x) == 1 and program.optimizer is None:
            # A batch norm of vectors needs two images to be trained, which these are not.
            x, y = np.repeat(x, 2, 0), None if y is None else np.repeat(y, 2, 0)
        self.program, self.scaling = program, scaling
        self.network = translate(program.module, tuple(x.shape[1:]))
        pixels = scaling.to_pixels(x)
        several = losses.has_several_labels(program.loss, self.network.outputs)
        labels = np.zeros((len(x), self.network.outputs) if several else len(x), np.int64)
        if y is not None and program.loss is not None:
            labels = losses.checked(program.loss, self.network.outputs, y)
        recipe = recipe_of(program, self.network, scaling, len(x))
        #: Images of a batch at most, where batch norm is over all of them.
        self._most = None if "shard" in program.config else recipe["data"].get("shard")
        classes = [str(i) for i in range(2 if self.network.outputs == 1 else self.network.outputs)]
        weights = weights_of(program.module, self.network)
        data = Dataset.from_arrays(in_bytes(pixels) if program.augment else pixels, labels, class_names=classes)
        here = Trainer(recipe, data, weights=weights, threads=threads)
        self.trainer: Trainer | RankTrainer = here
        # What is compared is f32 with f32, in which the module is.
        checked = here
        if program.precision != "f32":
            checked = Trainer(recipe, data, weights=weights, threads=threads, precision="f32")
        self._check_logits(checked.model(), x[:CHECKED])
        if ranks is not None:
            self.trainer = RankTrainer(recipe, (pixels, labels), classes, here, ranks, threads)
        self._settings = self._decisive() if program.optimizer is not None else []

    def step(self, x: NDArray[Any], y: NDArray[np.int64]) -> float:
        """One step of the optimiser, at the rate of its groups; returns the mean loss of the images before it."""
        if self._most is not None and len(x) > self._most:
            raise ValueError(
                f"data: found a batch of {len(x)} images, after one of at most {self._most}: expected no larger one, "
                'as batch norm is over whole batches; config={"shard": N} says over how many images it is'
            )
        pixels = self.scaling.to_pixels(x)
        if self.program.augment:
            pixels = in_bytes(pixels)
        y = losses.checked(self.program.loss, self.network.outputs, y)
        self._follow()
        return self.trainer.step_on(pixels, y, lr=optimizers.rate(self.program.optimizer))

    def outputs_of(self, model: Model, x: NDArray[Any]) -> NDArray[np.float32]:
        """What the network, as it was when ``model`` was made of it, gives for images, [n, outputs]."""
        logits = model(self.scaling.to_pixels(x))
        # Of two classes Bobbin has logits of both, of which that of the first is zero.
        return logits[:, 1:] if self.network.outputs == 1 else logits

    def fill(self, module: nn.Module) -> None:
        """Writes the weights into the module."""
        put_weights(module, self.network, self.trainer.state_dict())

    def _follow(self) -> None:
        """Has Bobbin's optimiser follow what has changed in PyTorch's."""
        now = self._decisive()
        if now != self._settings:
            program = self.program
            section = optimizers.translate(program.optimizer, program.module, self.network)
            self.trainer.set_optimizer(section | program.clipping)
            self._settings = now

    def _decisive(self) -> list[Any]:
        """What decides how parameters are trained beside the rate."""
        program = self.program
        frozen = [p.requires_grad for p in program.module.parameters()]
        return [optimizers.settings_of(program.optimizer), frozen, dict(program.clipping)]

    def _check_logits(self, model: Model, x: NDArray[Any]) -> None:
        """Whether the network computes what the module does."""
        module = self.program.module
        modes = [(m, m.training) for m in module.modules()]
        module.eval()
        try:
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                expected = module(self.scaling.to_floats(x)).numpy().reshape(len(x), -1)
        finally:
            for m, mode in modes:
                m.training = mode
        found = self.outputs_of(model, x)
        off, largest = np.abs(found - expected).max(), np.abs(expected).max()
        if not off <= TOLERANCE * max(largest, 1e-6):
            raise UnsupportedModule(
                f"the network: its outputs are up to {off:.3g} apart from those of the module (the largest is "
                f"{largest:.3g}): something in `forward` was read wrongly, such as an in-place change of what is used "
                "again (`x += y`); write `forward` without it"
            )


def _is_in_autocast() -> bool:
    try:
        return bool(torch.is_autocast_enabled("cpu"))
    except TypeError:  # PyTorch before 2.4.
        return bool(torch.is_autocast_cpu_enabled())


def in_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest bytes, which random changes are of."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.min(initial=0) < -1e-3 or pixels.max(initial=0) > 1.001:
        beyond = "found values beyond those of pixels"
        raise ValueError(f"data: {beyond}: expected pictures, as training began with changes of them")
    found: NDArray[np.uint8] = (255 * pixels.clip(0, 1) + 0.5).astype(np.uint8)
    return found


def recipe_of(program: Program, network: Network, scaling: Scaling, batch_size: int) -> dict[str, Any]:
    """The recipe of a program, whose epochs are single steps: a loader has an order, and epochs, of its own."""
    model: dict[str, Any] = {"layers": network.layers, "precision": program.precision}
    if program.loss is not None:
        model |= losses.translate(program.loss, network)
    elif network.outputs == 1:
        model["loss"] = "bce"
    data: dict[str, Any] = {
        "batch_size": batch_size,
        "validation": "none",
        "normalize": {"mean": list(scaling.mean), "std": list(scaling.std)},
    }
    if (shard := _shard(program.config.get("shard"), network, batch_size)) is not None:
        data["shard"] = shard
    recipe: dict[str, Any] = {"seed": program.config.get("seed", 0), "model": model, "data": data}
    if program.optimizer is not None:
        optimizer = optimizers.translate(program.optimizer, program.module, network)
        recipe["optimizer"] = optimizer | program.clipping
    if program.augment:
        recipe["augment"] = program.augment
    recipe["stop"] = {"epochs": 1}
    return recipe


def _shard(given: Any, network: Network, batch_size: int) -> int | None:
    """A batch norm is over the whole batch in PyTorch, and over a shard here."""
    if given is not None:
        return int(given)
    if any(layer["kind"] == "batch-norm" for layer in network.layers):
        return -(-batch_size // _LANES) * _LANES
    return None
