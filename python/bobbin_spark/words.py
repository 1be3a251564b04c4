"""Messages about the IDX files that were made of a data frame, in the words of the data frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from . import idx
from .ending import NO_TEST_SET, OTHER_DATA, Failure


def in_words(failure: Failure, directories: Iterable[str]) -> str:
    """The message of a failure without the names of files that nobody knows: those in the directories
    that the ranks have their data in."""
    if failure.kind == NO_TEST_SET:
        return (
            "no images to validate on: expected --validation-data; or validate on training images: "
            "--validation is their number, or none"
        )
    message = failure.message
    for directory in directories:
        for name, words in _files():
            message = message.replace(f"{directory}/{name}", words)
        message = message.replace(directory, "data frame")
    if failure.kind == OTHER_DATA:
        message += ": expected the same rows, --placement and, if partitioned, --workers"
    return message


def _files() -> Iterator[tuple[str, str]]:
    """Names of files, and what is in them."""
    for part, use in ((idx.TRAIN, "to train on"), (idx.TEST, "to validate on")):
        for name in idx.image_files(part):
            yield name, f"images {use}"
        for name in idx.label_files(part):
            yield name, f"labels {use}"
    yield "labels.txt", "--classes"
