"""Whatever a program trains on, as batches of images and labels."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler, TensorDataset

import bobbin

from . import known
from .ahead import ahead
from .arguments import count
from .known import Known
from .pixels import Scaling

Batch = tuple[NDArray[Any], "NDArray[np.int64] | None"]

DEFAULT_BATCH = 32


class Batches:
    """Batches of images [n, channels, rows, columns] and of labels [n], as often as they are asked for."""

    def __init__(self, loader: Any, labelled: bool, known: Known | None = None) -> None:
        self.loader, self.known = loader, known
        self._labelled = labelled

    def __iter__(self) -> Iterator[Batch]:
        if self.known is not None:
            for x, y in self.known.batches(self.loader):
                yield x, y if self._labelled else None
            return
        yield from ahead(_batch(batch, self._labelled) for batch in self.loader)

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def source(self) -> Any:
        """The data set behind the loader."""
        return getattr(self.loader, "dataset", None)

    def scaling(self, images: NDArray[Any], given: Any, loaded: Scaling | None) -> Scaling:
        """How pixels became the values of these images, the first: as given, as its transforms say, or as is found."""
        if given is not None:
            return Scaling.of(given)
        if self.known is not None and self.known.scaling is not None:
            return self.known.scaling
        return Scaling.find(images, self.source, loaded)

    def scaled(self, scaling: Scaling | None) -> Batches:
        """The same, iterated where their transforms scale pixels in another way than this."""
        own = None if self.known is None else self.known.scaling
        if own is not None and scaling is not None and not own.is_that_of(scaling):
            self.known = None
        return self

    def begin(self) -> dict[str, Any]:
        """Training begins with these: says who makes their random changes, and returns those that are Bobbin's."""
        if self.known is None:
            return {}
        changes = dict(self.known.augment)
        if self.known.replaced:
            random = f", with random choices of its own {changes}" if changes else ""
            names = ", ".join(self.known.replaced)
            print(f"bobbin: {names} are Bobbin's here{random}; config={{'iterate': True}} iterates the loader instead")
        return changes

    def go_on(self, changes: dict[str, Any]) -> None:
        """Training that began with these changes of Bobbin's goes on with these: iterated, if theirs are others."""
        own = {} if self.known is None else self.known.augment
        if own == changes:
            return
        if changes:
            raise ValueError(
                f"data: training began with Bobbin's random changes {changes}: expected the same transforms; or make a new "
                "Estimator of get_model()"
            )
        self.known = None


def batches(
    data: Any,
    batch_size: int | None,
    config: dict[str, Any],
    columns: tuple[Any, Any] = (None, None),
    shuffle: bool = False,
    labelled: bool = True,
) -> Batches:
    """The batches of data: a ``DataLoader``, a function that makes one, a data set, arrays, a list of parts of them, a
    pandas ``DataFrame``, or a directory of IDX files (of which all but training has the test images).

    ``batch_size`` is for what has none itself; ``columns`` are those of a frame, of images and of labels; ``shuffle``
    for all but a loader, which has an order of its own.
    """
    batch_size = None if batch_size is None else count("batch_size", batch_size)
    if callable(data) and not isinstance(data, Dataset):
        data = _created(data, (config, batch_size or DEFAULT_BATCH))
        batch_size = None if isinstance(data, DataLoader) else batch_size
    if isinstance(data, (str, os.PathLike)):
        data = bobbin.Dataset.open(data)
    if isinstance(data, bobbin.Dataset):
        images, numbers = data.arrays("train" if shuffle else "test")
        data = {"x": images.transpose(0, 3, 1, 2), "y": numbers}
    if isinstance(data, DataLoader):
        own = data.batch_size
        if batch_size is not None and own is not None and own != batch_size:
            raise ValueError(f"batch_size: found {batch_size}, and the DataLoader has {own}: expected one of them")
        return _of_loader(data, labelled, shuffle, config)
    if columns != (None, None) and not hasattr(data, "columns"):
        raise ValueError(f"feature_cols and label_cols: found with {type(data).__name__}: expected a DataFrame")
    size = batch_size or DEFAULT_BATCH
    if isinstance(data, Dataset):
        return _of_loader(DataLoader(data, batch_size=size, shuffle=shuffle), labelled, shuffle, config)
    if isinstance(data, (list, tuple)) and len(data) > 0 and all(isinstance(part, dict) for part in data):
        data = _joined(data)
    arrays = _arrays(data, columns, labelled)
    sampler = RandomSampler(arrays) if shuffle else SequentialSampler(arrays)
    # Arrays are indexed a batch at a time, several times as fast as image by image.
    return Batches(DataLoader(arrays, sampler=BatchSampler(sampler, size, drop_last=False), batch_size=None), labelled)


def _of_loader(loader: Any, labelled: bool, train: bool, config: dict[str, Any]) -> Batches:
    """A loader, iterated unless its images are known. Only training has Bobbin's random changes."""
    found = None if config.get("iterate") else known.find(loader)
    if found is not None and found.augment and not train:
        found = None
    return Batches(loader, labelled, found)


def _joined(parts: Any) -> dict[str, NDArray[Any]]:
    """The parts of Orca's XShards, a dict each, side by side."""
    names = sorted(parts[0])
    if any(sorted(part) != names for part in parts):
        raise ValueError("data: found parts with other keys than the first: expected x and y in each")
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in names}


def _created(creator: Any, arguments: tuple[Any, Any]) -> Any:
    """What a function returns, which takes both arguments, the first, or none."""
    signature = inspect.signature(creator)
    for count in (2, 1, 0):
        try:
            signature.bind(*arguments[:count])
        except TypeError:
            continue
        return creator(*arguments[:count])
    raise ValueError(f"data: found a function {signature}: it is called as data(config, batch_size)")


def _arrays(data: Any, columns: tuple[Any, Any], labelled: bool) -> TensorDataset:
    """Arrays or columns of them as a data set."""
    kind = type(data)
    if kind.__module__.startswith(("pyspark.", "bigdl.")):
        raise ValueError(f"data: found {kind.__name__}: expected data of this process, or backend='spark'")
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        x, y = (_column(data, column, which) for column, which in zip(columns, ("feature", "label"), strict=True))
    elif isinstance(data, dict):
        unknown = sorted(set(data) - {"x", "y"})
        if "x" not in data or unknown:
            raise ValueError(f"data: found a dict of {sorted(data)}: expected x and y")
        x, y = data["x"], data.get("y")
    elif isinstance(data, (tuple, list)) and len(data) == 2 and labelled:
        x, y = data
    elif not labelled and (isinstance(data, torch.Tensor) or hasattr(data, "__array__")):
        x, y = data, None
    elif not labelled and isinstance(data, (tuple, list)) and len(data) == 2:
        x, y = data[0], None
    else:
        expected = (
            "a DataLoader, a function that makes one, a Dataset, (x, y), {'x': x, 'y': y}, a list of such dicts, a "
            "pandas DataFrame or a directory of IDX files"
        )
        raise ValueError(f"data: found {kind.__name__}: expected {expected}")
    y = y if labelled else None
    tensors = [_tensor(value) for value in (x, y) if value is not None]
    if labelled and len(tensors) < 2:
        raise ValueError("data: found images without labels: expected both")
    if len(tensors[0]) == 0:
        raise ValueError("data: found no images: expected one at least")
    if len(tensors) == 2 and len(tensors[0]) != len(tensors[1]):
        raise ValueError(f"data: found {len(tensors[0])} images and {len(tensors[1])} labels: expected as many")
    return TensorDataset(*tensors)


def _column(frame: Any, column: Any, which: str) -> Any:
    if column is None:
        if which == "label":
            return None
        raise ValueError("feature_cols: found none: expected the column of a DataFrame that has the images")
    names = [column] if isinstance(column, str) else list(column)
    known = all(name in frame.columns for name in names)
    if which == "label" and known and len(names) > 1:
        # Whether an image has each of several labels.
        return frame[names].to_numpy()
    if len(names) != 1 or not known:
        raise ValueError(f"{which}_cols: found {names}: expected one of the columns {list(frame.columns)}")
    return np.stack([np.asarray(value) for value in frame[names[0]]])


def _tensor(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"data: found a {type(value).__name__} of unequal parts: expected an array") from None
    # PyTorch has no unsigned numbers but bytes.
    array = array.astype(np.int64) if array.dtype.kind == "u" and array.itemsize > 1 else array
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _batch(batch: Any, labelled: bool) -> Batch:
    """Images and labels of what a loader gives."""
    if isinstance(batch, dict):
        if "x" not in batch or (labelled and "y" not in batch):
            raise ValueError(f"data: found batches with {', '.join(map(str, batch)) or 'nothing'}: expected x and y")
        batch = [batch["x"], batch["y"]] if "y" in batch else [batch["x"]]
    parts = list(batch) if isinstance(batch, (tuple, list)) else [batch]
    if len(parts) > 2 or (labelled and len(parts) < 2):
        raise ValueError(f"data: found batches of {len(parts)} parts: expected images and labels")
    x = np.asarray(parts[0].detach().cpu() if isinstance(parts[0], torch.Tensor) else parts[0])
    if x.ndim != 4:
        raise ValueError(f"data: found images of shape {x.shape}: expected (batch, channels, rows, columns)")
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise ValueError(f"data: found images of {x.dtype}: expected uint8 or floats")
    return x, _labels(parts[1], len(x)) if labelled else None


def _labels(given: Any, count: int) -> NDArray[np.int64]:
    """Class numbers; of two classes also the floats that a binary loss takes; of several labels rows of 0 and 1."""
    y = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given)
    if y.ndim == 2 and y.shape[1] > 1 and len(y) == count:
        return _label_sets(y)
    y = y.reshape(-1) if y.shape in ((count,), (count, 1)) else y
    if y.shape != (count,):
        raise ValueError(f"data: found labels of shape {y.shape} for {count} images: expected a class number for each")
    if y.dtype.kind == "f" and not np.isin(y, (0, 1)).all():
        raise ValueError(f"data: found labels of {y.dtype}: expected class numbers, or 0 and 1")
    return y.astype(np.int64)


def _label_sets(y: NDArray[Any]) -> NDArray[np.int64]:
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"data: found labels of shape {y.shape} with other numbers than 0 and 1: expected 1 for each label")
    return y.astype(np.int64)


def length(data: Batches) -> int | None:
    """How many batches there are, if that is known."""
    try:
        return len(data)
    except TypeError:
        return None


def with_last(items: Batches) -> Iterator[tuple[Batch, bool]]:
    """Each with whether it is the last."""
    before = None
    for item in items:
        if before is not None:
            yield before, False
        before = item
    if before is not None:
        yield before, True
