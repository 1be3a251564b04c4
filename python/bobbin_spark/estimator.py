"""An estimator over a Spark session, in the manner of BigDL's: fit, evaluate, predict."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from . import cluster, launcher
from .bundle import Bundle, programs_directory
from .columns import Columns, numbered
from .data import Data, idx_directory, read
from .errors import BobbinError
from .forms import labelled, settled
from .hadoop import Address, is_address
from .images import image_bytes
from .inference import SCORES, RowWork, added_columns, fields_of, measured
from .paths import local
from .recipe import BUNDLED
from .scratch import driver_scratch
from .summary import scalars
from .training import Training
from .weights import MODEL, Scaling, Weights, is_model, of_state_dict

TAGS = {
    "train": ("Loss", "LearningRate", "Throughput"),
    "validation": ("Loss", "Top1Accuracy", "Top5Accuracy"),
}


class Estimator:
    """A network that is trained, measured and used on a Spark cluster.

    ``training`` says how: the recipe, the number of workers, where the data is placed. A data frame has
    the columns that ``training.columns`` names.
    """

    def __init__(self, spark: SparkSession, training: Training | None = None) -> None:
        cluster.context_of(spark)
        self.spark = spark
        self.training = training or Training()
        self.run_directory: Path | None = None
        #: The directory of the last run, or its address.
        self.run_place: str | None = None
        self._model: Weights | None = None
        self._log: str | None = None
        self._bundle: str | None = None

    def fit(
        self, data: Data | None = None, epochs: int | None = None, validation_data: Data | None = None
    ) -> Estimator:
        """Trains on a data frame, on Parquet, on a directory of IDX files or, without data, on the
        Fashion-MNIST that comes with Bobbin.

        Without ``validation_data`` a directory of IDX files is validated on its test images and a data
        frame not at all, unless the recipe or the arguments hold images out. An estimator that has a
        model already, from another ``fit`` or from ``load``, starts from its weights. After an interruption
        ``Training(resume=…)`` goes on.
        """
        training = self.training
        arguments = list(training.arguments)
        if epochs is not None:
            arguments += ["--epochs", str(epochs)]
        training = replace(training, arguments=arguments)
        if training.resume is None:
            init = training.init if self._model is None else str(self._model.file)
            out = training.out if self._log is None else self._free_log(self._log)
            training = replace(training, init=init, out=out)
        self.run_directory, _ = launcher.train(self.spark, training, data, validation_data)
        self.run_place = str(training.resume or training.out or self.run_directory)
        return self._use(Weights(self.run_directory / MODEL))

    def evaluate(self, data: Data | None = None) -> dict[str, float]:
        """``images``, ``loss``, ``top1`` and ``top5`` (parts of one) of labelled images: of a data
        frame or Parquet where its rows are, or of a directory of IDX files (its test images) here.

        Where an image may have several labels, ``top1`` is the part of those of which each label is found and no other,
        and there is no ``top5``."""
        data = str(BUNDLED) if data is None else data
        weights = self._trained()
        if (directory := idx_directory(data)) is not None:
            evaluate = programs_directory() / "evaluate"
            return measured([str(evaluate), *weights.flags(weights.file)], directory, None)
        frame = read(self.spark, data)
        columns = labelled(frame, self._columns(frame))
        rows = columns.select(frame, [columns.image, columns.label])
        parts = rows.mapInPandas(self._work(columns).evaluate, SCORES)
        scores = parts.toPandas()
        _raise_first(scores)
        images = int(scores["images"].sum())
        if images == 0:
            raise BobbinError("the data frame has no rows: expected images")
        names = [name for name in ("loss", "top1", "top5") if scores[name].notna().all()]
        return {"images": images} | {name: float((scores[name] * scores["images"]).sum()) / images for name in names}

    def predict(self, data: DataFrame | str, output: str | Sequence[str] = ()) -> DataFrame:
        """The rows with a column ``prediction`` more: the number of the most probable class. ``output`` is what else is
        asked for: ``outputs`` and ``probabilities`` (arrays with a number for each class), ``names`` (a column
        ``class_name``), or several of them. Where an image may have several labels, ``prediction`` is an array of 0 and 1,
        and ``class_name`` an array of the names of those found. Each prediction is computed where the row is, when
        Spark asks for it; the first is looked at now, so that images of another size than the model's are told at once."""
        frame = read(self.spark, data)
        added = added_columns(output)
        columns = self._columns(frame)
        for name in added:
            if name in frame.columns:
                raise BobbinError(f"there is a column `{name}` already: expected none, drop it")
        place = frame.columns.index(columns.image)
        first = columns.select(frame, [columns.image]).head(1)
        work = self._work(columns, place, tuple(added))
        if first and columns.form not in ("pictures", "struct"):
            image_bytes(pd.DataFrame({columns.image: [first[0][0]]}), work.columns)
        # Of Arrow's batches, for the other columns pass through them as they are: pandas has neither the
        # dates of Spark nor nothing besides NaN.
        shown = numbered(frame)
        schema = T.StructType([*shown.schema.fields, *fields_of(added, bool(columns.several))])
        # A vector is read as an array, which comes last and is not handed on.
        extra = columns.column(frame, columns.image)
        found = numbered(frame.select("*", extra.alias("image"))) if work.reads_last(frame) else shown
        return found.mapInArrow(work.predict, schema).toDF(*frame.columns, *added)

    def save(self, model_path: str | os.PathLike[str]) -> None:
        """Writes the model to a safetensors file, at a path or an address that Spark's Hadoop can write."""
        if is_address(model_path):
            Address(self.spark.sparkContext, model_path).write(self._trained().file)
            return
        path = local(model_path, "model_path")
        part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._trained().file, part)
            part.rename(path)
        except OSError as error:
            raise BobbinError(f"{path}: cannot write the model: {error.strerror}") from None

    def load(
        self,
        path: str | os.PathLike[str],
        model: str | None = None,
        normalize: Scaling | None = None,
    ) -> Estimator:
        """Takes the model of a safetensors file, or of a run directory, at a path or an address.

        A ``state_dict`` of PyTorch (``.pth``, ``.pt``, safetensors) does not say what it is for: ``model`` is the preset
        or the recipe with the network (by default a preset with its names and shapes), ``normalize`` the mean and the
        deviation, each one number or one for each channel, that pixel / 255 is scaled by (by default 0 and 1, as
        ``ToTensor`` does); shape, classes and whether an image may have ``several`` are those of ``training.columns``.
        """
        if is_address(path):
            place = driver_scratch(self.spark.sparkContext) / Path(path).name
            path = Address(self.spark.sparkContext, path).read(place)
        path = local(path, "path")
        file = path / MODEL if path.is_dir() else path
        if not file.is_file():
            raise BobbinError(f"{file}: no such file: expected a model, or a run that has ended")
        weights = Weights(file)
        if not is_model(file):
            weights = of_state_dict(file, model, normalize, self.training.columns, driver_scratch(self.spark.sparkContext))
        elif model is not None or normalize is not None:
            raise BobbinError(f"{file}: a model of Bobbin, which says its network and scaling: expected neither")
        self.run_directory = path if path.is_dir() else None
        return self._use(weights)

    def set_tensorboard(self, log_dir: str | os.PathLike[str], app_name: str) -> None:
        """Has the runs from now on written to ``log_dir/app_name`` (the next to ``app_name-2``, and so
        on), so that ``tensorboard --logdir log_dir`` shows them while they go on; executors must reach
        that directory, or it is an address."""
        base = os.fspath(log_dir).rstrip("/") if is_address(log_dir) else str(local(log_dir, "log_dir"))
        self._log = f"{base}/{app_name}"

    def get_train_summary(self, tag: str | None = None) -> np.ndarray:
        """Of the last run: a row for each step, of step, value and time (in seconds since 1970). Tags are
        Loss, LearningRate and Throughput."""
        return self._summary("train", tag)

    def get_validation_summary(self, tag: str | None = None) -> np.ndarray:
        """The same of each validation. Tags are Loss, Top1Accuracy and, of more than five classes,
        Top5Accuracy."""
        return self._summary("validation", tag)

    def _summary(self, part: str, tag: str | None) -> np.ndarray:
        if tag not in TAGS[part]:
            raise BobbinError(f"tag: found {tag}, expected one of {', '.join(TAGS[part])}")
        if self.run_directory is None:
            raise BobbinError("there is no run yet: expected a call of fit first")
        return scalars(self.run_directory / part, tag)

    def model_file(self) -> Path:
        """The file of the trained network on the driver."""
        return self._trained().file

    def _free_log(self, log: str) -> str:
        """Where the next run is recorded: not over another, unless it may be replaced."""
        number, place = 1, log
        while not self.training.force and self._is_taken(place):
            number += 1
            place = f"{log}-{number}"
        return place

    def _is_taken(self, place: str) -> bool:
        if is_address(place):
            return bool(Address(self.spark.sparkContext, place).names())
        return Path(place).exists() and any(Path(place).iterdir())

    def _use(self, weights: Weights) -> Estimator:
        self._model, self._bundle = weights, None
        return self

    def _trained(self) -> Weights:
        if self._model is None:
            raise BobbinError("there is no model yet: expected a call of fit or load first")
        return self._model

    def _columns(self, frame: DataFrame) -> Columns:
        """How the images of a frame are read for the model."""
        weights = self._trained()
        own = self.training.columns
        columns = replace(own, shape=weights.shape or own.shape, classes=own.classes or weights.classes)
        return settled(frame, replace(columns, several=weights.several))

    def _work(self, columns: Columns, image: int = 0, added: tuple[str, ...] = ()) -> RowWork:
        """What tasks are to do with their rows, with the model sent to them."""
        threads = cluster.threads_per_task(self.spark.sparkContext)
        return RowWork(self._send(), columns, threads, self._trained(), image, added)

    def _send(self) -> str:
        """Sends model and programs to the executors, once; returns the name of the bundle."""
        if self._bundle is None:
            context = cluster.context_of(self.spark)
            cluster.send_package(context)
            bundle = Bundle(context, ["predict", "evaluate"])
            self._trained().send(bundle)
            bundle.send()
            self._bundle = bundle.name
        return self._bundle


def _raise_first(scores: pd.DataFrame) -> None:
    problems = scores["problem"].dropna()
    if len(problems):
        raise BobbinError(problems.iloc[0])
