"""Schedulers of PyTorch: the rate of every step, and the losses that follow from it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402
from torch.optim import lr_scheduler as s  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from bobbin.torch import Estimator, MaxIteration  # noqa: E402
from torch_programs import arrays, small  # noqa: E402

STEPS = 12


def sgd(module: nn.Module) -> Any:
    return optim.SGD(module.parameters(), lr=0.05, momentum=0.9)


def two_groups(module: nn.Module) -> Any:
    return optim.SGD([{"params": module[0].parameters()}, {"params": module[3].parameters(), "lr": 0.01}], lr=0.05)


def adam(module: nn.Module) -> Any:
    return optim.Adam(module.parameters(), lr=1e-3)


SCHEDULERS: dict[str, tuple[Callable[[Any], Any], Any, str]] = {
    "step": (lambda o: s.StepLR(o, 3, 0.5), sgd, "batch"),
    "step, once an epoch": (lambda o: s.StepLR(o, 1, 0.1), two_groups, "epoch"),
    "multi-step": (lambda o: s.MultiStepLR(o, [2, 5, 5], 0.3), sgd, "batch"),
    "exponential": (lambda o: s.ExponentialLR(o, 0.8), adam, "epoch"),
    "cosine, past its end": (lambda o: s.CosineAnnealingLR(o, 4, eta_min=1e-3), two_groups, "batch"),
    "cosine, once an epoch": (lambda o: s.CosineAnnealingLR(o, 3), sgd, "epoch"),
    "warm restarts": (lambda o: s.CosineAnnealingWarmRestarts(o, 3, 2), sgd, "batch"),
    "one cycle": (lambda o: s.OneCycleLR(o, 0.1, total_steps=20), sgd, "batch"),
    "one cycle of Adam, linear": (lambda o: s.OneCycleLR(o, 3e-3, total_steps=20, anneal_strategy="linear"), adam, "batch"),
    "linear": (lambda o: s.LinearLR(o, 0.01, 0.5, total_iters=5), sgd, "batch"),
    "constant, then not": (lambda o: s.ConstantLR(o, 0.2, 4), sgd, "batch"),
    "polynomial": (lambda o: s.PolynomialLR(o, 8, 2.0), sgd, "batch"),
    "cyclic": (lambda o: s.CyclicLR(o, 0.001, 0.05, step_size_up=3), sgd, "batch"),
    "lambda, from nought": (lambda o: s.LambdaLR(o, lambda step: min(step / 4, 1.0)), sgd, "batch"),
    "lambdas of groups": (lambda o: s.LambdaLR(o, [lambda step: 0.9**step, lambda step: 1.1**step]), two_groups, "batch"),
    "one after another": (
        lambda o: s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=3), s.ExponentialLR(o, 0.7)], [3]),
        sgd,
        "batch",
    ),
    "both at once": (lambda o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)]), sgd, "batch"),
}


def data() -> DataLoader:
    images, labels = arrays()
    return DataLoader(TensorDataset(torch.from_numpy(images[:256]).float() / 255, torch.from_numpy(labels[:256])), 64)


# PyTorch 1's SequentialLR calls its schedulers in the way that they warn of.
@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_rates_and_losses_are_those_of_pytorch(name: str) -> None:
    make, optimizer_of, frequency = SCHEDULERS[name]
    module = small()
    optimizer = optimizer_of(module)
    scheduler, rates, losses = make(optimizer), [], []
    for _ in range(STEPS // 4):
        for x, y in data():
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(module(x), y)
            loss.backward()
            optimizer.step()
            rates.append(max(group["lr"] for group in optimizer.param_groups))
            losses.append(loss.item())
            if frequency == "batch":
                scheduler.step()
        if frequency == "epoch":
            scheduler.step()
    with warnings.catch_warnings():
        # PyTorch's, of what it takes for an optimiser that takes no steps.
        warnings.simplefilter("error")
        found = Estimator.from_torch(
            model=small(),
            optimizer=lambda model, config: optimizer_of(model),
            loss=nn.CrossEntropyLoss(),
            scheduler=lambda optimizer, config: make(optimizer),
            scheduler_step_freq=frequency,
        )
        found.fit(data(), epochs=STEPS // 4)
    assert np.array_equal(found.get_train_summary("LearningRate")[:, 1], rates)
    assert len(set(rates)) > 1
    assert np.abs(found.get_train_summary("Loss")[:, 1] - losses).max() < 1e-5


def test_a_plateau_is_that_of_the_validation() -> None:
    module = small()
    optimizer = optim.SGD(module.parameters(), lr=1e-6)
    scheduler = s.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.1)
    found = Estimator.from_torch(model=module, optimizer=optimizer, loss=nn.CrossEntropyLoss(), scheduler=scheduler)
    found.fit(data(), epochs=3, validation_data=data())
    assert list(found.get_train_summary("LearningRate")[::4, 1]) == [1e-6, 1e-6, 5e-7]
    assert scheduler.best == found.get_validation_summary("Loss")[0, 1]


def test_what_a_user_changes_between_two_fits_counts() -> None:
    """A rate, a decay, and a body that is thawed."""
    losses: list[Any] = []
    for side in ("torch", "bobbin"):
        module = small()
        module[0].requires_grad_(False)
        optimizer = optim.Adam(module.parameters(), lr=1e-3)
        found = Estimator.from_torch(model=module, optimizer=optimizer, loss=nn.CrossEntropyLoss())
        seen: list[float] = []
        for part in range(3):
            if part == 1:
                optimizer.param_groups[0].update(lr=1e-2, weight_decay=1e-2)
            elif part == 2:
                module[3].bias.requires_grad_(False)
            if side == "bobbin":
                found.fit(data())
                continue
            for x, y in data():
                optimizer.zero_grad(set_to_none=True)
                loss = nn.CrossEntropyLoss()(module(x), y)
                loss.backward()
                optimizer.step()
                seen.append(loss.item())
        losses.append(seen if side == "torch" else found.get_train_summary("Loss")[:, 1])
    assert np.abs(np.subtract(*losses)).max() < 1e-5


@pytest.mark.parametrize("name", ["step", "one cycle", "lambda, from nought", "plateau"])
def test_what_is_saved_goes_on_to_the_same_bits(name: str, tmp_path: Any) -> None:
    """Weights, optimiser, scheduler, dropout's draws, and the numbers of epochs and steps."""
    plateau = (lambda o: s.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=10.0), sgd, "epoch")
    make, optimizer_of, frequency = plateau if name == "plateau" else SCHEDULERS[name]

    def program() -> Estimator:
        module = small()
        module.insert(2, nn.Dropout(0.2))
        return Estimator.from_torch(
            model=module,
            optimizer=lambda model, config: optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
            loss=nn.CrossEntropyLoss(),
            scheduler=lambda optimizer, config: make(optimizer),
            scheduler_step_freq=frequency,
        )

    whole, first, second = program(), program(), program()
    whole.fit(data(), epochs=2)
    whole.fit(data(), epochs=MaxIteration(STEPS))
    first.fit(data(), epochs=2)
    file = first.save(tmp_path / "net.safetensors")
    second.load(file)
    second.fit(data(), epochs=MaxIteration(STEPS))
    assert list(second.get_train_summary("Loss")[:, 0]) == [9, 10, 11, 12]
    for tag in ("Loss", "LearningRate"):
        assert np.array_equal(second.get_train_summary(tag)[:, 1], whole.get_train_summary(tag)[8:, 1]), tag
    a, b = whole.get_model().state_dict(), second.get_model().state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    # Into one that has trained otherwise.
    first.fit(data(), epochs=1)
    first.load(file)
    first.fit(data(), epochs=MaxIteration(STEPS))
    assert np.array_equal(first.get_train_summary("Loss")[-4:, 1], whole.get_train_summary("Loss")[8:, 1])
