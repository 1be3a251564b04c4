"""Data that Spark reads, as the IDX files that ``train`` maps.

A data frame has a column of images (binary, or arrays of bytes, row by row and pixel by pixel), one of
labels, and one of ids that says the order of the rows: a frame has none of itself, and the weights
depend on it.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark import RDD
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import types as T

from . import idx
from .errors import BobbinError

if TYPE_CHECKING:
    from .cluster import Bundle

Data = str | DataFrame
Shape = tuple[int, int, int]
_AT_ONCE = 10_000
_WHOLE = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)


@dataclass(frozen=True)
class Columns:
    """Names of columns, and the size of images where their length does not say it."""

    image: str = "image"
    label: str = "label"
    id: str = "id"
    shape: Shape | None = None
    """Rows, columns and channels; by default square, of 1, 3 or 4 channels."""
    classes: tuple[str, ...] = ()
    """Names of the classes; without them they are numbers."""

    def check(self, frame: DataFrame, names: list[str]) -> None:
        """Fails unless the frame has these columns, of types that fit."""
        found = {field.name: field.dataType for field in frame.schema.fields}
        wanted = {
            self.image: ("binary or an array of bytes", _is_image),
            self.label: ("a whole number", lambda kind: isinstance(kind, _WHOLE)),
            self.id: ("something to order the rows by", lambda kind: True),
        }
        listed = ", ".join(f"{name}: {kind.simpleString()}" for name, kind in found.items())
        for name in names:
            kind, fits = wanted[name]
            if name not in found:
                raise BobbinError(f"no column `{name}` ({kind}): found {listed}")
            if not fits(found[name]):
                raise BobbinError(
                    f"column `{name}`: found {found[name].simpleString()}, expected {kind}"
                )


def _is_image(kind: T.DataType) -> bool:
    array = isinstance(kind, T.ArrayType) and isinstance(kind.elementType, _WHOLE)
    return isinstance(kind, T.BinaryType) or array


def read(spark: SparkSession, path: str) -> DataFrame:
    """A data frame from Parquet."""
    try:
        return spark.read.parquet(path)
    except AnalysisException as error:
        reason = str(error).split("\n")[0]
        raise BobbinError(
            f"{path}: neither a directory of IDX files nor Parquet that Spark reads: {reason}"
        ) from None


def idx_directory(data: Data) -> Path | None:
    """The directory of IDX files that this is, if it is one."""
    path = Path(data.removeprefix("file://")).absolute() if isinstance(data, str) else None
    return path if path and path.is_dir() and any(path.glob("*-ubyte*")) else None


class Source:
    """Gives every worker the whole set."""

    def __init__(
        self, spark: SparkSession, workers: int, bundle: Bundle, columns: Columns = Columns()
    ) -> None:
        self._spark = spark
        self._workers = workers
        self._bundle = bundle
        self._columns = columns

    def place(self, train: Data, validation: Data | None) -> str | None:
        """Where the executors find the set: a directory that all see, or None if it is in the bundle,
        which it is put into otherwise."""
        if (directory := idx_directory(train)) is not None:
            if validation is not None:
                raise BobbinError(
                    f"{directory}: a directory of IDX files has its own validation images "
                    "(t10k-…): expected no others"
                )
            if self._is_everywhere(directory):
                return str(directory)
            self._bundle.add(directory, "data")
            return None
        scratch = Path(tempfile.mkdtemp(prefix="bobbin-data-"))
        try:
            write_in_order(self._frame(train), self._columns, scratch, idx.TRAIN)
            self._write_common(validation, scratch)
            self._bundle.add(scratch, "data")
        finally:
            shutil.rmtree(scratch)
        return None

    def part(self, train: Data | None, validation: Data | None) -> RDD:
        """The rows of the training images, a partition per worker; the rest is put into the bundle."""
        if train is None or idx_directory(train) is not None:
            raise BobbinError(
                f"--placement partitioned: found {train or 'no --data'}, expected Parquet or a data "
                "frame, whose rows have places"
            )
        if not self._columns.classes:
            raise BobbinError(
                "--placement partitioned: expected the names of all classes (--classes), as no worker "
                "sees all labels"
            )
        scratch = Path(tempfile.mkdtemp(prefix="bobbin-data-"))
        try:
            self._write_common(validation, scratch)
            self._bundle.add(scratch, "data")
        finally:
            shutil.rmtree(scratch)
        frame = self._frame(train)
        columns = self._columns
        columns.check(frame, [columns.image, columns.label, columns.id])
        rows = frame.select(columns.id, columns.image, columns.label)
        if rows.rdd.getNumPartitions() != self._workers:
            # By a hash of the id: ranges would depend on a sample, so on more than the rows.
            rows = rows.repartition(self._workers, columns.id)
        # Within a partition Spark may hand out rows in another order when it does so again.
        return rows.sortWithinPartitions(columns.id).rdd

    def _write_common(self, validation: Data | None, directory: Path) -> None:
        """Writes what all workers have alike: validation images, and the names of classes."""
        if validation is not None:
            write_in_order(self._frame(validation), self._columns, directory, idx.TEST)
        if self._columns.classes:
            names = "".join(f"{name}\n" for name in self._columns.classes)
            (directory / "labels.txt").write_text(names)

    def _frame(self, data: Data) -> DataFrame:
        return read(self._spark, data) if isinstance(data, str) else data

    def _is_everywhere(self, directory: Path) -> bool:
        """Whether the tasks that a quick look reached see the directory. A task that does not, later,
        says so."""
        tasks = self._spark.sparkContext.parallelize(range(self._workers), self._workers)
        name = str(directory)
        return all(tasks.map(lambda _: Path(name).is_dir()).collect())


def write_in_order(frame: DataFrame, columns: Columns, directory: Path, part: str) -> None:
    """Writes the rows of a frame, ordered by id, through the driver to a pair of IDX files."""
    columns.check(frame, [columns.image, columns.label, columns.id])
    ordered = frame.select(columns.id, columns.image, columns.label).orderBy(columns.id)
    packed = ordered.mapInPandas(lambda batches: _pack(batches, columns), _Packed.schema)
    writer: idx.IdxWriter | None = None
    last: str | None = None
    for row in packed.toLocalIterator(prefetchPartitions=True):
        if row.problem is not None:
            raise BobbinError(row.problem)
        writer = writer or idx.IdxWriter(directory, part, tuple(row.shape))
        if row.first == last:
            raise BobbinError(_twice(columns, row.first))
        last = row.last
        writer.write(bytes(row.images), bytes(row.labels))
    if writer is None:
        raise BobbinError("the data frame has no rows: expected images")
    writer.close()


def write_partition(rows: Iterator[Row], columns: Columns, directory: Path, number: int) -> None:
    """Writes the rows of a partition as training images."""
    writer: idx.IdxWriter | None = None
    names = [columns.id, columns.image, columns.label]
    while some := list(itertools.islice(rows, _AT_ONCE)):
        batch = pd.DataFrame.from_records(some, columns=names)
        pixels, shape = image_bytes(batch, columns)
        writer = writer or idx.IdxWriter(directory, idx.TRAIN, shape)
        writer.write(pixels, label_bytes(batch, columns))
    if writer is None:
        raise BobbinError(f"partition {number} has no rows: expected fewer workers or more rows")
    writer.close()


class _Packed:
    """A batch of rows as bytes."""

    schema = "images binary, labels binary, shape array<int>, first string, last string, problem string"


def _pack(batches: Iterator[pd.DataFrame], columns: Columns) -> Iterator[pd.DataFrame]:
    """Packs batches of ordered rows. A row that cannot be used is named instead."""
    last = None
    for batch in batches:
        try:
            ids = batch[columns.id]
            twice = ids.duplicated() | (ids == last)
            if twice.any():
                raise BobbinError(_twice(columns, ids[twice].iloc[0]))
            images, shape = image_bytes(batch, columns)
            labels = label_bytes(batch, columns)
            last = ids.iloc[-1]
            row: tuple[object, ...] = (images, labels, list(shape), str(ids.iloc[0]), str(last), None)
        except BobbinError as error:
            row = (None, None, None, None, None, str(error))
        yield pd.DataFrame([row], columns=_Packed.schema.replace(",", "").split()[::2])


def _twice(columns: Columns, value: object) -> str:
    return f"column `{columns.id}`: {value} is there twice: expected ids that order the rows"


def image_bytes(batch: pd.DataFrame, columns: Columns) -> tuple[bytes, Shape]:
    """The images of a batch, one after another, and the size of one."""
    images: list[bytes] = []
    length = 0
    for row, image in enumerate(batch[columns.image]):
        where = f"column `{columns.image}`, {_row(batch, columns, row)}"
        pixels = _pixels(image, where)
        length = length or len(pixels)
        if len(pixels) != length:
            raise BobbinError(
                f"{where}: {len(pixels)} bytes, where others have {length}: expected one size"
            )
        images.append(pixels)
    return b"".join(images), image_shape(length, columns)


def _pixels(image: object, where: str) -> bytes:
    if image is None:
        raise BobbinError(f"{where}: nothing: expected an image")
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    values = np.asarray(image)
    if values.size and not (0 <= values.min() and values.max() <= 255):
        raise BobbinError(f"{where}: values from {values.min()} to {values.max()}, expected 0 to 255")
    return values.astype(np.uint8).tobytes()


def image_shape(length: int, columns: Columns) -> Shape:
    """Rows, columns and channels of an image of this many bytes."""
    if columns.shape is not None:
        height, width, channels = columns.shape
        if height * width * channels != length:
            raise BobbinError(
                f"column `{columns.image}`: images of {length} bytes, expected "
                f"{height * width * channels}, those of {_size(columns.shape)}"
            )
        return columns.shape
    for channels in (1, 3, 4):
        side = isqrt(length // channels)
        if length and side * side * channels == length:
            return side, side, channels
    raise BobbinError(
        f"column `{columns.image}`: images of {length} bytes are not square: expected their shape, "
        "as rows, columns and channels"
    )


def label_bytes(batch: pd.DataFrame, columns: Columns) -> bytes:
    """The labels of a batch."""
    labels = batch[columns.label]
    wrong = labels.isna() | (labels < 0) | (labels > 255)
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        found = "nothing" if pd.isna(labels.iloc[row]) else int(labels.iloc[row])
        where = f"column `{columns.label}`, {_row(batch, columns, row)}"
        raise BobbinError(f"{where}: found {found}, expected the number of a class, 0 to 255")
    return labels.to_numpy(np.uint8).tobytes()


def _row(batch: pd.DataFrame, columns: Columns, row: int) -> str:
    if columns.id in batch:
        return f"row with `{columns.id}` {batch[columns.id].iloc[row]}"
    return f"row {row} of a batch"


def _size(shape: Shape) -> str:
    return "×".join(map(str, shape))
