"""Orca's estimator of PyTorch programs, on Bobbin."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .. import Model
from . import context, optimizers, paths
from .data import Batch, Batches, batches
from .engine import Engine, Program
from .metrics import measures, predicted
from .network import Network, put_weights, translate
from .pixels import Scaling
from .schedulers import FREQUENCIES
from .summary import Summary
from .triggers import MaxEpoch, Progress, Trigger

# How functions that make parts of a program are called.
_CREATORS = {
    "model": "model(config)",
    "optimizer": "optimizer(model, config)",
    "loss": "loss(config)",
    "scheduler": "scheduler(optimizer, config)",
}


class Estimator:
    """A PyTorch program that Bobbin trains, measures and uses; made by ``Estimator.from_torch``."""

    def __init__(self, program: Program, metrics: Any, model_dir: str | os.PathLike[str] | None, freq: str) -> None:
        self._program, self._freq = program, freq
        self._metrics = measures(metrics)
        self._directory = None if model_dir is None else paths.local(model_dir, "model_dir")
        self._engine: Engine | None = None
        #: The network that outputs were last computed with.
        self._network: Network | None = None
        #: What decided how parameters are trained when training began.
        self._settings: list[Any] = []
        #: That of the file whose weights were loaded before training.
        self._loaded: Scaling | None = None
        self._progress = Progress(0, 0, float("nan"), None, False)
        self._train, self._validation = Summary("Loss", "Throughput"), Summary()

    @staticmethod
    def from_torch(
        *,
        model: Any,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        scheduler: Any = None,
        scheduler_step_freq: str = "batch",
        config: dict[str, Any] | None = None,
        model_dir: str | os.PathLike[str] | None = None,
        backend: str = "local",
    ) -> Estimator:
        """An estimator of a module, an optimiser, a loss and a scheduler: each as it is, or a function that makes it.

        The functions are Orca's: ``model(config)``, ``optimizer(model, config)``, ``loss(config)`` and
        ``scheduler(optimizer, config)``. ``scheduler_step_freq`` says how often the scheduler takes a step:
        ``"batch"`` or ``"epoch"``. Of ``config`` Bobbin itself reads ``seed``, ``shard`` and ``normalize``; checkpoints
        are written to ``model_dir``.

        Anything Bobbin has no equivalent for raises ``UnsupportedModule`` at the first batch, when the shape of images is
        known.
        """
        if backend not in ("local", "spark"):
            hint = "; use mpirun with the program `bobbin train`" if backend == "mpi" else ""
            raise ValueError(f"backend: found {backend!r}: expected 'local' or 'spark'{hint}")
        if scheduler_step_freq not in FREQUENCIES:
            raise ValueError(f"scheduler_step_freq: found {scheduler_step_freq!r}: expected 'batch' or 'epoch'")
        config = dict(config or {})
        module = model if isinstance(model, nn.Module) else _made("model", model, config)
        if not isinstance(module, nn.Module):
            raise ValueError(f"model: found {type(module).__name__}: expected a torch.nn.Module, or what makes one")
        if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
            optimizer = _made("optimizer", optimizer, module, config)
        if isinstance(loss, type) and issubclass(loss, nn.Module):
            loss = loss()
        elif loss is not None and not isinstance(loss, nn.Module) and not _is_of_torch(loss):
            loss = _made("loss", loss, config)
        if scheduler is not None and not hasattr(scheduler, "last_epoch"):
            scheduler = _made("scheduler", scheduler, optimizer, config)
        if backend == "spark":
            from .spark import SparkEstimator

            program = Program(module, loss, optimizer, None, config=config)
            return SparkEstimator(program, scheduler, scheduler_step_freq, metrics, model_dir)
        program = Program(module, loss, optimizer, scheduler, config=config)
        return Estimator(program, metrics, model_dir, scheduler_step_freq)

    def fit(
        self,
        data: Any,
        epochs: int | Trigger = 1,
        batch_size: int | None = None,
        validation_data: Any = None,
        checkpoint_trigger: Trigger | None = None,
        feature_cols: Any = None,
        label_cols: Any = None,
    ) -> list[dict[str, float]]:
        """Trains for so many epochs more, or until a trigger is due; returns what was found in each.

        Data are a ``DataLoader``, whose batches are trained on as they come; a function ``data(config, batch_size)``
        that makes one; or a data set, arrays ``(x, y)`` or ``{"x": x, "y": y}``, or a pandas ``DataFrame`` with
        ``feature_cols`` and ``label_cols``, which are shuffled by PyTorch. Each epoch ends with a validation, if there
        are data for it. After Ctrl-C another ``fit`` goes on from the last step.
        """
        if self._program.optimizer is None or self._program.loss is None:
            raise ValueError("fit: the estimator has no optimizer or no loss: expected both in from_torch")
        end = epochs if isinstance(epochs, Trigger) else MaxEpoch(self._progress.epoch + epochs)
        if checkpoint_trigger is not None and self._directory is None:
            raise ValueError("checkpoint_trigger: found without model_dir: expected model_dir in from_torch")
        triggers = [end] if checkpoint_trigger is None else [end, checkpoint_trigger]
        if any(t.needs_score() for t in triggers) and (validation_data is None or not self._metrics):
            raise ValueError("MaxScore: found without validation_data or metrics, so it is never due: expected both")
        self._check_settings()
        columns = (feature_cols, label_cols)
        train = batches(data, batch_size, self._program.config, columns, shuffle=True)
        validation = None
        if validation_data is not None:
            validation = batches(validation_data, batch_size, self._program.config, columns)
        self._set_every(train)
        history: list[dict[str, float]] = []
        while not end.is_due(self._progress):
            history.append(self._epoch(train, validation, checkpoint_trigger, end))
        return history

    def _check_settings(self) -> None:
        """Refuses changes of what was translated when training began, which Bobbin would not see."""
        program = self._program
        if self._engine is not None and self._settings != optimizers.settings_of(program.optimizer, program.module):
            raise ValueError(
                "fit: the optimizer's groups, or which parameters require gradients, have changed since training began: "
                "make a new Estimator of get_model() and a new optimizer"
            )

    def _set_every(self, train: Batches) -> None:
        """Notes how many steps an epoch has, where the scheduler counts epochs."""
        if self._program.scheduler is None or self._freq == "batch":
            return
        steps = len(train)
        if self._engine is not None and steps != self._program.every:
            was = f"training began with epochs of {self._program.every}, which the scheduler counts"
            raise ValueError(f"data: found an epoch of {steps} batches: {was}: expected as many")
        self._program.every = steps

    def _epoch(
        self, train: Batches, validation: Batches | None, checkpoint: Trigger | None, end: Trigger
    ) -> dict[str, float]:
        """Trains on the batches of an epoch, or as many as there are before the end."""
        images, total, now = 0, 0.0, self._progress
        for (x, y), is_last in _with_last(train):
            assert y is not None, "labelled batches have labels"
            engine = self._started((x, y), train.source)
            started = time.perf_counter()
            loss = engine.step(x, y)
            throughput = len(x) / (time.perf_counter() - started)
            iteration = now.iteration + 1
            self._train.add(iteration, Loss=loss, Throughput=throughput)
            images, total = images + len(x), total + loss * len(x)
            epoch = now.epoch + is_last
            now = self._progress = Progress(epoch, iteration, loss, now.score, is_last)
            if checkpoint is not None and checkpoint.is_due(now):
                self._checkpoint()
            if not is_last and end.is_due(now):
                break
        self._train.flush()
        if images == 0:
            raise ValueError("data: found no batches: expected one at least")
        row = {"epoch": float(now.epoch), "num_samples": float(images), "train_loss": total / images}
        if validation is not None:
            row |= self._validated(validation)
        return row

    def _validated(self, data: Batches) -> dict[str, float]:
        found = self._measured(data)
        now = self._progress
        score = found[self._metrics[0][0]] if self._metrics else None
        self._progress = Progress(now.epoch, now.iteration, now.loss, score, now.epoch_ended)
        del found["num_samples"]
        tags = {"Loss" if name == "val_loss" else name: value for name, value in found.items()}
        self._validation.add(now.iteration, **tags)
        self._validation.flush()
        return {name if name == "val_loss" else f"val_{name}": value for name, value in found.items()}

    def evaluate(
        self, data: Any, batch_size: int | None = None, feature_cols: Any = None, label_cols: Any = None
    ) -> dict[str, float]:
        """The number of images, the loss (if the estimator has one) and the metrics on labelled data."""
        return self._measured(batches(data, batch_size, self._program.config, (feature_cols, label_cols)))

    def _measured(self, data: Batches) -> dict[str, float]:
        outputs, labels = self._all(data)
        if labels is None or len(labels) == 0:
            raise ValueError("data: found no labelled images: expected one at least")
        found: dict[str, float] = {"num_samples": float(len(labels))}
        if self._program.loss is not None:
            found["val_loss"] = self._loss(outputs, labels)
        return found | {name: measure(outputs, labels) for name, measure in self._metrics}

    def _loss(self, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """By the user's own function."""
        x, y = torch.from_numpy(outputs), torch.from_numpy(labels)
        if outputs.shape[1] == 1:
            x, y = x[:, 0], y.to(torch.float32)
        return float(self._program.loss(x, y))

    def predict(
        self, data: Any, batch_size: int | None = None, feature_cols: Any = None, output: str = "outputs"
    ) -> NDArray[Any]:
        """What the network gives for each image, [n, outputs]; or ``output="probabilities"``, or ``"classes"`` [n]."""
        if output not in ("outputs", "probabilities", "classes"):
            raise ValueError(f"output: found {output!r}: expected 'outputs', 'probabilities' or 'classes'")
        columns = (feature_cols, None)
        outputs, _ = self._all(batches(data, batch_size, self._program.config, columns, labelled=False))
        if output == "classes":
            return predicted(outputs)
        if output == "outputs" or (self._network is not None and self._network.last == "softmax"):
            return outputs
        if outputs.shape[1] == 1:
            outputs = np.concatenate([np.zeros_like(outputs), outputs], 1)
        probabilities: NDArray[np.float32] = torch.softmax(torch.from_numpy(outputs), 1).numpy()
        return probabilities

    def _all(self, data: Batches) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        """Outputs of all images, and their labels."""
        outputs, labels = [], []
        engine, model = self._engine, None
        for x, y in data:
            if engine is None:
                # Before the first fit, only for these data.
                engine = self._start((x, y), data.source, Program(self._program.module, None, None, None))
            self._network = engine.network
            model = model or engine.trainer.model()
            outputs.append(engine.outputs_of(model, x))
            if y is not None:
                labels.append(y)
        if not outputs:
            raise ValueError("data: found no images: expected one at least")
        return np.concatenate(outputs), np.concatenate(labels) if labels else None

    def get_model(self) -> nn.Module:
        """The user's own module, with the trained weights in it."""
        if self._engine is not None:
            self._engine.fill(self._program.module)
        return self._program.module

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes the network and its weights as the program ``bobbin train`` does, for any of the programs."""
        self._running().trainer.save(paths.local(path, "save"))
        return str(path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Takes the weights of what ``save`` has written, or of a run directory, without an optimiser.

        Images of bytes are from then on scaled as the file says. After the first ``fit`` it must be as the images of that.
        """
        found = Model.load(paths.local(path, "load"))
        weights = found.state_dict()
        scaling = Scaling.of(found.normalize)
        if self._engine is not None:
            own = self._engine.scaling
            if not scaling.is_that_of(own):
                problem = f"found images normalised by mean={scaling.mean}, std={scaling.std}"
                was = f"as training began: mean={own.mean}, std={own.std}"
                raise ValueError(f"{path}: {problem}: expected them {was}; or load it into a new Estimator")
            self._engine.trainer.load_state_dict(weights)
            return
        network = translate(self._program.module, found.image_shape)
        missing = sorted(set(network.names) ^ set(weights))
        if missing:
            problem = f"`{missing[0]}` is not in both the file and the module"
            raise ValueError(f"{path}: {problem}: expected the same network")
        put_weights(self._program.module, network, weights)
        self._loaded = scaling

    def load_orca_checkpoint(self, path: str | os.PathLike[str], version: int | None = None) -> None:
        """Takes the weights of a checkpoint in a directory: that after ``version`` steps, or the latest."""
        self.load(paths.find_checkpoint(paths.local(path, "load_orca_checkpoint"), version))

    def set_constant_gradient_clipping(self, min: float, max: float) -> None:
        """Has gradients cut to ± ``max``."""
        if max <= 0 or min != -max:
            raise ValueError(f"clipping: found {min} to {max}: expected a number above 0, and its negative")
        self._clip({"clip_value": float(max)})

    def set_l2_norm_gradient_clipping(self, clip_norm: float) -> None:
        """Has the whole gradient scaled down to this norm."""
        self._clip({"clip_norm": float(clip_norm)})

    def clear_gradient_clipping(self) -> None:
        """Has gradients left as they are."""
        self._clip({})

    def _clip(self, clipping: dict[str, float]) -> None:
        if self._engine is not None:
            raise ValueError("clipping: training has begun: expected it before the first fit")
        self._program.clipping = clipping

    def set_tensorboard(self, log_dir: str | os.PathLike[str], app_name: str) -> None:
        """Has what training finds from now on written to ``log_dir/app_name``, for TensorBoard, which is needed."""
        for part, summary in (("train", self._train), ("validation", self._validation)):
            summary.write_to(paths.local(log_dir, "log_dir") / app_name / part)

    def get_train_summary(self, tag: str) -> NDArray[np.float64]:
        """A row for each step: its number, the value, and the time in seconds since 1970. Tags: Loss, Throughput."""
        return self._train.rows(tag)

    def get_validation_summary(self, tag: str) -> NDArray[np.float64]:
        """The same of each validation. Tags: Loss, and the names of the metrics."""
        return self._validation.rows(tag)

    @property
    def recipe(self) -> str:
        """The recipe of the program as TOML, once it has seen data."""
        return self._running().trainer.recipe

    def _checkpoint(self) -> None:
        assert self._directory is not None, "fit asks for it"
        self._directory.mkdir(parents=True, exist_ok=True)
        self.save(paths.checkpoint(self._directory, self._progress.iteration))

    def _running(self) -> Engine:
        if self._engine is None:
            raise ValueError("the estimator has seen no data yet: expected a call of fit first")
        return self._engine

    def _started(self, batch: Batch, source: Any) -> Engine:
        if self._engine is None:
            self._settings = optimizers.settings_of(self._program.optimizer, self._program.module)
            self._engine = self._start(batch, source, self._program)
        return self._engine

    def _start(self, batch: Batch, source: Any, program: Program) -> Engine:
        given = self._program.config.get("normalize")
        scaling = Scaling.find(batch[0], source, self._loaded) if given is None else Scaling.of(given)
        return Engine(program, batch, scaling, context.threads())


def _made(name: str, creator: Any, *arguments: Any) -> Any:
    if not callable(creator):
        found = type(creator).__name__
        raise ValueError(f"{name}: found {found}: expected one of PyTorch's, or a function that makes it")
    try:
        inspect.signature(creator).bind(*arguments)
    except ValueError:
        pass  # One in C, which says nothing of what it takes.
    except TypeError as error:
        called = getattr(creator, "__name__", type(creator).__name__)
        raise ValueError(f"{name}: found `{called}`: expected a function called as {_CREATORS[name]}: {error}") from None
    return creator(*arguments)


def _is_of_torch(function: Any) -> bool:
    return getattr(function, "__module__", None) == "torch.nn.functional"


def _with_last(items: Batches) -> Iterator[tuple[Batch, bool]]:
    """Each with whether it is the last."""
    before = None
    for item in items:
        if before is not None:
            yield before, False
        before = item
    if before is not None:
        yield before, True
