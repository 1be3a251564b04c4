"""An estimator over a Spark session, in the manner of BigDL's: fit, evaluate, predict."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from . import cluster, idx, launcher, task
from .columns import Columns, Shape, numbered
from .data import Data, idx_directory, read
from .errors import BobbinError
from .images import image_bytes, label_bytes
from .summary import scalars

MODEL = "model.safetensors"
PREDICTION = "prediction"
TAGS = {
    "train": ("Loss", "LearningRate", "Throughput"),
    "validation": ("Loss", "Top1Accuracy", "Top5Accuracy"),
}


class Estimator:
    """A network that is trained, measured and used on a Spark cluster.

    ``training`` says how: the recipe, the number of workers, where the data is placed. A data frame has
    the columns that ``training.columns`` names.
    """

    def __init__(self, spark: SparkSession, training: launcher.Training | None = None) -> None:
        cluster.context_of(spark)
        self.spark = spark
        self.training = training or launcher.Training()
        self.run_directory: Path | None = None
        self._model: Path | None = None
        self._log: Path | None = None
        self._bundle: str | None = None

    def fit(
        self, data: Data | None = None, epochs: int | None = None, validation_data: Data | None = None
    ) -> Estimator:
        """Trains on a data frame, on Parquet, on a directory of IDX files or, without data, on the
        Fashion-MNIST that comes with Bobbin.

        Without ``validation_data`` a directory of IDX files is validated on its test images and a data
        frame not at all, unless the recipe or the arguments hold images out. An estimator that has a model already,
        from another ``fit`` or from ``load``, starts from its weights.
        """
        training = self.training
        arguments = list(training.arguments)
        if epochs is not None:
            arguments += ["--epochs", str(epochs)]
        init = training.init if self._model is None else str(self._model)
        out = training.out if self._log is None else str(self._free_log(self._log))
        training = replace(training, arguments=arguments, init=init, out=out)
        self.run_directory, _ = launcher.train(self.spark, training, data, validation_data)
        return self._use(self.run_directory / MODEL)

    def evaluate(self, data: Data | None = None) -> dict[str, float]:
        """``images``, ``loss``, ``top1`` and ``top5`` (parts of one) of labelled images: of a data
        frame or Parquet where its rows are, or of a directory of IDX files (its test images) here."""
        data = str(launcher.BUNDLED) if data is None else data
        if (directory := idx_directory(data)) is not None:
            evaluate = cluster.programs_directory() / "evaluate"
            return _measured([str(evaluate), "--weights", str(self._trained())], directory, None)
        columns = self.training.columns
        rows = columns.select(read(self.spark, data), [columns.image, columns.label])
        parts = rows.mapInPandas(self._work().evaluate, _SCORES)
        scores = parts.toPandas()
        _raise_first(scores)
        images = int(scores["images"].sum())
        if images == 0:
            raise BobbinError("the data frame has no rows: expected images")
        weighted = {k: float((scores[k] * scores["images"]).sum()) for k in ("loss", "top1", "top5")}
        return {"images": images} | {name: value / images for name, value in weighted.items()}

    def predict(self, data: DataFrame | str) -> DataFrame:
        """The rows with a column ``prediction`` more: the number of the most probable class. Each is
        computed where the row is, when Spark asks for it; the first is looked at now, so that images of
        another size than the model's are told at once."""
        frame = read(self.spark, data)
        columns = self.training.columns
        first = columns.select(frame, [columns.image]).head(1)
        if PREDICTION in frame.columns:
            raise BobbinError(f"there is a column `{PREDICTION}` already: expected none, drop it")
        schema = T.StructType([*numbered(frame).schema.fields, T.StructField(PREDICTION, T.IntegerType())])
        work = self._work(frame.columns.index(columns.image))
        if first:
            image_bytes(pd.DataFrame({columns.image: [first[0][0]]}), work.columns)
        # Of Arrow's batches, for the other columns pass through them as they are: pandas has neither the
        # dates of Spark nor nothing besides NaN.
        found = numbered(frame).mapInArrow(work.predict, schema)
        return found.toDF(*frame.columns, PREDICTION)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a safetensors file."""
        path = Path(path)
        part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._trained(), part)
            part.rename(path)
        except OSError as error:
            raise BobbinError(f"{path}: cannot write the model: {error.strerror}") from None

    def load(self, path: str | os.PathLike[str]) -> Estimator:
        """Takes the model of a safetensors file, or of a run directory."""
        path = Path(path)
        file = path / MODEL if path.is_dir() else path
        if not file.is_file():
            raise BobbinError(f"{file}: no such file: expected a model, or a run that has ended")
        _input_shape(file)
        self.run_directory = path if path.is_dir() else None
        return self._use(file)

    def set_tensorboard(self, log_dir: str | os.PathLike[str], app_name: str) -> None:
        """Has the runs from now on written to ``log_dir/app_name`` (the next to ``app_name-2``, and so
        on), so that ``tensorboard --logdir log_dir`` shows them while they go on; executors must reach
        that directory."""
        self._log = Path(log_dir) / app_name

    def get_train_summary(self, tag: str | None = None) -> np.ndarray:
        """Of the last run: a row for each step, of step, value and time (in seconds since 1970). Tags are
        Loss, LearningRate and Throughput."""
        return self._summary("train", tag)

    def get_validation_summary(self, tag: str | None = None) -> np.ndarray:
        """The same of each validation. Tags are Loss, Top1Accuracy and Top5Accuracy."""
        return self._summary("validation", tag)

    def _summary(self, part: str, tag: str | None) -> np.ndarray:
        if tag not in TAGS[part]:
            raise BobbinError(f"tag: found {tag}, expected one of {', '.join(TAGS[part])}")
        if self.run_directory is None:
            raise BobbinError("there is no run yet: expected a call of fit first")
        return scalars(self.run_directory / part, tag)

    def _free_log(self, log: Path) -> Path:
        """Where the next run is recorded: not over another, unless it may be replaced."""
        number, place = 1, log
        while not self.training.force and place.exists() and any(place.iterdir()):
            number += 1
            place = log.with_name(f"{log.name}-{number}")
        return place

    def _use(self, model: Path) -> Estimator:
        self._model, self._bundle = model, None
        return self

    def _trained(self) -> Path:
        if self._model is None:
            raise BobbinError("there is no model yet: expected a call of fit or load first")
        return self._model

    def _work(self, image: int = 0) -> _Work:
        """What tasks are to do with their rows, with the model sent to them."""
        threads = cluster.threads_per_task(self.spark.sparkContext)
        return _Work(
            self._send(), self.training.columns, threads, _input_shape(self._trained()), image
        )

    def _send(self) -> str:
        """Sends model and programs to the executors, once; returns the name of the bundle."""
        if self._bundle is None:
            context = cluster.context_of(self.spark)
            cluster.send_package(context)
            bundle = cluster.Bundle(context, ["predict", "evaluate"])
            bundle.add(self._trained(), MODEL)
            bundle.send()
            self._bundle = bundle.name
        return self._bundle


_SCORES = "images long, loss double, top1 double, top5 double, problem string"


class _Work:
    """What tasks do with their rows."""

    def __init__(
        self, bundle: str, columns: Columns, threads: int, shape: Shape | None, image: int
    ) -> None:
        self.bundle = bundle
        # The program would make images of another size fit the model.
        self.columns = replace(columns, shape=shape or columns.shape)
        self.threads = threads
        self.image = image

    def predict(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Adds the predictions to each batch."""
        for batch in batches:
            images = pd.DataFrame({self.columns.image: batch.column(self.image).to_pandas()})
            found = pa.array(self._classes(images) if len(images) else [], pa.int32())
            names = [*batch.schema.names, PREDICTION]
            yield pa.RecordBatch.from_arrays([*batch.columns, found], names)

    def _classes(self, batch: pd.DataFrame) -> list[int]:
        with tempfile.TemporaryDirectory(prefix="bobbin-", dir=task.scratch_parent()) as scratch:
            pixels, shape = image_bytes(batch, self.columns)
            writer = idx.IdxWriter(Path(scratch), idx.TEST, shape)
            writer.write(pixels, bytes(len(batch)))
            index = f"0..{len(batch) - 1}"
            command = [*self._program("predict"), "--top", "1", "--index", index]
            lines = _json_lines([*command, "--threads", str(self.threads), str(writer.close())])
            return [line["predictions"][0]["label"] for line in lines]

    def evaluate(self, batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """One row: how many images the partition has, and the means over them."""
        names = _SCORES.replace(",", "").split()[::2]
        with tempfile.TemporaryDirectory(prefix="bobbin-", dir=task.scratch_parent()) as scratch:
            directory = Path(scratch)
            try:
                if not self._write(batches, directory):
                    return
                scores = _measured(self._program("evaluate"), directory, self.threads)
                row: tuple[object, ...] = (*(scores[name] for name in names[:-1]), None)
            except BobbinError as error:
                row = (0, 0.0, 0.0, 0.0, str(error))
        yield pd.DataFrame([row], columns=names)

    def _write(self, batches: Iterator[pd.DataFrame], directory: Path) -> bool:
        """Writes the rows as test images; whether there are any."""
        writer = None
        for batch in batches:
            if len(batch):
                pixels, shape = image_bytes(batch, self.columns)
                writer = writer or idx.IdxWriter(directory, idx.TEST, shape)
                writer.write(pixels, label_bytes(batch, self.columns))
        if writer is not None:
            writer.close()
        return writer is not None

    def _program(self, name: str) -> list[str]:
        bundle = Path(SparkFiles.get(self.bundle))
        return [task.program(bundle, name), "--weights", str(bundle / MODEL)]


def _input_shape(model: Path) -> Shape | None:
    """Rows, columns and channels of the images of a model, if its file says them."""
    try:
        with model.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 100_000_000)))
        channels, rows, columns = map(int, header.get("__metadata__", {})["input"].split(","))
    except KeyError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise BobbinError(f"{model}: not a safetensors file: {error}") from None
    return rows, columns, channels


def _measured(command: list[str], directory: Path, threads: int | None) -> dict[str, float]:
    """What ``evaluate`` finds out about the test images of a directory."""
    options = [] if threads is None else ["--threads", str(threads)]
    found = _json_lines([*command, "--data", str(directory), "--mistakes", "0", *options])[0]
    return {name: found[name] for name in ("images", "loss", "top1", "top5")}


def _json_lines(command: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BobbinError(done.stderr.strip().removeprefix("error: "))
    return [json.loads(line) for line in done.stdout.splitlines()]


def _raise_first(scores: pd.DataFrame) -> None:
    problems = scores["problem"].dropna()
    if len(problems):
        raise BobbinError(problems.iloc[0])
