"""Images and labels of every form are the same data."""

import numpy as np
import pytest
from conftest import RECIPE, arrays

from bobbin import Dataset, Trainer
from bobbin._arrays import images as as_images


def weights(images: object, labels: object, **layout: str) -> bytes:
    data = Dataset.from_arrays(images, labels, **layout)
    trainer = Trainer(RECIPE, data, validation="none", epochs=1)
    trainer.run()
    return b"".join(array.tobytes() for array in trainer.state_dict().values())


class Tensor:
    """What a tensor of PyTorch looks like from outside."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> np.ndarray:
        return self.array


def test_every_form_of_the_same_images_trains_to_the_same_bits() -> None:
    images, labels = arrays(64)
    expected = weights(images, labels)
    nhwc = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    assert weights(nhwc, labels, layout="nhwc") == expected
    assert weights(images.astype(np.float32) / np.float32(255), labels) == expected
    assert weights(images / 255, labels.astype(np.uint8)) == expected
    assert weights(Tensor(images), Tensor(labels)) == expected
    assert weights(images.tolist() and memoryview(images), list(map(int, labels))) == expected
    # No contiguous memory: every other one of twice as many.
    assert weights(np.repeat(images, 2, axis=0)[::2], np.repeat(labels, 2)[::2]) == expected
    # Other images are other weights: the comparison can fail.
    assert weights(255 - images, labels) != expected


def test_images_of_one_channel_are_read_where_they_lie() -> None:
    images, _ = arrays(5, channels=1)
    assert np.shares_memory(as_images(images, "nchw", "images"), images)
    assert np.shares_memory(as_images(images[:, 0], "nchw", "images"), images)
    colour, _ = arrays(5)
    nhwc = np.ascontiguousarray(colour.transpose(0, 2, 3, 1))
    assert np.shares_memory(as_images(nhwc, "nhwc", "images"), nhwc)
    assert not np.shares_memory(as_images(colour, "nchw", "images"), colour)


def test_floats_that_are_no_pixels_are_kept_as_they_are() -> None:
    images, labels = arrays(64)
    recipe = RECIPE | {"augment": {}, "data": {"batch_size": 16, "normalize": {"mean": [0.0], "std": [1.0]}}}

    def losses(values: np.ndarray) -> list[float]:
        trainer = Trainer(recipe, Dataset.from_arrays(values, labels), validation="none")
        found: list[float] = []
        trainer.run(on_step=lambda step: found.append(step["loss"]))
        return found

    expected = losses(images)
    # The pixels themselves, others a little beside them, and cubes of both signs.
    assert losses(images / np.float32(255)) == expected
    near = losses(images / np.float32(255) + np.float32(1e-4))
    assert near != expected and np.allclose(near, expected, rtol=0.1)
    cubes = losses(((images - np.float32(120)) / 60) ** 3)
    assert np.isfinite(cubes).all() and not np.allclose(cubes, expected, rtol=1e-3)
    # Random changes are of pixels.
    trainer = Trainer(RECIPE, Dataset.from_arrays(images / np.float32(255) + np.float32(1e-4), labels), validation="none")
    assert trainer.train_epoch()["loss"] > 0
    with pytest.raises(ValueError, match="below 0 or above 1 in image 0; expected uint8, or numbers from 0 to 1"):
        Trainer(RECIPE, Dataset.from_arrays(images.astype(np.float32) - 40, labels), validation="none")


def test_layouts_are_told_apart() -> None:
    images = np.zeros((2, 3, 8, 9), np.uint8)
    assert Dataset.from_arrays(images, [0, 1]).image_shape == (3, 8, 9)
    assert Dataset.from_arrays(images.transpose(0, 2, 3, 1), [0, 1], layout="nhwc").image_shape == (3, 8, 9)
    assert Dataset.from_arrays(images[:, 0], [0, 1]).image_shape == (1, 8, 9)


def test_classes_have_names() -> None:
    images, labels = arrays(20)
    assert Dataset.from_arrays(images, labels).class_names == ["0", "1", "2"]
    names = ["dark", "grey", "bright", "none"]
    assert Dataset.from_arrays(images, labels, class_names=names).class_names == names


IMAGES, LABELS = arrays(6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"train_labels": LABELS[:5]}, "train_labels: found 5 labels: expected 6"),
        ({"train_labels": LABELS - 5}, "train_labels: found label -"),
        ({"train_labels": LABELS / 2}, "train_labels: found float64 of shape (6,): expected a whole number"),
        ({"train_labels": LABELS[:, None] + 2}, "found rows of other numbers than 0 and 1: expected 1 for each label"),
        ({"train_labels": LABELS + 5000}, "1 to 4096"),
        ({"train_images": IMAGES[0, 0]}, "found uint8 of shape (8, 9): expected (n, rows, columns)"),
        ({"train_images": IMAGES.astype(int)}, "found int64: expected uint8 from 0 to 255, or floats"),
        ({"train_images": np.full((6, 4, 4), np.nan)}, "found NaN in image 0"),
        ({"train_images": IMAGES.transpose(0, 2, 3, 1)}, "found 8 channels: expected 1, 3 or 4; the layout 'nchw'"),
        ({"train_images": IMAGES[:0], "train_labels": LABELS[:0]}, "one image at least"),
        ({"layout": "chwn"}, "layout: found 'chwn'"),
        ({"class_names": ["a"]}, "labels below 1, the number of class names"),
        ({"test_images": IMAGES}, "expected both"),
        ({"test_images": IMAGES[:, :1], "test_labels": LABELS}, "test_images: found images of [1, 8, 9]"),
    ],
)
def test_what_is_no_data_set_is_refused(arguments: dict, words: str) -> None:
    given = {"train_images": IMAGES, "train_labels": LABELS} | arguments
    with pytest.raises(ValueError) as refused:
        Dataset.from_arrays(**given)
    assert words in str(refused.value)


def test_floats_and_label_sets_come_back() -> None:
    images, _ = arrays(30)
    sets = np.random.default_rng(3).integers(0, 2, (30, 4)).astype(np.uint8)
    floats = images / np.float32(255) * np.float32(3) - np.float32(1)
    found, labels = Dataset.from_arrays(floats, sets).arrays()
    assert found.dtype == np.float32 and np.abs(found.transpose(0, 3, 1, 2) - floats).max() < 1e-6
    assert labels.dtype == np.uint8 and (labels == sets).all()
    found, labels = Dataset.from_arrays(images, sets[:, 0]).arrays()
    assert found.dtype == np.uint8 and (found.transpose(0, 3, 1, 2) == images).all()
    assert labels.dtype == np.uint32 and (labels == sets[:, 0]).all()
