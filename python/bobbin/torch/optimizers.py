"""Optimisers of PyTorch as the section ``[optimizer]`` of a recipe."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .errors import UnsupportedModule, class_name
from .network import Network

# Of each optimiser, by the class itself, as one derived from it may have a step of its own: its word, the fields that it
# has in a recipe, and settings with the one value that Bobbin has.
_KINDS: dict[type, tuple[str, dict[str, str], dict[str, Any]]] = {
    torch.optim.SGD: ("sgd", {"momentum": "momentum", "nesterov": "nesterov"}, {"dampening": 0}),
    torch.optim.Adam: ("adam", {"betas": "betas", "eps": "eps"}, {"amsgrad": False, "decoupled_weight_decay": False}),
    torch.optim.AdamW: ("adamw", {"betas": "betas", "eps": "eps"}, {"amsgrad": False, "decoupled_weight_decay": True}),
    torch.optim.RMSprop: ("rmsprop", {n: n for n in ("momentum", "alpha", "eps", "centered")}, {}),
    torch.optim.Adagrad: (
        "adagrad",
        {"lr_decay": "lr_decay", "initial_accumulator_value": "initial_accumulator", "eps": "eps"},
        {},
    ),
}
# Of all of them.
_COMMON = {"maximize": False, "differentiable": False}
# How PyTorch computes, not what; and what schedulers note.
_HOW = {"foreach", "fused", "capturable", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"}


def translate(optimizer: Any, module: nn.Module, network: Network) -> dict[str, Any]:
    """The section ``[optimizer]`` as the groups are now, of which ``lr`` is the highest rate of a group, or 1 if all are 0.

    Raises ``UnsupportedModule`` for what Bobbin has not; a parameter that no group has is frozen.
    """
    kind = class_name(optimizer)
    if type(optimizer) not in _KINDS:
        known = ", ".join(known.__name__ for known in _KINDS)
        raise UnsupportedModule(f"optimizer: found {kind}, expected one of {known}")
    # Adagrad makes its state at once, the others in their first step; SGD counts none, but keeps its velocity.
    states = optimizer.state.values()
    if any(int(s.get("step", 0)) > 0 or s.get("momentum_buffer") is not None for s in states):
        raise UnsupportedModule(f"optimizer: {kind} has taken steps already: expected a new one")
    word, fields, fixed = _KINDS[type(optimizer)]
    groups = optimizer.param_groups
    first = groups[0]
    for group in groups:
        _check(kind, group, first, fields, fixed)
    section: dict[str, Any] = {"kind": word, "lr": rate(optimizer) or 1.0, "weight_decay": float(first["weight_decay"])}
    for name, field in fields.items():
        value = first[name]
        section[field] = [float(v) for v in value] if isinstance(value, (tuple, list)) else _plain(value)
    section["groups"] = _groups(optimizer, module, network, section)
    if not section["groups"]:
        del section["groups"]
    return section


def rate(optimizer: Any) -> float:
    """The learning rate now: the highest of a group."""
    return max(float(group["lr"]) for group in optimizer.param_groups)


def settings_of(optimizer: Any) -> list[Any]:
    """What of an optimiser decides how parameters are trained beside its rate: equal lists while nothing has changed."""
    highest = rate(optimizer) or 1.0
    return [
        (
            float(group["lr"]) / highest,
            len(group["params"]),
            *(value for name, value in group.items() if name not in ("params", "lr") and name not in _HOW),
        )
        for group in optimizer.param_groups
    ]


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool) else float(value)


def _check(
    kind: str, group: dict[str, Any], first: dict[str, Any], fields: dict[str, str], fixed: dict[str, Any]
) -> None:
    for name, value in group.items():
        if name in ("params", "lr", "weight_decay") or name in _HOW:
            continue
        only = fixed.get(name, _COMMON.get(name))
        if name in fields:
            if value != first[name]:
                raise UnsupportedModule(
                    f"optimizer: {kind} has groups with {name}={first[name]!r} and {name}={value!r}: "
                    "expected groups that differ in lr and weight_decay alone"
                )
        elif only is None:
            raise UnsupportedModule(f"optimizer: {kind} has {name}={value!r}, which Bobbin has not")
        elif value != only:
            raise UnsupportedModule(f"optimizer: {kind} has {name}={value!r}: expected {name}={only!r}")


def _groups(
    optimizer: torch.optim.Optimizer,
    module: nn.Module,
    network: Network,
    section: dict[str, Any],
) -> list[dict[str, Any]]:
    """A group for each parameter that has settings of its own or is not trained."""
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    tensors = module.state_dict(keep_vars=True)
    found = []
    for name in network.names:
        parameter = tensors[name]
        if not isinstance(parameter, nn.Parameter):
            continue
        if id(parameter) not in of or not parameter.requires_grad:
            found.append({"match": name, "frozen": True})
            continue
        group = of[id(parameter)]
        own: dict[str, Any] = {"match": name}
        if float(group["lr"]) != section["lr"]:
            own["lr_scale"] = float(group["lr"]) / section["lr"]
        if group["weight_decay"] != section["weight_decay"]:
            own["weight_decay"] = float(group["weight_decay"])
        if len(own) > 1:
            found.append(own)
    trained = {id(tensors[name]) for name in network.names}
    strangers = sum(key not in trained for key in of)
    if strangers == len(of):
        raise UnsupportedModule("optimizer: it has none of the network's parameters: expected model.parameters()")
    return found
