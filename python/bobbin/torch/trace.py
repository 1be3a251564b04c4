"""A module's ``forward`` as a graph of operations, each with its place and the shape of what it gives."""

from __future__ import annotations

import copy
import dis
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import fx, nn

from .errors import Place, UnsupportedModule, unsupported
from .example import IMAGES, Example, images

# Held while a module is traced, as calls of any module are traced then: batches that are made meanwhile may call some.
ALONE = threading.Lock()

# Modules of torchvision that are one layer of Bobbin.
WHOLE = ("StochasticDepth", "LayerNorm2d")

_OWN = tuple(os.path.dirname(file) + os.sep for file in (torch.__file__, __file__))


@dataclass(frozen=True)
class Operation:
    """A node of the graph as it is in training, and what it gives in evaluation: a shape, or a plain value."""

    node: fx.Node
    #: The same node in evaluation.
    twin: fx.Node
    place: Place
    shape: tuple[int, ...] | None
    value: Any


def trace(module: nn.Module, shape: tuple[int, int, int]) -> list[Operation]:
    """The operations of ``forward`` on images of this shape (channels, rows, columns), in order."""
    with ALONE, _modes(module):
        module.train()
        stuck = [n for n, m in module.named_modules() if not m.training]
        if stuck:
            what = f"`{type(module.get_submodule(stuck[0])).__name__}` stays in evaluation mode after `train()`"
            raise unsupported(Place(stuck[0]), what, "let `train()` reach it, and freeze its parameters")
        training = _graph(module, shape)
        module.eval()
        evaluation = _graph(module, shape)
        _check_same(training, evaluation)
        found = _shapes(module, evaluation, shape)
    return [
        Operation(node, twin, _place(node), *found[twin])
        for node, twin in zip(training.nodes, evaluation.nodes, strict=True)
    ]


def initialise(module: nn.Module, shape: tuple[int, int, int]) -> None:
    """Has lazy modules made their parameters, as their first call does."""
    if not any(nn.parameter.is_lazy(parameter) for parameter in module.parameters()):
        return
    try:
        with ALONE, _modes(module), torch.no_grad():
            module.eval()
            module(images(shape))
    except Exception as error:
        what = f"its lazy modules cannot be initialised: {error}"
        raise unsupported(Place(), what, "check that layer sizes match each other and the images") from error


@contextmanager
def _modes(module: nn.Module) -> Iterator[None]:
    """Every module is in training or evaluation afterwards as it was."""
    modes = [(m, m.training) for m in module.modules()]
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


class _Tracer(fx.Tracer):
    """Notes for each operation which module calls it, and in which line."""

    def __init__(self, module: nn.Module, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.path: list[str] = [""]
        self.example = Example(module, shape)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_layer(m) or bool(super().is_leaf_module(m, module_qualified_name))

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.path.append(self.path_of_module(m))
        try:
            return super().call_module(m, forward, args, kwargs)
        finally:
            self.path.pop()

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any) -> fx.Node:
        node = super().create_node(kind, target, args, kwargs, *rest, **named)
        in_code = kind not in ("placeholder", "output")
        file, line = _line(sys._getframe(1)) if in_code else ("", 0)
        node.meta["bobbin_place"] = Place(self.path[-1], file, line)
        return node


class _Unpacked(fx.Proxy):
    """Can be unpacked, as ``n, c, h, w = x.shape`` does; PyTorch's own depends on the version of Python."""

    def __iter__(self) -> Iterator[Any]:
        frame = sys._getframe(1)
        at = next((i for i in dis.get_instructions(frame.f_code) if i.offset == frame.f_lasti), None)
        if at is None or at.opname != "UNPACK_SEQUENCE":
            raise ValueError("a loop over the values of a tensor")
        return iter([self[i] for i in range(at.argval)])


class _Attribute(_Unpacked, fx.proxy.Attribute):
    pass


class _Proxy(_Unpacked):
    """Has sizes of numbers, but for the number of images, which is another in every batch."""

    tracer: _Tracer

    def __getattr__(self, name: str) -> Any:
        sizes = self._sizes() if name in ("shape", "ndim") else None
        if sizes is None:
            return _Attribute(self, name)
        return sizes if name == "shape" else len(sizes)

    def size(self, dim: int | None = None) -> Any:
        """As that of a tensor."""
        sizes = self._sizes()
        if sizes is None or (dim is not None and not -len(sizes) <= dim < len(sizes)):
            return _Attribute(self, "size")(*(() if dim is None else (dim,)))
        return sizes if dim is None else sizes[dim]

    def dim(self) -> Any:
        """As that of a tensor."""
        sizes = self._sizes()
        return _Attribute(self, "dim")() if sizes is None else len(sizes)

    def _sizes(self) -> tuple[Any, ...] | None:
        found = self.tracer.example.shape_of(self.node)
        if not found or found[0] != IMAGES:
            return found
        return self.tracer.create_proxy("call_method", "size", (self, 0), {}), *found[1:]


def is_layer(m: nn.Module) -> bool:
    """Whether a module is one layer: PyTorch's, whose ``forward`` a subclass has left as it is, or torchvision's."""
    if isinstance(m, nn.Sequential):
        return False
    own = _of_torch(type(m))
    return own is not None or type(m).__name__ in WHOLE and type(m).__module__.startswith("torchvision.")


def _of_torch(kind: type) -> type | None:
    """The class of ``torch.nn`` whose ``forward`` a class has."""
    forward = getattr(kind, "forward", None)
    for base in kind.__mro__:
        if base.__module__.startswith("torch.nn.modules.") and base is not nn.Module:
            return base if getattr(base, "forward", None) is forward else None
    return None


def class_of(m: nn.Module) -> str:
    """The name of the class of ``torch.nn`` that a layer is."""
    found = _of_torch(type(m))
    return (found or type(m)).__name__


def _line(frame: FrameType | None) -> tuple[str, int]:
    """The innermost line that is neither PyTorch's nor this package's."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_OWN) and not file.startswith("<eval_with_key"):
            return file, frame.f_lineno
        frame = frame.f_back
    return "", 0


def _place(node: fx.Node) -> Place:
    found: Place = node.meta["bobbin_place"]
    if node.op != "call_module":
        return found
    return Place(str(node.target), found.file, found.line)


def _graph(module: nn.Module, shape: tuple[int, int, int]) -> fx.Graph:
    tracer = _Tracer(module, shape)
    try:
        return tracer.trace(module)
    except UnsupportedModule:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not f.filename.startswith(_OWN) and not f.filename.startswith("<eval_with_key")]
        line = (own[-1].filename, own[-1].lineno or 0) if own else ("", 0)
        what = f"`forward` cannot be traced: {str(error).split('. ')[0]}"
        instead = "it must be the same for every batch: no `if` or loop over the values of tensors"
        if "'len' is not supported" in str(error):
            instead = "write `x.size(0)` for `len(x)`"
        raise unsupported(Place(tracer.path[-1], *line), what, instead) from error


def _check_same(training: fx.Graph, evaluation: fx.Graph) -> None:
    for a, b in zip([*training.nodes, None], [*evaluation.nodes, None], strict=False):
        if a is None and b is None:
            return
        if a is None or b is None or (a.op, a.target) != (b.op, b.target):
            node = a if a is not None else b
            what = "`forward` does other things in training than in evaluation"
            raise unsupported(_place(node), what, "it may differ in `dropout` alone")


class _Shapes(fx.Interpreter):
    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(fx.GraphModule(module, graph))
        self.found: dict[fx.Node, Any] = {}
        self.problem = ""

    def run_node(self, n: fx.Node) -> Any:
        try:
            result = super().run_node(n)
        except Exception as error:
            # Without what the interpreter adds to it.
            found = f"PyTorch itself fails here: {error}"
            self.problem = str(unsupported(_place(n), found, "check that layer sizes match each other and the images"))
            raise
        self.found[n] = result
        return result


def _shapes(module: nn.Module, graph: fx.Graph, shape: tuple[int, int, int]) -> dict[fx.Node, Any]:
    """Of each node, the shape of its tensor (batch first) and its value if it is no tensor."""
    # A copy, for what a forward pass may change.
    shapes = _Shapes(copy.deepcopy(module), copy.deepcopy(graph))
    try:
        with torch.no_grad():
            shapes.run(images(shape))
    except Exception as error:
        raise UnsupportedModule(shapes.problem or str(error)) from None
    found = list(shapes.found.values())
    result = {}
    for node, value in zip(graph.nodes, found, strict=True):
        is_tensor = isinstance(value, torch.Tensor)
        result[node] = (tuple(value.shape), None) if is_tensor else (None, value)
    return result
