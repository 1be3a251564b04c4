"""What a user has written: a module, an optimiser, a loss and a scheduler, each as it is or as a function that makes it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

# How functions that make parts of a program are called.
_CREATORS = {
    "model": "model(config)",
    "optimizer": "optimizer(model, config)",
    "loss": "loss(config)",
    "scheduler": "scheduler(optimizer, config)",
}


@dataclass
class Program:
    """What a user has written."""

    module: nn.Module
    loss: Any
    optimizer: Any
    config: dict[str, Any] = field(default_factory=dict)
    clipping: dict[str, float] = field(default_factory=dict)
    #: Random changes of training images, as the section ``augment`` of a recipe.
    augment: dict[str, Any] = field(default_factory=dict)
    #: Of products: ``f32`` or ``bf16``.
    precision: str = "f32"

    def untrained(self) -> Program:
        """The module alone, to be asked about images."""
        return Program(self.module, None, None, precision=self.precision)


def program_of(
    model: Any, optimizer: Any, loss: Any, schedulers: list[Any], config: Any
) -> tuple[Program, Any]:
    """The program, and its scheduler, of which there is one at most."""
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(f"config: found {type(config).__name__}: expected a dict")
    config = dict(config or {})
    module = model if isinstance(model, nn.Module) else _made("model", model, config)
    if not isinstance(module, nn.Module):
        raise ValueError(f"model: found {type(module).__name__}: expected a torch.nn.Module, or what makes one")
    _not_a_class("optimizer", optimizer, torch.optim.Optimizer, "model.parameters()")
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        optimizer = _made("optimizer", optimizer, module, config)
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        loss = loss()
    elif loss is not None and not isinstance(loss, nn.Module) and not _is_of_torch(loss):
        loss = _made("loss", loss, config)
    if len(schedulers) > 1:
        raise ValueError("scheduler: found scheduler_creator too: expected one of them")
    scheduler = schedulers[0] if schedulers else None
    _not_a_class("scheduler", scheduler, object, "optimizer, …")
    if scheduler is not None and not hasattr(scheduler, "step"):
        scheduler = _made("scheduler", scheduler, optimizer, config)
    return Program(module, loss, optimizer, config=config), scheduler


def described(program: Program, metrics: list[str]) -> dict[str, str]:
    """Its parts in words."""
    parts = {"model": program.module, "optimizer": program.optimizer, "loss": program.loss}
    found = {name: getattr(part, "__name__", type(part).__name__) for name, part in parts.items() if part is not None}
    found["parameters"] = f"{sum(p.numel() for p in program.module.parameters()):,}"
    return found | ({"metrics": ", ".join(metrics)} if metrics else {})


def _not_a_class(name: str, given: Any, base: type, arguments: str) -> None:
    """Refuses a class where one of its instances is meant: it would be called as a creator."""
    if isinstance(given, type) and issubclass(given, base):
        kind = given.__name__
        raise ValueError(f"{name}: found the class {kind}: expected {kind}({arguments}), or a function {_CREATORS[name]}")


def _made(name: str, creator: Any, *arguments: Any) -> Any:
    if not callable(creator):
        found = type(creator).__name__
        raise ValueError(f"{name}: found {found}: expected one of PyTorch's, or a function that makes it")
    try:
        inspect.signature(creator).bind(*arguments)
    except ValueError:
        pass  # One in C, which says nothing of what it takes.
    except TypeError as error:
        called = getattr(creator, "__name__", type(creator).__name__)
        raise ValueError(f"{name}: found `{called}`: expected a function called as {_CREATORS[name]}: {error}") from None
    return creator(*arguments)


def _is_of_torch(function: Any) -> bool:
    return getattr(function, "__module__", None) == "torch.nn.functional"
