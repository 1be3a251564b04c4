"""``backend="spark"``: a PyTorch program trained on the executors of a Spark cluster, from a data frame.

The class is the estimator of a recipe on Spark (``bobbin_spark.Estimator``): the program is translated into a recipe and a
file of initial weights, with which ``bobbin train`` alone gives the same model, bit for bit.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import bobbin_spark
from bobbin_spark import BobbinError, Columns, Training
from bobbin_spark.columns import exactly
from bobbin_spark.data import idx_directory, read
from bobbin_spark.errors import NoCheckpoint
from bobbin_spark.forms import settled, with_classes
from bobbin_spark.hadoop import Address, is_address
from bobbin_spark.images import first_images, label_bytes
from bobbin_spark.paths import local
from bobbin_spark.weights import MODEL, Weights, is_model

from .. import Dataset, Model, Trainer, _fields
from . import context, files, spark_context
from .arguments import count as whole_number
from .data import DEFAULT_BATCH
from .engine import CHECKED, Engine, recipe_of
from .errors import class_name
from .estimator import Estimator
from .history import History
from .losses import has_several_labels, loss_of
from .metrics import measures
from .network import put_weights
from .pixels import Scaling
from .planned import Plan
from .program import Program
from .spark_labels import label_column, one_column, several, with_labels
from .spark_runs import Run
from .triggers import EveryEpoch, MaxEpoch, Progress, SeveralIteration, Trigger

_ANEW = "training begins anew from its weights, with an optimiser without memory"
_OTHERS = f"these are other data or settings than those of the fit before, so that {_ANEW}"
_GONE = f"the run of the fit before cannot go on, so that {_ANEW}"
_FAILED = f"the last fit has failed; after the one before it, {_ANEW}"
_TAGS = {"Accuracy": "Top1Accuracy"}


class SparkEstimator(bobbin_spark.Estimator, Estimator):
    """A PyTorch program on Spark; made by ``Estimator.from_torch(backend="spark")``.

    Of ``config`` it reads ``seed``, ``shard`` and ``normalize``; ``workers``, the number of ranks, where
    ``init_orca_context`` has not said ``num_nodes``; and ``shape``, ``classes`` and ``id``, as in ``bobbin_spark.Columns``.
    """

    def __init__(self, program: Program, scheduler: Any, frequency: str, metrics: Any, model_dir: Any) -> None:
        workers = int(program.config.get("workers") or spark_context.workers())
        self.training: Training
        bobbin_spark.Estimator.__init__(self, spark_context.session(), Training(workers=workers))
        self._program, self._metrics = program, measures(metrics)
        self._plan = Plan(scheduler, program.optimizer, frequency)
        #: What another fit may go on with: the run of the last, unless that has failed.
        self._run: Run | None = None
        self._has_failed = False
        self._backend, self._progress = "spark", Progress(0, 0, float("nan"), None, False)
        self._history = History()
        self._engine: Engine | None = None
        self._translated: Engine | None = None
        # Not Spark's, which deletes its own when it ends.
        self._scratch = Path(tempfile.mkdtemp(prefix="bobbin-"))
        weakref.finalize(self, shutil.rmtree, self._scratch, True)
        if model_dir is not None:
            self.set_tensorboard(model_dir, "fit")

    def fit(  # type: ignore[override]
        self,
        data: Any,
        epochs: int | Trigger = 1,
        batch_size: int | None = None,
        feature_cols: Any = None,
        label_cols: Any = None,
        validation_data: Any = None,
        checkpoint_trigger: Trigger | None = None,
    ) -> list[dict[str, float]]:
        """Trains on a data frame of Spark, Parquet, or a directory of IDX files; returns what was found in each epoch.

        Batches are shuffled by Bobbin, as ``bobbin train`` does. A second ``fit`` of the same data and settings makes the
        run of the first longer; of others it starts from its weights, with an optimiser without memory, and says so.
        """
        program = self._program
        if program.optimizer is None or program.loss is None:
            raise ValueError("fit: the estimator has no optimizer or no loss: expected both in from_torch")
        count = _epochs(epochs, self._progress.epoch)
        if count == 0:
            return History()
        frame, columns = self._read(data, feature_cols, label_cols)
        engine = self._ready(frame, columns)
        columns = self._labelled(frame, columns, engine)
        size = DEFAULT_BATCH if batch_size is None else whole_number("batch_size", batch_size)
        images = (Dataset.open(data).train_images if frame is None else frame.count()) if self._plan.by_step else 0
        with self._plan.of(count, -(-images // size)) as rates:
            recipe = recipe_of(program, engine.network, engine.scaling, size)
            if self.model_file() == self.initial_weights():
                self._name_classes(engine, recipe, columns.classes)
            # The sections of a recipe; images to validate on are those that are handed over.
            recipe["data"].pop("validation", None)
            arguments = ["--validation", "none"] if validation_data is None else []
            arguments += _checkpoints(checkpoint_trigger)
            data_sets = (_same(data), _same(validation_data), several(label_cols))
            if isinstance(several(label_cols), list) and validation_data is not None:
                validation_data = with_labels(read(self.spark, validation_data), label_cols)
            run = Run(data_sets, columns, self._log, arguments, recipe, count, rates, self._plan.by_step)
            self._begin_or_go_on(data if frame is None else frame, validation_data, run)
        return self._told(count)

    def _begin_or_go_on(self, data: Any, validation_data: Any, run: Run) -> None:
        """Trains as a run says: by making that of the fit before longer or, where that cannot be, anew."""
        before = self._run
        why = _FAILED if self._has_failed and self._history else ""
        if before is not None:
            longer, why = before.longer(run), _OTHERS
            if longer is not None:
                try:
                    self._check_place(longer)
                    self._submit(data, validation_data, longer)
                    return
                except NoCheckpoint as error:
                    why = f"{error}; {_GONE}"
        if why:
            print(f"bobbin: {why}")
        self._submit(data, validation_data, run)

    def _check_place(self, run: Run) -> None:
        """Fails if another run has taken the place of the one that is to go on. Checkpoints are looked for where its ranks
        are."""
        assert self.run_directory is not None and run.place is not None, "a fit has ended there"
        found = self.run_directory / MODEL
        if is_address(run.place):
            address, found = Address(self.spark.sparkContext, run.place) / MODEL, self._scratch / "found.safetensors"
            if not address.exists():
                return
            address.read(found)
        if found.is_file() and found.read_bytes() != self.model_file().read_bytes():
            raise NoCheckpoint(f"{run.place}: found another run there")

    def _submit(self, data: Any, validation_data: Any, run: Run) -> None:
        """Trains as a run says, which goes on if it has a place."""
        file = self._scratch / "from-torch.toml"
        file.write_text(_fields.recipe(run.recipe())[1])
        arguments = [*run.arguments, *([] if run.place is None else run.flags())]
        self.training = replace(self.training, recipe=str(file), columns=run.columns, arguments=arguments, resume=run.place)
        self._run, self._has_failed = None, True
        try:
            bobbin_spark.Estimator.fit(self, data, None, validation_data)
        finally:
            self.training = replace(self.training, resume=None)
        # A copy, for what becomes of the run directory is not the estimator's.
        kept = self._scratch / "trained.safetensors"
        shutil.copyfile(self.model_file(), kept)
        self._use(Weights(kept))
        run.place = self.run_place
        self._run, self._has_failed = run, False

    def _told(self, count: int) -> History:
        """What the epochs of the last fit have told, with the numbers that they have in all."""
        before, rows = self._progress, self._found()
        for number, row in enumerate(rows[-count:], before.epoch + 1):
            row["epoch"] = float(number)
        history = History(rows[-count:])
        steps = len(bobbin_spark.Estimator.get_train_summary(self, "Loss"))
        self._progress = Progress(before.epoch + len(history), steps, float("nan"), None, True)
        self._history.extend(history)
        return history

    def evaluate(
        self, data: Any, batch_size: int | None = None, feature_cols: Any = None, label_cols: Any = None
    ) -> dict[str, float]:
        """The number of images, the loss (if the estimator has one) and the metrics on a labelled frame."""
        frame, columns = self._read(data, feature_cols, label_cols)
        if frame is None:
            raise ValueError(f"data: found {data}, a directory of IDX files: expected a data frame of Spark, or Parquet")
        engine = self._ready(frame, columns)
        columns = self._labelled(frame, columns, engine)
        self.training = replace(self.training, columns=columns)
        labelled = frame.select(exactly(columns.image), columns.column(frame, columns.label))
        found = bobbin_spark.Estimator.predict(self, labelled, "outputs")
        table = found.select(exactly(columns.label), "outputs").toPandas()
        if len(table) == 0:
            raise ValueError("data: found no images: expected one at least")
        outputs = np.stack(table["outputs"].to_numpy()).astype(np.float32)
        labels = self._numbers(table, columns)
        if engine.network.outputs == 1:
            outputs = outputs[:, 1:]
        scores: dict[str, float] = {"num_samples": float(len(labels))}
        if self._program.loss is not None:
            scores["val_loss"] = loss_of(self._program.loss, outputs, labels)
        return scores | {name: measure(outputs, labels) for name, measure in self._metrics}

    def predict(
        self, data: Any, batch_size: int | None = None, feature_cols: Any = None, output: Any = "outputs"
    ) -> Any:
        """The rows of a frame with a column ``prediction``, the number of the class, and ``outputs``, ``probabilities`` or
        ``class_name`` (``output="names"``), as asked for. Where an image may have several labels, ``prediction`` is 0 or 1
        for each, and ``class_name`` an array of the names of the labels found."""
        frame, columns = self._read(data, feature_cols, None)
        if frame is None:
            raise ValueError(f"data: found {data}, a directory of IDX files: expected a data frame of Spark, or Parquet")
        self._ready(frame, columns)
        self.training = replace(self.training, columns=columns)
        return bobbin_spark.Estimator.predict(self, frame, output)

    def get_model(self) -> nn.Module:
        """The user's own module, with the trained weights in it."""
        if self._translated is not None and self._model is not None:
            put_weights(self._program.module, self._translated.network, Model.load(self._model.file).state_dict())
        return self._program.module

    def load(self, model_path: Any) -> Any:
        """Takes the weights of what ``save`` has written, of a run directory, or a ``state_dict`` of PyTorch, at a path or
        an address."""
        file = self._fetched(model_path)
        if is_model(file):
            bobbin_spark.Estimator.load(self, file)
            self._run, self._has_failed = None, False
            model = Model.load(file)
            self._translate(np.zeros((CHECKED, *model.image_shape), np.uint8), Scaling.of(model.normalize))
            self._use(Weights(file))
            self.get_model()
            return self
        state = files.state_dict(file)
        if state is None:
            raise ValueError(f"{file}: found no model and no state_dict: expected .safetensors, .pt or .pth")
        files.put_state(self._program.module, state, file)
        self._translated = self._model = self._run = None
        self._has_failed = False
        return self

    def load_orca_checkpoint(self, path: Any, version: int | None = None, prefix: str | None = None) -> None:
        """Not offered: a run's checkpoints are on its executors."""
        raise ValueError(
            'load_orca_checkpoint: found backend="spark": expected load(path) of what save has written or of a run, or '
            "another fit, which goes on from the checkpoints"
        )

    def get_validation_summary(self, tag: str | None = None) -> NDArray[np.float64]:
        """The same of each validation. Tags: Loss, Accuracy and Top5Accuracy; where an image may have several labels, Loss
        and Top1Accuracy, the part of those of which each label is found and no other."""
        tag = tag if self._has_several_labels() else _TAGS.get(tag or "", tag)
        found: NDArray[np.float64] = bobbin_spark.Estimator.get_validation_summary(self, tag)
        return found

    @property
    def recipe(self) -> str:
        """The recipe of the program as TOML, once it has been fitted."""
        if not self.training.recipe.endswith(".toml"):
            raise ValueError("the estimator has seen no data yet: expected a call of fit first")
        return Path(self.training.recipe).read_text()

    def initial_weights(self) -> Path:
        """The file of the weights that the first ``fit`` begins with."""
        return self._scratch / "init.safetensors"

    def _read(self, data: Any, feature_cols: Any, label_cols: Any) -> tuple[Any, Columns]:
        """The frame, None of a directory of IDX files, and its columns."""
        config = self._program.config
        names = {"image": one_column("feature_cols", feature_cols), "label": label_column(label_cols)}
        given = {"id": config.get("id", "id"), "shape": config.get("shape"), "classes": tuple(config.get("classes", ()))}
        columns = Columns(**{k: v for k, v in names.items() if v is not None}, **given)
        if idx_directory(data) is not None:
            return None, columns
        if not isinstance(data, str) and not type(data).__module__.startswith("pyspark."):
            found = type(data).__name__
            raise ValueError(
                f"data: found {found}: expected a data frame of Spark, Parquet or a directory of IDX files; "
                'backend="local" takes data of this process'
            )
        return with_labels(read(self.spark, data), label_cols), columns

    def _ready(self, frame: Any, columns: Columns) -> Engine:
        """The program in Bobbin, and its weights in a file: for images as those of the frame."""
        if self._translated is None:
            if frame is None:
                raise ValueError("data: found IDX files before a data frame: expected a frame of Spark at first")
            images = first_images(frame, settled(frame, columns), CHECKED)
            given = self._program.config.get("normalize")
            self._translate(images.transpose(0, 3, 1, 2), Scaling() if given is None else Scaling.of(given))
        assert self._translated is not None
        return self._translated

    def _translate(self, images: NDArray[np.uint8], scaling: Scaling) -> None:
        self._first = np.ascontiguousarray(images)
        self._translated = Engine(self._program, (self._first, None), scaling, context.threads())
        self._translated.trainer.model().save(self.initial_weights())
        self._use(Weights(self.initial_weights()))

    def _name_classes(self, engine: Engine, recipe: dict[str, Any], classes: tuple[str, ...]) -> None:
        """Has the file of initial weights name the classes: of other classes the last layer would start at random."""
        images = self._first
        labels = np.zeros((len(images), len(classes)) if self._has_several_labels() else len(images), np.int64)
        data = Dataset.from_arrays(images, labels, class_names=classes)
        trainer = Trainer(recipe, data, weights=engine.trainer.state_dict(), threads=context.threads())
        trainer.model().save(self.initial_weights())

    def _labelled(self, frame: Any, columns: Columns, engine: Engine) -> Columns:
        """The columns with a name for each class that the network has an output for."""
        if frame is None:
            return columns
        count, several = max(engine.network.outputs, 2), self._has_several_labels()
        numbers = tuple(map(str, range(count)))
        columns = replace(columns, several=several, classes=columns.classes or (numbers if several else ()))
        columns = with_classes(frame, columns)
        if columns.classes and len(columns.classes) != count:
            raise ValueError(f"data: found {len(columns.classes)} classes: expected {count}, as many as outputs")
        return columns if columns.classes else replace(columns, classes=numbers)

    def _has_several_labels(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self._translated is not None and has_several_labels(self._program.loss, self._translated.network.outputs)

    def _numbers(self, table: Any, columns: Columns) -> NDArray[np.int64]:
        """The numbers of the classes; of several labels to an image rows of 0 and 1."""
        if columns.several:
            return np.frombuffer(label_bytes(table, columns), np.uint8).reshape(len(table), -1).astype(np.int64)
        numbers = {name: number for number, name in enumerate(columns.classes)}
        found = [numbers.get(value, -1) if isinstance(value, str) else value for value in table[columns.label]]
        array = np.asarray(found, float)
        if not ((array >= 0) & (array < len(columns.classes)) & (array % 1 == 0)).all():
            raise ValueError(f"data: found labels that are no classes: expected 0 to {len(columns.classes) - 1}, or names")
        return array.astype(np.int64)

    def _found(self) -> list[dict[str, float]]:
        """What the last run found in each epoch."""
        assert self.run_directory is not None
        lines = map(json.loads, (self.run_directory / "metrics.jsonl").read_text().splitlines())
        history = []
        # Of several labels it is not the metric Accuracy, which is of all answers.
        top1 = "val_Top1Accuracy" if self._has_several_labels() else "val_Accuracy"
        for line in lines:
            if line["event"] == "epoch":
                row = {"epoch": float(line["epoch"]), "train_loss": line["loss"]}
                if line.get("validation_loss") is not None:
                    row |= {"val_loss": line["validation_loss"], top1: line["top1"]}
                history.append(row)
        return history

    def _fetched(self, path: Any) -> Path:
        """The file at a path or an address, here."""
        found: Path
        if is_address(path):
            found = Address(self.spark.sparkContext, path).read(self._scratch / Path(path).name)
        else:
            found = local(path, "load")
        file: Path = found / MODEL if found.is_dir() else found
        if not file.is_file():
            raise BobbinError(f"{file}: no such file: expected a model, a state_dict, or a run that has ended")
        return file


def _same(data: Any) -> Any:
    """What is equal of the same data."""
    return data.semanticHash() if hasattr(data, "semanticHash") else None if data is None else str(data)


def _epochs(epochs: Any, done: int) -> int:
    """How many there are to be more."""
    if isinstance(epochs, MaxEpoch):
        return max(epochs.max - done, 0)
    return whole_number("epochs", epochs, "a number of 1 or more, or MaxEpoch, on Spark")


def _checkpoints(trigger: Any) -> list[str]:
    if trigger is None or isinstance(trigger, EveryEpoch):
        return []
    if isinstance(trigger, SeveralIteration):
        return ["--set", f"events.checkpoint={{ iterations = {trigger.interval} }}"]
    found = class_name(trigger)
    raise ValueError(f"checkpoint_trigger: found {found}: expected EveryEpoch or SeveralIteration on Spark")
