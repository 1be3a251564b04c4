"""What a module computes of an example while it is traced, so that ``forward`` may calculate with the sizes of its tensors."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn

# Images in the example: a number that no axis of an image is likely to have, so that mistakes of shape show.
IMAGES = 3


def images(shape: tuple[int, int, int]) -> torch.Tensor:
    """The example."""
    return torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0))


class Example:
    """The shapes of what has been traced so far."""

    def __init__(self, module: nn.Module, shape: tuple[int, int, int]) -> None:
        self._module, self._shape = module, shape
        self._values: dict[fx.Node, Any] | None = None

    def shape_of(self, node: fx.Node) -> tuple[int, ...] | None:
        """That of a tensor; None if it is none, or cannot be computed."""
        try:
            with torch.no_grad():
                value = self._value(node)
        except Exception:  # noqa: BLE001 - what is wrong is told when the whole graph is computed
            return None
        return tuple(value.shape) if isinstance(value, torch.Tensor) else None

    def _value(self, node: fx.Node) -> Any:
        if self._values is None:
            # A copy, for what a forward pass may change: made only where someone asks.
            self._module, self._values = copy.deepcopy(self._module).eval(), {}
        for other in node.graph.nodes:
            if other not in self._values:
                self._values[other] = self._run(other, self._values)
        return self._values[node]

    def _run(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        args: Any = fx.node.map_arg(node.args, values.__getitem__)
        kwargs: Any = fx.node.map_arg(node.kwargs, values.__getitem__)
        target: Any = node.target
        if node.op == "placeholder":
            return args[0] if args else images(self._shape)
        if node.op == "call_function":
            return target(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        found: Any = self._module
        for name in target.split("."):
            found = getattr(found, name)
        # Not by a call, which would be traced.
        return found.forward(*args, **kwargs) if node.op == "call_module" else found
