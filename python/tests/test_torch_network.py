"""Modules as layers of recipes, and what cannot be taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from bobbin.torch import Estimator, UnsupportedModule  # noqa: E402
from bobbin.torch import losses, optimizers  # noqa: E402
from bobbin.torch.network import Network, translate  # noqa: E402

SHAPE = (1, 12, 12)


class Parts(nn.Module):
    """Layers of all kinds, of which a test's ``forward`` uses some."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.same = nn.Conv2d(4, 4, (3, 1), padding=(1, 0), bias=False)
        self.norm = nn.BatchNorm2d(4, eps=1e-3, momentum=0.2)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.25)
        self.mish = nn.Mish()
        self.weight = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.fc = nn.Linear(4 * 12 * 12, 3)
        self.small = nn.Linear(4 * 3 * 3, 3)
        self.head = nn.Linear(4, 3)


def network(forward: Callable[..., Any]) -> Network:
    module = type("Net", (Parts,), {"forward": forward})()
    return translate(module, SHAPE)


def pooled_twice(self: Any, x: Any) -> Any:
    x = self.pool(F.relu(self.conv(x)))
    x = self.pool(self.drop(x))
    return self.small(x.view(-1, 36))


def test_a_layer_without_parameters_may_be_called_twice() -> None:
    assert network(pooled_twice).layers == [
        {"kind": "conv", "name": "conv", "outputs": 4, "kernel": 3, "padding": 1},
        {"kind": "relu", "name": "relu"},
        {"kind": "max-pool", "name": "pool", "kernel": 2},
        {"kind": "dropout", "name": "drop", "p": 0.25},
        {"kind": "max-pool", "name": "pool-2", "kernel": 2},
        {"kind": "flatten", "name": "view"},
        {"kind": "linear", "name": "small", "outputs": 3},
    ]


def joined(self: Any, x: Any) -> Any:
    a = self.norm(self.conv(x))
    b = self.same(a)
    a = self.same(b) + a
    return self.head((a * b).mean((2, 3)))


def test_joins_and_shared_layers() -> None:
    found = network(joined)
    assert found.layers == [
        {"kind": "conv", "name": "conv", "outputs": 4, "kernel": 3, "padding": 1},
        {"kind": "batch-norm", "name": "norm", "momentum": 0.2, "eps": 1e-3},
        {"kind": "conv", "name": "same", "outputs": 4, "kernel": [3, 1], "padding": [1, 0], "bias": False},
        {"kind": "again", "name": "same-2", "layer": "same"},
        {"kind": "add", "name": "add", "from": ["same-2", "norm"]},
        {"kind": "multiply", "name": "mul", "from": ["add", "same"]},
        {"kind": "global-avg-pool", "name": "mean"},
        {"kind": "linear", "name": "head", "outputs": 3},
    ]
    assert found.names == [
        *("conv.weight", "conv.bias", "norm.weight", "norm.bias"),
        *("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"),
        *("same.weight", "head.weight", "head.bias"),
    ]


def test_modes_of_modules_are_left_alone() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(), nn.Flatten(), nn.Linear(200, 3)).eval()
    module[0].train()
    kinds = [layer["kind"] for layer in translate(module, SHAPE).layers]
    assert kinds == ["conv", "dropout", "flatten", "linear"]
    assert [m.training for m in module] == [True, False, False, False]


def test_a_parameter_of_two_layers_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1), nn.Flatten())
    module[1].weight = module[0].weight
    with pytest.raises(UnsupportedModule, match="`1.weight` is also `0.weight`; expected one module, called twice"):
        translate(module, SHAPE)


class Named(nn.Module):
    """A function before a module of its name, and a module called as a recipe calls the images."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.ReLU()
        self.add = nn.Conv2d(1, 1, 3, padding=1)
        self.fc = nn.Linear(144, 3)

    def forward(self, x: Any) -> Any:
        x = torch.add(x, self.input(x))
        return self.fc(self.add(x).flatten(1))


def test_names_of_functions_and_modules_are_kept_apart() -> None:
    module = Named()
    found = translate(module, SHAPE)
    names = [(layer["kind"], layer["name"]) for layer in found.layers[:3]]
    assert names == [("relu", "input-2"), ("add", "add-2"), ("conv", "add")]
    assert found.names == ["add.weight", "add.bias", "fc.weight", "fc.bias"]
    x = np.random.default_rng(1).integers(0, 256, (4, *SHAPE), np.uint8)
    with torch.no_grad():
        expected = module(torch.from_numpy(x).float() / 255).numpy()
    assert np.abs(Estimator.from_torch(model=module).predict(x) - expected).max() < 1e-5
    module.input = nn.Conv2d(1, 1, 1)
    with pytest.raises(UnsupportedModule, match="is named `input`"):
        translate(module, SHAPE)


@pytest.mark.parametrize("unpacked", ["shape", "size"])
def test_shapes_may_be_unpacked(unpacked: str) -> None:
    def forward(self: Any, x: Any) -> Any:
        x = self.conv(x)
        n, c, h, w = x.shape if unpacked == "shape" else x.size()
        return self.fc(x.reshape(n, c * h * w))

    assert [layer["kind"] for layer in network(forward).layers] == ["conv", "flatten", "linear"]


def refused() -> dict[str, tuple[Callable[..., Any], list[str]]]:
    """What ``forward`` does, and what the message says."""

    def scaled(self: Any, x: Any) -> Any:
        return self.fc(torch.flatten(2 * self.conv(x), 1))

    def branching(self: Any, x: Any) -> Any:
        if x.sum() > 0:
            x = self.conv(x)
        return x

    def unknown(self: Any, x: Any) -> Any:
        return self.mish(self.conv(x))

    def own_weight(self: Any, x: Any) -> Any:
        return self.conv(x) * self.weight

    def always_dropping(self: Any, x: Any) -> Any:
        return self.fc(F.dropout(self.conv(x)).flatten(1))

    def wrong_size(self: Any, x: Any) -> Any:
        return self.fc(self.pool(x).flatten(1))

    def reshaped(self: Any, x: Any) -> Any:
        return self.conv(x.transpose(2, 3))

    def two_ways(self: Any, x: Any) -> Any:
        x = self.conv(x)
        if self.training:
            x = F.relu(x)
        return self.fc(x.flatten(1))

    def two_outputs(self: Any, x: Any) -> Any:
        x = self.conv(x)
        return self.fc(x.flatten(1)), x

    def images_out(self: Any, x: Any) -> Any:
        return self.conv(x)

    def over_rows(self: Any, x: Any) -> Any:
        return F.softmax(self.conv(x), dim=2).mean((2, 3))

    return {
        "a number": (scaled, ["test_torch_network.py line", "2 * self.conv(x)", "2; expected two tensors"]),
        "control flow": (branching, ["if x.sum() > 0", "cannot be traced"]),
        "a layer": (unknown, ["module `mish`", "no equivalent for Mish", "self.mish(self.conv(x))"]),
        "a parameter": (own_weight, ["`self.weight` is used by itself"]),
        "dropout in evaluation": (always_dropping, ["F.dropout", "expected training=self.training"]),
        "sizes": (wrong_size, ["module `fc`", "PyTorch itself fails here"]),
        "a transposition": (reshaped, ["no equivalent for `transpose`"]),
        "training alone": (two_ways, ["other things in training than in evaluation", "x = F.relu(x)"]),
        "two outputs": (two_outputs, ["`forward` returns tuple"]),
        "no vectors": (images_out, ["returns a tensor of shape (3, 4, 12, 12)"]),
        "an axis": (over_rows, ["dim=2", "expected dim=1"]),
    }


@pytest.mark.parametrize("case", refused())
def test_what_bobbin_has_no_equivalent_for_is_named(case: str) -> None:
    forward, expected = refused()[case]
    with pytest.raises(UnsupportedModule) as error:
        network(forward)
    for text in expected:
        assert text in str(error.value)


def module_of(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.Flatten())


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), "padding_mode='circular'"),
        (nn.ConvTranspose2d(1, 2, 3), "no equivalent for ConvTranspose2d"),
        (nn.AvgPool2d(2, divisor_override=3), "divisor_override=3"),
        (nn.BatchNorm2d(1, track_running_stats=False), "track_running_stats=False"),
        (nn.BatchNorm2d(1, momentum=None), "momentum=None"),
        (nn.InstanceNorm2d(1, track_running_stats=True), "track_running_stats=True"),
        (nn.LayerNorm(12), "over (12,) of an input of shape (1, 12, 12)"),
        (nn.Linear(12, 3), "flatten images to vectors before it"),
        (nn.Hardtanh(), "min_val=-1.0"),
        (nn.Softplus(threshold=3), "threshold=3"),
        (nn.Conv2d(1, 2, 3).double(), "float32"),
    ],
)
def test_what_a_layer_has_not_is_named(layer: nn.Module, text: str) -> None:
    with pytest.raises(UnsupportedModule) as error:
        translate(module_of(layer), SHAPE)
    assert text in str(error.value)


def activations() -> list[nn.Module]:
    return [
        *(nn.ReLU(), nn.ReLU6(), nn.Hardsigmoid(), nn.Hardswish(), nn.Sigmoid(), nn.Tanh(), nn.SiLU()),
        *(nn.LeakyReLU(0.2), nn.GELU(), nn.GELU("tanh"), nn.ELU(0.7), nn.Softplus(2), nn.Hardtanh(0, 6)),
        *(nn.PReLU(), nn.PReLU(4), nn.Softmax(1), nn.LogSoftmax(1), nn.Identity(), nn.Dropout(), nn.Dropout2d()),
        *(nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.GroupNorm(2, 4), nn.LayerNorm([4, 10, 10])),
        *(nn.InstanceNorm2d(4), nn.InstanceNorm2d(4, affine=True)),
        *(nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, dilation=2), nn.MaxPool2d((3, 2), ceil_mode=True)),
        *(nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(4, ceil_mode=True)),
        *(nn.AdaptiveAvgPool2d((3, 4)), nn.AdaptiveMaxPool2d(3), nn.AdaptiveAvgPool2d((None, 1))),
        *(nn.Conv2d(4, 6, 3, 2, 1, 2), nn.Conv2d(4, 6, (1, 3), padding="valid", bias=False)),
        *(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(4, 4, 5, 2, 2, groups=4), nn.Conv2d(4, 6, (2, 5), padding="same")),
        *(nn.Conv2d(4, 6, 5, padding=2, padding_mode="reflect"), nn.Conv2d(4, 4, 3, padding="same", dilation=2)),
    ]


@pytest.mark.parametrize("layer", activations(), ids=str)
def test_outputs_of_every_layer_are_those_of_pytorch(layer: nn.Module) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.Flatten(), nn.LazyLinear(5))
    x = np.random.default_rng(1).integers(0, 256, (4, 3, 12, 12), np.uint8)
    floats = torch.from_numpy(x).float() / 255
    # Statistics that are not the first ones.
    module(floats)
    module.eval()
    expected = module(floats).detach().numpy()
    found = Estimator.from_torch(model=module).predict(x)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


TORCHVISION = [
    *("resnet18", "squeezenet1_1", "vgg11_bn", "densenet121", "mobilenet_v2", "mobilenet_v3_small"),
    *("efficientnet_b0", "mnasnet0_5", "regnet_y_400mf"),
]


@pytest.mark.parametrize("name", TORCHVISION)
def test_networks_of_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(1)
    module = getattr(models, name)(num_classes=5).eval()
    x = np.random.default_rng(1).integers(0, 256, (2, 3, 64, 64), np.uint8)
    with torch.no_grad():
        expected = module(torch.from_numpy(x).float() / 255).numpy()
    found = Estimator.from_torch(model=module).predict(x)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def plain() -> tuple[nn.Module, Network]:
    module = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    return module, translate(module, SHAPE)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: optim.Adam(p, amsgrad=True), "Adam has amsgrad=True: expected amsgrad=False"),
        (lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5), "dampening=0.5"),
        (lambda p: optim.SGD(p, lr=0.1, maximize=True), "maximize=True"),
        (lambda p: optim.Adadelta(p), "found Adadelta, expected one of SGD"),
        (
            lambda p: optim.SGD([{"params": [q], "momentum": m} for q, m in zip(p, (0.5, 0.9), strict=True)], lr=0.1),
            "momentum=0.9",
        ),
    ],
)
def test_what_an_optimiser_has_not_is_named(make: Any, text: str) -> None:
    module, found = plain()
    with pytest.raises(UnsupportedModule) as error:
        optimizers.translate(make(list(module.parameters())), module, found)
    assert text in str(error.value)


def test_newer_pytorch_says_of_adam_and_adamw_which_they_are() -> None:
    module, found = plain()
    for make, decoupled in ((optim.Adam, False), (optim.AdamW, True)):
        for said in (False, True):
            optimizer = make(module.parameters())
            optimizer.param_groups[0]["decoupled_weight_decay"] = said
            if said == decoupled:
                assert optimizers.translate(optimizer, module, found)["kind"] == make.__name__.lower()
            else:
                with pytest.raises(UnsupportedModule, match="decoupled_weight_decay"):
                    optimizers.translate(optimizer, module, found)


def test_parameters_that_are_not_trained_are_frozen() -> None:
    module, found = plain()
    module[1].bias.requires_grad_(False)
    section = optimizers.translate(optim.SGD([module[1].weight], lr=0.1, weight_decay=0.01), module, found)
    assert section == {
        **{"kind": "sgd", "lr": 0.1, "weight_decay": 0.01, "momentum": 0.0, "nesterov": False},
        "groups": [{"match": "1.bias", "frozen": True}],
    }



@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (nn.MSELoss(), "found MSELoss"),
        (nn.BCELoss(), "no sigmoid at the end"),
        (nn.NLLLoss(), "after a layer `linear`"),
        (nn.CrossEntropyLoss(reduction="sum"), "reduction='sum': expected 'mean'"),
        (nn.CrossEntropyLoss(ignore_index=1), "ignore_index=1"),
        (nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)), "has pos_weight="),
    ],
)
def test_what_a_loss_has_not_is_named(loss: nn.Module, text: str) -> None:
    with pytest.raises(UnsupportedModule) as error:
        losses.translate(loss, plain()[1])
    assert text in str(error.value)
