"""Programs whose ``forward`` calculates with the sizes of its tensors, and modules that are more or less than a module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from bobbin.torch import Estimator, UnsupportedModule  # noqa: E402

X = torch.from_numpy(np.random.default_rng(0).random((24, 3, 10, 12), np.float32))
Y = torch.from_numpy(np.random.default_rng(1).integers(0, 4, 24))


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.fc = nn.Linear(400, 4)
        self.head = nn.Linear(5, 4)

    def features(self, x: Any) -> int:
        count = 1
        for size in x.size()[1:]:
            count *= size
        return count


def tutorial(self: Any, x: Any) -> Any:
    x = F.relu(self.conv(x))
    return self.fc(x.view(-1, self.features(x)))


def asserting(self: Any, x: Any) -> Any:
    assert x.shape[1] == 3 and x.dim() == 4 and x.ndim == 4
    x = self.conv(x)
    if x.shape[-1] > 9:
        x = F.relu(x)
    return self.fc(x.reshape(x.shape[0], -1))


def pool_of_the_size(self: Any, x: Any) -> Any:
    x = self.conv(x)
    return self.head(F.avg_pool2d(x, kernel_size=x.shape[2:]).flatten(1))


def pixels_in_a_row(self: Any, x: Any) -> Any:
    x = F.relu(self.conv(x))
    n, c, *_ = x.shape
    return self.head(x.view(n, c, -1).mean(2))


def pixels_in_a_row_after_all(self: Any, x: Any) -> Any:
    return self.head(F.relu(self.conv(x).flatten(2)).amax(-1))


FORWARDS = [tutorial, asserting, pool_of_the_size, pixels_in_a_row, pixels_in_a_row_after_all]


def loader() -> DataLoader:
    return DataLoader(TensorDataset(X, Y), 12)


def losses(make: Any) -> tuple[list[float], Any]:
    """By PyTorch, and by Bobbin."""
    torch.manual_seed(3)
    module, own = make(), []
    optimizer = optim.SGD(module.parameters(), lr=0.05)
    for x, y in loader():
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(module(x), y)
        loss.backward()
        optimizer.step()
        own.append(loss.item())
    torch.manual_seed(3)
    module = make()
    found = Estimator.from_torch(
        model=module, optimizer=optim.SGD(module.parameters(), lr=0.05), loss=nn.CrossEntropyLoss()
    )
    found.fit(loader())
    return own, found.get_train_summary("Loss")[:, 1]


@pytest.mark.parametrize("forward", FORWARDS)
def test_sizes_are_numbers(forward: Any) -> None:
    own, found = losses(type("Net", (Parts,), {"forward": forward}))
    assert np.abs(found - own).max() < 1e-5


def test_lazy_modules_are_initialised_as_by_their_first_call() -> None:
    own, found = losses(lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)))
    assert np.abs(found - own).max() < 1e-5


def refusal(module: nn.Module) -> str:
    found = Estimator.from_torch(model=module, optimizer=optim.SGD(module.parameters(), 0.1), loss=nn.CrossEntropyLoss())
    with pytest.raises(UnsupportedModule) as error:
        found.fit(loader())
    return str(error.value)


def test_wrappers_are_named() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(360, 4))
    assert "it is a DataParallel; expected its `module`" in refusal(nn.DataParallel(net))
    assert "expected the module that torch.jit.script was given" in refusal(torch.jit.script(net))
    lazy = nn.Sequential(nn.LazyConv2d(4, 20), nn.Flatten(), nn.LazyLinear(4))
    assert "its lazy modules cannot be initialised: " in refusal(lazy)


def test_the_number_of_images_is_no_number() -> None:
    """It is another in every batch."""

    def forward(self: Any, x: Any) -> Any:
        x = self.conv(x)
        return self.fc((F.relu(x) if x.size(0) > 2 else x).flatten(1))

    assert "`forward` cannot be traced" in refusal(type("Net", (Parts,), {"forward": forward})())


def test_rows_of_pixels_are_no_vectors() -> None:
    def forward(self: Any, x: Any) -> Any:
        return self.fc(self.conv(x).flatten(2).softmax(2).flatten(1))

    assert "`softmax` has dim=2" in refusal(type("Net", (Parts,), {"forward": forward})())
