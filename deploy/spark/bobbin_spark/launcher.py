"""Training on Spark: from a recipe, data and a number of workers to a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import SparkSession

from . import cluster, data, task
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
    columns: data.Columns = data.Columns()
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
    Without data it is the Fashion-MNIST that comes with Bobbin. Where the driver does not see the
    directory that the executors wrote, the files of the run, but for its checkpoints, are copied.
    """
    if training.placement not in (REPLICATED, PARTITIONED):
        raise BobbinError(
            f"--placement: found {training.placement}, expected {REPLICATED} or {PARTITIONED}"
        )
    if training.workers < 1:
        raise BobbinError(f"--workers: found {training.workers}, expected at least 1")
    context = cluster.context_of(spark)
    cluster.require_slots(context, training.workers)
    cluster.send_package(context)
    bundle = cluster.Bundle(["train"])
    try:
        job = _job(training, bundle, cluster.threads_per_task(context))
        source = data.Source(spark, training.workers, bundle, training.columns)
        if training.placement == PARTITIONED:
            rows = source.part(train_data, validation_data)
            job = replace(job, columns=training.columns)
        else:
            job = replace(job, data=source.place(train_data or str(BUNDLED), validation_data))
            rows = context.parallelize(range(training.workers), training.workers)
        bundle.send(context)
        outcome = cluster.run_together(context, rows, job, task.run)
    finally:
        bundle.empty()
    if outcome.problem is not None:
        raise BobbinError(outcome.problem)
    out = Path(job.out)
    _copy(outcome, out)
    return out, outcome


def _job(training: Training, bundle: cluster.Bundle, threads: int) -> task.Job:
    recipe = training.recipe
    if Path(recipe).suffix == ".toml":
        if not Path(recipe).is_file():
            raise BobbinError(f"--recipe: {recipe}: no such file")
        recipe = bundle.add(recipe, "recipe.toml")
    arguments = ["--recipe", recipe, *training.arguments]
    if training.init is not None:
        arguments += ["--init", bundle.add(training.init, "init.safetensors")]
    out = training.resume or training.out or _numbered(Path(training.recipe).stem)
    return task.Job(
        bundle=bundle.name,
        train=arguments,
        data=None,
        out=str(Path(out).absolute()),
        threads=threads,
        resume=training.resume is not None,
        force=training.force,
    )


def _numbered(name: str) -> Path:
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


def _copy(outcome: task.Outcome, out: Path) -> None:
    """Writes what the driver does not see."""
    for name, contents in outcome.files.items():
        path = out / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(contents)
            part.rename(path)
