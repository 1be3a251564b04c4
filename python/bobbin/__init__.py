"""Bobbin trains convolutional image classifiers on CPUs.

    import bobbin

    run = bobbin.train("fast", epochs=5)
    print(run.accuracy)
    model = bobbin.Model.load(run.directory)
    probabilities = model.predict_proba(images)  # uint8, (n, rows, columns) or (n, channels, rows, columns)

``Trainer`` is a network in training, ``Dataset`` images in memory or in files. The weights depend on data, recipe and
seed alone, and are those of the program ``bobbin train``, to the bit. ``Estimator.from_torch`` trains PyTorch's programs.
"""

from typing import TYPE_CHECKING

from ._bobbin import Dataset, Error, Model, Trainer, __version__
from ._train import Run, resume, train

if TYPE_CHECKING:
    from .torch import Estimator as Estimator
    from .torch import UnsupportedModule as UnsupportedModule

__all__ = ["Dataset", "Error", "Model", "Run", "Trainer", "__version__", "resume", "train"]


def __getattr__(name: str) -> object:
    """``Estimator`` and ``UnsupportedModule`` of ``bobbin.torch``, which needs PyTorch."""
    if name not in ("Estimator", "UnsupportedModule"):
        raise AttributeError(f"module 'bobbin' has no attribute {name!r}")
    try:
        from . import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        # So that `hasattr` says no.
        raise AttributeError(f"bobbin.{name} needs PyTorch: pip install torch") from error
    return getattr(torch, name)
