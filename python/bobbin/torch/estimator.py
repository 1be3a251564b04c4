"""Orca's estimator of PyTorch programs, on Bobbin."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .. import Model
from . import context, files
from .answers import FORMS, answers
from .arguments import checkpoints, end_of
from .data import Batch, Batches, batches, length, with_last
from .display import Display
from .engine import Engine
from .history import History
from .losses import checked, has_several_labels, loss_of
from .metrics import measures
from .network import Network, put_weights, translate, weights_of
from .optimizers import rate
from .pixels import Scaling
from .position import Position
from .program import Program, program_of
from .reported import Reported
from .schedulers import FREQUENCIES, Stepping
from .summary import Summary
from .triggers import Progress, Trigger
from .whole import whole

_BACKENDS = ("local", "mpi", "spark")


class Estimator(Reported):
    """A PyTorch program that Bobbin trains, measures and uses; made by ``Estimator.from_torch``."""

    def __init__(
        self, program: Program, scheduler: Stepping, metrics: Any, model_dir: str | os.PathLike[str] | None, backend: str
    ) -> None:
        self._program, self._scheduler, self._backend = program, scheduler, backend
        self._metrics = measures(metrics)
        self._directory = None if model_dir is None else files.local(model_dir, "model_dir")
        self._engine: Engine | None = None
        #: The network that outputs were last computed with.
        self._network: Network | None = None
        #: What was loaded before training: the file, and how its images are scaled.
        self._loaded: tuple[Any, Scaling] | None = None
        self._progress = Progress(0, 0, float("nan"), None, False)
        self._history = History()
        #: Where training goes on in an epoch; None at the beginning of one, whatever its random numbers.
        self._position: Position | None = None
        self._train, self._validation = Summary("Loss", "Throughput", "LearningRate"), Summary()

    @staticmethod
    def from_torch(
        *,
        model: Any,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        scheduler: Any = None,
        scheduler_creator: Any = None,
        scheduler_step_freq: str = "batch",
        config: dict[str, Any] | None = None,
        model_dir: str | os.PathLike[str] | None = None,
        backend: str = "local",
        precision: str = "f32",
    ) -> Estimator:
        """An estimator of a module, an optimiser, a loss and a scheduler: each as it is, or a function that makes it.

        The functions are Orca's: ``model(config)``, ``optimizer(model, config)``, ``loss(config)`` and
        ``scheduler(optimizer, config)`` (or ``scheduler_creator``), whose steps are as often as ``scheduler_step_freq``
        says: ``"batch"`` or ``"epoch"``. Of ``config`` Bobbin itself reads ``seed``, ``shard``, ``normalize`` and
        ``iterate``; checkpoints are written to ``model_dir``. With ``backend="mpi"`` the ranks of
        ``init_orca_context(num_nodes=…)`` train, to the same bits. ``precision="bf16"`` is what
        ``torch.autocast("cpu", torch.bfloat16)`` is in PyTorch: the operands of products are rounded to bfloat16.

        Anything Bobbin has no equivalent for raises ``UnsupportedModule`` at the first batch, when the shape of images is
        known.
        """
        if backend not in _BACKENDS:
            raise ValueError(f"backend: found {backend!r}: expected 'local', 'mpi' or 'spark'")
        if scheduler_step_freq not in FREQUENCIES:
            raise ValueError(f"scheduler_step_freq: found {scheduler_step_freq!r}: expected 'batch' or 'epoch'")
        if precision not in ("f32", "bf16"):
            raise ValueError(f"precision: found {precision!r}: expected 'f32' or 'bf16'")
        schedulers = [given for given in (scheduler, scheduler_creator) if given is not None]
        program, scheduler = program_of(model, optimizer, loss, schedulers, config)
        program.precision = precision
        if backend == "spark":
            from .spark import SparkEstimator

            return SparkEstimator(program, scheduler, scheduler_step_freq, metrics, model_dir)
        return Estimator(program, Stepping(scheduler, program.optimizer, scheduler_step_freq), metrics, model_dir, backend)

    def fit(
        self,
        data: Any,
        epochs: int | Trigger = 1,
        batch_size: int | None = None,
        feature_cols: Any = None,
        label_cols: Any = None,
        validation_data: Any = None,
        checkpoint_trigger: Trigger | None = None,
    ) -> History:
        """Trains for so many epochs more, or until a trigger is due; returns what was found in each.

        Data are a ``DataLoader``, whose batches are trained on as they come; a function ``data(config, batch_size)``
        that makes one; or a data set, arrays ``(x, y)`` or ``{"x": x, "y": y}``, a list of such dicts, a pandas
        ``DataFrame`` with ``feature_cols`` and ``label_cols``, or a directory of IDX files, which are shuffled by PyTorch.
        Each epoch ends with a validation, if there are data for it. After Ctrl-C another ``fit`` goes on from the last step.
        """
        if self._program.optimizer is None or self._program.loss is None:
            raise ValueError("fit: the estimator has no optimizer or no loss: expected both in from_torch")
        end = end_of(epochs, self._progress.epoch)
        triggers = [end, *checkpoints(checkpoint_trigger, self._directory)]
        if any(t.needs_score() for t in triggers) and (validation_data is None or not self._metrics):
            raise ValueError("MaxScore: found without validation_data or metrics, so it is never due: expected both")
        columns = (feature_cols, label_cols)
        train = batches(data, batch_size, self._program.config, columns, shuffle=True)
        validation = None
        if validation_data is not None:
            validation = batches(validation_data, batch_size, self._program.config, columns)
        if self._engine is None:
            self._program.augment = train.begin()
        else:
            train.go_on(self._program.augment)
        history = History()
        display = Display(history, f" of {epochs}" if isinstance(epochs, int) else "")
        try:
            while not end.is_due(self._progress):
                row = self._epoch(train, validation, checkpoint_trigger, end, display)
                history.append(row)
                self._history.append(row)
                display.epoch(self._progress.iteration)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted()) from None
        except BaseException:
            self._position = None
            raise
        self._position = None
        return history

    def _interrupted(self) -> str:
        """Saves what there is, if there is a place for it; returns how to go on."""
        now = self._progress
        done = f"interrupted after step {now.iteration}: another fit goes on from there"
        if self._engine is None or self._directory is None:
            return f"{done}; save(path) keeps it"
        self._checkpoint()
        return f"{done}, in another process after load({str(files.checkpoint(self._directory, now.iteration))!r})"

    def _epoch(
        self, train: Batches, validation: Batches | None, checkpoint: Trigger | None, end: Trigger, display: Display
    ) -> dict[str, float]:
        """Trains on the batches of an epoch, or those that are left of it, or as many as there are before the end."""
        place = self._entered(train)
        trained, steps, is_last = place.done, length(train), True
        for number, ((x, y), is_last) in enumerate(with_last(train.scaled(self._scaling))):
            if number < trained:
                continue
            assert y is not None, "labelled batches have labels"
            engine = self._started((x, y), train)
            with whole():
                now, throughput = self._step(engine, place, x, y)
            display.step(now.iteration, now.loss, place.done, steps, throughput)
            # What is asked at the end of an epoch is asked after its validation.
            if not is_last and checkpoint is not None and checkpoint.is_due(now):
                self._checkpoint()
            if not is_last and end.is_due(now):
                break
        self._train.flush()
        if place.images == 0:
            raise ValueError("data: found no batches: expected one at least")
        return self._ended(train, validation, checkpoint, is_last)

    def _step(self, engine: Engine, place: Position, x: Any, y: Any) -> tuple[Progress, float]:
        """Trains on a batch; returns how far training has come, and how many images a second it was."""
        started, lr = time.perf_counter(), rate(self._program.optimizer)
        loss = engine.step(x, y)
        throughput = len(x) / (time.perf_counter() - started)
        self._scheduler.after_batch()
        place.add(len(x), loss)
        now = self._progress
        now = self._progress = Progress(now.epoch, now.iteration + 1, loss, now.score, False)
        self._train.add(now.iteration, Loss=loss, Throughput=throughput, LearningRate=lr)
        return now, throughput

    def _entered(self, train: Batches) -> Position:
        """Where the epoch begins: at its first batch, or after those that were trained on before an interruption."""
        place, steps = self._position, length(train)
        if place is None or place.steps != steps:
            place = self._position = Position.now(train.loader, steps)
            return place
        place.begin(train.loader)
        if place.done:
            print(f"bobbin: epoch {self._progress.epoch + 1} goes on after {place.done} batches, which are passed over")
        return place

    def _ended(
        self, train: Batches, validation: Batches | None, checkpoint: Trigger | None, is_whole: bool
    ) -> dict[str, float]:
        """Closes an epoch, or the part of it that there was before the end."""
        place = self._position
        assert place is not None, "it was entered"
        number = self._progress.epoch + is_whole
        row = {"epoch": float(number), "num_samples": float(place.images), "train_loss": place.loss / place.images}
        if validation is not None:
            row |= self._validated(validation)
        with whole():
            if is_whole:
                self._scheduler.after_epoch(row.get("val_loss", row["train_loss"]))
            now = self._progress
            now = self._progress = Progress(number, now.iteration, now.loss, now.score, is_whole)
            self._position = Position.now(train.loader, length(train))
        if is_whole and checkpoint is not None and checkpoint.is_due(now):
            self._checkpoint()
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
            found["val_loss"] = loss_of(self._program.loss, outputs, labels)
        return found | {name: measure(outputs, labels) for name, measure in self._metrics}

    def predict(
        self, data: Any, batch_size: int | None = None, feature_cols: Any = None, output: str = "outputs"
    ) -> NDArray[Any]:
        """What the network gives for each image, [n, outputs]; or ``output="probabilities"``, or ``"classes"`` [n] (of
        several labels to an image 0 and 1 for each, [n, outputs])."""
        if output not in FORMS:
            raise ValueError(f"output: found {output!r}: expected 'outputs', 'probabilities' or 'classes'")
        outputs, _ = self._all(batches(data, batch_size, self._program.config, (feature_cols, None), labelled=False))
        several = has_several_labels(self._program.loss, outputs.shape[1])
        return answers(outputs, output, several, "" if self._network is None else self._network.last)

    def _all(self, data: Batches) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        """Outputs of all images, and their labels."""
        outputs, labels = [], []
        engine, model = self._engine, None
        for x, y in data.scaled(self._scaling):
            if engine is None:
                # Before the first fit, only for these data.
                engine = self._start((x, y), data, self._program.untrained())
            self._network = engine.network
            model = model or engine.trainer.model()
            outputs.append(engine.outputs_of(model, x))
            if y is not None:
                labels.append(checked(self._program.loss, engine.network.outputs, y))
        if not outputs:
            raise ValueError("data: found no images: expected one at least")
        return np.concatenate(outputs), np.concatenate(labels) if labels else None

    def get_model(self) -> nn.Module:
        """The user's own module, with the trained weights in it."""
        if self._engine is not None:
            self._engine.fill(self._program.module)
        return self._program.module

    def save(self, model_path: str | os.PathLike[str]) -> str:
        """Writes the network, its weights and the optimiser's memory to a file that all programs of Bobbin read."""
        now = self._progress
        note: dict[str, Any] = {"epoch": now.epoch, "iteration": now.iteration, "scheduler": self._scheduler.state()}
        if self._position is not None:
            note["position"] = self._position.state()
        self._running().trainer.save_checkpoint(files.local(model_path, "save"), json.dumps(note))
        return str(model_path)

    def load(self, model_path: str | os.PathLike[str]) -> None:
        """Takes the weights of what ``save`` has written, a run directory, another model of Bobbin, or a ``state_dict``.

        With what ``save`` has written training goes on from there, to the same bits: with the optimiser's memory, the
        scheduler's place, and the numbers of epochs and steps. Images of bytes are from then on scaled as a model says.
        After the first ``fit`` it must be as the images of that.
        """
        file = files.of_model(files.local(model_path, "load"))
        state = files.state_dict(file)
        if state is not None:
            files.put_state(self._program.module, state, file)
            self._loaded = None
            if self._engine is not None:
                self._engine.trainer.load_state_dict(weights_of(self._program.module, self._engine.network))
            return
        found = Model.load(file)
        weights, scaling = found.state_dict(), Scaling.of(found.normalize)
        if self._engine is not None:
            own = self._engine.scaling
            if not scaling.is_that_of(own):
                problem = f"{model_path}: found images normalised by mean={scaling.mean}, std={scaling.std}"
                was = f"as training began: mean={own.mean}, std={own.std}; or load it into a new Estimator"
                raise ValueError(f"{problem}: expected them {was}")
            self._take(self._engine, file, weights)
            self._note(files.note(file))
            return
        network = translate(self._program.module, found.image_shape)
        files.check_names(network.names, weights, file)
        put_weights(self._program.module, network, weights)
        self._loaded = (file, scaling)
        self._note(files.note(file))

    def _take(self, engine: Engine, file: Any, weights: dict[str, NDArray[Any]]) -> None:
        if files.note(file) is None or self._program.optimizer is None:
            engine.trainer.load_state_dict(weights)
        else:
            engine.trainer.load_checkpoint(file)

    def _note(self, note: dict[str, Any] | None) -> None:
        """Takes over how far training had come."""
        if note is not None and self._program.optimizer is not None:
            self._progress = Progress(note["epoch"], note["iteration"], float("nan"), None, False)
            self._scheduler.restore(note["scheduler"])
            self._position = Position.of(note["position"]) if "position" in note else None

    def load_orca_checkpoint(
        self, path: str | os.PathLike[str], version: int | None = None, prefix: str | None = None
    ) -> None:
        """Loads a checkpoint of a directory: that after ``version`` steps, or the latest; ``prefix`` is that of its name,
        ``model`` where nothing else is said."""
        self.load(files.find_checkpoint(files.local(path, "load_orca_checkpoint"), version, prefix or "model"))

    def set_constant_gradient_clipping(self, min: float, max: float) -> None:
        """Has gradients cut to ± ``max``, from the next step on."""
        if not isinstance(max, (int, float)) or max <= 0 or min != -max:
            raise ValueError(f"clipping: found {min!r} to {max!r}: expected a number above 0, and its negative")
        self._program.clipping = {"clip_value": float(max)}

    def set_l2_norm_gradient_clipping(self, clip_norm: float) -> None:
        """Has the whole gradient scaled down to this norm, from the next step on."""
        if not isinstance(clip_norm, (int, float)) or not clip_norm > 0:
            raise ValueError(f"clipping: found {clip_norm!r}: expected a number above 0")
        self._program.clipping = {"clip_norm": float(clip_norm)}

    def clear_gradient_clipping(self) -> None:
        """Has gradients left as they are, from the next step on."""
        self._program.clipping = {}

    def shutdown(self, force: bool = False) -> None:
        """Ends the ranks, if there are any; none is so busy that ``force`` would be needed."""
        if self._engine is not None and hasattr(self._engine.trainer, "close"):
            self._engine.trainer.close()

    @property
    def recipe(self) -> str:
        """The recipe of the program as TOML, once it has seen data."""
        return self._running().trainer.recipe

    def _checkpoint(self) -> None:
        assert self._directory is not None, "fit asks for it"
        self._directory.mkdir(parents=True, exist_ok=True)
        self.save(files.checkpoint(self._directory, self._progress.iteration))

    @property
    def _scaling(self) -> Scaling | None:
        return None if self._engine is None else self._engine.scaling

    def _running(self) -> Engine:
        if self._engine is None:
            raise ValueError("the estimator has seen no data yet: expected a call of fit first")
        return self._engine

    def _started(self, batch: Batch, data: Batches) -> Engine:
        if self._engine is None:
            ranks = context.ranks() if self._backend == "mpi" else None
            engine = self._start(batch, data, self._program, ranks)
            if self._loaded is not None:
                self._take(engine, self._loaded[0], Model.load(self._loaded[0]).state_dict())
            self._engine = engine
        return self._engine

    def _start(self, batch: Batch, data: Batches, program: Program, ranks: int | None = None) -> Engine:
        loaded = None if self._loaded is None else self._loaded[1]
        scaling = data.scaling(batch[0], self._program.config.get("normalize"), loaded)
        return Engine(program, batch, scaling, context.threads(), ranks)
