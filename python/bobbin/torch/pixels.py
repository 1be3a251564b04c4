"""Images of a PyTorch program as Bobbin keeps them, and the scaling that gives the program's numbers back.

Bobbin scales pixels as it reads them: (pixel / 255 − mean) / std. What transforms such as ``ToTensor`` and ``Normalize``
have made of pictures is turned back into those pixels; other numbers are taken as pixels / 255 that need not be whole.
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

        Of bytes, and of floats that it fits, it is that of the file whose weights were ``loaded``. Of floats that are no
        pixels it is that of the ``Normalize``, or none.
        """
        if x.dtype == np.uint8:
            return loaded or Scaling()
        known = [Scaling.of((t.mean, t.std)) for t in _normalizations(source)]
        for scaling in [*([] if loaded is None else [loaded]), *known, Scaling(), Scaling(std=(1 / 255,))]:
            if scaling._fits(x):
                return scaling
        return loaded or next((scaling for scaling in known if scaling._is_of(x)), Scaling())

    def is_that_of(self, other: Scaling) -> bool:
        """Whether both make the same numbers of pixels, but for rounding."""
        pairs = ((self.mean, other.mean), (self.std, other.std))
        most = max(len(v) for pair in pairs for v in pair)
        wide = [[v * most if len(v) == 1 else v for v in pair] for pair in pairs]
        return all(len(a) == len(b) and np.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in wide)

    def to_pixels(self, x: NDArray[Any]) -> NDArray[Any]:
        """The pixels of images, as parts of 255; bytes are taken as they are."""
        if x.dtype == np.uint8:
            return x
        mean, std = self._wide()
        x = x.astype(np.float32, copy=False)
        return x if self == Scaling() else x * std + mean

    def to_floats(self, x: NDArray[Any]) -> torch.Tensor:
        """What PyTorch's module is given for these images: floats as they are, bytes scaled."""
        if x.dtype != np.uint8:
            return torch.from_numpy(np.ascontiguousarray(x, np.float32))
        pixels = torch.from_numpy(np.ascontiguousarray(x)).to(torch.float32) / 255
        mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (self.mean, self.std))
        return (pixels - mean) / std

    def _wide(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mean, std = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in (self.mean, self.std))
        return mean, std

    def _is_of(self, x: NDArray[Any]) -> bool:
        """Whether it has as many numbers as there are channels, or one."""
        return all(len(v) in (1, x.shape[1]) for v in (self.mean, self.std))

    def _fits(self, x: NDArray[Any]) -> bool:
        """Whether images are whole pixels that were scaled so."""
        if not self._is_of(x):
            return False
        exact = self.to_pixels(x) * 255
        levels = np.rint(exact)
        with np.errstate(invalid="ignore"):
            fits = np.abs(exact - levels).max(initial=0) <= _ROUNDING
        return bool(fits and levels.min(initial=0) >= 0 and levels.max(initial=0) <= 255)


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
