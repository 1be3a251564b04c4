"""What tasks do with the rows of a data frame and a model: prediction and evaluation, by the programs."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from . import idx
from .bundle import executable
from .columns import Columns, is_vector
from .errors import BobbinError
from .images import image_bytes, label_bytes
from .scratch import executor_scratch
from .weights import Weights

PREDICTION, OUTPUTS, PROBABILITIES, NAME = "prediction", "outputs", "probabilities", "class_name"
SCORES = "images long, loss double, top1 double, top5 double, problem string"
# What can be asked for besides the number of the class.
_ADDED = {"classes": None, "outputs": OUTPUTS, "probabilities": PROBABILITIES, "names": NAME}


def added_columns(output: str | Sequence[str]) -> list[str]:
    """The names of the columns of predictions that are asked for."""
    asked = [output] if isinstance(output, str) else list(output)
    for word in asked:
        if word not in _ADDED:
            raise BobbinError(f"output: found {word}, expected {', '.join(_ADDED)}, or several of them")
    return [PREDICTION, *(name for word, name in _ADDED.items() if word in asked and name is not None)]


def fields_of(names: Sequence[str], several: bool) -> list[T.StructField]:
    """The types of these columns, of images that may have several labels or have one."""
    kinds = {
        PREDICTION: T.ArrayType(T.IntegerType(), False) if several else T.IntegerType(),
        OUTPUTS: T.ArrayType(T.FloatType(), False),
        PROBABILITIES: T.ArrayType(T.DoubleType(), False),
        NAME: T.ArrayType(T.StringType(), False) if several else T.StringType(),
    }
    return [T.StructField(name, kinds[name]) for name in names]


class RowWork:
    """What tasks do with their rows."""

    def __init__(
        self, bundle: str, columns: Columns, threads: int, weights: Weights, image: int, added: tuple[str, ...]
    ) -> None:
        self.bundle = bundle
        self.columns = columns
        self.threads = threads
        self.weights = weights
        self.image = image
        self.added = added
        self._last = False

    def reads_last(self, frame: DataFrame) -> bool:
        """Whether the images are read from one column more, the last: vectors, as arrays."""
        self._last = is_vector(frame.schema.fields[self.image].dataType)
        return self._last

    def predict(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Adds the predictions to each batch."""
        for batch in batches:
            column = batch.column(batch.num_columns - 1 if self._last else self.image)
            columns = batch.columns[:-1] if self._last else batch.columns
            names = batch.schema.names[:-1] if self._last else batch.schema.names
            images = pd.DataFrame({self.columns.image: column.to_pandas()})
            found = self._answers(images) if len(images) else []
            column_of = _column_of_several if self.columns.several else _column
            made = [column_of(name, found) for name in self.added]
            yield pa.RecordBatch.from_arrays([*columns, *made], [*names, *self.added])

    def _answers(self, batch: pd.DataFrame) -> list[dict[str, Any]]:
        """What the program says of each image."""
        with tempfile.TemporaryDirectory(prefix="bobbin-", dir=executor_scratch()) as scratch:
            pixels, shape = image_bytes(batch, self.columns)
            writer = idx.IdxWriter(Path(scratch), idx.TEST, shape)
            writer.write(pixels, bytes(len(batch)))
            index = f"0..{len(batch) - 1}"
            every = PROBABILITIES in self.added or (self.columns.several and NAME in self.added)
            command = [*self._program("predict"), "--top", "all" if every else "1", "--index", index]
            command += ["--logits"] if OUTPUTS in self.added or self.columns.several else []
            return _json_lines([*command, *self._data(), "--threads", str(self.threads), str(writer.close())])

    def evaluate(self, batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """One row: how many images the partition has, and the means over them."""
        names = SCORES.replace(",", "").split()[::2]
        with tempfile.TemporaryDirectory(prefix="bobbin-", dir=executor_scratch()) as scratch:
            directory = Path(scratch)
            try:
                if not self._write(batches, directory):
                    return
                self.weights.name_classes(directory)
                scores = measured(self._program("evaluate"), directory, self.threads)
                row: tuple[object, ...] = (*(scores.get(name) for name in names[:-1]), None)
            except BobbinError as error:
                row = (0, 0.0, 0.0, 0.0, str(error))
        yield pd.DataFrame([row], columns=names)

    def _write(self, batches: Iterator[pd.DataFrame], directory: Path) -> bool:
        """Writes the rows as test images; whether there are any."""
        writer = None
        for batch in batches:
            if len(batch):
                pixels, shape = image_bytes(batch, self.columns)
                writer = writer or idx.IdxWriter(directory, idx.TEST, shape, self.columns.labels)
                writer.write(pixels, label_bytes(batch, self.columns))
        if writer is not None:
            writer.close()
        return writer is not None

    def _program(self, name: str) -> list[str]:
        bundle = Path(SparkFiles.get(self.bundle))
        return [executable(bundle, name), *self.weights.flags(bundle / self.weights.name)]

    def _data(self) -> list[str]:
        return self.weights.data_flags(Path(SparkFiles.get(self.bundle)))


def _column(name: str, answers: list[dict[str, Any]]) -> pa.Array:
    """A column of predictions."""
    if name == OUTPUTS:
        return pa.array([answer["logits"] for answer in answers], pa.list_(pa.float32()))
    if name == PROBABILITIES:
        in_order = ([p["probability"] for p in sorted(a["predictions"], key=lambda p: p["label"])] for a in answers)
        return pa.array(list(in_order), pa.list_(pa.float64()))
    if name == NAME:
        return pa.array([answer["predictions"][0]["class"] for answer in answers], pa.string())
    return pa.array([answer["predictions"][0]["label"] for answer in answers], pa.int32())


def _column_of_several(name: str, answers: list[dict[str, Any]]) -> pa.Array:
    """A column of predictions, of images that may have several labels: those are found whose logit is above zero."""
    if name == PREDICTION:
        return pa.array([[int(logit > 0) for logit in answer["logits"]] for answer in answers], pa.list_(pa.int32()))
    if name == NAME:
        return pa.array([_names_found(answer) for answer in answers], pa.list_(pa.string()))
    return _column(name, answers)


def _names_found(answer: dict[str, Any]) -> list[str]:
    names = {prediction["label"]: prediction["class"] for prediction in answer["predictions"]}
    return [names[label] for label, logit in enumerate(answer["logits"]) if logit > 0]


def measured(command: list[str], directory: Path, threads: int | None) -> dict[str, float]:
    """What ``evaluate`` finds out about the test images of a directory."""
    options = [] if threads is None else ["--threads", str(threads)]
    found = _json_lines([*command, "--data", str(directory), "--mistakes", "0", *options])[0]
    return {name: found[name] for name in ("images", "loss", "top1", "top5") if found[name] is not None}


def _json_lines(command: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BobbinError(done.stderr.strip().removeprefix("error: "))
    return [json.loads(line) for line in done.stdout.splitlines()]
