"""PyTorch programs in bfloat16."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402

from bobbin.torch import Estimator  # noqa: E402
from torch_programs import arrays  # noqa: E402

BATCH, STEPS = 64, 10


def network() -> nn.Module:
    torch.manual_seed(3)
    body = [nn.Conv2d(1, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Conv2d(32, 16, 3)]
    return nn.Sequential(*body, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))


def estimator(precision: str) -> Estimator:
    module = network()
    optimizer = optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    return Estimator.from_torch(model=module, optimizer=optimizer, loss=nn.CrossEntropyLoss(), precision=precision)


def losses_of_torch() -> np.ndarray:
    """Under autocast, on the images in their order."""
    module, found = network(), []
    optimizer = optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    images, labels = (torch.from_numpy(a) for a in arrays())
    for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(module(x.float() / 255).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return np.array(found)


def losses(found: Estimator) -> np.ndarray:
    images, labels = arrays()
    data = [(images[i : i + BATCH], labels[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    for x, y in data:
        torch.manual_seed(0)
        found.fit((x, y), batch_size=BATCH)
    return found.get_train_summary("Loss")[:, 1]


def test_losses_are_near_those_under_autocast() -> None:
    expected, found, in_f32 = losses_of_torch(), losses(estimator("bf16")), losses(estimator("f32"))
    assert len(found) == STEPS
    assert np.abs(found / expected - 1).max() < 0.01
    assert not np.array_equal(found, in_f32)


def test_outputs_are_in_the_precision_before_training_too() -> None:
    images, _ = arrays()
    outputs = {p: estimator(p).predict(images[:40]) for p in ("f32", "bf16")}
    with torch.no_grad():
        exact = network()(torch.from_numpy(images[:40]).float() / 255).numpy()
    off = {p: np.abs(o - exact).max() / np.abs(exact).max() for p, o in outputs.items()}
    assert off["f32"] < 1e-5 < off["bf16"] < 0.02


def test_what_would_train_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match="precision: found 'fp16': expected 'f32' or 'bf16'"):
        estimator("fp16")
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ValueError, match=r"torch.autocast: .*: expected from_torch\(precision='bf16'\)"):
            estimator("f32").fit(arrays(), batch_size=BATCH)
        estimator("bf16").fit(arrays(), batch_size=BATCH)
