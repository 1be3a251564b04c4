"""Bobbin trains convolutional image classifiers on CPUs.

    import bobbin

    run = bobbin.train("fast", epochs=5)
    print(run.accuracy)
    model = bobbin.Model.load(run.directory)
    probabilities = model.predict_proba(images)  # uint8, (n, rows, columns) or (n, channels, rows, columns)

``Trainer`` is a network in training, ``Dataset`` images in memory or in files. The weights depend on data, recipe and
seed alone, and are those of the program ``bobbin train``, to the bit.
"""

from ._bobbin import Dataset, Error, Model, Trainer, __version__
from ._train import Run, train

__all__ = ["Dataset", "Error", "Model", "Run", "Trainer", "__version__", "train"]
