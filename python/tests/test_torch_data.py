"""Data of all forms, and metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from bobbin.torch import AUC, F1, MAE, MSE, Accuracy, BinaryAccuracy, Metric, Precision, Recall, Top5Accuracy  # noqa: E402
from torch_programs import arrays, estimator, small  # noqa: E402


def forms() -> dict[str, Any]:
    images, labels = arrays()
    x, y = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
    return {
        "arrays of floats": (x.numpy(), labels),
        "whole floats": (images.astype(np.float32) / 255, labels),
        "tensors": [x, y],
        "dict": {"x": images, "y": labels},
        "data set": TensorDataset(x, y),
        "loader": DataLoader(TensorDataset(x, y), 32),
        "creator": lambda config, batch_size: DataLoader(TensorDataset(x, y), batch_size),
        "creator of arrays": lambda config: (images, labels),
    }


@pytest.mark.parametrize("form", forms())
def test_all_forms_of_data_are_the_same_images(form: str) -> None:
    expected = estimator(metrics=Accuracy()).evaluate(arrays(), batch_size=32)
    found = estimator(metrics=Accuracy()).evaluate(forms()[form], batch_size=32)
    assert found == pytest.approx(expected, abs=1e-6)


def test_arrays_are_shuffled_as_a_data_set_is() -> None:
    losses = []
    for data in (forms()["arrays of floats"], forms()["data set"]):
        trained = estimator()
        torch.manual_seed(5)
        trained.fit(data, epochs=2, batch_size=48)
        losses.append(trained.get_train_summary("Loss")[:, 1])
    # 640 images: the last batch is shorter.
    assert len(losses[0]) == 2 * 14
    assert np.array_equal(*losses)


def test_a_frame_has_columns() -> None:
    pandas = pytest.importorskip("pandas")
    images, labels = arrays()
    frame = pandas.DataFrame({"image": list(images), "label": labels})
    expected = estimator().evaluate(arrays())
    assert estimator().evaluate(frame, feature_cols=["image"], label_cols=["label"]) == pytest.approx(expected)
    assert len(estimator().predict(frame, feature_cols="image")) == len(frame)
    with pytest.raises(ValueError, match="feature_cols: found none"):
        estimator().evaluate(frame)


def test_labels_are_not_read_where_none_are_needed() -> None:
    images, _ = arrays()
    expected = estimator().predict(images)
    targets = np.linspace(0.0, 5.0, len(images))
    loader = DataLoader(TensorDataset(torch.from_numpy(images), torch.from_numpy(targets)), 64)
    for data in ((images, targets), {"x": images, "y": targets}, loader):
        assert np.array_equal(estimator().predict(data), expected)


def test_metrics_by_their_definitions() -> None:
    random = np.random.default_rng(3)
    outputs = random.normal(size=(200, 7)).astype(np.float32)
    labels = random.integers(0, 7, 200)
    said = outputs.argmax(1)
    assert Accuracy()(outputs, labels) == pytest.approx(np.mean(said == labels))
    ranked = np.argsort(-outputs, 1)[:, :5]
    assert Top5Accuracy()(outputs, labels) == pytest.approx(
        np.mean([y in r for y, r in zip(labels, ranked, strict=True)])
    )
    each = {"p": [], "r": [], "f": []}
    for c in range(7):
        hit = np.sum((said == c) & (labels == c))
        p, r = hit / np.sum(said == c), hit / np.sum(labels == c)
        each["p"].append(p), each["r"].append(r), each["f"].append(2 * p * r / (p + r))
    for metric, key in ((Precision(), "p"), (Recall(), "r"), (F1(), "f")):
        assert metric(outputs, labels) == pytest.approx(np.mean(each[key]))
    # Ties among the scores.
    score = random.integers(0, 5, 200).astype(np.float32)
    binary = random.integers(0, 2, 200)
    pairs = [(a > b) + (a == b) / 2 for a in score[binary == 1] for b in score[binary == 0]]
    assert AUC()(score[:, None], binary) == pytest.approx(np.mean(pairs))
    assert AUC(threshold_num=9)(np.stack([-score, score], 1), binary) == pytest.approx(np.mean(pairs))
    wanted = (np.arange(7) == labels[:, None]).astype(float)
    assert MSE()(outputs, labels) == pytest.approx(np.mean((outputs - wanted) ** 2))
    assert MAE()(outputs, labels) == pytest.approx(np.mean(np.abs(outputs - wanted)))
    assert MAE()(score[:, None], binary) == pytest.approx(np.mean(np.abs(score - binary)))
    assert BinaryAccuracy()(score[:, None] - 2, binary) == pytest.approx(np.mean((score > 2) == binary))
    with pytest.raises(ValueError, match="BinaryAccuracy of 7 classes"):
        BinaryAccuracy()(outputs, labels)


class Highest(Metric):
    def __call__(self, outputs: np.ndarray, labels: np.ndarray) -> float:
        return float(outputs.max())


def test_a_metric_of_ones_own() -> None:
    found = estimator(metrics=[Highest()])
    assert found.evaluate(arrays())["Highest"] == pytest.approx(found.predict(arrays()[0]).max())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (lambda x, y: (x[:, 0], y), "expected .batch, channels, rows, columns."),
        (lambda x, y: (x, y[:5]), "found 640 images and 5 labels"),
        (lambda x, y: (x, y + 5), "expected labels below 10"),
        (lambda x, y: (x, y + 0.5), "expected class numbers"),
        (lambda x, y: x, "expected a DataLoader"),
        (lambda x, y: {"x": x, "z": y}, "expected x and y"),
        (lambda x, y: (x[:0], y[:0]), "found no"),
        (lambda x, y: lambda a, b, c: (x, y), r"it is called as data\(config, batch_size\)"),
    ],
)
def test_what_is_wrong_with_data_is_said(data: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        estimator().fit(data(*arrays()))


def test_normalisation_may_be_said() -> None:
    images, labels = arrays()
    x = (images / np.float32(255) - np.float32(0.4)) / np.float32(0.3)
    module = small()
    with torch.no_grad():
        expected = float(nn.CrossEntropyLoss()(module(torch.from_numpy(x)), torch.from_numpy(labels)))
    for config in ({"normalize": {"mean": 0.4, "std": 0.3}}, {}):
        found = estimator(config=config)
        assert found.evaluate((x, labels))["val_loss"] == pytest.approx(expected, abs=1e-5)


def test_numbers_that_are_no_pixels_train_as_by_pytorch() -> None:
    """Any floats: of both signs, between pixels, and of no picture at all."""
    random = np.random.default_rng(2)
    _, labels = arrays()
    x = torch.from_numpy((3 * random.normal(size=(640, 1, 28, 28)) + labels[:, None, None, None] / 4).astype(np.float32))
    y = torch.from_numpy(labels)
    module, found = small(), estimator(lr=0.002)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.002, momentum=0.9)
    expected = []
    for a, b in zip(x.split(64), y.split(64), strict=True):
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(module(a), b)
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    found.fit(DataLoader(TensorDataset(x, y), 64))
    losses = found.get_train_summary("Loss")[:, 1]
    assert np.ptp(expected) > 1e-2
    assert np.abs(losses - expected).max() < 1e-5
    with torch.no_grad():
        assert np.abs(found.predict(x[:37]) - found.get_model()(x[:37]).numpy()).max() < 1e-4


def test_a_list_of_parts_and_a_directory(tmp_path: Any) -> None:
    images, labels = arrays()
    expected = estimator().evaluate((images, labels))
    parts = [{"x": images[:100], "y": labels[:100]}, {"x": images[100:], "y": labels[100:]}]
    assert estimator().evaluate(parts) == pytest.approx(expected)
    files = {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels.astype(np.uint8)}
    files |= {name.replace("train", "t10k"): value[:50] for name, value in files.items()}
    for name, value in files.items():
        sizes = (len(value), 28, 28) if value.ndim > 1 else (len(value),)
        header = np.array([0x800 + len(sizes), *sizes], ">u4").tobytes()
        (tmp_path / name).write_bytes(header + value.tobytes())
    losses = []
    for data in (tmp_path, (images, labels)):
        found = estimator()
        torch.manual_seed(4)
        found.fit(data, batch_size=64)
        losses.append(found.get_train_summary("Loss")[:, 1])
    assert np.array_equal(*losses)
    assert estimator().evaluate(tmp_path) == pytest.approx(estimator().evaluate((images[:50], labels[:50])))
