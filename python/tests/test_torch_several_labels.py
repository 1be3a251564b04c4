"""Images with several labels, or none: ``BCEWithLogitsLoss`` of several outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from bobbin.torch import AUC, F1, MAE, Accuracy, Estimator, Precision, Recall, Top5Accuracy, UnsupportedModule  # noqa: E402

LABELS = 6
RANDOM = np.random.default_rng(5)
X = RANDOM.integers(0, 256, (96, 3, 8, 9), np.uint8)
Y = (X[:, 0, :1, :LABELS].mean(1) > 150).astype(np.float32)


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(168, LABELS))


def estimator(loss: Any, metrics: Any = None) -> Estimator:
    net = network()
    return Estimator.from_torch(model=net, optimizer=optim.Adam(net.parameters(), 1e-2), loss=loss, metrics=metrics)


def loader() -> DataLoader:
    return DataLoader(TensorDataset(torch.from_numpy(X).float() / 255, torch.from_numpy(Y)), 32)


@pytest.mark.parametrize(
    "loss",
    [nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss(torch.tensor([1, 2, 0, 0.5, 1, 3]))],
)
def test_losses_and_outputs_are_those_of_pytorch(loss: Any) -> None:
    net = network()
    optimizer, losses = optim.Adam(net.parameters(), 1e-2), []
    for _ in range(3):
        for x, y in loader():
            optimizer.zero_grad()
            value = loss(net(x), y)
            value.backward()
            optimizer.step()
            losses.append(value.item())
    found = estimator(loss)
    history = found.fit(loader(), epochs=3, validation_data=(X, Y))
    assert np.abs(found.get_train_summary("Loss")[:, 1] - losses).max() < 1e-5
    with torch.no_grad():
        outputs = net(torch.from_numpy(X).float() / 255)
    assert abs(history[-1]["val_loss"] - loss(outputs, torch.from_numpy(Y)).item()) < 1e-4
    assert np.abs(found.predict(X, output="probabilities") - torch.sigmoid(outputs).numpy()).max() < 1e-3
    said = found.predict(X, output="classes")
    assert np.array_equal(said, found.predict(X) > 0) and 0 < said.mean() < 1


def test_what_was_saved_is_a_model_of_several_labels(tmp_path: Any) -> None:
    import bobbin

    found = estimator(nn.BCEWithLogitsLoss())
    found.fit((X, Y.astype(int)), epochs=2)
    file = found.save(tmp_path / "net.safetensors")
    assert np.array_equal(bobbin.Model.load(file).predict(X), found.predict(X, output="classes"))
    other = estimator(nn.BCEWithLogitsLoss())
    other.load(file)
    assert np.array_equal(other.predict(X), found.predict(X))
    assert other.fit((X, Y))[0]["epoch"] == 3


def test_metrics_are_of_each_label() -> None:
    found = estimator(nn.BCEWithLogitsLoss(), [Accuracy(), Precision(), Recall(), F1(), AUC(), MAE()])
    scores = found.evaluate((X, Y))
    outputs, said = found.predict(X), found.predict(X, output="classes")
    hits, of_prediction, of_label = (said * Y).sum(0), said.sum(0), Y.sum(0)
    pairs = [np.subtract.outer(outputs[Y[:, i] == 1, i], outputs[Y[:, i] == 0, i]) for i in range(LABELS)]
    expected = {
        "Accuracy": (said == Y).mean(),
        "Precision": (hits / of_prediction.clip(1)).mean(),
        "Recall": (hits / of_label).mean(),
        "F1": (2 * hits / (of_prediction + of_label)).mean(),
        "AUC": np.mean([(pair > 0).mean() + (pair == 0).mean() / 2 for pair in pairs]),
        "MAE": np.abs(outputs - Y).mean(),
    }
    assert {name: pytest.approx(value, abs=1e-6) for name, value in expected.items()} == {k: scores[k] for k in expected}


def test_columns_of_a_frame() -> None:
    pandas = pytest.importorskip("pandas")
    names = [f"has {i}" for i in range(LABELS)]
    frame = pandas.DataFrame({"image": list(X)} | {name: Y[:, i] for i, name in enumerate(names)})
    one, two = estimator(nn.BCEWithLogitsLoss()), estimator(nn.BCEWithLogitsLoss())
    expected = two.evaluate((X, Y))
    assert one.evaluate(frame, feature_cols=["image"], label_cols=names) == expected


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"labels of shape \(32, 5\): expected rows of \(6,\)"):
        estimator(nn.BCEWithLogitsLoss()).fit((X, Y[:, :5]))
    with pytest.raises(ValueError, match=r"labels of shape \(32,\): expected rows of \(6,\)"):
        estimator(nn.BCEWithLogitsLoss()).fit((X, Y[:, 0]))
    with pytest.raises(ValueError, match="other numbers than 0 and 1"):
        estimator(nn.BCEWithLogitsLoss()).fit((X, Y / 2))
    with pytest.raises(ValueError, match="or BCEWithLogitsLoss, where an image may have several labels"):
        estimator(nn.CrossEntropyLoss()).fit((X, Y))
    with pytest.raises(ValueError, match="Top5Accuracy of several labels"):
        estimator(nn.BCEWithLogitsLoss(), [Top5Accuracy()]).evaluate((X, Y))
    with pytest.raises(UnsupportedModule, match="pos_weight=.*expected None"):
        estimator(nn.BCEWithLogitsLoss(pos_weight=torch.ones(LABELS))).fit((X, Y))
    with pytest.raises(UnsupportedModule, match=r"a weight of shape \(2,\): expected \(6,\)"):
        estimator(nn.BCEWithLogitsLoss(torch.ones(2))).fit((X, Y))
    net = nn.Sequential(*network(), nn.Sigmoid())
    with pytest.raises(UnsupportedModule, match="after a layer `sigmoid`: expected logits"):
        Estimator.from_torch(model=net, optimizer=optim.SGD(net.parameters(), 0.1), loss=nn.BCEWithLogitsLoss()).fit((X, Y))
