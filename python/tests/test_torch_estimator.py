"""Orca's estimator: what goes in, what comes out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import bobbin  # noqa: E402
from bobbin.torch import (  # noqa: E402
    Accuracy,
    Estimator,
    EveryEpoch,
    MaxIteration,
    MaxScore,
    MinLoss,
    SeveralIteration,
    Top5Accuracy,
    TriggerAnd,
    TriggerOr,
    UnsupportedModule,
    init_orca_context,
    stop_orca_context,
)
from torch_programs import LeNet, arrays, coloured, estimator, fashion_loader, small  # noqa: E402


def test_the_package_has_the_estimator_by_name() -> None:
    assert bobbin.Estimator is Estimator
    assert bobbin.UnsupportedModule is UnsupportedModule
    with pytest.raises(AttributeError):
        bobbin.Estimators  # noqa: B018
    without = "import sys; sys.modules['torch'] = None; import bobbin; print(hasattr(bobbin, 'Estimator'))"
    run = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_fit_learns_and_get_model_has_what_it_learned() -> None:
    module = small()
    before = [p.detach().clone() for p in module.parameters()]
    found = estimator(module, metrics=[Accuracy(), Top5Accuracy()])
    history = found.fit(fashion_loader(), epochs=3, validation_data=fashion_loader())
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["num_samples"] for row in history] == [640] * 3
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    scores = found.evaluate(fashion_loader())
    assert scores["num_samples"] == 640
    assert scores["Accuracy"] > 0.75
    assert scores["Accuracy"] == history[-1]["val_Accuracy"]
    assert scores["Top5Accuracy"] >= scores["Accuracy"]
    trained = found.get_model()
    assert trained is module
    assert all(not torch.equal(a, b) for a, b in zip(before, trained.parameters(), strict=True))
    # PyTorch finds in the module what Bobbin has found.
    images, labels = arrays()
    x = (torch.from_numpy(images).float() / 255 - 0.1307) / 0.3081
    with torch.no_grad():
        outputs = trained(x)
    loss = float(nn.CrossEntropyLoss()(outputs, torch.from_numpy(labels)))
    assert loss == pytest.approx(scores["val_loss"], abs=1e-5)
    predicted = found.predict(DataLoader(TensorDataset(x), 100))
    assert np.abs(predicted - outputs.numpy()).max() < 1e-4


def test_a_second_fit_goes_on_from_the_first() -> None:
    once, twice = estimator(), estimator()
    for found, parts in ((once, [2]), (twice, [1, 1])):
        torch.manual_seed(6)
        for epochs in parts:
            found.fit(arrays(), epochs=epochs, batch_size=64)
    a, b = (f.get_train_summary("Loss") for f in (once, twice))
    assert len(a) == 20 and np.array_equal(a[:, :2], b[:, :2])
    assert set(once.get_train_summary("Throughput")[:, 1] > 0) == {True}


def test_outputs_probabilities_and_classes() -> None:
    images, _ = arrays()
    found = estimator()
    outputs = found.predict(images)
    with torch.no_grad():
        expected = small()(torch.from_numpy(images).float() / 255)
    assert np.abs(outputs - expected.numpy()).max() < 1e-5
    probabilities = found.predict(images, output="probabilities")
    assert np.abs(probabilities - expected.softmax(1).numpy()).max() < 1e-5
    assert np.array_equal(found.predict(images, output="classes"), outputs.argmax(1))


def test_triggers_end_training_and_save(tmp_path: Path) -> None:
    found = estimator(model_dir=tmp_path)
    found.fit(arrays(), batch_size=64, epochs=MaxIteration(13), checkpoint_trigger=SeveralIteration(5))
    assert len(found.get_train_summary("Loss")) == 13
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model-10.safetensors", "model-5.safetensors"]
    other = estimator()
    other.load_orca_checkpoint(tmp_path, version=5)
    with pytest.raises(ValueError, match=r"found checkpoints \[5, 10\]: expected one after 7 steps"):
        other.load_orca_checkpoint(tmp_path, version=7)
    # Of another's making.
    (tmp_path / "model-best.safetensors").touch()
    other.load_orca_checkpoint(tmp_path)
    saved = bobbin.Model.load(tmp_path / "model-10.safetensors").state_dict()
    assert all(np.array_equal(v.numpy(), saved[k]) for k, v in other.get_model().state_dict().items())
    found = estimator(model_dir=tmp_path / "epochs", metrics=[Accuracy()])
    found.fit(arrays(), batch_size=64, epochs=MaxScore(0.3), validation_data=arrays(), checkpoint_trigger=EveryEpoch())
    for end in (MaxScore(0.3), TriggerOr(MaxIteration(99), MaxScore(0.3)), TriggerAnd(MaxScore(0.3), MaxIteration(1))):
        with pytest.raises(ValueError, match="MaxScore: found without"):
            found.fit(arrays(), epochs=end)
    scores = found.get_validation_summary("Accuracy")
    assert scores[-1, 1] > 0.3 and (scores[:-1, 1] <= 0.3).all()
    assert len(list((tmp_path / "epochs").iterdir())) == len(scores)
    found = estimator()
    found.fit(arrays(), batch_size=64, epochs=TriggerOr(MaxIteration(7), TriggerAnd(MaxIteration(3), MinLoss(1e9))))
    assert len(found.get_train_summary("Loss")) == 3
    # Not due before the first step.
    found = estimator()
    found.fit(arrays(), batch_size=64, epochs=SeveralIteration(4))
    assert len(found.get_train_summary("Loss")) == 4
    found = estimator()
    found.fit(arrays(), batch_size=64, epochs=MinLoss(1.5))
    losses = found.get_train_summary("Loss")[:, 1]
    assert losses[-1] < 1.5 and (losses[:-1] >= 1.5).all()


class Interrupted(EveryEpoch):
    """Ctrl-C after the third step."""

    def is_due(self, progress: Any) -> bool:
        if progress.iteration == 3:
            raise KeyboardInterrupt
        return False


def test_an_interrupt_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    found, whole = estimator(model_dir=tmp_path), estimator()
    loader = DataLoader(TensorDataset(*(torch.from_numpy(part) for part in arrays())), 64)
    with pytest.raises(KeyboardInterrupt, match="interrupted after step 3: another fit goes on from there, .* after load"):
        found.fit(loader, checkpoint_trigger=Interrupted())
    file = tmp_path / "model-3.safetensors"
    other = estimator()
    other.load(file)
    x, y = (torch.from_numpy(part) for part in arrays())
    rest = DataLoader(TensorDataset(x[192:], y[192:]), 64)
    other.fit(rest)
    same = estimator()
    same.load(file)
    same.fit(loader)
    whole.fit(loader)
    a, b, c = (one.get_model().state_dict() for one in (whole, other, same))
    assert all(torch.equal(a[key], b[key]) and torch.equal(a[key], c[key]) for key in a)
    without = estimator()
    with pytest.raises(KeyboardInterrupt, match="save.path. keeps it"):
        without.fit(loader, epochs=Interrupted())


def test_tables_and_curves() -> None:
    found = estimator(metrics=[Accuracy()])
    history = found.fit(arrays(), epochs=2, batch_size=64, validation_data=arrays())
    html = history._repr_html_()
    assert all(f"<th>{name}</th>" in html for name in ("epoch", "num_samples", "train_loss", "val_loss", "val_Accuracy"))
    assert html.count("<tr>") == 3 and f"<td>{history[1]['val_loss']:.4f}</td>" in html
    shown = found._repr_html_()
    assert "<td>Sequential</td>" in shown and "<td>SGD</td>" in shown and f"{history[1]['val_loss']:.4f}" in shown
    assert "optimizer=SGD" in repr(found) and "steps=20" in repr(found)
    svg = history_svg(history)
    assert svg.count("<polyline") == 3 and "val_Accuracy" in svg
    ElementTree.fromstring(svg)


def history_svg(history: Any) -> str:
    """What `plot` draws where there is no matplotlib."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        return history.plot()._repr_svg_()


def test_tensorboard_has_the_summaries(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = estimator(metrics=[Accuracy()])
    found.set_tensorboard(tmp_path, "net")
    found.fit(arrays(), batch_size=64, validation_data=arrays())
    pairs = {"train": (found.get_train_summary, "Loss"), "validation": (found.get_validation_summary, "Accuracy")}
    for part, (summary, tag) in pairs.items():
        log = events.EventAccumulator(str(tmp_path / "net" / part))
        log.Reload()
        rows = [(scalar.step, scalar.value) for scalar in log.Scalars(tag)]
        assert rows == [(step, np.float32(value)) for step, value, _ in summary(tag)]
    # A second directory takes over, and the files of the first are closed.
    writer, closed = found._train._writer, []
    writer.close, close = lambda: closed.append(close()), writer.close
    found.set_tensorboard(tmp_path, "other")
    assert len(closed) == 1


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    found = estimator()
    found.fit(arrays(), batch_size=64)
    file = found.save(tmp_path / "net.safetensors")
    outputs = found.predict(arrays()[0])
    # By the programs' class, by another estimator before it has seen data, and by one that has.
    assert np.array_equal(bobbin.Model.load(file)(arrays()[0]), outputs)
    other = estimator(nn.Sequential(nn.Conv2d(1, 6, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(864, 10)))
    assert not np.allclose(other.predict(arrays()[0]), outputs)
    other.load(file)
    assert np.array_equal(other.predict(arrays()[0]), outputs)
    found.fit(arrays(), batch_size=64)
    found.load(file)
    assert np.array_equal(found.predict(arrays()[0]), outputs)
    with pytest.raises(ValueError, match="expected the same network"):
        estimator(LeNet()).load(file)


def test_bytes_are_scaled_as_the_file_that_was_loaded_says(tmp_path: Path) -> None:
    found = estimator()
    found.fit(fashion_loader())
    outputs = found.predict(arrays()[0])
    file = found.save(tmp_path / "net.safetensors")
    other = estimator()
    other.load(file)
    assert np.array_equal(other.predict(arrays()[0]), outputs)
    found.load(file)
    # Another that was trained on bytes from 0 to 1.
    plain = estimator()
    plain.fit(arrays())
    with pytest.raises(ValueError, match=r"normalised by mean=\(0.1307.*expected them as training began: mean=\(0.0"):
        plain.load(file)


def test_one_image_is_enough_to_predict() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    images, _ = arrays()
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(images[:1]).float() / 255).numpy()
    found = Estimator.from_torch(model=module).predict(images[:1])
    assert found.shape == (1, 10) and np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("kind", ["value", "norm", "none"])
def test_gradients_are_clipped_as_by_pytorch(kind: str) -> None:
    module, found = small(), estimator()
    optimizer = optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    if kind == "value":
        found.set_constant_gradient_clipping(-0.01, 0.01)
    else:
        found.set_l2_norm_gradient_clipping(0.5)
    if kind == "none":
        found.clear_gradient_clipping()
    images, labels = arrays()
    x, y = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
    losses = []
    for i in range(10):
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(module(x[64 * i : 64 * i + 64]), y[64 * i : 64 * i + 64])
        loss.backward()
        if kind == "value":
            nn.utils.clip_grad_value_(module.parameters(), 0.01)
        elif kind == "norm":
            nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    found.fit(DataLoader(TensorDataset(x, y), 64))
    assert np.abs(found.get_train_summary("Loss")[:, 1] - losses).max() < 1e-5
    # From the next step on it is otherwise.
    kept = found.recipe
    found.set_l2_norm_gradient_clipping(0.25)
    found.fit(DataLoader(TensorDataset(x[:64], y[:64]), 64))
    assert "clip_norm = 0.25" in found.recipe and "clip_norm = 0.25" not in kept


def test_a_frozen_body_stays_and_its_head_learns() -> None:
    models = pytest.importorskip("torchvision.models")
    losses: dict[str, list[float]] = {}
    states = []
    images, labels = coloured(size=64, classes=3)
    x = torch.from_numpy(images[:96].transpose(0, 3, 1, 2).copy()).float() / 255
    y = torch.from_numpy(labels[:96]).long()
    loader = DataLoader(TensorDataset(x, y), 32)
    for side in ("torch", "bobbin"):
        torch.manual_seed(8)
        module = models.resnet18()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        module.fc = nn.Linear(512, 3)
        start = {k: v.clone() for k, v in module.state_dict().items()}
        optimizer = optim.SGD(module.fc.parameters(), lr=0.05, momentum=0.9)
        if side == "torch":
            module.train()
            losses[side] = []
            for a, b in loader:
                optimizer.zero_grad()
                loss = nn.CrossEntropyLoss()(module(a), b)
                loss.backward()
                optimizer.step()
                losses[side].append(loss.item())
        else:
            found = Estimator.from_torch(model=module, optimizer=optimizer, loss=nn.CrossEntropyLoss())
            found.fit(loader)
            losses[side] = list(found.get_train_summary("Loss")[:, 1])
            module = found.get_model()
        states.append({k: v.clone() for k, v in module.state_dict().items()})
    assert np.abs(np.subtract(losses["torch"], losses["bobbin"])).max() < 1e-5
    for key, value in states[0].items():
        assert torch.allclose(value.float(), states[1][key].float(), rtol=1e-3, atol=1e-4), key
        is_body = not key.startswith("fc.") and "running" not in key and "num_batches" not in key
        assert torch.equal(states[1][key], start[key]) == is_body, key


def test_dropout_is_left_out_in_evaluation_and_drawn_anew_in_training() -> None:
    def losses(p: float) -> np.ndarray:
        torch.manual_seed(2)
        module = nn.Sequential(nn.Flatten(), nn.Dropout(p), nn.Linear(784, 10))
        optimizer = optim.SGD(module.parameters(), lr=1e-12)
        found = Estimator.from_torch(model=module, optimizer=optimizer, loss=nn.CrossEntropyLoss())
        images, labels = arrays()
        found.fit((np.repeat(images[:1], 96, 0), np.repeat(labels[:1], 96)), batch_size=32)
        expected = module.eval()(torch.from_numpy(images[:5]).float() / 255).detach().numpy()
        assert np.abs(found.predict(images[:5]) - expected).max() < 1e-5
        return found.get_train_summary("Loss")[:, 1]

    assert np.ptp(losses(0.0)) < 1e-6
    assert np.ptp(losses(0.5)) > 1e-4


class InPlace(nn.Module):
    """Changes in place what it uses again, by an operator that a trace has as an ordinary sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 5, stride=2), nn.Linear(576, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        y = x
        y += x
        return self.fc((x + y).flatten(1))


def test_a_network_that_computes_something_else_is_refused_before_the_first_step() -> None:
    with pytest.raises(UnsupportedModule, match="apart from those of the module"):
        estimator(InPlace()).fit(arrays())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"backend": "ray"}, "expected 'local', 'mpi' or 'spark'"),
        ({"scheduler_step_freq": "step"}, "expected 'batch' or 'epoch'"),
        ({"metrics": ["accuracy"]}, "metrics: found str"),
        ({"metrics": [Accuracy(), Accuracy()]}, "metrics: found two called Accuracy"),
        ({"scheduler": lambda optimizer: None}, r"scheduler: found `<lambda>`.*scheduler\(optimizer, config\)"),
    ],
)
def test_what_is_not_offered_is_said(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        estimator(**settings)


def test_the_context_says_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def trainer(*arguments: Any, threads: int | None, **named: Any) -> Any:
        asked.append(threads)
        return bobbin.Trainer(*arguments, threads=threads, **named)

    monkeypatch.setattr("bobbin.torch.engine.Trainer", trainer)
    with pytest.raises(ValueError, match="expected one of local, standalone"):
        init_orca_context(cluster_mode="mesos")
    init_orca_context(cluster_mode="local", cores=1, memory="4g")
    try:
        one = estimator()
        torch.manual_seed(1)
        one.fit(arrays(), batch_size=64)
    finally:
        stop_orca_context()
    other = estimator()
    torch.manual_seed(1)
    other.fit(arrays(), batch_size=64)
    assert asked == [1, None]
    # The same bits by one thread and by all.
    a, b = one.get_model().state_dict(), other.get_model().state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_larger_batch_than_the_first_is_refused_where_batch_norm_would_be_cut() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 10))
    found = estimator(module)
    found.fit(arrays(), batch_size=16)
    with pytest.raises(ValueError, match="batch of 64 images, after one of at most 16"):
        found.fit(arrays(), batch_size=64)
