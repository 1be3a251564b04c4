"""Data sets whose pictures Bobbin reads itself: torchvision's and tensors, with transforms that are known.

A loader then says which images make a batch, and no more: its sampler is PyTorch's. What is the same for every epoch
(``Resize``, ``CenterCrop``, …) is done once by torchvision, random changes are Bobbin's, and ``ToTensor`` and
``Normalize`` are its scaling of pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, default_collate

from .pixels import Scaling

# By the names of their classes: data sets with all images in `data`, and what they have as labels.
_IN_MEMORY = {name: "targets" for name in ("MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100")}
# What gives the same picture for the same picture, as a picture.
_STEADY = ("Resize", "CenterCrop", "Grayscale", "Pad")
# Bytes of images that are kept at most.
_MOST = 4 << 30


@dataclass(frozen=True)
class Known:
    """Images as a data set has them, and what its transforms make of them."""

    #: [n, channels, rows, columns], bytes or floats.
    images: NDArray[Any]
    labels: NDArray[np.int64]
    #: Nothing, where images are floats.
    scaling: Scaling | None
    #: Random changes as the section ``augment`` of a recipe.
    augment: dict[str, Any] = field(default_factory=dict)
    #: What the transforms were that are not called any more.
    replaced: tuple[str, ...] = ()

    def batches(self, loader: Any) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """The batches of a loader of these images, in its order."""
        # As iterating a loader does before its sampler draws: the order that follows is the same.
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)
        for indices in loader.batch_sampler:
            places = np.asarray(list(indices), np.int64)
            yield self.images[places], self.labels[places]


def find(loader: Any) -> Known | None:
    """The images of a loader of a known data set with known transforms."""
    is_plain = type(loader) is DataLoader and loader.batch_sampler is not None and loader.worker_init_fn is None
    if not is_plain or loader.collate_fn is not default_collate:
        return None
    return _of(loader.dataset)


def _of(data: Any) -> Known | None:
    if type(data) is Subset:
        whole = _of(data.dataset)
        if whole is None:
            return None
        places = np.asarray(list(data.indices), np.int64)
        return Known(whole.images[places], whole.labels[places], whole.scaling, whole.augment, whole.replaced)
    if type(data) is TensorDataset:
        return _of_tensors(data.tensors)
    kind = type(data)
    if not kind.__module__.startswith("torchvision.datasets.") or getattr(data, "target_transform", None) is not None:
        return None
    steps = _steps(getattr(data, "transform", None))
    recognised = None if steps is None else _recognised(steps)
    if recognised is None or _has_own_transforms(data):
        return None
    steady, random, scaling = recognised
    size = _size(data) if kind.__name__ in _IN_MEMORY and not steady else None
    if size is not None and (augment := _augment(random, size)) is not None:
        images = np.asarray(data.data)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        labels = np.asarray(data.targets, np.int64)
        return Known(images, labels, scaling, augment, tuple(type(step).__name__ for step in steps or ()))
    if kind.__name__ in _IN_MEMORY or kind.__name__ == "ImageFolder":
        return _decoded(data, steady, random, scaling, steps or [])
    return None


def _of_tensors(tensors: Any) -> Known | None:
    if len(tensors) != 2 or tensors[0].ndim != 4 or tensors[1].ndim != 1 or tensors[1].is_floating_point():
        return None
    x, y = (tensor.detach().cpu().numpy() for tensor in tensors)
    return Known(x, y.astype(np.int64), None) if x.dtype in (np.uint8, np.float32) else None


def _decoded(data: Any, steady: list[Any], random: list[Any], scaling: Scaling, steps: list[Any]) -> Known | None:
    """Pictures decoded once, if the steady transforms make all of them of one size."""
    images: NDArray[np.uint8] | None = None
    labels = np.zeros(len(data), np.int64)
    for i in range(len(data)):
        picture, label = _picture(data, i)
        for step in steady:
            picture = step(picture)
        pixels = np.asarray(picture)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if images is None:
            if pixels.dtype != np.uint8 or _augment(random, pixels.shape[1:]) is None or pixels.nbytes * len(data) > _MOST:
                return None
            images = np.empty((len(data), *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:] or not isinstance(label, int):
            return None
        images[i], labels[i] = pixels, label
    if images is None:
        return None
    augment = _augment(random, images.shape[2:]) or {}
    return Known(images, labels, scaling, augment, tuple(type(step).__name__ for step in steps))


def _picture(data: Any, i: int) -> tuple[Any, Any]:
    """A picture before its transforms."""
    transforms, data.transforms = data.transforms, None
    transform, data.transform = data.transform, None
    try:
        picture, label = data[i]
        return picture, int(label) if isinstance(label, (int, np.integer, torch.Tensor)) else label
    finally:
        data.transforms, data.transform = transforms, transform


def _has_own_transforms(data: Any) -> bool:
    """Whether there are more transforms than the one that has been looked at."""
    standard = getattr(data, "transforms", None)
    return standard is None or type(standard).__name__ != "StandardTransform"


def _steps(transform: Any) -> list[Any] | None:
    """The transforms of a list of them."""
    if transform is None:
        return None
    if not type(transform).__module__.startswith("torchvision.transforms."):
        return None
    if type(transform).__name__ == "Compose":
        inner = [_steps(step) for step in transform.transforms]
        return None if any(steps is None for steps in inner) else [step for steps in inner for step in steps or ()]
    return [transform]


def _recognised(steps: list[Any]) -> tuple[list[Any], list[Any], Scaling] | None:
    """Steady transforms, then random ones, and the scaling that ``ToTensor`` and ``Normalize`` are."""
    names = [type(step).__name__ for step in steps]
    steady: list[Any] = []
    random: list[Any] = []
    scaling: Scaling | None = None
    is_tensor = False
    for at, (name, step) in enumerate(zip(names, steps, strict=True)):
        if name in _STEADY and not random and not is_tensor:
            steady.append(step)
        elif name in ("RandomCrop", "RandomResizedCrop") and not random and scaling is None:
            random.append(step)
        elif name == "RandomHorizontalFlip" and name not in (type(r).__name__ for r in random):
            random.append(step)
        elif name == "ToTensor" and not is_tensor:
            is_tensor = True
        elif name in ("ToImage", "PILToTensor") and not is_tensor and names[at + 1 :].count("ToDtype") == 1:
            is_tensor = True
        elif name == "ToDtype" and is_tensor and step.scale and step.dtype == torch.float32 and scaling is None:
            pass
        elif name == "Normalize" and is_tensor and scaling is None:
            scaling = Scaling.of((step.mean, step.std))
        else:
            return None
    return (steady, random, scaling or Scaling()) if is_tensor else None


def _size(data: Any) -> tuple[int, ...]:
    return tuple(np.asarray(data.data).shape[1:3])


def _augment(random: list[Any], size: Any) -> dict[str, Any] | None:
    """Random transforms of pictures of this size as the section ``augment``; nothing if one is not Bobbin's."""
    augment: dict[str, Any] = {}
    for step in random:
        name = type(step).__name__
        if name == "RandomHorizontalFlip":
            augment["flip"] = float(step.p)
            continue
        if tuple(_pair(step.size)) != tuple(size):
            return None
        if name == "RandomCrop":
            padding = step.padding
            equal = padding if isinstance(padding, (tuple, list)) else [padding]
            if padding is None or len(set(equal)) != 1 or step.padding_mode != "constant" or step.fill not in (0, (0,)):
                return None
            augment["shift"] = int(equal[0])
        else:
            augment["crop_area"] = [float(v) for v in step.scale]
            augment["crop_ratio"] = [float(v) for v in step.ratio]
    return augment


def _pair(size: Any) -> tuple[int, ...]:
    return tuple(size) if isinstance(size, (tuple, list)) else (int(size), int(size))
