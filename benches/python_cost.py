"""What the way from Python to the engine costs: 60,000 images as NumPy arrays, and a DataLoader that is iterated.

    python benches/python_cost.py [--images 60000] [--repeat 5] [--epochs 2] [--threads N]

It needs the package and PyTorch, and a machine that does nothing else. Each number is the least of the repeats. Expected: the
arrays at most 1 % of the training that follows, and a fit not slower than the slower of its loader and its steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

import bobbin
from bobbin.torch import Estimator, init_orca_context

BATCH = 64
SHAPE = (1, 28, 28)


class Pictures(Dataset):
    """Images as a user's data set makes them: one at a time, with work of its own."""

    def __init__(self, images: Any, labels: Any) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return (torch.from_numpy(self._images[i]).float() / 255 - 0.5) / 0.5, int(self._labels[i])


def lenet() -> nn.Module:
    """The paper's."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def least(repeat: int, work: Callable[[], Any]) -> float:
    """The least time of so many goes, in seconds."""
    found = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def arrays_cost(images: Any, labels: Any, given: argparse.Namespace) -> None:
    """Handing the arrays over, beside the training that follows."""
    handing = least(given.repeat, lambda: bobbin.Dataset.from_arrays(images, labels))
    data = bobbin.Dataset.from_arrays(images, labels)
    settings = {"epochs": given.epochs, "validation": "none", "batch_size": BATCH, "threads": given.threads}

    def train() -> None:
        bobbin.Trainer("paper", data, **settings).run()

    training = least(given.repeat, train)
    share = 100 * handing / training
    print(f"arrays: handed over in {1e3 * handing:.1f} ms, {given.epochs} epochs in {training:.2f} s: {share:.2f} % (at most 1)")

    def fit() -> None:
        estimator().fit((images, labels), epochs=given.epochs, batch_size=BATCH)

    fitting = least(given.repeat, fit)
    print(f"arrays in Estimator.fit: {fitting:.2f} s, {100 * (fitting / training - 1):+.1f} % beside Trainer.run")


def estimator() -> Estimator:
    net = lenet()
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    return Estimator.from_torch(model=net, optimizer=optimizer, loss=nn.CrossEntropyLoss(), config={"iterate": True})


def loader_cost(images: Any, labels: Any, given: argparse.Namespace) -> None:
    """A fit of a loader that is iterated, beside the loader alone and the steps alone."""
    pictures = Pictures(images, labels)
    for workers in (0, 1):

        def loader(workers: int = workers) -> DataLoader:
            return DataLoader(pictures, BATCH, shuffle=True, num_workers=workers)

        def iterate(loader: Callable[[], DataLoader] = loader) -> None:
            for _ in loader():
                pass

        def fit(loader: Callable[[], DataLoader] = loader) -> None:
            estimator().fit(loader())

        batches = list(loader())

        def steps(batches: Any = batches) -> None:
            # A data set of whole batches, which costs nothing to iterate.
            estimator().fit(DataLoader(batches, batch_size=None))

        alone, both, trained = (least(given.repeat, work) for work in (iterate, fit, steps))
        slower = max(alone, trained)
        print(
            f"loader with {workers} workers: alone {alone:.2f} s, its batches trained on {trained:.2f} s, both {both:.2f} s: "
            f"{both / slower:.2f} of the slower (expected about 1 with a core more than threads)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of the engine")
    given = parser.parse_args()
    init_orca_context(cluster_mode="local", cores=given.threads)
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (given.images, *SHAPE), np.uint8)
    labels = random.integers(0, 10, given.images)
    print(f"bobbin {bobbin.__version__}, PyTorch {torch.__version__}, {given.images:,} images, {given.threads} threads")
    arrays_cost(images, labels, given)
    loader_cost(images, labels, given)


if __name__ == "__main__":
    main()
