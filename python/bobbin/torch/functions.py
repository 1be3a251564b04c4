"""Operations that are no module: functions, operators and methods of tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.nn import functional as F

from .errors import unsupported
from .layers import FUNCTIONS

if TYPE_CHECKING:
    from .network import Translation, Value
    from .trace import Operation

Handler = Callable[["Translation", "Operation", tuple[Any, ...], dict[str, Any]], "Value"]


def _names() -> dict[Any, str]:
    found: dict[Any, str] = {
        operator.add: "add",
        operator.iadd: "add",
        operator.mul: "mul",
        operator.imul: "mul",
        torch.add: "add",
        torch.mul: "mul",
        torch.cat: "cat",
        torch.flatten: "flatten",
        torch.reshape: "reshape",
        torch.squeeze: "squeeze",
        torch.unsqueeze: "unsqueeze",
        torch.mean: "mean",
        torch.amax: "amax",
        torch.clamp: "clamp",
    }
    for alias in ("concat", "multiply"):
        if hasattr(torch, alias):
            found[getattr(torch, alias)] = {"concat": "cat", "multiply": "mul"}[alias]
    for name in FUNCTIONS:
        for space in (F, torch):
            for form in (name, f"{name}_", f"_{name}"):
                if hasattr(space, form):
                    found[getattr(space, form)] = name
    return found


_NAMES = _names()


def name_of(node: fx.Node) -> str:
    """The name of what a node calls: of an operation, where one is known by this name."""
    if node.op == "call_method":
        return str(node.target).rstrip("_")
    if node.op == "call_function":
        return _NAMES.get(node.target, getattr(node.target, "__name__", str(node.target)))
    return str(node.target)


def _is_value(x: Any) -> bool:
    return hasattr(x, "layer") and hasattr(x, "shape")


def _function(name: str) -> Handler:
    """That of a layer without parameters."""
    rule = FUNCTIONS[name]

    def handle(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        if not _is_value(args[0]):
            raise unsupported(op.place, f"`{name}` of no tensor", "expected one")
        known = dict(zip(rule.settings, args[1:], strict=False)) | kwargs
        if "training" in rule.settings:
            _check_evaluation(op, list(rule.settings).index("training") + 1)
        unknown = [key for key in known if key not in rule.settings]
        if unknown:
            raise unsupported(op.place, f"`{name}` has {unknown[0]}={known[unknown[0]]!r}", "expected none")
        return t.layer(op, rule, f"`{name}`", args[0], rule.settings | known)

    return handle


def _check_evaluation(op: Operation, place: int) -> None:
    """Refuses a dropout that also drops in evaluation."""
    args = op.twin.args
    if args[place] if len(args) > place else op.twin.kwargs.get("training", True):
        raise unsupported(op.place, "dropout that is also active in evaluation", "expected training=self.training")


def add(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
    """A sum of two tensors of one shape."""
    a, b = (*args, *(v for k, v in kwargs.items() if k in ("input", "other")))[:2]
    if kwargs.get("alpha", 1) != 1:
        raise unsupported(op.place, f"`add` has alpha={kwargs['alpha']}", "expected alpha=1")
    for x, other in ((a, b), (b, a)):
        if _is_value(x) and not _is_value(other) and other == 0:
            return x  # type: ignore[no-any-return]
    return t.add({"kind": "add"}, _two(op, "add", a, b, same=True), op)


def multiply(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
    """A product of two tensors, of which one may have a value for each plane of the other."""
    a, b = (*args, *(v for k, v in kwargs.items() if k in ("input", "other")))[:2]
    for x, other in ((a, b), (b, a)):
        if _is_value(x) and not _is_value(other) and other == 1:
            return x  # type: ignore[no-any-return]
    return t.add({"kind": "multiply"}, _two(op, "mul", a, b, same=False), op)


def _two(op: Operation, name: str, a: Any, b: Any, same: bool) -> list[Value]:
    if not (_is_value(a) and _is_value(b)):
        number = b if _is_value(a) else a
        raise unsupported(op.place, f"`{name}` of a tensor and {number!r}", "expected two tensors")
    if a.shape != b.shape:
        per_plane = len(a.shape) == len(b.shape) == 4 and a.shape[:2] == b.shape[:2]
        if same or not per_plane or (1, 1) not in (a.shape[2:], b.shape[2:]):
            what = f"`{name}` of tensors of shapes {a.shape} and {b.shape}"
            raise unsupported(op.place, what, "expected one shape" + ("" if same else ", or a value for each plane"))
    return [a, b]


def concatenate(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
    """Channels of several tensors side by side."""
    tensors = list(args[0])
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    if not all(_is_value(x) for x in tensors) or dim % len(tensors[0].shape) != 1:
        raise unsupported(op.place, f"`cat` has dim={dim}", "expected tensors, and dim=1, their channels")
    if len(tensors) == 1:
        return tensors[0]  # type: ignore[no-any-return]
    return t.add({"kind": "concat"}, tensors, op)


def reshape(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
    """Whatever only turns images to vectors, or adds and removes axes of length one."""
    x, y = args[0], op.shape or ()
    if not _is_value(x):
        raise unsupported(op.place, f"`{op.node.name}` of no tensor", "expected one")
    kind = type(x)
    if y[:1] == x.shape[:1] and _trimmed(x.shape) == _trimmed(y):
        is_flattened = len(x.shape) == 4 and len(y) == 2
        return t.add({"kind": "flatten"}, [x], op) if is_flattened else kind(x.layer, y)
    if len(x.shape) == 4 and y == (*x.shape[:2], x.shape[2] * x.shape[3]):
        # Pixels in a row, of which a mean over all is to come.
        return kind(x.layer, y)  # type: ignore[no-any-return]
    if y[:1] == x.shape[:1] and len(y) == 2 and math.prod(x.shape) == math.prod(y):
        return t.add({"kind": "flatten"}, [x], op)
    what = f"a tensor of shape {x.shape} is made one of shape {y}"
    raise unsupported(op.place, what, f"expected vectors, such as {x.shape[:1] + (math.prod(x.shape[1:]),)}")


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without axes of length one at the end."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def same(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
    """What leaves values as they are."""
    return args[0]  # type: ignore[no-any-return]


def expand(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
    """A value for each plane, as large as the plane: it stays small here, and what takes it has to be a product."""
    x, y = args[0], op.shape or ()
    if not _is_value(x) or (x.shape != y and (len(x.shape) != 4 or x.shape[2:] != (1, 1) or x.shape[:2] != y[:2])):
        what = f"`{op.node.name}` makes a tensor of shape {getattr(x, 'shape', ())} one of shape {y}"
        raise unsupported(op.place, what, "expected a value for each plane, as a factor of the planes")
    return x  # type: ignore[no-any-return]


def as_float(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
    """Nothing, but of images of bytes, which it would leave from 0 to 255 where Bobbin divides by 255."""
    if getattr(args[0], "layer", None) == t.INPUT:
        what = "`float` of the images, which would leave bytes from 0 to 255"
        raise unsupported(op.place, what, "leave it out: bytes are divided by 255 for the network, as ToTensor does")
    return same(t, op, args, kwargs)


def _over_pixels(kind: str, size: bool) -> Handler:
    def handle(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        x = args[0]
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        count = len(x.shape) if _is_value(x) else 0
        axes = sorted(d % (count or 1) for d in (dim if isinstance(dim, (tuple, list)) else [dim]) if d is not None)
        if count not in (3, 4) or axes != list(range(2, count)) or kwargs.get("dtype") is not None:
            what = f"`{name_of(op.node)}` over the axes {dim}"
            raise unsupported(op.place, what, "expected the rows and columns of images, dim=(2, 3)")
        return t.add({"kind": kind} | ({"size": 1} if size else {}), [x], op)

    return handle


def clamp(t: Translation, op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
    """From 0 up, or from 0 to 6."""
    named = dict(zip(("min", "max"), args[1:], strict=False)) | kwargs
    ends: tuple[Any, Any] = named.get("min"), named.get("max")
    kind = {(0, None): "relu", (0, 6): "relu6"}.get(ends)
    if kind is None or not _is_value(args[0]):
        raise unsupported(op.place, f"`clamp` has {named}", "expected min=0, or min=0 and max=6")
    return t.add({"kind": kind}, [args[0]], op)


OPERATIONS: dict[str, Handler] = {
    **{name: _function(name) for name in FUNCTIONS},
    "add": add,
    "mul": multiply,
    "multiply": multiply,
    "cat": concatenate,
    **dict.fromkeys(("view", "reshape", "flatten", "squeeze", "unsqueeze"), reshape),
    **dict.fromkeys(("contiguous", "clone"), same),
    **dict.fromkeys(("expand", "expand_as"), expand),
    "float": as_float,
    "mean": _over_pixels("global-avg-pool", size=False),
    "amax": _over_pixels("adaptive-max-pool", size=True),
    "clamp": clamp,
}
