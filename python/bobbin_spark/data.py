"""Data that Spark reads, as the IDX files that ``train`` maps.

A data frame has a column of images (binary, or arrays of bytes, row by row and pixel by pixel), one of
labels, and one of ids that says the order of the rows: a frame has none of itself, and the weights
depend on it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
from py4j.protocol import Py4JJavaError
from pyspark import RDD
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, Row, SparkSession

from . import idx
from .bundle import Bundle
from .columns import Columns, exactly
from .errors import BobbinError
from .forms import in_order, labelled, settled, with_classes
from .images import check_ids, image_bytes, label_bytes, not_unique

Data = str | os.PathLike[str] | DataFrame
_AT_ONCE = 10_000
# As they are, or below what torchvision has made: `raw`, or `NAME/raw`.
_IDX = ("*-ubyte*", "raw/*-ubyte*", "*/raw/*-ubyte*")


def read(spark: SparkSession, data: Data) -> DataFrame:
    """A data frame, from Parquet if it is none yet."""
    if not isinstance(data, str | os.PathLike):
        return data
    path = os.fspath(data)
    try:
        return spark.read.parquet(path)
    except (AnalysisException, Py4JJavaError) as error:
        java = isinstance(error, Py4JJavaError)
        reason = str(error.java_exception.getMessage() if java else error).split("\n")[0]
        raise BobbinError(
            f"{path}: neither a directory of IDX files nor Parquet that Spark reads: {reason}"
        ) from None


def idx_directory(data: Data) -> Path | None:
    """The directory of IDX files that this is, if it is one."""
    if not isinstance(data, str | os.PathLike):
        return None
    path = Path(os.fspath(data).removeprefix("file://")).absolute()
    return path if any(any(path.glob(pattern)) for pattern in _IDX) else None


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
        frame, columns = self._settled(train)
        scratch = self._scratch()
        try:
            write_in_order(frame, columns, scratch, idx.TRAIN)
            self._write_common(validation, columns, scratch)
            self._bundle.add(scratch, "data")
        finally:
            shutil.rmtree(scratch)
        return None

    def part(self, train: Data | None, validation: Data | None) -> tuple[RDD, Columns]:
        """The rows of the training images, a partition per worker, and how they are read; the rest is put into the
        bundle."""
        if train is None or idx_directory(train) is not None:
            raise BobbinError(
                f"--placement partitioned: found {train or 'no --data'}, expected Parquet or a data "
                "frame, whose rows have places"
            )
        frame, columns = self._settled(train)
        if not columns.classes:
            raise BobbinError(
                "--placement partitioned: expected the names of all classes (--classes), as no worker "
                "sees all labels"
            )
        scratch = self._scratch()
        try:
            self._write_common(validation, columns, scratch)
            self._bundle.add(scratch, "data")
        finally:
            shutil.rmtree(scratch)
        rows = columns.select(frame, [columns.ids, columns.image, columns.label])
        found = rows.rdd.getNumPartitions()
        if found == 0:
            raise BobbinError("the data frame has no rows: expected images")
        if found != self._workers:
            # By a hash of the id: ranges would depend on a sample, so on more than the rows.
            rows = rows.repartition(self._workers, exactly(columns.ids))
        # Within a partition Spark may hand out rows in another order when it does so again.
        parts = rows.sortWithinPartitions(exactly(columns.ids)).rdd
        if parts.getNumPartitions() != self._workers:
            raise BobbinError(
                f"the data frame has {parts.getNumPartitions()} partitions when it is computed, where "
                f"{self._workers} were expected: write it to Parquet first"
            )
        return parts, columns

    def _settled(self, train: Data) -> tuple[DataFrame, Columns]:
        frame, columns = in_order(read(self._spark, train), self._columns)
        return frame, with_classes(frame, settled(frame, columns))

    def _write_common(self, validation: Data | None, columns: Columns, directory: Path) -> None:
        """Writes what all workers have alike: validation images, names of classes, how pictures were fitted."""
        if validation is not None:
            own = replace(columns, id=self._columns.id)
            frame, own = in_order(read(self._spark, validation), own)
            write_in_order(frame, settled(frame, labelled(frame, own)), directory, idx.TEST)
        if columns.classes:
            _check_classes(columns)
            names = "".join(f"{name}\n" for name in columns.classes)
            (directory / "labels.txt").write_text(names)
        if columns.form in ("pictures", "struct"):
            # As the program `import` leaves it: the model takes it along.
            (directory / "preparation.toml").write_text(f'fit = "{columns.fit}"\ninvert = false\n')

    def _scratch(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._spark.sparkContext._temp_dir))

    def _is_everywhere(self, directory: Path) -> bool:
        """Whether the tasks that a quick look reached see the directory. A task that does not, later,
        says so."""
        tasks = self._spark.sparkContext.parallelize(range(self._workers), self._workers)
        name = str(directory)
        return all(tasks.map(lambda _: Path(name).is_dir()).collect())


def write_in_order(frame: DataFrame, columns: Columns, directory: Path, part: str) -> None:
    """Writes the rows of a frame, ordered by id, through the driver to a pair of IDX files."""
    rows = columns.select(frame, [columns.ids, columns.image, columns.label])
    ordered = rows.orderBy(exactly(columns.ids))
    packed = ordered.mapInPandas(lambda batches: _pack(batches, columns), _Packed.schema)
    writer: idx.IdxWriter | None = None
    last: str | None = None
    for row in packed.toLocalIterator(prefetchPartitions=True):
        if row.problem is not None:
            raise BobbinError(row.problem)
        writer = writer or idx.IdxWriter(directory, part, tuple(row.shape), columns.labels)
        if row.first == last:
            raise BobbinError(not_unique(columns, row.first))
        last = row.last
        writer.write(bytes(row.images), bytes(row.labels))
    if writer is None:
        raise BobbinError("the data frame has no rows: expected images")
    writer.close()


def write_partition(rows: Iterator[Row], columns: Columns, directory: Path, number: int) -> None:
    """Writes the rows of a partition as training images."""
    writer: idx.IdxWriter | None = None
    names = [columns.ids, columns.image, columns.label]
    last: object = None
    while some := list(itertools.islice(rows, _AT_ONCE)):
        batch = pd.DataFrame.from_records(some, columns=names)
        last = check_ids(batch, columns, last)
        pixels, shape = image_bytes(batch, columns)
        writer = writer or idx.IdxWriter(directory, idx.TRAIN, shape, columns.labels)
        writer.write(pixels, label_bytes(batch, columns))
    if writer is None:
        raise BobbinError(f"partition {number} has no rows: expected fewer workers or more rows")
    writer.close()


def _check_classes(columns: Columns) -> None:
    names = columns.classes
    for number, name in enumerate(names):
        if not name.strip() or len(name.splitlines()) > 1:
            raise BobbinError(f"--classes: class {number} is {name!r}: expected a name, of one line")
    if len(names) > 256 and not columns.several:
        raise BobbinError(f"--classes: found {len(names)} names, expected at most 256")


class _Packed:
    """A batch of rows as bytes."""

    schema = "images binary, labels binary, shape array<int>, first string, last string, problem string"


def _pack(batches: Iterator[pd.DataFrame], columns: Columns) -> Iterator[pd.DataFrame]:
    """Packs batches of ordered rows. A row that cannot be used is named instead."""
    last: object = None
    for batch in batches:
        if batch.empty:
            continue
        try:
            first = str(batch[columns.ids].iloc[0])
            last = check_ids(batch, columns, last)
            images, shape = image_bytes(batch, columns)
            labels = label_bytes(batch, columns)
            row: tuple[object, ...] = (images, labels, list(shape), first, str(last), None)
        except BobbinError as error:
            row = (None, None, None, None, None, str(error))
        yield pd.DataFrame([row], columns=_Packed.schema.replace(",", "").split()[::2])
