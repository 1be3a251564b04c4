"""Modules in the manner people write them: each trains as by PyTorch, or is refused with the line and what would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from bobbin.torch import Estimator, UnsupportedModule  # noqa: E402
from torch_programs import arrays, coloured  # noqa: E402

STEPS = 6


class Functional(nn.Module):
    """All by functions, and a view by the size of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 5, padding=2), nn.Conv2d(8, 16, 3)
        self.fc1, self.fc2 = nn.Linear(16 * 6 * 6, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(torch.tanh(self.conv2(x)), kernel_size=2, stride=2)
        x = x.view(x.size(0), -1)
        return F.log_softmax(self.fc2(torch.sigmoid(self.fc1(x))), dim=1)


class Loops(nn.Module):
    """A list of blocks, gone through by a loop, and a dict of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv2d(c, 8, 3, padding=1) for c in (1, 8, 8)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(8, affine=False) for _ in range(3)])
        self.heads = nn.ModuleDict({"main": nn.Linear(8 * 7 * 7, 10)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, (block, norm) in enumerate(zip(self.blocks, self.norms)):
            x = F.relu(norm(block(x)))
            if i < 2:
                x = F.avg_pool2d(x, 2)
        return self.heads["main"](x.reshape(x.shape[0], -1))


class Squeeze(nn.Module):
    """Squeeze and excitation as its authors' code has it, with `expand_as`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, 4, bias=False), nn.ReLU(inplace=True), nn.Linear(4, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, _, _ = x.size()
        y = self.pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class Residual(nn.Module):
    def __init__(self, ins: int, outs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(ins, outs, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outs), nn.BatchNorm2d(outs)
        self.conv2 = nn.Conv2d(outs, outs, 3, 1, 1, bias=False)
        self.relu, self.se = nn.ReLU(inplace=True), Squeeze(outs)
        self.shortcut = nn.Sequential()
        if stride != 1 or ins != outs:
            self.shortcut = nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.se(self.bn2(self.conv2(out)))
        out += self.shortcut(x)
        return F.relu(out)


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b1, self.b2 = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 6, 5, padding="same")
        self.pool, self.bp = nn.MaxPool2d(3, 1, 1), nn.Conv2d(1, 2, 1)
        self.fc = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [self.b1(x), self.b2(x), self.bp(self.pool(x))]
        x = F.leaky_relu(torch.cat(branches, 1), 0.1)
        return self.fc(F.adaptive_avg_pool2d(x, (1, 1)).squeeze(-1).squeeze(-1))


class Depthwise(nn.Sequential):
    def __init__(self, ins: int, outs: int) -> None:
        super().__init__(
            nn.Conv2d(ins, ins, 3, padding=1, groups=ins, bias=False),
            nn.BatchNorm2d(ins),
            nn.Hardswish(),
            nn.Conv2d(ins, outs, 1),
            nn.SiLU(),
        )


class Shared(nn.Module):
    """One pool and one activation in two places, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.act = nn.MaxPool2d(2, 2), nn.ELU()
        self.inp, self.conv = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.out = nn.Linear(8 * 7 * 7, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.act(self.inp(x)))
        x = self.pool(self.act(self.conv(self.conv(x))))
        return self.out(torch.flatten(x, start_dim=1))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1 + 4 * i, 4, 3, padding=1) for i in range(3)])
        self.fc = nn.Linear(13, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [x]
        for layer in self.layers:
            features.append(F.gelu(layer(torch.cat(features, dim=1))))
        return self.fc(torch.cat(features, 1).mean(dim=(2, 3)))


class Dropouts(nn.Module):
    """Dropout by functions, with a probability of nought, so that both sides draw nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 24), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(self.fc1(x.flatten(1)), p=0.0, training=self.training)
        return self.fc2(F.relu6(x))


def nested() -> nn.Module:
    body = nn.Sequential(nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)), nn.GroupNorm(3, 6))
    hidden = nn.Sequential(nn.Linear(864, 20), nn.PReLU())
    return nn.Sequential(body, nn.Identity(), nn.Flatten(), hidden, nn.Linear(20, 10))


def norms() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2),
        nn.InstanceNorm2d(8, affine=True),
        nn.Softplus(),
        nn.Flatten(),
        nn.LayerNorm(8 * 13 * 13),
        nn.Linear(8 * 13 * 13, 10),
    )


def strided() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, (5, 3), stride=(2, 1), padding=(2, 0), dilation=(1, 2)),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def vectors() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.BatchNorm1d(30), nn.Tanh(), nn.Linear(30, 10))


def residual() -> nn.Module:
    return nn.Sequential(Residual(1, 8, 2), Residual(8, 8), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(8, 10))


def depthwise() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(1, 8, 3, 2), Depthwise(8, 12), Depthwise(12, 16))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def grouped() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Conv2d(8, 16, 3, groups=4))
    return nn.Sequential(body, nn.Flatten(), nn.Linear(16 * 22 * 22, 10))


def binary() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 6, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(864, 1), nn.Flatten(0))


def sgd(m: nn.Module) -> Any:
    return optim.SGD(m.parameters(), lr=0.02, momentum=0.9)


def adam(m: nn.Module) -> Any:
    return optim.Adam(m.parameters(), lr=1e-3, weight_decay=1e-4)


CROSS = nn.CrossEntropyLoss
MODULES: dict[str, tuple[Callable[[], nn.Module], Any, Callable[[Any], Any]]] = {
    "functions, log_softmax": (Functional, nn.NLLLoss(), sgd),
    "lists and dicts": (Loops, CROSS(), adam),
    "squeeze and excitation": (residual, CROSS(), sgd),
    "inception": (Inception, CROSS(label_smoothing=0.1), adam),
    "depthwise": (depthwise, CROSS(), sgd),
    "shared": (Shared, CROSS(weight=torch.linspace(0.5, 2, 10)), adam),
    "dense": (Dense, CROSS(), adam),
    "dropout by functions": (Dropouts, CROSS(), sgd),
    "nested": (nested, CROSS(), sgd),
    "norms": (norms, CROSS(), adam),
    "strided": (strided, CROSS(), sgd),
    "vectors": (vectors, CROSS(), adam),
    "groups": (grouped, F.cross_entropy, sgd),
    "one output": (binary, nn.BCEWithLogitsLoss(), adam),
}


def trained_by_torch(module: nn.Module, loss: Any, optimizer: Any, loader: Any) -> list[float]:
    losses = []
    module.train()
    for x, y in loader:
        optimizer.zero_grad()
        found = loss(module(x), y)
        found.backward()
        optimizer.step()
        losses.append(found.item())
    return losses


@pytest.mark.parametrize("name", MODULES)
def test_trains_as_by_pytorch(name: str) -> None:
    make, loss, optimizer = MODULES[name]
    images, labels = arrays()
    x, y = torch.from_numpy(images[: 32 * STEPS]).float() / 255, torch.from_numpy(labels[: 32 * STEPS])
    if name == "one output":
        y = (y > 4).float()
    loader = DataLoader(TensorDataset(x, y), 32)
    torch.manual_seed(9)
    module = make()
    expected = trained_by_torch(module, loss, optimizer(module), loader)
    torch.manual_seed(9)
    module = make()
    found = Estimator.from_torch(model=module, optimizer=optimizer(module), loss=loss)
    found.fit(loader)
    assert np.ptp(expected) > 1e-3
    assert np.abs(found.get_train_summary("Loss")[:, 1] - expected).max() <= 1e-5


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_models_of_torchvision_train_as_by_pytorch(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    images, labels = coloured(size=64, classes=3)
    x = torch.from_numpy(images[:32].transpose(0, 3, 1, 2).copy()).float() / 255
    loader = DataLoader(TensorDataset(x, torch.from_numpy(labels[:32]).long()), 16)
    losses = []
    for side in ("torch", "bobbin"):
        torch.manual_seed(5)
        settings = {} if name == "resnet18" else {"dropout": 0.0}
        module = getattr(models, name)(num_classes=3, **settings)
        if side == "torch":
            losses.append(trained_by_torch(module, CROSS(), optim.SGD(module.parameters(), 1e-4), loader))
        else:
            found = Estimator.from_torch(model=module, optimizer=optim.SGD(module.parameters(), 1e-4), loss=CROSS())
            found.fit(loader)
            losses.append(list(found.get_train_summary("Loss")[:, 1]))
    assert np.abs(np.subtract(*losses)).max() <= 1e-5


class Length(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(784, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.view(len(x), -1))


class Scaled(Length):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(0.5 * x.flatten(1))


class Choosing(Length):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.mean() > 0:
            x = -x
        return self.fc(x.flatten(1))


class Gain(Length):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.flatten(1) * self.gain)


class Permuted(Length):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.permute(0, 2, 3, 1).flatten(1))


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(2)
        self.fc = nn.Linear(784, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(x).flatten(1))


@pytest.mark.parametrize(
    ("make", "line", "instead"),
    [
        (Length, "x.view(len(x), -1)", "write `x.size(0)`"),
        (Scaled, "0.5 * x.flatten(1)", "expected two tensors"),
        (Choosing, "if x.mean() > 0", "no `if` or loop over the values of tensors"),
        (Gain, "x.flatten(1) * self.gain", "expected parameters as those of a layer of torch.nn"),
        (Permuted, "x.permute(0, 2, 3, 1)", "docs/from-torch.md"),
        (Named, "self.norm(x)", "expected GroupNorm or BatchNorm2d"),
    ],
)
def test_is_refused_with_the_line_and_what_would_do(make: Any, line: str, instead: str) -> None:
    module = make()
    found = Estimator.from_torch(model=module, optimizer=sgd(module), loss=CROSS())
    with pytest.raises(UnsupportedModule) as error:
        found.fit(arrays())
    assert line in str(error.value) and instead in str(error.value), error.value
