"""Files of weights: models of Bobbin, which say what they are for, and ``state_dict``s of PyTorch, which do not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import idx
from .bundle import Bundle
from .columns import Columns, Shape
from .errors import BobbinError

MODEL = "model.safetensors"
_DATA, _RECIPE = "state-dict-data", "state-dict.toml"


Scaling = tuple[float | Sequence[float], float | Sequence[float]]
"""Mean and deviation, each one number or one for each channel."""


@dataclass(frozen=True)
class Weights:
    """A file of weights, and what programs are told of it."""

    file: Path
    network: str | None = None
    """Of a ``state_dict``: the preset, or the file of a recipe."""
    normalize: str | None = None
    """Of a ``state_dict``: mean and deviation."""
    data: Path | None = None
    """Of a ``state_dict``: a data set of images and classes as the network's."""
    own_shape: Shape | None = None
    own_classes: tuple[str, ...] = ()
    own_several: bool = False

    @property
    def name(self) -> str:
        """What it is called in a bundle."""
        return f"model{self.file.suffix}"

    @property
    def shape(self) -> Shape | None:
        """Rows, columns and channels of its images, if anyone has said them."""
        return self.own_shape or _input(_metadata(self.file))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, if it has any."""
        if self.own_classes:
            return self.own_classes
        return tuple(json.loads((_metadata(self.file) or {}).get("classes", "[]")))

    @property
    def several(self) -> bool:
        """Whether an image may have several of its classes, or none."""
        return self.own_several or (_metadata(self.file) or {}).get("outputs") == "labels"

    def send(self, bundle: Bundle) -> None:
        """Puts it into a bundle, with all that programs need."""
        bundle.add(self.file, self.name)
        if self.data is not None:
            bundle.add(self.data, _DATA)
        if self.network is not None and self.network.endswith(".toml"):
            bundle.add(self.network, _RECIPE)

    def flags(self, file: Path) -> list[str]:
        """Flags of ``predict`` and ``evaluate`` for the file, here or in a bundle."""
        flags = ["--weights", str(file)]
        if self.network is not None:
            in_bundle = self.network.endswith(".toml") and file != self.file
            flags += ["--model", str(file.with_name(_RECIPE)) if in_bundle else self.network]
        return flags if self.normalize is None else [*flags, "--normalize", self.normalize]

    def data_flags(self, bundle: Path) -> list[str]:
        """More flags of ``predict``, which has no data of its own."""
        return [] if self.data is None else ["--data", str(bundle / _DATA)]

    def name_classes(self, directory: Path) -> None:
        """Has a data set say the classes of a ``state_dict``, which does not."""
        if self.data is not None:
            (directory / "labels.txt").write_text("".join(f"{name}\n" for name in self.own_classes))


def is_model(file: Path) -> bool:
    """Whether a file is a model of Bobbin, and no ``state_dict``."""
    return file.suffix == ".safetensors" and _input(_metadata(file)) is not None


def of_state_dict(
    file: Path, network: str | None, normalize: Scaling | None, columns: Columns, scratch: Path
) -> Weights:
    """A ``state_dict`` for images and classes as those of the columns, of a preset or the network of a recipe's file."""
    if columns.shape is None or not columns.classes:
        raise BobbinError(
            f"{file}: a state_dict, which does not say what it is for: expected `shape` and `classes` in the columns of "
            "the training"
        )
    data = scratch / _DATA
    data.mkdir()
    height, width, channels = columns.shape
    writer = idx.IdxWriter(data, idx.TEST, columns.shape, columns.labels)
    writer.write(bytes(height * width * channels), bytes(columns.labels or 1))
    writer.close()
    # All means, then all deviations.
    numbers = [v for part in normalize or (0.0, 1.0) for v in (part if isinstance(part, Sequence) else [part])]
    scaling, several = ",".join(map(str, numbers)), bool(columns.several)
    found = Weights(file, network, scaling, data, columns.shape, columns.classes, several)
    found.name_classes(data)
    return found


def _input(metadata: dict[str, str] | None) -> Shape | None:
    try:
        channels, rows, columns = map(int, (metadata or {})["input"].split(","))
    except (KeyError, ValueError):
        return None
    return rows, columns, channels


def _metadata(file: Path) -> dict[str, Any] | None:
    """What a safetensors file says of itself; None of other files."""
    if file.suffix != ".safetensors":
        return None
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            header = json.loads(content.read(min(length, 100_000_000)))
        return header.get("__metadata__") or {}
    except (OSError, ValueError, AttributeError) as error:
        raise BobbinError(f"{file}: not a safetensors file: {error}") from None
