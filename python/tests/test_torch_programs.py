"""Programs on Bobbin beside the same programs on PyTorch: the same weights, batches and steps, so the same losses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bobbin.torch import Estimator, MaxIteration  # noqa: E402
from torch_programs import PROGRAMS, Program  # noqa: E402

STEPS = 20


def by_torch(program: Program) -> tuple[list[float], Any]:
    """The losses of the first steps, and the module after them."""
    torch.manual_seed(3)
    model = program.model()
    optimizer = program.optimizer(model, program.config)
    scheduler = program.scheduler(optimizer, program.config) if program.scheduler else None
    loss, loader = program.loss(), program.data()
    model.train()
    torch.manual_seed(4)
    losses: list[float] = []
    while len(losses) < STEPS:
        for x, y in itertools.islice(loader, STEPS - len(losses)):
            optimizer.zero_grad()
            found = loss(model(x), y)
            found.backward()
            optimizer.step()
            losses.append(found.item())
            if scheduler is not None and program.frequency == "batch":
                scheduler.step()
        if scheduler is not None and program.frequency == "epoch":
            scheduler.step()
    return losses, model


def by_bobbin(program: Program) -> Estimator:
    """The estimator after as many steps: the module, its data, loss and scheduler by functions that make them."""
    torch.manual_seed(3)
    model = program.model()
    estimator = Estimator.from_torch(
        model=model,
        optimizer=program.optimizer,
        loss=lambda config: program.loss(),
        scheduler=program.scheduler,
        scheduler_step_freq=program.frequency,
        config=program.config,
    )
    torch.manual_seed(4)
    estimator.fit(program.data, epochs=MaxIteration(STEPS))
    return estimator


@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_and_weights_are_those_of_pytorch(name: str) -> None:
    program = PROGRAMS[name]
    expected, module = by_torch(program)
    estimator = by_bobbin(program)
    found = estimator.get_train_summary("Loss")
    assert list(found[:, 0]) == list(range(1, STEPS + 1))
    off = np.abs(found[:, 1] - expected)
    assert off.max() <= 1e-5, f"{name}: {off.max():.2g} apart at step {off.argmax() + 1}"
    # Losses that differ from each other: else equality would say little.
    assert np.ptp(expected) > 1e-2
    trained = estimator.get_model().state_dict()
    for key, value in module.state_dict().items():
        scale = max(float(value.float().abs().max()), 1e-2)
        apart = float((trained[key].float() - value.float()).abs().max())
        assert apart <= 2e-3 * scale, f"{name}: {key} is {apart:.2g} apart"
