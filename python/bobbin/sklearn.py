"""A classifier with the interface of scikit-learn, which must be installed."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ._bobbin import Dataset, Model, Trainer

Array = npt.NDArray[Any]

# For rows of numbers that are no pictures.
_ROWS = """
[model]
init = "he"
layers = [
    { kind = "flatten" },
    { kind = "linear", outputs = 64 },
    { kind = "relu" },
    { kind = "linear" },
]
[data]
batch_size = 16
validation = "none"
[optimizer]
kind = "adamw"
lr = 5e-3
[schedule]
kind = "cosine"
[stop]
epochs = EPOCHS
"""


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A convolutional network that classifies images.

    ``X`` is (n, channels, rows, columns), (n, rows, columns), or (n, features): with ``image_shape`` (channels, rows,
    columns) each row is a picture that was flattened, in the order of ``layout``; without, it is a row of numbers, and
    the default network has a hidden layer of 64. Numbers are kept to 255ths of their range: ``uint8``, and floats (or
    other whole numbers, or booleans) from 0 to 1, as they are; others by the range of the training images, beyond which
    they are cut off. What was fitted on ``uint8`` predicts of ``uint8`` alone, and what was fitted on numbers from 0 to 1
    of anything else.

    ``recipe`` is what ``bobbin.Trainer`` takes, by default ``pictures``, which is sized to the data and holds
    images out to choose its length; ``fields`` set fields of it, as in ``bobbin.train``. ``random_state`` is its seed.
    The classes of ``y`` may be of any type.
    """

    def __init__(
        self,
        recipe: str | PathLike[str] | Mapping[str, object] | None = None,
        *,
        image_shape: tuple[int, int, int] | None = None,
        layout: str = "nchw",
        fields: Mapping[str, object] | None = None,
        threads: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.recipe = recipe
        self.image_shape = image_shape
        self.layout = layout
        self.fields = fields
        self.threads = threads
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Classifier:
        """Trains the network anew."""
        X, y = validate_data(self, X, y, allow_nd=True, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y: found 1 class, {self.classes_[0]!r}: expected two at least")
        self.range_ = _range(X)
        self.is_uint8_ = X.dtype == np.uint8
        names = [str(name) for name in self.classes_]
        data = Dataset.from_arrays(self._images(X), labels, class_names=names, layout=self._layout())
        trainer = Trainer(self._recipe(X), data, threads=self.threads, **self._fields())
        trainer.run()
        self.model_: Model = trainer.model()
        return self

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, [n, classes], in the order of ``classes_``."""
        check_is_fitted(self)
        X = validate_data(self, X, allow_nd=True, reset=False)
        self._check_kind(X)
        return self.model_.predict_proba(self._images(X), layout=self._layout()).astype(np.float64)

    def predict(self, X: Any) -> Array:
        """The most probable class of each image."""
        check_is_fitted(self)
        return self.classes_[np.argmax(self.predict_proba(X), axis=1)]  # type: ignore[no-any-return]

    def _recipe(self, X: Array) -> str | PathLike[str] | Mapping[str, object]:
        if self.recipe is not None:
            return self.recipe
        if X.ndim > 2 or self.image_shape is not None:
            return "pictures"
        return _ROWS.replace("EPOCHS", str(min(200, max(20, 60_000 // len(X)))))

    def _fields(self) -> dict[str, Any]:
        fields = dict(self.fields or {})
        if self.random_state is not None:
            fields["seed"] = int(check_random_state(self.random_state).randint(2**31 - 1))
        return fields

    def _layout(self) -> Any:
        return self.layout

    def _check_kind(self, X: Array) -> None:
        """Refuses bytes where fit had numbers from 0 to 1, and the reverse: black and white would not be the same."""
        is_uint8 = X.dtype == np.uint8
        if is_uint8 != self.is_uint8_ and (self.is_uint8_ or self.range_ == (0, 1)):
            fitted = "uint8, from 0 to 255" if self.is_uint8_ else "numbers from 0 to 1"
            raise ValueError(f"X: found {X.dtype}, and fit had {fitted}: expected the same")

    def _images(self, X: Array) -> Array:
        """What the engine takes for images, in the layout."""
        if X.ndim == 2:
            shape = (1, 1, X.shape[1]) if self.image_shape is None else tuple(self.image_shape)
            if len(shape) != 3 or int(np.prod(shape)) != X.shape[1]:
                raise ValueError(f"image_shape: found {shape}: expected channels, rows and columns of {X.shape[1]} numbers")
            if self.layout == "nhwc":
                shape = (*shape[1:], shape[0])
            X = X.reshape(-1, *shape)
        low, high = self.range_
        if X.dtype == np.uint8 and (low, high) == (0, 255):
            return X
        if (low, high) == (0, 1):
            floats: Array = X if X.dtype.kind == "f" else X.astype(np.float32)
            return _bytes(floats)
        return _bytes((X.astype(np.float64) - low) / ((high - low) or 1.0))


def _bytes(numbers: Array) -> Array:
    """The nearest 255ths of numbers, cut off at 0 and 1."""
    return (255 * np.clip(numbers, 0, 1).astype(np.float32) + np.float32(0.5)).astype(np.uint8)


def _range(X: Array) -> tuple[float, float]:
    """Which numbers are black and white."""
    if X.dtype == np.uint8:
        return (0, 255)
    low, high = float(X.min()), float(X.max())
    return (0, 1) if X.dtype.kind == "f" and low >= 0 and high <= 1 else (low, high)
