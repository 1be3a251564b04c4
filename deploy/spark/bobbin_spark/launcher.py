"""Training on Spark: from a recipe, data and a number of workers to a run directory."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from . import cluster, data, task
from .columns import Columns
from .errors import BobbinError

REPLICATED = "replicated"
PARTITIONED = "partitioned"
BUNDLED = Path(__file__).resolve().parents[3] / "data" / "fashion-mnist"


@dataclass(frozen=True)
class Training:
    """What to train, as the flags of ``train`` say it."""

    recipe: str = "fast"
    """A shipped recipe or a TOML file."""
    workers: int = 2
    """Ranks, of which each is a Spark task."""
    placement: str = REPLICATED
    """Whether every worker holds the whole set, or each its own part."""
    arguments: Sequence[str] = ()
    """More flags of ``train``."""
    init: str | None = None
    """A safetensors file to start from."""
    out: str | None = None
    """The run directory, by default ``runs/RECIPE-NUMBER`` here."""
    resume: str | None = None
    """A run directory whose run is to go on."""
    force: bool = False
    """Whether a run in ``out`` may be replaced."""
    columns: Columns = Columns()
    """Of data frames."""


def train(
    spark: SparkSession,
    training: Training,
    train_data: data.Data | None = None,
    validation_data: data.Data | None = None,
) -> tuple[Path, task.Outcome]:
    """Trains on the cluster; returns the run directory and what the leader said.

    Replicated, every worker has the whole set, and the weights are those of one machine. Partitioned,
    each has the rows of one partition and shuffles within it: the weights depend on the partitioning.
    Without data it is the directory that the recipe names, or the Fashion-MNIST that comes with Bobbin;
    without images to validate on a data frame is not validated, unless the recipe or the arguments hold
    some out. Where the driver does not see the directory that the executors wrote, the files of the run,
    but for its checkpoints, are copied.
    """
    _check(training)
    context = cluster.context_of(spark)
    cluster.require_slots(context, training.workers)
    recipe = _Recipe(training)
    if train_data is None and training.placement == REPLICATED:
        train_data = recipe.directory()
    framed = data.idx_directory(train_data) is None
    cluster.send_package(context)
    bundle = cluster.Bundle(context, ["train"])
    try:
        job = _job(training, recipe, bundle)
        job = replace(job, framed=framed, threads=cluster.threads_per_task(context))
        if framed and validation_data is None and not recipe.holds_out():
            job = replace(job, train=[*job.train, "--validation", "none"])
        source = data.Source(spark, training.workers, bundle, training.columns)
        if training.placement == PARTITIONED:
            rows = source.part(train_data, validation_data)
            job = replace(job, columns=training.columns)
        else:
            job = replace(job, data=source.place(train_data, validation_data))
            rows = context.parallelize(range(training.workers), training.workers)
        bundle.send()
        outcome = cluster.run_together(context, rows, job, task.run)
    finally:
        bundle.empty()
    if outcome.problem is not None:
        raise BobbinError(outcome.problem, outcome.code)
    out = Path(job.out)
    _copy(outcome, out)
    return out, outcome


def _check(training: Training) -> None:
    """Whether that can be asked for at all."""
    placements = (REPLICATED, PARTITIONED)
    if training.placement not in placements:
        raise BobbinError(
            f"--placement: found {training.placement}, expected {' or '.join(placements)}", 2
        )
    if not isinstance(training.workers, int) or training.workers < 1:
        raise BobbinError(f"--workers: found {training.workers}, expected at least 1", 2)
    if training.resume is not None:
        for flag, given in (("--out", training.out), ("--force", training.force)):
            if given:
                raise BobbinError(f"{flag}: not with --resume, which goes on where the run is", 2)
    if any(text.removeprefix("--set=").startswith("data.directory") for text in training.arguments):
        raise BobbinError("--set data.directory: on Spark the data are said by --data", 2)


class _Recipe:
    """What the driver has to know of the recipe: which files it names, that are sent to the executors."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self.file: Path | None = None
        if training.resume is not None:
            self.file = Path(training.resume) / "recipe.toml"
        elif Path(training.recipe).suffix == ".toml":
            self.file = Path(training.recipe)
            if not self.file.is_file():
                raise BobbinError(f"--recipe: {self.file}: no such file", 2)
        # What is wrong with a recipe the program says better.
        try:
            text = self.file.read_text() if self.file is not None and self.file.is_file() else ""
            self._fields: dict[str, Any] = tomllib.loads(text)
        except (OSError, ValueError):
            self._fields = {}

    def directory(self) -> Path:
        """Of the data that it is for."""
        found = self._get("data", "directory")
        if found is None:
            return BUNDLED
        if (directory := data.idx_directory(str(found))) is None:
            raise BobbinError(
                f"{self.file}: `data.directory` is {found}, where there are no IDX files: expected --data"
            )
        return directory

    def weights(self) -> str | None:
        """The file to start from, if not at random."""
        found = self._training.init
        if found is None and self._training.resume is None:
            found = self._get("model", "weights")
        if found is not None and not Path(found).exists():
            raise BobbinError(f"--init: {found}: no such file: expected weights to start from")
        return found

    def holds_out(self) -> bool:
        """Whether someone has said on what to validate; of a run that goes on it has been."""
        said = any(
            text.removeprefix("--set=").startswith(("--validation", "data.validation"))
            for text in self._training.arguments
        )
        own = self._get("data", "validation")
        return said or self._training.resume is not None or own not in (None, "test")

    def _get(self, table: str, field: str) -> Any:
        fields = self._fields.get(table)
        return fields.get(field) if isinstance(fields, dict) else None


def _job(training: Training, recipe: _Recipe, bundle: cluster.Bundle) -> task.Job:
    """The job but for its data."""
    name = training.recipe
    if training.resume is None and recipe.file is not None:
        name = bundle.add(recipe.file, "recipe.toml")
    arguments = ["--recipe", name, *training.arguments]
    if (weights := recipe.weights()) is not None:
        arguments += ["--init", bundle.add(weights, "init.safetensors")]
    out = training.resume or training.out or _numbered(Path(training.recipe).stem)
    return task.Job(
        bundle=bundle.name,
        train=arguments,
        data=None,
        out=str(Path(out).absolute()),
        threads=1,
        resume=training.resume is not None,
        force=training.force,
    )


def _numbered(name: str) -> Path:
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


def _copy(outcome: task.Outcome, out: Path) -> None:
    """Writes what the driver does not see, or sees of an older run, as the executors have it."""
    for name, contents in outcome.files.items():
        path = out / name
        if not path.is_file() or path.read_bytes() != contents:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(contents)
            part.rename(path)
    for events in out.glob("*/events.out.tfevents.*"):
        if str(events.relative_to(out)) not in outcome.files:
            events.unlink()
