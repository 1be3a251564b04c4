"""What would train something else than PyTorch does, and is refused instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.optim import lr_scheduler  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from bobbin.torch import Estimator, EveryEpoch, UnsupportedModule, losses, optimizers  # noqa: E402
from bobbin.torch.network import put_weights, translate, weights_of  # noqa: E402
from torch_programs import arrays, estimator, small  # noqa: E402

SHAPE = (1, 12, 12)


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 3))


def section(optimizer: Any, module: nn.Module) -> dict[str, Any]:
    return optimizers.translate(optimizer, module, translate(module, SHAPE))


def test_a_scheduler_of_another_optimizer_is_refused() -> None:
    module = plain()
    other = lr_scheduler.StepLR(optim.SGD(module.parameters(), lr=0.1), 3)
    with pytest.raises(UnsupportedModule, match="that of another optimizer"):
        estimator(scheduler=other)


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.Adam(p)], ids=["sgd", "adam"]
)
def test_an_optimiser_that_remembers_steps_is_refused(make: Any) -> None:
    module = plain()
    optimizer = make(module.parameters())
    section(optimizer, module)
    module(torch.ones(2, *SHAPE)).sum().backward()
    optimizer.step()
    with pytest.raises(UnsupportedModule, match="has taken steps already"):
        section(optimizer, module)


def test_groups_of_rate_zero_stay_as_they_are() -> None:
    module = small()
    groups = [{"params": [module[0].weight], "lr": 0.0}, {"params": [module[3].weight]}]
    found = Estimator.from_torch(model=module, optimizer=optim.SGD(groups, lr=0.05), loss=nn.CrossEntropyLoss())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found.fit(arrays(), batch_size=64)
    after = found.get_model().state_dict()
    assert [name for name in after if not torch.equal(after[name], before[name])] == ["3.weight"]
    still = estimator(lr=0.0)
    before = {name: value.clone() for name, value in still.get_model().state_dict().items()}
    still.fit(arrays(), batch_size=64)
    assert all(torch.equal(value, before[name]) for name, value in still.get_model().state_dict().items())


class Net(nn.Module):
    """Layers for a test's ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(inplace=True)
        self.fc = nn.Linear(576, 3)


def in_place() -> dict[str, tuple[Callable[..., Any], str]]:
    def function(self: Any, x: Any) -> Any:
        x = self.conv(x)
        F.dropout(x, 0.5, self.training, inplace=True)
        return self.fc(x.flatten(1))

    def by_position(self: Any, x: Any) -> Any:
        x = self.conv(x)
        F.dropout(x, 0.5, self.training, True)
        return self.fc(x.flatten(1))

    def module(self: Any, x: Any) -> Any:
        x = self.conv(x)
        self.drop(x)
        return self.fc(x.flatten(1))

    def method(self: Any, x: Any) -> Any:
        x = self.conv(x)
        x.relu_()
        return self.fc(x.flatten(1))

    def used_again(self: Any, x: Any) -> Any:
        x = self.conv(x)
        y = self.drop(x)
        return self.fc((x + y).flatten(1))

    def of_a_view(self: Any, x: Any) -> Any:
        x = self.conv(x)
        y = self.drop(x.flatten(1))
        return self.fc(y + x.flatten(1))

    unused, again = "assign its result, without inplace", "what it changes in place is used again"
    return {
        "function": (function, unused),
        "by position": (by_position, unused),
        "module": (module, unused),
        "method": (method, unused),
        "used again": (used_again, again),
        "of a view": (of_a_view, again),
    }


@pytest.mark.parametrize("case", in_place())
def test_changes_in_place_that_count_are_refused(case: str) -> None:
    forward, text = in_place()[case]
    with pytest.raises(UnsupportedModule, match=f"test_torch_refused.py line.*{text}"):
        translate(type("Changed", (Net,), {"forward": forward})(), SHAPE)


def test_changes_in_place_whose_result_takes_over_are_taken() -> None:
    def forward(self: Any, x: Any) -> Any:
        x = self.conv(x)
        x = self.relu(x)
        n = x.size(0)
        x = F.dropout(x, 0.5, self.training, inplace=True)
        return self.fc(self.relu(x.view(n, -1)))

    layers = translate(type("Usual", (Net,), {"forward": forward})(), SHAPE).layers
    assert [layer["kind"] for layer in layers] == ["conv", "relu", "dropout", "flatten", "relu", "linear"]


def hook(*_: Any) -> None:
    """Does nothing."""


HOOKS: dict[str, Callable[[nn.Module], Any]] = {
    "forward": lambda m: m[1].register_forward_hook(hook),
    "before": lambda m: m[1].register_forward_pre_hook(hook),
    "backward": lambda m: m[1].register_full_backward_hook(hook),
    "of the whole": lambda m: m.register_forward_hook(hook),
    "of a parameter": lambda m: m[1].weight.register_hook(hook),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_hooks_are_refused(kind: str) -> None:
    module = plain()
    handle = HOOKS[kind](module)
    with pytest.raises(UnsupportedModule, match="hooks"):
        translate(module, SHAPE)
    handle.remove()
    translate(module, SHAPE)


def test_weights_of_another_shape_change_nothing() -> None:
    module = plain()
    network = translate(module, SHAPE)
    weights = {name: np.zeros_like(value) for name, value in weights_of(module, network).items()}
    before = module[1].weight.clone()
    # As many numbers.
    weights["1.bias"] = weights["1.bias"].reshape(3, 1)
    with pytest.raises(ValueError, match=r"`1.bias`: found shape \(3, 1\): expected \(3,\)"):
        put_weights(module, network, weights)
    assert torch.equal(module[1].weight, before)


def test_bytes_made_floats_in_forward_are_refused() -> None:
    def forward(self: Any, x: Any) -> Any:
        return self.fc(self.conv(x.float()).flatten(1))

    with pytest.raises(UnsupportedModule, match="x.float.*bytes are divided by 255"):
        translate(type("Floating", (Net,), {"forward": forward})(), SHAPE)


def test_the_end_of_a_network_says_what_probabilities_are() -> None:
    images, _ = arrays()
    module = nn.Sequential(small(), nn.Softmax(1))
    with torch.no_grad():
        expected = module(torch.from_numpy(images).float() / 255).numpy()
    for output in ("outputs", "probabilities"):
        assert np.abs(Estimator.from_torch(model=module).predict(images, output=output) - expected).max() < 1e-5
    with pytest.raises(UnsupportedModule, match="expected the logit of the second class"):
        translate(nn.Sequential(nn.Flatten(), nn.Linear(144, 1), nn.Sigmoid()), SHAPE)


class Focal(nn.CrossEntropyLoss):
    def forward(self, x: Any, y: Any) -> Any:
        return super().forward(x, y) ** 2


class Adam(optim.Adam):
    pass


def test_classes_of_ones_own_are_not_taken_for_those_they_are_derived_from() -> None:
    module = plain()
    with pytest.raises(UnsupportedModule, match="loss: found test_torch_refused.Focal"):
        losses.translate(Focal(), translate(module, SHAPE))
    with pytest.raises(UnsupportedModule, match="optimizer: found test_torch_refused.Adam"):
        section(Adam(module.parameters()), module)


ADDRESSES: dict[str, Callable[[str], Any]] = {
    "model_dir": lambda path: estimator(model_dir=path),
    "save": lambda path: fitted().save(path),
    "load": lambda path: estimator().load(path),
    "load_orca_checkpoint": lambda path: estimator().load_orca_checkpoint(path),
    "log_dir": lambda path: estimator().set_tensorboard(path, "net"),
}


def fitted() -> Estimator:
    images, labels = arrays()
    found = estimator()
    found.fit((images[:32], labels[:32]))
    return found


@pytest.mark.parametrize("what", ADDRESSES)
def test_addresses_are_not_taken_for_paths(what: str) -> None:
    with pytest.raises(ValueError, match=f"{what}: found 'hdfs://host/runs': expected a local path"):
        ADDRESSES[what]("hdfs://host/runs")


@pytest.mark.parametrize(
    ("settings", "fit", "text"),
    [
        ({}, {"epochs": 0}, "epochs: found 0: expected a number of 1 or more, or a trigger"),
        ({}, {"epochs": "3"}, "epochs: found '3': "),
        ({}, {"epochs": 1.5}, "epochs: found 1.5: "),
        ({}, {"batch_size": 0}, "batch_size: found 0: expected a number of 1 or more"),
        ({}, {"batch_size": "a"}, "batch_size: found 'a': "),
        ({"model_dir": "runs"}, {"checkpoint_trigger": "epoch"}, "checkpoint_trigger: found 'epoch': expected a trigger"),
        ({"model_dir": "taken/runs"}, {"checkpoint_trigger": EveryEpoch()}, "model_dir: taken/runs: cannot be a directory"),
        ({"optimizer": optim.Adam}, {}, r"the class Adam: expected Adam\(model.parameters\(\)\), or a function"),
        ({"scheduler": lr_scheduler.StepLR}, {}, r"the class StepLR: expected StepLR\(optimizer, …\), or a function"),
        ({"config": "seed"}, {}, "config: found str: expected a dict"),
    ],
)
def test_a_wrong_argument_is_named_before_training(settings: Any, fit: Any, text: str) -> None:
    Path("taken").write_text("a file")
    module = small()
    given = {"optimizer": optim.SGD(module.parameters(), lr=0.1), "loss": nn.CrossEntropyLoss()} | settings
    with pytest.raises(ValueError, match=text):
        Estimator.from_torch(model=module, **given).fit(arrays(), **fit)


def test_numbers_of_numpy_are_numbers() -> None:
    assert len(estimator().fit(arrays(), np.int64(2), np.int32(64))) == 2


@pytest.mark.parametrize(("norm", "bound"), [("a", 1.0), (0, 0.0), (float("nan"), -1.0)])
def test_clipping_takes_numbers_above_nought(norm: Any, bound: Any) -> None:
    found = estimator()
    with pytest.raises(ValueError, match="clipping: found .*: expected a number above 0"):
        found.set_l2_norm_gradient_clipping(norm)
    with pytest.raises(ValueError, match="expected a number above 0, and its negative"):
        found.set_constant_gradient_clipping(-bound if bound <= 0 else bound, bound)


def test_batches_of_other_names_are_refused() -> None:
    x, y = arrays()
    loader = DataLoader([{"image": image, "label": label} for image, label in zip(x[:64], y[:64], strict=True)], 32)
    with pytest.raises(ValueError, match="found batches with image, label: expected x and y"):
        estimator().fit(loader)
