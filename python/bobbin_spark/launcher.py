"""Training on Spark: from a recipe, data and a number of workers to a run directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyspark import SparkContext
from pyspark.sql import SparkSession

from . import cluster, task
from .attempts import run_together
from .bundle import Bundle
from .channel import Listener
from .data import Data, Source, idx_directory
from .hadoop import is_address
from .job import Job
from .outcome import Trained
from .paths import local
from .progress import Progress
from .recipe import Recipe
from .remote import RemoteRun
from .training import PARTITIONED, REPLICATED, Training


def train(
    spark: SparkSession,
    training: Training,
    train_data: Data | None = None,
    validation_data: Data | None = None,
) -> tuple[Path, Trained]:
    """Trains on the cluster; returns the run directory and what the leader said.

    Replicated, every worker has the whole set, and the weights are those of one machine. Partitioned,
    each has the rows of one partition and shuffles within it: the weights depend on the partitioning.
    Without data it is the directory that the recipe names, or the Fashion-MNIST that comes with Bobbin;
    without images to validate on a data frame is not validated, unless the recipe or the arguments hold
    some out. Where the driver does not see the directory that the executors wrote, the files of the run,
    but for its checkpoints, are copied.
    """
    training.check()
    context = cluster.context_of(spark)
    cluster.require_slots(context, training.workers)
    remote = _remote(context, training)
    recipe = Recipe(training, context, None if remote is None else remote.copy)
    if train_data is None and training.placement == REPLICATED:
        train_data = recipe.directory()
    framed = idx_directory(train_data) is None
    cluster.send_package(context)
    bundle = Bundle(context, ["train"])
    listener = Listener(context)
    try:
        job = _job(training, recipe, bundle, remote)
        job = replace(job, framed=framed, threads=cluster.threads_per_task(context), port=listener.port)
        if framed and validation_data is None and not recipe.holds_out():
            job = replace(job, train=[*job.train, "--validation", "none"])
        source = Source(spark, training.workers, bundle, training.columns)
        if training.placement == PARTITIONED:
            rows, columns = source.part(train_data, validation_data)
            job = replace(job, columns=columns)
        else:
            job = replace(job, data=source.place(train_data, validation_data))
            rows = None
        bundle.send()
        progress = Progress(context, recipe.name, listener, remote, training.verbose)
        rows_of = lambda count: rows if rows is not None else context.parallelize(range(count), count)  # noqa: E731
        outcome = run_together(context, rows_of, training.workers, job, task.run, progress)
    finally:
        listener.close()
        bundle.empty()
    out = Path(job.out)
    _copy(outcome, out)
    return out, outcome


def _remote(context: SparkContext, training: Training) -> RemoteRun | None:
    """The run at an address, if it is to be at one."""
    given = training.resume or training.out
    if not is_address(given):
        return None
    assert given is not None
    remote = RemoteRun(context, given)
    if training.resume is not None:
        remote.resume()
    else:
        remote.begin(training.force)
    return remote


def _job(training: Training, recipe: Recipe, bundle: Bundle, remote: RemoteRun | None) -> Job:
    """The job but for its data."""
    name = training.recipe
    if training.resume is None and recipe.file is not None:
        name = bundle.add(recipe.file, "recipe.toml")
    arguments = ["--recipe", name, *training.arguments]
    if (weights := recipe.weights()) is not None:
        arguments += ["--init", bundle.add(weights, f"init{weights.suffix}")]
    given = training.resume or training.out
    out = remote.copy if remote is not None else local(given, "--out") if given else _numbered(Path(training.recipe).stem)
    return Job(
        bundle=bundle.name,
        train=arguments,
        data=None,
        out=str(out.absolute()),
        threads=1,
        resume=training.resume is not None,
        # What was at an address is gone already.
        force=training.force and remote is None,
        remote=given if remote is not None else None,
    )


def _numbered(name: str) -> Path:
    number = 1
    while (path := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return path


def _copy(outcome: Trained, out: Path) -> None:
    """Writes what the driver does not see, or sees of an older run, as the executors have it."""
    for name, contents in outcome.files.items():
        path = out / name
        if not path.is_file() or path.read_bytes() != contents:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(contents)
            part.rename(path)
    for events in out.rglob("events.out.tfevents.*"):
        if str(events.relative_to(out)) not in outcome.files:
            events.unlink()
