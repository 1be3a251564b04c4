"""Losses of PyTorch as fields of a recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from .errors import UnsupportedModule, class_name
from .network import Network

_FUNCTIONS = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
}


def translate(loss: Any, network: Network) -> dict[str, Any]:
    """The fields of ``[model]`` that say which loss is trained.

    Raises ``UnsupportedModule`` for a loss, or a setting of one, that Bobbin has not.
    """
    loss = _FUNCTIONS[loss]() if loss in _FUNCTIONS else loss
    kind = class_name(loss)
    # Not of a class derived from one, which may have a `forward` of its own.
    if type(loss) not in _FUNCTIONS.values():
        raise UnsupportedModule(f"loss: found {kind}, {_ADVICE.get(kind, 'expected ' + _EXPECTED)}")
    _only(kind, loss, reduction="mean")
    if kind == "BCEWithLogitsLoss":
        return _binary(loss, network)
    _only(kind, loss, ignore_index=-100)
    if network.outputs < 2:
        raise UnsupportedModule(f"loss: {kind} of one output: expected BCEWithLogitsLoss, or an output for each class")
    fields: dict[str, Any] = {}
    if kind == "NLLLoss":
        last = network.layers[-1]["kind"]
        if last != "log-softmax":
            raise UnsupportedModule(f"loss: NLLLoss after a layer `{last}`: expected log_softmax, or CrossEntropyLoss")
        fields["loss"] = "nll"
    elif loss.label_smoothing:
        fields["label_smoothing"] = float(loss.label_smoothing)
    if loss.weight is not None:
        fields["class_weights"] = [float(weight) for weight in loss.weight]
    return fields


def _binary(loss: nn.BCEWithLogitsLoss, network: Network) -> dict[str, Any]:
    _only("BCEWithLogitsLoss", loss, pos_weight=None)
    if network.outputs == 1:
        _only("BCEWithLogitsLoss", loss, weight=None)
    if network.last in ("sigmoid", "hardsigmoid", "softmax", "log-softmax"):
        raise UnsupportedModule(f"loss: BCEWithLogitsLoss after a layer `{network.last}`: expected logits, without it")
    if loss.weight is None:
        return {"loss": "bce"}
    if tuple(loss.weight.shape) != (network.outputs,):
        found = f"BCEWithLogitsLoss has a weight of shape {tuple(loss.weight.shape)}"
        raise UnsupportedModule(f"loss: {found}: expected {(network.outputs,)}, one for each label")
    return {"loss": "bce", "class_weights": [float(weight) for weight in loss.weight]}


def has_several_labels(loss: Any, outputs: int) -> bool:
    """Whether each output is an answer by itself, as images may have several labels, or none."""
    return outputs > 1 and (loss is F.binary_cross_entropy_with_logits or isinstance(loss, nn.BCEWithLogitsLoss))


def checked(loss: Any, outputs: int, y: NDArray[np.int64]) -> NDArray[np.int64]:
    """The labels. Raises ``ValueError`` unless they are those that a loss of so many outputs takes."""
    several = has_several_labels(loss, outputs)
    if several and (y.ndim == 1 or y.shape[1] != outputs):
        rows = f"rows of ({outputs},) with 1 for each label that an image has"
        raise ValueError(f"data: found labels of shape {y.shape}: expected {rows}, as the loss is BCEWithLogitsLoss")
    if not several and y.ndim == 2:
        instead = "expected a class number for each image; or BCEWithLogitsLoss, where an image may have several labels"
        raise ValueError(f"data: found labels of shape {y.shape}: {instead}")
    lowest, highest, classes = int(y.min(initial=0)), int(y.max(initial=0)), max(outputs, 2)
    if lowest < 0 or highest >= classes:
        found, expected = (lowest, "from 0 on") if lowest < 0 else (highest, f"below {classes}, as many as outputs")
        raise ValueError(f"data: found label {found}: expected labels {expected}")
    return y


_EXPECTED = "CrossEntropyLoss, NLLLoss or BCEWithLogitsLoss"
_ADVICE = {
    "BCELoss": "expected BCEWithLogitsLoss, and no sigmoid at the end of the network",
    "MSELoss": "expected a loss of classifiers: " + _EXPECTED,
}


def _only(kind: str, loss: Any, **expected: Any) -> None:
    for name, value in expected.items():
        found = getattr(loss, name, value)
        if found is not value and (value is None or found != value):
            raise UnsupportedModule(f"loss: {kind} has {name}={found!r}: expected {value!r}")


def loss_of(loss: Any, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The user's own function of outputs [n, classes], or [n, 1] for two, and labels [n]; of several [n, labels]."""
    x, y = torch.from_numpy(outputs), torch.from_numpy(labels)
    if outputs.shape[1] == 1:
        x, y = x[:, 0], y.to(torch.float32)
    elif labels.ndim == 2:
        y = y.to(torch.float32)
    return float(loss(x, y))
