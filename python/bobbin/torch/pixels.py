"""Images of a PyTorch program as the bytes that Bobbin trains on, and the scaling that gives them back.

Bobbin keeps images as bytes and scales them as it reads them: (pixel / 255 − mean) / std. What transforms such as
``ToTensor`` and ``Normalize`` have made of pictures is the same numbers, and is turned back into bytes without loss;
anything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# How far from a whole pixel value rounding may take a float, in such values.
_ROUNDING = 0.02
# How many objects deep a data set's `Normalize` is looked for.
_DEPTH = 6


@dataclass(frozen=True)
class Scaling:
    """What is made of pixels, (pixel / 255 − mean) / std, with a number for each channel, or one for all."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @staticmethod
    def of(given: Any) -> Scaling:
        """Of ``{"mean": …, "std": …}`` or a pair, each a number or one for each channel."""
        mean, std = (given["mean"], given["std"]) if isinstance(given, dict) else given
        found = [tuple(float(v) for v in np.asarray(value, float).reshape(-1)) for value in (mean, std)]
        if not all(v > 0 for v in found[1]):
            raise ValueError(f"config: normalize has std={std}: expected numbers above 0")
        return Scaling(*found)

    @staticmethod
    def find(x: NDArray[Any], source: Any, loaded: Scaling | None = None) -> Scaling:
        """That of a batch: of the ``Normalize`` of its data set, or of pixels that were only divided, or not even that.

        Of bytes, and of floats that it fits, it is that of the file whose weights were ``loaded``.
        Raises ``ValueError`` if it is none of these.
        """
        if x.dtype == np.uint8:
            return loaded or Scaling()
        known = [loaded] if loaded is not None else []
        known += [Scaling.of((t.mean, t.std)) for t in _normalizations(source)]
        for scaling in [*known, Scaling(), Scaling(std=(1 / 255,))]:
            if scaling._levels(x) is not None:
                return scaling
        raise ValueError(f"data: {_found(x)}: {_EXPECTED}")

    def is_that_of(self, other: Scaling) -> bool:
        """Whether both make the same numbers of pixels, but for rounding."""
        pairs = ((self.mean, other.mean), (self.std, other.std))
        most = max(len(v) for pair in pairs for v in pair)
        wide = [[v * most if len(v) == 1 else v for v in pair] for pair in pairs]
        return all(len(a) == len(b) and np.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in wide)

    def to_bytes(self, x: NDArray[Any]) -> NDArray[np.uint8]:
        """The pixels of images; bytes are taken as they are. Raises ``ValueError`` if one is between two bytes."""
        if x.dtype == np.uint8:
            return x
        levels = self._levels(x)
        if levels is None:
            raise ValueError(f"data: {_found(x)}: {_EXPECTED}; with mean={self.mean}, std={self.std} they are not")
        return levels

    def to_floats(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """What PyTorch's module is given for these pixels."""
        x = torch.from_numpy(pixels).to(torch.float32) / 255
        mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (self.mean, self.std))
        return (x - mean) / std

    def _levels(self, x: NDArray[Any]) -> NDArray[np.uint8] | None:
        mean, std = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in (self.mean, self.std))
        if mean.size not in (1, x.shape[1]) or std.size not in (1, x.shape[1]):
            return None
        exact = (x.astype(np.float32) * std + mean) * 255
        levels = np.rint(exact)
        with np.errstate(invalid="ignore"):
            fits = np.abs(exact - levels).max(initial=0) <= _ROUNDING
        if not fits or levels.min(initial=0) < 0 or levels.max(initial=0) > 255:
            return None
        found: NDArray[np.uint8] = levels.astype(np.uint8)
        return found


_EXPECTED = (
    "expected pixels of 8 bits: uint8, or what ToTensor and Normalize make of them. Where they were normalised "
    'otherwise say how: config={"normalize": {"mean": [...], "std": [...]}}; changes that make values between two '
    "pixel values belong before ToTensor, on pictures"
)


def _found(x: NDArray[Any]) -> str:
    return f"found images of {x.dtype}, values from {x.min(initial=0):.6g} to {x.max(initial=0):.6g}"


def _normalizations(source: Any) -> Iterator[Any]:
    """The ``Normalize`` that a data set, or what it wraps, has among its transforms."""
    queue, seen = [(source, 0)], set()
    while queue:
        thing, depth = queue.pop(0)
        if thing is None or id(thing) in seen or depth > _DEPTH:
            continue
        seen.add(id(thing))
        if type(thing).__name__ == "Normalize" and hasattr(thing, "mean") and hasattr(thing, "std"):
            yield thing
            continue
        inner = [getattr(thing, name, None) for name in ("dataset", "datasets", "transform", "transforms")]
        if isinstance(thing, (list, tuple)):
            inner += list(thing)
        elif isinstance(thing, torch.nn.Sequential):
            inner += list(thing.children())
        queue += [(i, depth + 1) for i in inner]
