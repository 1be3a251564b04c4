"""Programs as users of PyTorch write them, in the manner of Orca's examples: model, optimiser, loss and data."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from bobbin.torch import Estimator

FASHION = Path(__file__).resolve().parents[2] / "data" / "fashion-mnist"
IMAGES = 640


def fashion() -> tuple[np.ndarray, np.ndarray]:
    """The first training images of Fashion-MNIST, [n, 28, 28], and their labels."""
    with gzip.open(FASHION / "train-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(16 + IMAGES * 784)[16:], np.uint8).reshape(-1, 28, 28).copy()
    with gzip.open(FASHION / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + IMAGES)[8:], np.uint8)
    return images, labels


def arrays() -> tuple[np.ndarray, np.ndarray]:
    images, labels = fashion()
    return images[:, None], labels.astype(np.int64)


def coloured(size: int = 32, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, size, size, 3] of noise, brighter in a place that says their class, as CIFAR's are shaped."""
    random = np.random.default_rng(7)
    images = random.integers(0, 160, (IMAGES, size, size, 3))
    labels = random.integers(0, classes, IMAGES)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 4)
        image[6 * row : 6 * row + 6, 6 * column : 6 * column + 6, label % 3] += 90
    return images.astype(np.uint8), labels.astype(np.uint8)


class Pictures(Dataset):
    """A data set with a transform, as torchvision's are."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: Any, std: Any) -> None:
        self.images, self.labels = images, labels
        self.transform = Normalize(mean, std)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = self.images[i].reshape(*self.images.shape[1:3], -1).transpose(2, 0, 1)
        return self.transform(torch.from_numpy(image.copy()).float().div(255)), int(self.labels[i])


class Normalize:
    """As torchvision's."""

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = mean, std

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.as_tensor(v).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return (x - mean) / std


def fashion_loader(config: Any = None, batch_size: int = 32) -> DataLoader:
    return DataLoader(Pictures(*fashion(), (0.1307,), (0.3081,)), batch_size=batch_size, shuffle=True)


def colour_loader(config: Any = None, batch_size: int = 32) -> DataLoader:
    data = Pictures(*coloured(), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    return DataLoader(data, batch_size=batch_size, shuffle=True)


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5, 1)
        self.conv2 = nn.Conv2d(20, 50, 5, 1)
        self.fc1 = nn.Linear(4 * 4 * 50, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(x, 2, 2)
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2, 2)
        x = x.view(-1, 4 * 4 * 50)
        x = F.relu(self.fc1(x))
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


class Cifar(nn.Module):
    """One pool, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class Block(nn.Module):
    """A residual block with batch norm, whose input is concatenated to its output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        y += x
        return torch.cat([F.relu(y), x], dim=1)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(8), nn.AvgPool2d(2), Block(16))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(torch.relu(self.stem(x)))
        x = F.adaptive_avg_pool2d(x, 1)
        return self.head(x.view(x.size(0), -1))


class Excited(nn.Module):
    """Squeeze and excitation by means of rows and columns, and group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.squeeze = nn.Conv2d(16, 4, 1)
        self.excite = nn.Conv2d(4, 16, 1)
        self.conv2 = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.classifier = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.norm(self.conv1(x)))
        scale = x.mean([2, 3], keepdim=True)
        scale = torch.sigmoid(self.excite(F.hardswish(self.squeeze(scale))))
        x = F.elu(self.conv2(x * scale))
        return self.classifier(x.mean((2, 3)))


class Shared(nn.Module):
    """A convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 5, stride=2, padding=2)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.norm = nn.LayerNorm(128)
        self.head = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.stem(x))
        x = F.gelu(self.twice(x)) + x
        x = F.leaky_relu(torch.add(self.twice(x), x), 0.1)
        return self.head(self.norm(self.pool(x).flatten(1)))


class Binary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(1152, 16))
        self.out = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.features(x))).squeeze(1)


class Fashion(nn.Module):
    """Two stages, each a sequence with a name, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.layer2 = nn.Sequential(nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
        self.fc = nn.Linear(7 * 7 * 32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layer2(self.layer1(x))
        out = out.reshape(out.size(0), -1)
        return self.fc(out)


def tensors() -> TensorDataset:
    """Images of Fashion-MNIST, normalised."""
    images, labels = arrays()
    return TensorDataset((torch.from_numpy(images).float() / 255 - 0.286) / 0.353, torch.from_numpy(labels))


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(12, 24, 3, padding=1), nn.ReLU6(), nn.MaxPool2d(3, stride=2, ceil_mode=True)),
        nn.Flatten(),
        nn.Linear(24 * 7 * 7, 64),
        nn.Softplus(),
        nn.Identity(),
        nn.Linear(64, 10),
    )


def two_rates(model: nn.Module, config: dict[str, Any]) -> optim.Optimizer:
    decayed = [p for n, p in model.named_parameters() if n.endswith("weight")]
    others = [p for n, p in model.named_parameters() if n.endswith("bias")]
    groups = [{"params": decayed, "weight_decay": 1e-2}, {"params": others, "lr": config["lr"] / 4}]
    return optim.Adam(groups, lr=config["lr"])


def binary_loader(config: Any = None, batch_size: int = 32) -> DataLoader:
    images, labels = fashion()
    x = torch.from_numpy(images[:, None].copy()).float() / 255
    return DataLoader(TensorDataset(x, torch.from_numpy((labels < 5).astype(np.float32))), batch_size, shuffle=True)


Creator = Callable[..., Any]


@dataclass
class Program:
    """A program, whose parts are made anew for each run."""

    model: Creator
    optimizer: Creator
    loss: Creator = nn.CrossEntropyLoss
    data: Creator = fashion_loader
    scheduler: Creator | None = None
    frequency: str = "batch"
    config: dict[str, Any] = field(default_factory=dict)


WEIGHTS = [0.5, 1.0, 2.0, 1.0, 1.5, 0.25, 1.0, 3.0, 1.0, 1.0]

PROGRAMS = {
    "lenet, nll, adam": Program(LeNet, lambda m, c: optim.Adam(m.parameters(), lr=1e-3), nn.NLLLoss),
    "lenet, nll, sgd": Program(LeNet, lambda m, c: optim.SGD(m.parameters(), lr=0.01, momentum=0.5), nn.NLLLoss),
    "cifar, sgd": Program(Cifar, lambda m, c: optim.SGD(m.parameters(), lr=0.01, momentum=0.9), data=colour_loader),
    "cifar, adam, groups": Program(Cifar, two_rates, data=colour_loader, config={"lr": 1e-3}),
    "nested, nesterov, step": Program(
        plain,
        lambda m, c: optim.SGD(m.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4),
        scheduler=lambda o, c: optim.lr_scheduler.StepLR(o, 1, 0.5),
        frequency="epoch",
        data=lambda c=None, b=32: fashion_loader(c, 80),
    ),
    "residual, adamw, cosine": Program(
        Residual,
        lambda m, c: optim.AdamW(m.parameters(), lr=1e-3),
        scheduler=lambda o, c: optim.lr_scheduler.CosineAnnealingLR(o, 25, 1e-5),
    ),
    "excited, rmsprop, one-cycle": Program(
        Excited,
        lambda m, c: optim.RMSprop(m.parameters(), lr=1e-4, momentum=0.5),
        data=colour_loader,
        scheduler=lambda o, c: optim.lr_scheduler.OneCycleLR(o, 1e-3, total_steps=40, cycle_momentum=False),
    ),
    "shared, smoothed, weighted": Program(
        Shared,
        lambda m, c: optim.Adam(m.parameters(), lr=5e-4, betas=(0.8, 0.99)),
        lambda: nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS), label_smoothing=0.1),
        scheduler=lambda o, c: optim.lr_scheduler.LinearLR(o, 0.25, total_iters=8),
    ),
    "binary, adagrad": Program(
        Binary,
        lambda m, c: optim.Adagrad(m.parameters(), lr=0.01, lr_decay=1e-3),
        nn.BCEWithLogitsLoss,
        binary_loader,
        scheduler=lambda o, c: optim.lr_scheduler.MultiStepLR(o, [5, 12], 0.3),
    ),
}


PROGRAMS |= {
    "cifar, one-cycle with momenta": Program(
        Cifar,
        lambda m, c: optim.SGD(m.parameters(), lr=0.002, momentum=0.9, weight_decay=1e-4),
        data=colour_loader,
        scheduler=lambda o, c: optim.lr_scheduler.OneCycleLR(o, c["highest"], total_steps=60),
        config={"highest": 0.02},
    ),
    "fashion of tensors, warm-up": Program(
        lambda c=None: Fashion(),
        lambda m, c: optim.SGD(m.parameters(), lr=1e-3, momentum=0.5),
        data=lambda c=None, b=32: DataLoader(tensors(), 64, shuffle=True),
        scheduler=lambda o, c: optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, (step + 1) / 10)),
    ),
}


def small() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(1, 6, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(864, 10))


def estimator(module: nn.Module | None = None, lr: float = 0.05, **settings: Any) -> Estimator:
    module = module or small()
    optimizer = optim.SGD(module.parameters(), lr=lr, momentum=0.9)
    return Estimator.from_torch(model=module, optimizer=optimizer, loss=nn.CrossEntropyLoss(), **settings)
