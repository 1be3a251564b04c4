"""What is measured of a network's outputs on labelled images.

A metric is called with outputs [n, classes] (or [n, 1], the logit of the second class) and labels [n]; where images may
have several labels, with rows of noughts and ones, [n, labels], whose outputs are logits of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = NDArray[np.float32]
Labels = NDArray[np.int64]


class Metric:
    """A number that says how well outputs fit labels."""

    @property
    def name(self) -> str:
        """Under which results are reported."""
        return type(self).__name__

    def __call__(self, outputs: Outputs, labels: Labels) -> float:
        raise NotImplementedError


def predicted(outputs: Outputs, several: bool = False) -> Labels:
    """The class of each image, the first of equal ones; of several labels a one for each that it has."""
    if several:
        return (outputs > 0).astype(np.int64)
    found: Labels = (outputs[:, 0] > 0).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(1)
    return found


class Accuracy(Metric):
    """The part of the images that is classified correctly; of several labels that of all answers."""

    def __call__(self, outputs: Outputs, labels: Labels) -> float:
        return float((predicted(outputs, labels.ndim == 2) == labels).mean())


class BinaryAccuracy(Accuracy):
    """``Accuracy``, of two classes."""

    def __call__(self, outputs: Outputs, labels: Labels) -> float:
        if outputs.shape[1] > 2 and labels.ndim == 1:
            raise ValueError(f"metrics: BinaryAccuracy of {outputs.shape[1]} classes: expected two")
        return super().__call__(outputs, labels)


class SparseCategoricalAccuracy(Accuracy):
    """``Accuracy``: labels are class numbers."""


class CategoricalAccuracy(Accuracy):
    """``Accuracy``: labels are class numbers, which Orca has as rows with a one."""


class Top5Accuracy(Metric):
    """The part of the images whose class is among the five most probable."""

    def __call__(self, outputs: Outputs, labels: Labels) -> float:
        if labels.ndim == 2:
            raise ValueError("metrics: Top5Accuracy of several labels to an image: expected one for each")
        if outputs.shape[1] <= 5:
            raise ValueError(f"metrics: Top5Accuracy of {outputs.shape[1]} outputs: expected more than five classes")
        own = np.take_along_axis(outputs, labels[:, None], 1)
        return float(((outputs > own).sum(1) < 5).mean())


class AUC(Metric):
    """The area under the ROC curve, of two classes: how often an image of the second has the higher output.

    Of several labels it is the mean over them. It is exact, so that Orca's ``threshold_num`` changes nothing.
    """

    def __init__(self, threshold_num: int | None = None) -> None:
        self.threshold_num = threshold_num

    def __call__(self, outputs: Outputs, labels: Labels) -> float:
        if labels.ndim == 2:
            return float(np.mean([self(outputs[:, [i]], labels[:, i]) for i in range(labels.shape[1])]))
        if outputs.shape[1] > 2:
            raise ValueError(f"metrics: AUC of {outputs.shape[1]} classes: expected two")
        score = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
        values, places, counts = np.unique(score, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
        positive = int((labels == 1).sum())
        negative = len(labels) - positive
        if not positive or not negative:
            raise ValueError("metrics: AUC of images of one class: expected images of both")
        return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


class MSE(Metric):
    """The mean squared difference of outputs from the labels: from 1 for the class of an image and 0 for others."""

    def __call__(self, outputs: Outputs, labels: Labels) -> float:
        return float(((outputs - _targets(outputs, labels)) ** 2).mean())


class MAE(Metric):
    """The mean absolute difference of outputs from the labels, as for ``MSE``."""

    def __call__(self, outputs: Outputs, labels: Labels) -> float:
        return float(np.abs(outputs - _targets(outputs, labels)).mean())


def _targets(outputs: Outputs, labels: Labels) -> Any:
    if labels.ndim == 2:
        return labels
    return labels[:, None] if outputs.shape[1] == 1 else np.eye(outputs.shape[1])[labels]


class _OfClasses(Metric):
    """The mean over the classes, or labels, of what is found of each: of two classes, what is found of the second."""

    def __call__(self, outputs: Outputs, labels: Labels) -> float:
        if labels.ndim == 2:
            return float(np.mean([self(outputs[:, [i]], labels[:, i]) for i in range(labels.shape[1])]))
        classes = max(outputs.shape[1], 2)
        counts = np.zeros((classes, classes))
        np.add.at(counts, (labels, predicted(outputs)), 1)
        hits, of_class, of_prediction = counts.diagonal(), counts.sum(1), counts.sum(0)
        if classes == 2:
            return float(self._of(hits, of_class, of_prediction)[1])
        return float(self._of(hits, of_class, of_prediction)[(of_class + of_prediction) > 0].mean())

    def _of(self, hits: Any, of_class: Any, of_prediction: Any) -> Any:
        raise NotImplementedError


def _part(hits: Any, of: Any) -> Any:
    return np.divide(hits, of, out=np.zeros_like(hits), where=of > 0)


class Precision(_OfClasses):
    """The part of the images said to be of a class that are of it."""

    def _of(self, hits: Any, of_class: Any, of_prediction: Any) -> Any:
        return _part(hits, of_prediction)


class Recall(_OfClasses):
    """The part of the images of a class that are said to be of it."""

    def _of(self, hits: Any, of_class: Any, of_prediction: Any) -> Any:
        return _part(hits, of_class)


class F1(_OfClasses):
    """The harmonic mean of precision and recall."""

    def _of(self, hits: Any, of_class: Any, of_prediction: Any) -> Any:
        return _part(2 * hits, of_class + of_prediction)


Measures = list[tuple[str, Callable[[Outputs, Labels], float]]]


def measures(given: Any) -> Measures:
    """Names and functions of what a caller gives: a metric, or a list of them."""
    found = given if isinstance(given, (list, tuple)) else [] if given is None else [given]
    for metric in found:
        if not isinstance(metric, Metric):
            name = getattr(metric, "__name__", type(metric).__name__)
            known = "Accuracy(), Top5Accuracy(), AUC(), Precision(), Recall(), F1(), MSE(), MAE() or a subclass of Metric"
            raise ValueError(f"metrics: found {name}: expected {known}")
    names = [metric.name for metric in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"metrics: found two called {twice[0]}: expected a `name` of its own for each")
    return list(zip(names, found, strict=True))
