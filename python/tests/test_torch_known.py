"""Loaders of data sets that are known: the same batches as by iterating them, without a call for each image."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split  # noqa: E402
from torchvision import datasets, transforms  # noqa: E402

with contextlib.suppress(ImportError):
    import torchvision.transforms.v2  # noqa: F401

from bobbin.torch import MaxIteration, known  # noqa: E402
from torch_programs import LeNet, arrays, coloured, estimator, fashion  # noqa: E402


def mnist(transform: Any, kind: Any = datasets.FashionMNIST) -> Any:
    """torchvision's class without its download."""
    found = kind.__new__(kind)
    found.transform, found.target_transform = transform, None
    found.transforms = datasets.vision.StandardTransform(transform, None)
    images, labels = fashion()
    found.data, found.targets = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))
    return found


def cifar(transform: Any) -> Any:
    found = mnist(transform, datasets.CIFAR10)
    found.data, labels = coloured()
    found.targets = [int(label) for label in labels]
    return found


NORMALISED = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))])
NEWER = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
if hasattr(transforms, "v2"):  # Since torchvision 0.15.
    v2 = transforms.v2
    NEWER = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])
SMALLER = transforms.Compose([transforms.Resize(20), transforms.CenterCrop(16), transforms.ToTensor()])


def loaders() -> dict[str, Any]:
    x, y = (torch.from_numpy(part) for part in arrays())
    parts = random_split(mnist(NORMALISED), [500, 140], generator=torch.Generator().manual_seed(1))
    return {
        "ToTensor": DataLoader(mnist(transforms.ToTensor()), 48),
        "shuffled": DataLoader(mnist(NORMALISED), 48, shuffle=True),
        "a generator": DataLoader(mnist(NORMALISED), 48, shuffle=True, generator=torch.Generator().manual_seed(7)),
        "the last left out": DataLoader(mnist(NEWER, datasets.MNIST), 48, shuffle=True, drop_last=True),
        "colours": DataLoader(cifar(transforms.ToTensor()), 32, shuffle=True),
        "a part": DataLoader(parts[0], 64, shuffle=True),
        "some": DataLoader(Subset(mnist(NORMALISED), range(0, 640, 5)), 16),
        "resized": DataLoader(mnist(SMALLER), 64, shuffle=True),
        "bytes": DataLoader(TensorDataset(x, y), 64, shuffle=True),
        "floats": DataLoader(TensorDataset(x.float() / 255 - 0.5, y), 64, shuffle=True),
    }


@pytest.mark.parametrize("name", loaders())
def test_the_batches_are_those_of_the_loader(name: str) -> None:
    loader = loaders()[name]
    torch.manual_seed(3)
    expected = [(x.numpy(), y.numpy()) for x, y in loader]
    loader = loaders()[name]
    found = known.find(loader)
    assert found is not None
    torch.manual_seed(3)
    batches = list(found.batches(loader))
    assert len(batches) == len(expected)
    for (x, y), (a, b) in zip(batches, expected, strict=True):
        assert np.array_equal(y, b)
        pixels = x if found.scaling is None else found.scaling.to_floats(np.ascontiguousarray(x)).numpy()
        assert np.abs(pixels.astype(np.float32) - a).max() < 1e-6


def test_training_is_the_same_and_said_once(capsys: Any) -> None:
    losses = []
    for config in ({}, {"iterate": True}):
        found = estimator(config=config)
        torch.manual_seed(3)
        found.fit(loaders()["shuffled"], epochs=2, validation_data=loaders()["ToTensor"])
        losses.append((found.get_train_summary("Loss")[:, 1], found.get_validation_summary("Loss")[:, 1]))
    assert np.array_equal(losses[0][0], losses[1][0])
    # Of another scaling than that of training: it is iterated, to the same numbers.
    assert np.array_equal(losses[0][1], losses[1][1])
    said = capsys.readouterr().out
    assert said.count("bobbin: ToTensor, Normalize are Bobbin's here; config={'iterate': True}") == 1


def test_transforms_that_are_modules_are_called_while_a_network_is_traced() -> None:
    """Batches are made by a thread, and transforms of torchvision are modules too."""
    found = estimator(LeNet(), config={"iterate": True})
    found.fit(DataLoader(mnist(NORMALISED), 4), epochs=MaxIteration(20))
    assert len(found.get_train_summary("Loss")) == 20


def test_random_changes_become_bobbins() -> None:
    changes = transforms.Compose([transforms.RandomCrop(28, padding=2), transforms.RandomHorizontalFlip(0.25), NORMALISED])
    loader = DataLoader(mnist(changes), 64, shuffle=True)
    found = known.find(loader)
    assert found is not None and found.augment == {"shift": 2, "flip": 0.25}
    trained = estimator()
    trained.fit(loader, epochs=2)
    assert "shift = 2" in trained.recipe and "flip = 0.25" in trained.recipe
    losses = trained.get_train_summary("Loss")[:, 1]
    assert losses[-3:].mean() < losses[:3].mean()
    # Measured as it is, and not changed: the loader of pictures as they are is the same.
    as_they_are = trained.evaluate(DataLoader(mnist(NORMALISED), 64))
    assert as_they_are["val_loss"] != trained.evaluate(loader)["val_loss"]
    with pytest.raises(ValueError, match="training began with Bobbin's random changes"):
        trained.fit(DataLoader(mnist(NORMALISED), 64))
    larger = transforms.Compose([transforms.RandomResizedCrop(28, scale=(0.5, 1.0)), transforms.ToTensor()])
    cropped = known.find(DataLoader(mnist(larger), 64))
    assert cropped is not None and cropped.augment == {"crop_area": [0.5, 1.0], "crop_ratio": [3 / 4, 4 / 3]}


class Own(datasets.FashionMNIST):
    def __getitem__(self, i: int) -> Any:
        return super().__getitem__(i)


UNKNOWN: dict[str, Any] = {
    "another transform": lambda: DataLoader(mnist(transforms.Compose([transforms.RandomRotation(5), NORMALISED]))),
    "a function": lambda: DataLoader(mnist(transforms.Compose([transforms.ToTensor(), lambda x: 2 * x]))),
    "of another size": lambda: DataLoader(mnist(transforms.Compose([transforms.RandomCrop(24), transforms.ToTensor()]))),
    "normalised before": lambda: DataLoader(mnist(transforms.Compose([NORMALISED, transforms.RandomCrop(28, padding=2)]))),
    "a class of its own": lambda: DataLoader(mnist(NORMALISED, Own)),
    "a collation of its own": lambda: DataLoader(mnist(NORMALISED), collate_fn=lambda batch: batch),
    "no transform": lambda: DataLoader(mnist(None)),
    "targets of its own": lambda: DataLoader(TensorDataset(torch.zeros(4, 1, 5, 5), torch.zeros(4, 2))),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_anything_else_is_iterated(name: str) -> None:
    assert known.find(UNKNOWN[name]()) is None


def test_folders_of_pictures(tmp_path: Any) -> None:
    from PIL import Image

    images, labels = coloured()
    for i in range(12):
        place = tmp_path / f"class{labels[i] % 3}"
        place.mkdir(exist_ok=True)
        Image.fromarray(images[i][: 32 - i % 3]).save(place / f"{i:02}.png")
    steps = transforms.Compose([transforms.Resize((24, 24)), transforms.RandomHorizontalFlip(0.0), transforms.ToTensor()])
    loader = DataLoader(datasets.ImageFolder(tmp_path, steps), 5)
    found = known.find(loader)
    assert found is not None and found.images.shape == (12, 3, 24, 24)
    for (x, y), (a, b) in zip(found.batches(loader), loader, strict=True):
        assert np.array_equal(y, b.numpy()) and np.abs(x / 255 - a.numpy()).max() < 1e-6
    # Pictures of several sizes.
    assert known.find(DataLoader(datasets.ImageFolder(tmp_path, transforms.ToTensor()), 5)) is None
