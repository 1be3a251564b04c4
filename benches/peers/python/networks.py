"""The four networks as data: what model/src/presets.rs says, for every framework to build from.

A network is an ordered dictionary of layers; a layer's key is its name in PyTorch's `state_dict`,
so `body` of the residual block "3" begins with the weight "3.body.0.weight".
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MEAN, STD = 0.2860, 0.3530
CLASSES = 10
EPSILON, NORM_MOMENTUM = 1e-5, 0.1
LEARNING_RATE, MOMENTUM = 0.01, 0.9
# Not here as data: those that torchvision builds.
TORCHVISION = ["resnet18", "mobilenet-v2", "densenet121", "efficientnet-b0"]


@dataclass(frozen=True)
class Conv:
    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    bias: bool = True


@dataclass(frozen=True)
class Norm:
    """Batch norm."""


@dataclass(frozen=True)
class Relu:
    pass


@dataclass(frozen=True)
class MaxPool:
    size: int = 2


@dataclass(frozen=True)
class GlobalAvgPool:
    pass


@dataclass(frozen=True)
class Flatten:
    pass


@dataclass(frozen=True)
class Linear:
    features: int


@dataclass(frozen=True)
class Residual:
    """relu(body(x) + shortcut(x))."""

    body: "Network"
    shortcut: "Network"


Layer = Conv | Norm | Relu | MaxPool | GlobalAvgPool | Flatten | Linear | Residual
Network = dict[str, Layer]


def network(name: str) -> Network:
    return {"lenet": _lenet, "cnn-bn": _cnn_bn, "vgg": _vgg, "resnet": _resnet}[name]()


def _lenet() -> Network:
    return {
        "conv1": Conv(6, 5), "relu1": Relu(), "pool1": MaxPool(),
        "conv2": Conv(16, 5), "relu2": Relu(), "pool2": MaxPool(), "flatten": Flatten(),
        "fc1": Linear(120), "relu3": Relu(),
        "fc2": Linear(84), "relu4": Relu(),
        "fc3": Linear(CLASSES),
    }  # fmt: skip


def _cnn_bn() -> Network:
    stages = [[Conv(c, 5, padding=2), Norm(), Relu(), MaxPool()] for c in (16, 32)]
    return _numbered([*sum(stages, []), Flatten(), Linear(CLASSES)])


def _vgg() -> Network:
    pairs = [_conv3x3(c) + _conv3x3(c) for c in (64, 128, 256)]
    body = [*pairs[0], MaxPool(), *pairs[1], MaxPool(), *pairs[2]]
    return _numbered([*body, GlobalAvgPool(), Flatten(), Linear(CLASSES)])


def _resnet() -> Network:
    layers = _conv3x3(16)
    for channels, first_stride in ((16, 1), (32, 2), (64, 2), (128, 2)):
        for stride in (first_stride, 1):
            body = _conv3x3(channels, stride) + _conv3x3(channels)[:2]
            shortcut = [Conv(channels, 1, stride, bias=False), Norm()] if stride > 1 else []
            layers.append(Residual(_numbered(body), _numbered(shortcut)))
    return _numbered([*layers, GlobalAvgPool(), Flatten(), Linear(CLASSES)])


def _conv3x3(channels: int, stride: int = 1) -> list[Layer]:
    return [Conv(channels, 3, stride, 1, bias=False), Norm(), Relu()]


def _numbered(layers: list[Layer]) -> Network:
    return {str(i): layer for i, layer in enumerate(layers)}


def walk(layers: Network, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer with its full name, those inside of residual blocks too."""
    for name, layer in layers.items():
        if isinstance(layer, Residual):
            yield from walk(layer.body, f"{prefix}{name}.body.")
            yield from walk(layer.shortcut, f"{prefix}{name}.shortcut.")
        else:
            yield prefix + name, layer


def channels_last(layers: Network, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's weights for a framework of NHWC: kernels are H×W×in×out, matrices in×out.

    A linear layer after a flatten meets its inputs in the order H, W, C instead of C, H, W.
    """
    result, channels, flattened = dict(weights), 0, False
    for name, layer in walk(layers):
        match layer:
            case Conv():
                result[f"{name}.weight"] = weights[f"{name}.weight"].transpose(2, 3, 1, 0)
                channels = layer.channels
            case Flatten():
                flattened = True
            case Linear():
                matrix = weights[f"{name}.weight"]
                if flattened:
                    by_channel = matrix.reshape(len(matrix), channels, -1)
                    matrix = by_channel.transpose(0, 2, 1).reshape(len(matrix), -1)
                result[f"{name}.weight"], flattened = matrix.T, False
    return {name: np.ascontiguousarray(value) for name, value in result.items()}
