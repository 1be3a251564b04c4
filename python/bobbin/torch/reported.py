"""What an estimator says of itself: in words, as a table, and as summaries of what it has found."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from . import files
from .history import History, shown, table
from .metrics import Measures
from .program import Program, described
from .summary import Summary
from .triggers import Progress


class Reported:
    """The part of an estimator that tells."""

    _program: Program
    _metrics: Measures
    _backend: str
    _progress: Progress
    _history: History
    _train: Summary
    _validation: Summary

    def set_tensorboard(self, log_dir: str | os.PathLike[str], app_name: str) -> None:
        """Has what training finds from now on written to ``log_dir/app_name``, for TensorBoard, which is needed."""
        for part, summary in (("train", self._train), ("validation", self._validation)):
            summary.write_to(files.local(log_dir, "log_dir") / app_name / part)

    def get_train_summary(self, tag: str) -> NDArray[np.float64]:
        """A row for each step: its number, the value, and the time in seconds since 1970. Tags: Loss, Throughput,
        LearningRate."""
        return self._train.rows(tag)

    def get_validation_summary(self, tag: str) -> NDArray[np.float64]:
        """The same of each validation. Tags: Loss, and the names of the metrics; of Accuracy also BigDL's, Top1Accuracy."""
        return self._validation.rows("Accuracy" if tag == "Top1Accuracy" else tag)

    def __repr__(self) -> str:
        return "Estimator(" + ", ".join(f"{name}={value}" for name, value in self._described().items()) + ")"

    def _repr_html_(self) -> str:
        last = self._history[-1] if self._history else {}
        rows = self._described() | {name: shown(name, value) for name, value in last.items() if name != "epoch"}
        return table(["Estimator", ""], [[name, value] for name, value in rows.items()])

    def _described(self) -> dict[str, str]:
        now = self._progress
        state = {"backend": self._backend, "epochs": str(now.epoch), "steps": str(now.iteration)}
        return described(self._program, [name for name, _ in self._metrics]) | state
