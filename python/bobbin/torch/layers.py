"""Layers of PyTorch as layers of recipes: which kind, and with which fields.

A module and its functional form are one rule, as the settings of both have the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Place, unsupported

Layer = dict[str, Any]

REQUIRED = object()


@dataclass(frozen=True)
class Site:
    """An operation to be translated: where it stands, and the shapes of its input and output (batch first)."""

    place: Place
    what: str
    x: tuple[int, ...]
    y: tuple[int, ...]

    def refuse(self, found: str, instead: str) -> Exception:
        """The error for something of it."""
        return unsupported(self.place, f"{self.what}{found}", instead)

    def only(self, settings: Mapping[str, Any], **expected: Any) -> None:
        """Refuses a setting that is not the one value that Bobbin has."""
        for name, value in expected.items():
            if settings.get(name, value) != value:
                raise self.refuse(f" has {name}={settings[name]!r}", f"expected {name}={value!r}")


@dataclass(frozen=True)
class Rule:
    """How a kind of layer is made of its settings; ``settings`` are its arguments after the input, in their order."""

    make: Callable[[Site, dict[str, Any]], Layer | None]
    settings: dict[str, Any]


def _pair(value: Any) -> tuple[int, int]:
    rows, columns = value if isinstance(value, (tuple, list)) else (value, value)
    return int(rows), int(columns)


def _short(pair: tuple[int, int]) -> int | list[int]:
    return pair[0] if pair[0] == pair[1] else list(pair)


def _window(settings: dict[str, Any], stride: Any, dilation: bool = True) -> Layer:
    """Kernel, stride, padding and dilation, but for defaults."""
    kernel = _pair(settings["kernel_size"])
    given = settings.get("stride")
    pairs = {
        "stride": (_pair(kernel if stride is None else stride), kernel if given in (None, []) else _pair(given)),
        "padding": ((0, 0), _pair(settings["padding"])),
    }
    if dilation:
        pairs["dilation"] = ((1, 1), _pair(settings["dilation"]))
    fields: Layer = {"kernel": _short(kernel)}
    return fields | {name: _short(value) for name, (usual, value) in pairs.items() if value != usual}


def _planes(site: Site) -> None:
    if len(site.x) != 4:
        raise site.refuse(f" on an input of shape {site.x}", "expected images: batch, channels, rows, columns")


def conv(site: Site, settings: dict[str, Any]) -> Layer:
    _planes(site)
    site.only(settings, transposed=False)
    mode, groups = settings["padding_mode"], settings["groups"]
    if mode not in ("zeros", "reflect"):
        raise site.refuse(f" has padding_mode={mode!r}", "expected 'zeros' or 'reflect'")
    padding = 0 if settings["padding"] == "valid" else settings["padding"]
    is_same = padding == "same"
    fields = {"kind": "conv", "outputs": settings["out_channels"]}
    fields |= _window(settings | {"padding": 0 if is_same else padding}, 1)
    fields |= {"padding": "same"} if is_same else {}
    fields |= {"padding_mode": mode} if mode != "zeros" else {}
    fields |= {"groups": groups} if groups != 1 else {}
    return fields | ({} if settings["bias"] is not None else {"bias": False})


def linear(site: Site, settings: dict[str, Any]) -> Layer:
    if len(site.x) != 2:
        raise site.refuse(f" on an input of shape {site.x}", "flatten images to vectors before it")
    bias = {} if settings["bias"] is not None else {"bias": False}
    return {"kind": "linear", "outputs": settings["out_features"]} | bias


def max_pool(site: Site, settings: dict[str, Any]) -> Layer:
    _planes(site)
    site.only(settings, return_indices=False)
    ceil = {"ceil_mode": True} if settings["ceil_mode"] else {}
    return {"kind": "max-pool"} | _window(settings, None) | ceil


def avg_pool(site: Site, settings: dict[str, Any]) -> Layer:
    _planes(site)
    site.only(settings, divisor_override=None)
    ceil = {"ceil_mode": True} if settings["ceil_mode"] else {}
    counted = {} if settings["count_include_pad"] else {"count_include_pad": False}
    return {"kind": "avg-pool"} | _window(settings, None, dilation=False) | ceil | counted


def adaptive_avg_pool(site: Site, settings: dict[str, Any]) -> Layer:
    _planes(site)
    if site.y[2:] == (1, 1):
        return {"kind": "global-avg-pool"}
    return {"kind": "adaptive-avg-pool", "size": _short(_pair(site.y[2:]))}


def adaptive_max_pool(site: Site, settings: dict[str, Any]) -> Layer:
    _planes(site)
    site.only(settings, return_indices=False)
    return {"kind": "adaptive-max-pool", "size": _short(_pair(site.y[2:]))}


def _norm(kind: str, settings: dict[str, Any], **fields: Any) -> Layer:
    eps = {} if settings["eps"] == 1e-5 else {"eps": float(settings["eps"])}
    return {"kind": kind} | fields | eps


def _affine(settings: dict[str, Any], usual: bool) -> Layer:
    return {} if bool(settings["affine"]) == usual else {"affine": bool(settings["affine"])}


def batch_norm(site: Site, settings: dict[str, Any]) -> Layer:
    site.only(settings, track_running_stats=True)
    if settings["momentum"] is None:
        raise site.refuse(" has momentum=None (a plain average)", "expected a number, such as 0.1")
    momentum = {} if settings["momentum"] == 0.1 else {"momentum": float(settings["momentum"])}
    return _norm("batch-norm", settings, **momentum, **_affine(settings, True))


def group_norm(site: Site, settings: dict[str, Any]) -> Layer:
    return _norm("group-norm", settings, groups=settings["num_groups"], **_affine(settings, True))


def instance_norm(site: Site, settings: dict[str, Any]) -> Layer:
    site.only(settings, track_running_stats=False)
    return _norm("instance-norm", settings, **_affine(settings, False))


def layer_norm(site: Site, settings: dict[str, Any]) -> Layer:
    shape = tuple(settings["normalized_shape"])
    if shape != site.x[1:]:
        what = f" over {shape} of an input of shape {site.x[1:]}"
        raise site.refuse(what, "expected all axes but the batch's (torchvision's LayerNorm2d: the channels)")
    has_bias = settings.get("bias") is not None
    if settings["elementwise_affine"] and not has_bias:
        raise site.refuse(" has no bias", "expected a weight and a bias, or neither")
    affine = {} if settings["elementwise_affine"] else {"affine": False}
    pixels = {"pixels": True} if len(shape) == 3 else {}
    return _norm("layer-norm", settings, **pixels, **affine)


def layer_norm_2d(site: Site, settings: dict[str, Any]) -> Layer:
    affine = {} if settings["elementwise_affine"] else {"affine": False}
    return _norm("layer-norm", settings, **affine)


def _plain(kind: str) -> Rule:
    return Rule(lambda site, settings: {"kind": kind}, {"inplace": False})


def leaky_relu(site: Site, settings: dict[str, Any]) -> Layer:
    return {"kind": "leaky-relu", "slope": float(settings["negative_slope"])}


def gelu(site: Site, settings: dict[str, Any]) -> Layer:
    return {"kind": "gelu"} | ({} if settings["approximate"] == "none" else {"approximate": settings["approximate"]})


def elu(site: Site, settings: dict[str, Any]) -> Layer:
    return {"kind": "elu"} | ({} if settings["alpha"] == 1 else {"alpha": float(settings["alpha"])})


def softplus(site: Site, settings: dict[str, Any]) -> Layer:
    if settings["threshold"] < 20:
        raise site.refuse(f" has threshold={settings['threshold']}", "expected 20 or more")
    return {"kind": "softplus"} | ({} if settings["beta"] == 1 else {"beta": float(settings["beta"])})


def hardtanh(site: Site, settings: dict[str, Any]) -> Layer:
    site.only(settings, min_val=0, max_val=6)
    return {"kind": "relu6"}


def prelu(site: Site, settings: dict[str, Any]) -> Layer:
    return {"kind": "prelu"} | ({} if settings["num_parameters"] == 1 else {"per_channel": True})


def _softmax(kind: str) -> Rule:
    def make(site: Site, settings: dict[str, Any]) -> Layer:
        site.only(settings, dtype=None)
        dim = settings["dim"]
        if dim is not None and dim % len(site.x) != 1:
            raise site.refuse(f" has dim={dim}", "expected dim=1, over channels or features")
        return {"kind": kind}

    return Rule(make, {"dim": None, "_stacklevel": 3, "dtype": None})


def _dropout(kind: str) -> Rule:
    def make(site: Site, settings: dict[str, Any]) -> Layer | None:
        p = float(settings["p"])
        if p >= 1:
            raise site.refuse(f" has p={p}", "expected a number of at least 0 and below 1")
        if kind == "dropout2d":
            _planes(site)
        return {"kind": kind, "p": p} if p > 0 and settings["training"] else None

    return Rule(make, {"p": 0.5, "training": True, "inplace": False})


def stochastic_depth(site: Site, settings: dict[str, Any]) -> Layer | None:
    if settings["mode"] != "row":
        raise site.refuse(f" has mode={settings['mode']!r}", 'expected mode="row"')
    return {"kind": "stochastic-depth", "p": float(settings["p"])} if settings["p"] > 0 else None


def identity(site: Site, settings: dict[str, Any]) -> Layer | None:
    return None


_CONV = dict.fromkeys(
    ["out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "bias", "transposed"],
    REQUIRED,
)
_BATCH_NORM = dict.fromkeys(["eps", "momentum", "affine", "track_running_stats"], REQUIRED)
_LAYER_NORM = dict.fromkeys(["normalized_shape", "eps", "elementwise_affine"], REQUIRED) | {"bias": None}
_DROPOUT = _dropout("dropout")
_DROPOUT_2D = _dropout("dropout2d")
_MAX_POOL = Rule(
    max_pool,
    {"kernel_size": REQUIRED, "stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False},
)
_AVG_POOL = Rule(
    avg_pool,
    {
        "kernel_size": REQUIRED,
        "stride": None,
        "padding": 0,
        "ceil_mode": False,
        "count_include_pad": True,
        "divisor_override": None,
    },
)
_ADAPTIVE_AVG = Rule(adaptive_avg_pool, {"output_size": REQUIRED})
_ADAPTIVE_MAX = Rule(adaptive_max_pool, {"output_size": REQUIRED, "return_indices": False})

# By the name of the functional form; those of arrays without parameters.
FUNCTIONS: dict[str, Rule] = {
    **{name: _plain(name) for name in ("relu", "relu6", "hardsigmoid", "hardswish", "sigmoid", "tanh", "silu")},
    "leaky_relu": Rule(leaky_relu, {"negative_slope": 0.01, "inplace": False}),
    "gelu": Rule(gelu, {"approximate": "none"}),
    "elu": Rule(elu, {"alpha": 1.0, "inplace": False}),
    "softplus": Rule(softplus, {"beta": 1, "threshold": 20}),
    "hardtanh": Rule(hardtanh, {"min_val": -1.0, "max_val": 1.0, "inplace": False}),
    "softmax": _softmax("softmax"),
    "log_softmax": _softmax("log-softmax"),
    "dropout": _DROPOUT,
    "dropout2d": _DROPOUT_2D,
    "max_pool2d": _MAX_POOL,
    "avg_pool2d": _AVG_POOL,
    "adaptive_avg_pool2d": _ADAPTIVE_AVG,
    "adaptive_max_pool2d": _ADAPTIVE_MAX,
}

# By the name of the class.
MODULES: dict[str, Rule] = {
    "Conv2d": Rule(conv, _CONV),
    "Linear": Rule(linear, {"out_features": REQUIRED, "bias": REQUIRED}),
    "BatchNorm2d": Rule(batch_norm, _BATCH_NORM),
    "BatchNorm1d": Rule(batch_norm, _BATCH_NORM),
    "GroupNorm": Rule(group_norm, dict.fromkeys(["num_groups", "eps", "affine"], REQUIRED)),
    "InstanceNorm2d": Rule(instance_norm, _BATCH_NORM),
    "LayerNorm": Rule(layer_norm, _LAYER_NORM),
    "LayerNorm2d": Rule(layer_norm_2d, _LAYER_NORM),
    "PReLU": Rule(prelu, {"num_parameters": REQUIRED}),
    "StochasticDepth": Rule(stochastic_depth, {"p": REQUIRED, "mode": REQUIRED}),
    "Identity": Rule(identity, {}),
    "ReLU": FUNCTIONS["relu"],
    "ReLU6": FUNCTIONS["relu6"],
    "Hardsigmoid": FUNCTIONS["hardsigmoid"],
    "Hardswish": FUNCTIONS["hardswish"],
    "Sigmoid": FUNCTIONS["sigmoid"],
    "Tanh": FUNCTIONS["tanh"],
    "SiLU": FUNCTIONS["silu"],
    "LeakyReLU": FUNCTIONS["leaky_relu"],
    "GELU": FUNCTIONS["gelu"],
    "ELU": FUNCTIONS["elu"],
    "Softplus": FUNCTIONS["softplus"],
    "Hardtanh": FUNCTIONS["hardtanh"],
    "Softmax": FUNCTIONS["softmax"],
    "LogSoftmax": FUNCTIONS["log_softmax"],
    "Dropout": _DROPOUT,
    "Dropout2d": _DROPOUT_2D,
    "MaxPool2d": _MAX_POOL,
    "AvgPool2d": _AVG_POOL,
    "AdaptiveAvgPool2d": _ADAPTIVE_AVG,
    "AdaptiveMaxPool2d": _ADAPTIVE_MAX,
}
