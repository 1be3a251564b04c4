"""What a network's outputs say of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .metrics import Outputs, predicted

FORMS = ("outputs", "probabilities", "classes")


def answers(outputs: Outputs, form: str, several: bool, last: str) -> NDArray[Any]:
    """Outputs [n, outputs] in a form: as they are; probabilities, a row for each image; or classes [n].

    Of ``several`` labels to an image each output is by itself: classes are rows of noughts and ones. ``last`` is the kind of
    the layer that outputs come from.
    """
    if form == "classes":
        return predicted(outputs, several)
    if form == "outputs" or last == "softmax":
        return outputs
    if several:
        found: NDArray[np.float32] = torch.sigmoid(torch.from_numpy(outputs)).numpy()
        return found
    if outputs.shape[1] == 1:
        outputs = np.concatenate([np.zeros_like(outputs), outputs], 1)
    found = torch.softmax(torch.from_numpy(outputs), 1).numpy()
    return found
