"""A module as a network of a recipe: its layers, by the names of its ``state_dict``, and its initial weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from . import in_place
from .errors import Place, unsupported
from .functions import OPERATIONS, name_of
from .layers import MODULES, REQUIRED, Layer, Rule, Site
from .trace import Operation, class_of, initialise, trace

INPUT = "input"
# Names that no layer of a recipe may have; the last two not even before a dot.
_RESERVED = (INPUT, "ema", "optimizer")


@dataclass(frozen=True)
class Value:
    """What a layer gives: the layer's name, and the shape in PyTorch (batch first)."""

    layer: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A module of PyTorch as Bobbin has it."""

    #: Layers as a recipe writes them.
    layers: list[Layer]
    #: Channels, rows and columns of an image.
    shape: tuple[int, int, int]
    #: Values of the output.
    outputs: int
    #: Names of the parameters and statistics of its layers, which are the module's.
    names: list[str]

    @property
    def last(self) -> str:
        """The kind of the last layer that computes anything."""
        kinds = [str(layer["kind"]) for layer in self.layers]
        return next((kind for kind in reversed(kinds) if kind != "flatten"), kinds[-1])


def translate(module: nn.Module, shape: tuple[int, int, int]) -> Network:
    """The network that a module is on images of this shape (channels, rows, columns).

    Raises ``UnsupportedModule`` for anything Bobbin has no equivalent for.
    """
    _check_whole(module)
    initialise(module, shape)
    _check_types(module)
    _check_hooks(module)
    translation = Translation(module)
    output = translation.run(trace(module, shape))
    names = [name for layer in translation.owners for name in _tensors(module, layer)]
    tensors = module.state_dict(keep_vars=True)
    _check_tied(names, tensors)
    network = Network(translation.layers, shape, output.shape[1] if len(output.shape) > 1 else 1, names)
    if network.outputs == 1 and network.last in ("sigmoid", "hardsigmoid"):
        raise unsupported(Place(), f"its one output comes from a {network.last}", "expected the logit of the second class")
    return network


def weights_of(module: nn.Module, network: Network) -> dict[str, NDArray[Any]]:
    """Copies of the module's weights and statistics, by name."""
    state = module.state_dict()
    return {name: np.array(state[name].detach().cpu().numpy()) for name in network.names}


def put_weights(module: nn.Module, network: Network, weights: dict[str, NDArray[Any]]) -> None:
    """Writes weights and statistics into the module.

    Raises ``ValueError``, with nothing written, if one is not of the shape that the module has.
    """
    state = module.state_dict()
    for name in network.names:
        own, given = tuple(state[name].shape), tuple(weights[name].shape)
        if own != given:
            raise ValueError(f"`{name}`: found shape {given}: expected {own}, that of the module")
    with torch.no_grad():
        for name in network.names:
            own = state[name]
            own.copy_(torch.from_numpy(np.array(weights[name])).to(own.dtype))


def _tensors(module: nn.Module, layer: str) -> list[str]:
    return [f"{layer}.{name}" for name in module.get_submodule(layer).state_dict()]


# What wraps modules, by the names of the classes, and what would do.
_WRAPPERS = {
    "DataParallel": "its `module`: all cores of this machine train anyway",
    "DistributedDataParallel": "its `module`, and backend='mpi' for several machines",
    "OptimizedModule": "the module that torch.compile was given",
    "RecursiveScriptModule": "the module that torch.jit.script was given",
    "TopLevelTracedModule": "the module that torch.jit.trace was given",
}


def _check_whole(module: nn.Module) -> None:
    """Refuses what is only a wrapper of a module."""
    for name, inner in module.named_modules():
        kind = type(inner).__name__
        if kind in _WRAPPERS and type(inner).__module__.startswith("torch."):
            raise unsupported(Place(name), f"it is a {kind}", f"expected {_WRAPPERS[kind]}")


def _check_types(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if parameter.dtype != torch.float32:
            place = Place(name.rpartition(".")[0])
            what = f"parameter `{name}` is of {parameter.dtype}"
            raise unsupported(place, what, "expected float32: call `.float()`")
        if parameter.device.type != "cpu":
            what = f"parameter `{name}` is on {parameter.device}"
            raise unsupported(Place(name.rpartition(".")[0]), what, "expected the CPU: call `.cpu()`")


def _check_hooks(module: nn.Module) -> None:
    """Refuses hooks: code of the user that Bobbin would not call."""
    for name, inner in module.named_modules():
        for kind in ("forward", "forward_pre", "backward", "backward_pre"):
            if getattr(inner, f"_{kind}_hooks", None):
                what = f"it has hooks ({kind}), which Bobbin cannot run"
                raise unsupported(Place(name), what, "remove them")
    for name, parameter in module.named_parameters():
        if getattr(parameter, "_backward_hooks", None) or getattr(parameter, "_post_accumulate_grad_hooks", None):
            what = f"parameter `{name}` has hooks, which Bobbin cannot run"
            raise unsupported(Place(name.rpartition(".")[0]), what, "remove them")


def _check_tied(names: list[str], tensors: dict[str, Any]) -> None:
    """Refuses layers that share a parameter and are not one module."""
    seen: dict[int, str] = {}
    for name in names:
        first = seen.setdefault(id(tensors[name]), name)
        if first != name:
            what = f"parameter `{name}` is also `{first}`"
            raise unsupported(Place(name.rpartition(".")[0]), what, "expected one module, called twice")


class Translation:
    """Operations of PyTorch one after the other to layers."""

    #: The name of the images, as if a layer gave them.
    INPUT = INPUT

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layers: list[Layer] = []
        #: Paths of the modules whose parameters a layer has.
        self.owners: list[str] = []
        self._taken = {name for name, _ in module.named_modules()} | set(_RESERVED)
        self._used: set[str] = set()
        self._values: dict[fx.Node, Any] = {}

    def run(self, operations: list[Operation]) -> Value:
        """Translates all that the output depends on; returns the output."""
        needed = _needed(operations)
        in_place.check(self.module, operations, needed)
        inputs = [op for op in operations if op.node.op == "placeholder"]
        for op in operations:
            if op.node in needed:
                self._values[op.node] = self._one(op, op is inputs[0])
        output: Value = self._values[operations[-1].node]
        if not self.layers:
            raise unsupported(Place(), "`forward` computes nothing", "expected layers")
        if self.layers[-1]["name"] != output.layer:
            place = operations[-1].place
            raise unsupported(place, "what `forward` returns is not the last that it computes", "return the last")
        for before, layer in zip([{"name": INPUT}, *self.layers], self.layers, strict=False):
            if layer["from"] == [before["name"]]:
                del layer["from"]
            elif len(layer["from"]) == 1:
                [layer["from"]] = layer["from"]
        return output

    def _one(self, op: Operation, is_image: bool) -> Any:
        node = op.node
        if node.op == "placeholder":
            if op.shape is not None and is_image:
                return Value(INPUT, op.shape)
            return op.value
        if node.op == "output":
            return self._output(op)
        if op.shape is None:
            if _has_tensors(op.value):
                instead = "expected an operation that gives one tensor"
                raise unsupported(op.place, f"{name_of(node)} gives several tensors", instead)
            return op.value
        if node.op == "call_module":
            return self._module(op)
        if node.op == "get_attr":
            what = f"`self.{node.target}` is used by itself"
            raise unsupported(op.place, what, "expected parameters as those of a layer of torch.nn")
        args, kwargs = self.resolved(node)
        name = name_of(node)
        operation = OPERATIONS.get(name)
        if operation is None or not args or not isinstance(args[0], (Value, list, tuple, int, float)):
            raise unsupported(op.place, f"Bobbin has no equivalent for `{name}`", _ADVICE.get(name, _SEE))
        return operation(self, op, args, kwargs)

    def resolved(self, node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a node, with the values of others."""
        value = self._values.__getitem__
        return fx.node.map_arg(node.args, value), fx.node.map_arg(node.kwargs, value)

    def _output(self, op: Operation) -> Value:
        [output] = self.resolved(op.node)[0]
        if not isinstance(output, Value):
            what = f"`forward` returns {type(output).__name__}"
            raise unsupported(op.place, what, "expected one tensor, of a row for each image")
        if len(output.shape) > 2:
            what = f"`forward` returns a tensor of shape {output.shape}"
            raise unsupported(op.place, what, "expected a row for each image: flatten it")
        return output

    def _module(self, op: Operation) -> Value:
        path = str(op.node.target)
        module = self.module.get_submodule(path)
        kind = class_of(module)
        args, kwargs = self.resolved(op.node)
        if kwargs or len(args) != 1 or not isinstance(args[0], Value):
            raise unsupported(op.place, f"{kind} is called with other than one tensor", "expected one")
        if kind == "Flatten":
            start, end = module.start_dim, module.end_dim
            return OPERATIONS["flatten"](self, op, (args[0], start, end), {})
        rule = MODULES.get(kind)
        if rule is None or hasattr(module, "parametrizations"):
            raise unsupported(op.place, f"Bobbin has no equivalent for {kind}", _ADVICE.get(kind, _SEE))
        settings = {name: getattr(module, name, default) for name, default in rule.settings.items()}
        if "training" in settings:
            settings["training"] = True
        has_own = any(True for _ in module.state_dict())
        return self.layer(op, rule, kind, args[0], settings, path, shared=has_own)

    def layer(
        self,
        op: Operation,
        rule: Rule,
        what: str,
        x: Value,
        settings: dict[str, Any],
        path: str | None = None,
        shared: bool = False,
    ) -> Value:
        """Adds a layer, of a function or of the module at a path; a module with parameters is used again if it was there."""
        missing = [setting for setting, value in settings.items() if value is REQUIRED]
        site = Site(op.place, what, x.shape, op.shape or ())
        if missing:
            raise site.refuse(f" has no {missing[0]}", f"expected {missing[0]}=")
        made = rule.make(site, settings)
        if made is None:
            return Value(x.layer, op.shape or ())
        if shared and path in self.owners:
            made = {"kind": "again", "layer": path}
        elif shared and path is not None:
            if _is_reserved(path):
                raise site.refuse(f" is named `{path}`", "expected another name: recipes have a meaning for this one")
            self.owners.append(path)
        return self.add(made, [x], op, path)

    def add(self, layer: Layer, inputs: list[Value], op: Operation, path: str | None = None) -> Value:
        """Adds a layer that takes in these values, by the path of its module if it has one; returns what it gives."""
        name = self._free(op.node.name if path is None else path, is_module=path is not None)
        self._used.add(name)
        kind, fields = layer["kind"], {k: v for k, v in layer.items() if k != "kind"}
        self.layers.append({"kind": kind, "name": name, "from": [x.layer for x in inputs], **fields})
        return Value(name, op.shape or ())

    def _free(self, name: str, is_module: bool) -> str:
        """The name, or one like it that no layer and no other module has."""
        if is_module and name not in self._used and not _is_reserved(name):
            return name
        number, free = 2, name.replace(".", "-") if _is_reserved(name) else name
        while free in self._taken or free in self._used:
            free = f"{name}-{number}"
            number += 1
        return free


_SEE = "see docs/from-torch.md for what it has"
_ADVICE = {
    "ZeroPad2d": "give the convolution `padding=`",
    "ConvTranspose2d": "Bobbin trains classifiers, whose planes only shrink",
    "Upsample": "Bobbin trains classifiers, whose planes only shrink",
    "Conv1d": "expected Conv2d, on images",
    "Conv3d": "expected Conv2d, on images",
    "SyncBatchNorm": "expected BatchNorm2d: replicas are Bobbin's own matter",
    **dict.fromkeys(("sub", "truediv"), "images are scaled by the data's `Normalize`"),
    "MultiheadAttention": "Bobbin trains convolutional networks",
    "LocalResponseNorm": "expected GroupNorm or BatchNorm2d",
}


def _is_reserved(name: str) -> bool:
    return name == INPUT or name.split(".")[0] in _RESERVED[1:]


def _needed(operations: list[Operation]) -> set[fx.Node]:
    """The nodes that the output depends on."""
    needed: set[fx.Node] = set()
    for op in reversed(operations):
        if op.node.op == "output" or op.node in needed:
            needed.add(op.node)
            needed.update(op.node.all_input_nodes)
    return needed


def _has_tensors(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_has_tensors(v) for v in value)
    return isinstance(value, torch.Tensor)
