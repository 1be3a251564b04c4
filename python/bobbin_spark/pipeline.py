"""The estimator as a stage of ``pyspark.ml``: ``Pipeline(stages=[Classifier(training)]).fit(frame).transform(frame)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from pyspark.ml import Estimator as Stage
from pyspark.ml import Model
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import DataFrame

from .columns import Columns
from .estimator import Estimator
from .hadoop import Address
from .scratch import driver_scratch
from .training import Training
from .weights import MODEL

_TRAINING = "training"


class _Writer(MLWriter):
    """Writes what a stage is as Spark's metadata, and the network beside it."""

    def __init__(self, stage: Classifier | ClassifierModel) -> None:
        super().__init__()
        self._stage = stage

    def saveImpl(self, path: str) -> None:  # noqa: N802, Spark's name
        context = self.sparkSession.sparkContext
        settings = {"training": asdict(self._stage.training), **self._stage.settings()}
        DefaultParamsWriter.saveMetadata(self._stage, path, self.sparkSession, extraMetadata={_TRAINING: settings})
        if isinstance(self._stage, ClassifierModel):
            (Address(context, path) / MODEL).write(self._stage.network.model_file())


class _Reader(MLReader[Any]):
    """Reads what the writer has written."""

    def __init__(self, kind: type[Classifier | ClassifierModel]) -> None:
        super().__init__()
        self._kind = kind

    def load(self, path: str) -> Any:
        metadata = DefaultParamsReader.loadMetadata(path, self.sparkSession)
        settings = metadata[_TRAINING]
        training = settings.pop("training")
        # JSON has lists alone.
        columns = {k: tuple(v) if isinstance(v, list) else v for k, v in training.pop("columns").items()}
        training["arguments"] = tuple(training["arguments"])
        stage_training = Training(**training, columns=Columns(**columns))
        if self._kind is ClassifierModel:
            place = driver_scratch(self.sparkSession.sparkContext) / MODEL
            Address(self.sparkSession.sparkContext, f"{path}/{MODEL}").read(place)
            network = Estimator(self.sparkSession, stage_training).load(place)
            stage: Any = ClassifierModel(network, settings["output"])
        else:
            stage = Classifier(stage_training, settings["epochs"], output=settings["output"])
        stage._resetUid(metadata["uid"])
        return stage


class _Saved(MLReadable[Any], MLWritable):
    training: Training

    def settings(self) -> dict[str, Any]:
        raise NotImplementedError

    def write(self) -> MLWriter:
        return _Writer(self)  # type: ignore[arg-type]

    @classmethod
    def read(cls) -> MLReader[Any]:
        return _Reader(cls)  # type: ignore[arg-type]


class Classifier(Stage, _Saved):  # type: ignore[type-arg]
    """A network to train in a pipeline: as ``training`` says, for so many epochs. What ``transform`` of the model adds,
    ``output`` says as in :meth:`Estimator.predict`."""

    def __init__(
        self,
        training: Training | None = None,
        epochs: int | None = None,
        validation_data: DataFrame | str | None = None,
        output: str | Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.training = training or Training()
        self.epochs, self.validation_data, self.output = epochs, validation_data, output

    def _fit(self, dataset: DataFrame) -> ClassifierModel:
        network = Estimator(dataset.sparkSession, self.training)
        network.fit(dataset, self.epochs, self.validation_data)
        return ClassifierModel(network, self.output)

    def settings(self) -> dict[str, Any]:
        """What is written besides the training. Images to validate on are not."""
        return {"epochs": self.epochs, "output": self.output}


class ClassifierModel(Model, _Saved):
    """A trained network in a pipeline; ``transform`` is :meth:`Estimator.predict`."""

    def __init__(self, network: Estimator, output: str | Sequence[str] = ()) -> None:
        super().__init__()
        self.network, self.output = network, output
        # A model read again is not to train over the run that made it.
        self.training = replace(network.training, out=None, resume=None)

    def _transform(self, dataset: DataFrame) -> DataFrame:
        return self.network.predict(dataset, self.output)

    def settings(self) -> dict[str, Any]:
        """What is written besides the training."""
        return {"output": self.output}
