"""The part of Bobbin that is written in Rust."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

_Metrics = dict[str, float | int | None]
_State = dict[str, npt.NDArray[Any]]

__all__ = ["Dataset", "Error", "Model", "Trainer", "__version__", "main", "record", "resume"]

__version__: str

class Error(Exception):
    """Data, a file or training failed. The message is that of the programs."""

@final
class Dataset:
    """Training images, test images if there are any, their labels, and the names of the classes."""

    @staticmethod
    def from_arrays(
        train_images: object,
        train_labels: object,
        test_images: object | None = None,
        test_labels: object | None = None,
        *,
        class_names: Sequence[str] | None = None,
        layout: Literal["nchw", "nhwc"] = "nchw",
    ) -> Dataset:
        """A data set of images in memory, which are copied once.

        Images are (n, rows, columns) or four-dimensional in the order of ``layout``, with 1, 3 or 4 channels:
        ``uint8`` from 0 to 255, or floats, of which 0 and 1 are black and white and any others may be: they are kept
        as they are. (A recipe that changes images takes the nearest 255ths of floats from 0 to 1.) Anything that
        ``numpy.asarray`` takes will do, and a ``torch.Tensor``. Labels are whole numbers from 0.
        Without ``class_names`` the classes are the numbers up to the highest label.
        """

    @staticmethod
    def open(directory: str | PathLike[str], *, prefix: str | None = None) -> Dataset:
        """A directory of IDX files, plain or gzipped, mapped into memory; of several sets in it that of ``prefix``."""

    @staticmethod
    def bundled() -> Dataset:
        """The Fashion-MNIST of the source tree."""

    def arrays(
        self, part: Literal["train", "test"] = "train"
    ) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.float32], npt.NDArray[np.uint32] | npt.NDArray[np.uint8]]:
        """Copies of the images of a part, (n, rows, columns, channels), and of their labels.

        Images are ``uint8``, or ``float32`` where some of the data set are no whole 255ths, 1 for white. Labels are numbers
        of classes, or rows of noughts and ones, (n, classes), where an image may have several.
        """

    @property
    def class_names(self) -> list[str]: ...
    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns."""

    @property
    def train_images(self) -> int:
        """How many training images there are."""

    @property
    def test_images(self) -> int:
        """How many test images there are."""

@final
class Trainer:
    """A network in training."""

    def __new__(
        cls,
        recipe: str | PathLike[str] | Mapping[str, object],
        data: Dataset | None = None,
        *,
        weights: Mapping[str, object] | None = None,
        threads: int | None = None,
        **fields: object,
    ) -> Trainer:
        """The network of a recipe, with its initial weights, or these.

        ``recipe`` is the name of a shipped recipe, the path of a TOML file, TOML text, or the same as a dict
        of sections; ``fields`` set fields of it as in ``bobbin.train``. Without ``data`` they are those that the recipe names, or else the bundled ones.
        The weights do not depend on the number of threads.
        """

    def run(
        self,
        callback: Callable[[_Metrics], object] | None = None,
        *,
        on_step: Callable[[_Metrics], object] | None = None,
    ) -> str:
        """Trains to the end of the recipe; returns why it ended: ``epochs``, ``iterations``, ``patience``, …

        ``callback`` is called after each epoch and ``on_step`` after each step. Where one returns ``False``
        training ends after that step (``interrupted``), and another ``run`` goes on from there. An exception of one,
        and Ctrl-C, end it in the same way.
        """

    def train_epoch(self) -> _Metrics:
        """Trains to the end of the epoch under way; returns what ``run`` tells its callback."""

    def step_on(
        self,
        images: object,
        labels: object,
        *,
        layout: Literal["nchw", "nhwc"] = "nchw",
        lr: float | None = None,
    ) -> float:
        """One step of the optimiser on these images; returns their mean loss before it.

        Random changes and dropout are drawn anew at each call. A step counts for the schedule of the
        learning rate, unless it is given one, and not for the epochs of ``run``.
        """

    def set_optimizer(self, settings: Mapping[str, object]) -> None:
        """Takes these fields of the section ``optimizer``, with the memory that there is, from the next step on: all of
        them, as for a new recipe. The kind must stay."""

    def save_checkpoint(self, path: str | PathLike[str], note: str = "") -> None:
        """Writes the weights with the optimiser's memory and the number of steps, and a note of the caller's: a model
        file with more in it."""

    def load_checkpoint(self, path: str | PathLike[str]) -> str:
        """Goes on from a checkpoint of the same network and optimiser, with steps on images of one's own
        (``step_on``), or a new epoch; returns the note. Images of other data are fine."""

    def evaluate(
        self, images: object, labels: object, *, layout: Literal["nchw", "nhwc"] = "nchw"
    ) -> _Metrics:
        """Loss (cross-entropy), accuracy and more on these images, with the weights of ``state_dict``."""

    def model(self) -> Model:
        """The network as it is now."""

    def state_dict(self) -> _State:
        """Copies of the weights under PyTorch's names; those that are averaged, where the recipe does so."""

    def load_state_dict(self, weights: Mapping[str, object]) -> None:
        """Takes these weights: all of the network, by PyTorch's names and shapes. After an error nothing has changed.
        Where the recipe has an average of the weights, it begins anew with these."""

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the model as the programs do: safetensors, with all that is needed to use it."""

    def extend(self, epochs: int) -> None:
        """Makes the run so many epochs long in all, with the optimiser's memory kept; warns where the schedule of the
        learning rate was planned for another number of them."""

    @property
    def recipe(self) -> str:
        """The complete recipe, as TOML."""

    @property
    def network(self) -> str:
        """A table of the layers."""

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""

    @property
    def step(self) -> int:
        """Steps of the optimiser in all."""

    @property
    def steps_per_epoch(self) -> int: ...

@final
class Model:
    """A trained network."""

    @staticmethod
    def load(path: str | PathLike[str], *, threads: int | None = None) -> Model:
        """A ``model.safetensors``, or that of a run directory."""

    def __call__(
        self, images: object, *, layout: Literal["nchw", "nhwc"] = "nchw"
    ) -> npt.NDArray[np.float32]:
        """The logits of images, [images, classes]: images as in ``Dataset.from_arrays``."""

    def predict_proba(
        self, images: object, *, layout: Literal["nchw", "nhwc"] = "nchw"
    ) -> npt.NDArray[np.float32]:
        """The softmax of the logits, [images, classes]; an ``Error`` if a logit is not finite."""

    def predict(self, images: object, *, layout: Literal["nchw", "nhwc"] = "nchw") -> npt.NDArray[np.int64]:
        """The number of the most probable class of each image; an ``Error`` if a logit is not finite."""

    def evaluate(
        self, images: object, labels: object, *, layout: Literal["nchw", "nhwc"] = "nchw"
    ) -> _Metrics:
        """Loss (cross-entropy), accuracy and more on these images."""

    def state_dict(self) -> _State:
        """Copies of the weights under PyTorch's names."""

    def save(self, path: str | PathLike[str]) -> None:
        """Writes it as the programs do."""

    def __reduce__(self) -> tuple[Any, ...]: ...
    @property
    def classes(self) -> list[str]:
        """The names of the classes."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of an image."""

    @property
    def normalize(self) -> tuple[list[float], list[float]]:
        """What is subtracted from pixel / 255, and what the difference is divided by: one number, or one for each
        channel."""

    @property
    def name(self) -> str:
        """The preset of the network, or ``custom``."""

    @property
    def precision(self) -> str:
        """``f32``; or ``bf16``, where it was trained, and is computed, with operands rounded to bfloat16."""

def record(
    recipe: object,
    settings: Sequence[tuple[str, str]],
    data: Dataset | str | PathLike[str] | None,
    out: str | PathLike[str] | None,
    force: bool,
    threads: int | None,
    callback: Callable[[str], object] | None,
) -> tuple[str, str | PathLike[str], int]:
    """A run with its directory: why it ended, the directory, and steps in all. ``callback`` has each line of
    ``metrics.jsonl``."""

def resume(
    directory: str | PathLike[str],
    data: Dataset | None,
    epochs: int | None,
    threads: int | None,
    callback: Callable[[str], object] | None,
) -> tuple[str, str | PathLike[str], int]:
    """A run that goes on; as ``record``."""

def main(arguments: Sequence[str]) -> int:
    """The program ``bobbin`` with these arguments, its name first; returns its exit code."""
