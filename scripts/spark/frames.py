"""Parquet, data frames and the estimator on the cluster of check.py, which runs this."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "python"))

from bobbin_spark import BobbinError, Columns, Estimator, Training, idx  # noqa: E402
from bobbin_spark.bundle import programs_directory  # noqa: E402
from bobbin_spark.ending import Failure, failure_in  # noqa: E402
from bobbin_spark.job import Job  # noqa: E402
from bobbin_spark.outcome import Lost, Trained  # noqa: E402
from bobbin_spark.place import RunPlace  # noqa: E402
from bobbin_spark.words import in_words  # noqa: E402
from cluster import executors, kill, wait_for  # noqa: E402
from fashion import CLASSES, parquet, pixels  # noqa: E402
from inputs import inputs  # noqa: E402
from label_sets import label_sets  # noqa: E402

COLUMNS = Columns(classes=CLASSES)
MODEL = "model.safetensors"


def main() -> None:
    settings, home = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    spark = SparkSession.builder.config(map=settings).appName("check").getOrCreate()
    try:
        train, test = parquet(home, "train"), parquet(home, "t10k")
        same_weights(spark, home, train, test)
        own_recipe(spark, home)
        estimator(spark, home, train, test)
        other_columns(spark, home, test)
        partitioned(spark, home, train, test)
        wrong_frames(spark, test)
        wrong_places(spark, home)
        inputs(spark, home)
        label_sets(spark, home)
        an_old_run(home)
        failures(home)
    finally:
        spark.stop()


def same_weights(spark: SparkSession, home: Path, train: str, test: str) -> None:
    """Rows of a data frame, ordered by id, train to what the IDX files train to on one machine."""
    arguments = ["--recipe", "fast", "--epochs", "1", "--out", str(home / "alone-1"), "--quiet"]
    subprocess.run([str(programs_directory() / "train"), *arguments], check=True)
    training = Training(recipe="fast", workers=3, columns=COLUMNS, out=str(home / "frame"))
    Estimator(spark, training).fit(spark.read.parquet(train).repartition(5), 1, test)
    alone, frame = ((home / run / MODEL).read_bytes() for run in ("alone-1", "frame"))
    assert alone == frame, "the weights from a data frame are not those from IDX files"
    print("   a data frame on 3 ranks: weights as of one process")


def own_recipe(spark: SparkSession, home: Path) -> None:
    """The data are those that a recipe names, here some of 14 × 14 pixels."""
    directory, recipe = home / "a set", home / "own.toml"
    directory.mkdir()
    for part, count in ((idx.TRAIN, 600), (idx.TEST, 100)):
        images, labels = pixels(part)
        writer = idx.IdxWriter(directory, part, (14, 14, 1))
        writer.write(images[:count].reshape(-1, 28, 28)[:, ::2, ::2].tobytes(), labels[:count].tobytes())
        writer.close()
    recipe.write_text(
        f'model.layers = [{{ kind = "flatten" }}, {{ kind = "linear" }}]\n'
        f'data.directory = "{directory}"\nstop.epochs = 1\n'
    )
    alone, out = home / "own-alone", home / "own"
    command = [programs_directory() / "train", "--recipe", recipe, "--out", alone, "--quiet"]
    subprocess.run(list(map(str, command)), check=True)
    Estimator(spark, Training(recipe=str(recipe), out=str(out))).fit()
    assert (out / MODEL).read_bytes() == (alone / MODEL).read_bytes(), "it is not trained on its data"


def estimator(spark: SparkSession, home: Path, train: str, test: str) -> None:
    """What an estimator finds out is what the programs find out."""
    training = Training(recipe="fast", workers=2, columns=COLUMNS)
    network = Estimator(spark, training)
    network.set_tensorboard(home / "logs", "fit")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        network.fit(train, epochs=1, validation_data=test)
    assert printed.getvalue().count("epoch 1/1  loss ") == 1, printed.getvalue()
    assert (home / "logs" / "fit" / "train").is_dir()
    losses = network.get_train_summary("Loss")
    assert losses.shape == (469, 3) and list(losses[:, 0]) == list(range(1, 470))
    lines = (home / "logs" / "fit" / "metrics.jsonl").read_text().splitlines()
    progress = [line for line in map(json.loads, lines) if line["event"] == "progress"]
    for line in progress:
        assert abs(losses[line["step"] - 1, 1] - line["loss"]) < 1e-6
    top1 = network.get_validation_summary("Top1Accuracy")[-1, 1]
    # An executor that comes later has to be given what all jobs before were.
    before = set(executors())
    kill(min(before))
    wait_for("another executor", lambda: len(set(executors()) - before) == 1)

    rows = spark.read.parquet(test).repartition(8)
    on_cluster, here = network.evaluate(rows), network.evaluate()
    assert on_cluster["images"] == 10_000 and on_cluster["top1"] == here["top1"] == top1
    assert abs(on_cluster["loss"] - here["loss"]) < 1e-9

    predicted = network.predict(rows)
    assert "MapInArrow" in predicted._jdf.queryExecution().toString()
    assert predicted.columns == [*rows.columns, "prediction"]
    right = predicted.where("prediction = label").count()
    assert right == round(10_000 * top1), f"{right} predictions are right, {top1} was measured"
    print(f"   fit, evaluate and predict agree: {right} of 10000 right")

    network.save(home / "saved" / "net.safetensors")
    again = Estimator(spark, training).load(home / "saved" / "net.safetensors")
    both = again.predict(rows.drop("label")).withColumnRenamed("prediction", "again")
    differing = both.join(predicted, "id").where("again <> prediction").count()
    assert differing == 0, f"{differing} predictions of the saved model are others"

    again.set_tensorboard(home / "logs", "fit")
    more = again.fit(train, epochs=1, validation_data=test).evaluate(rows)
    print(f"   a second epoch from the saved weights: {on_cluster['top1']} → {more['top1']}")
    assert more["loss"] < on_cluster["loss"]
    assert again.run_directory == home / "logs" / "fit-2" and (again.run_directory / "train").is_dir()


def other_columns(spark: SparkSession, home: Path, test: str) -> None:
    """`predict` leaves them as they are, whatever is in them and whatever they are called."""
    odd = [
        "if(id % 2 = 0, double('NaN'), null) as `a.b`",
        "if(id % 2 = 0, 1152921504606846977, null) as n",
        "timestamp'0001-01-01 00:00:00' as early",
        "array(1, null) as n",
    ]
    frame = spark.read.parquet(test).limit(100).selectExpr("*", *odd)
    network = Estimator(spark, Training(columns=COLUMNS)).load(home / "saved" / "net.safetensors")
    predicted = network.predict(frame)
    assert predicted.columns == [*frame.columns, "prediction"]

    def text(frame: DataFrame) -> list[str]:
        numbered = frame.toDF(*map(str, range(len(frame.columns))))
        return sorted(row[0] for row in numbered.selectExpr("to_json(struct(*))").collect())

    assert text(predicted.drop("prediction")) == text(frame), "columns have changed"
    small = frame.withColumn("image", F.expr("substring(image, 1, 400)"))
    expect([(r"images of 400 bytes, expected 784, those of 28×28×1", lambda: network.predict(small))])


def partitioned(spark: SparkSession, home: Path, train: str, test: str) -> None:
    """Each worker has rows of its own: the same weights again, however the rows arrive."""
    models = []
    for partitions in (3, 5):
        out = home / f"partitioned-{partitions}"
        training = Training(
            recipe="fast", workers=2, placement="partitioned", columns=COLUMNS, out=str(out)
        )
        frame = spark.read.parquet(train).repartition(partitions)
        network = Estimator(spark, training).fit(frame, epochs=3, validation_data=test)
        models.append((out / MODEL).read_bytes())
    top1 = network.get_validation_summary("Top1Accuracy")[-1, 1]
    assert models[0] == models[1], "another run of the same partitions has other weights"
    assert models[0] != (home / "frame" / MODEL).read_bytes()
    assert top1 > 0.86
    print(f"   partitioned: {top1} after 3 epochs, and the same weights again")


def wrong_frames(spark: SparkSession, test: str) -> None:
    """One message each, that names the column."""
    rows = spark.read.parquet(test).limit(100)
    network = Estimator(spark, Training(columns=COLUMNS))
    fit = network.fit
    shorter = F.when(F.col("id") % 7 == 3, F.expr("substring(image, 1, 700)")).otherwise(F.col("image"))
    nothing = F.when(F.col("id") % 7 != 3, F.col("image"))
    missing = F.when(F.col("id") % 7 != 3, F.col("id"))
    gap = F.expr("transform(sequence(1, 784), i -> if(i = 300 and id % 7 = 3, null, i % 256))")
    parts = Estimator(spark, Training(columns=COLUMNS, placement="partitioned")).fit
    doubled = rows.union(rows.withColumn("id", F.col("id") + 0))
    cases: list[tuple[str, Callable[[], object]]] = [
        (r"`id`: a row without a value", lambda: fit(with_column(rows, "id", missing))),
        (r"`id` \d+: an array in which values are", lambda: fit(with_column(rows, "image", gap))),
        (r"two columns `label`", lambda: fit(rows.select("*", F.col("label")))),
        (r"`id`: found map", lambda: fit(with_column(rows, "id", F.create_map("id", "id")))),
        (r"a pandas.*: expected a data frame of Spark", lambda: fit(rows.limit(1).toPandas())),
        (r"`id`: \d+ is there twice", lambda: parts(doubled)),
        (r"no rows", lambda: parts(rows.where("id < 0"))),
        (r"labels to validate on: found label \d .* as in labels to train on", lambda: few(spark, rows)),
        (r"no column `image` .*found id: ", lambda: fit(rows.drop("image"))),
        (r"no column `label` \(the number or the name of", lambda: fit(rows.drop("label"))),
        (r"no column `key`", lambda: Estimator(spark, Training(columns=Columns(id="key"))).fit(rows)),
        (r"`label`: found date", lambda: fit(with_column(rows, "label", F.current_date()))),
        (r"`image`: found double", lambda: fit(with_column(rows, "image", F.lit(0.5)))),
        (r"row with `id` \d+: 7\d\d bytes", lambda: fit(with_column(rows, "image", shorter))),
        (r"row with `id` \d+: nothing", lambda: fit(with_column(rows, "image", nothing))),
        (r"`label`, row with `id` \d+: found 999", lambda: fit(with_column(rows, "label", F.lit(999)))),
        (r"`id`: \d+ is there twice", lambda: fit(rows.union(rows))),
        (r"no rows", lambda: fit(rows.where("id < 0"))),
        (r"expected 1000, those of 10×100×1", lambda: fit_shape(spark, rows)),
        (r"there is no model yet", lambda: network.predict(rows)),
        (r"tag: found loss, expected one of Loss", lambda: network.get_train_summary("loss")),
    ]
    expect(cases)


def wrong_places(spark: SparkSession, home: Path) -> None:
    """One message each, that names the place."""

    def fit(data: str | None = None, **training: Any) -> Callable[[], object]:
        return lambda: Estimator(spark, Training(**training)).fit(data)

    taken = home / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("all of it")
    expect(
        [
            (r"taken: exists and is not empty", fit(out=str(taken))),
            (r"nothing: neither a directory of IDX files nor Parquet", fit(str(home / "nothing"))),
            (r"--placement: found near, expected replicated or part", fit(placement="near")),
            (r"--placement partitioned: found no --data", fit(placement="partitioned")),
            (r"--workers: found 0, expected at least 1", fit(workers=0)),
            (r"none.toml: no such file", fit(recipe=str(home / "none.toml"))),
            (r"--init: .*none.safetensors: no such", fit(init=str(home / "none.safetensors"))),
            (r"--out: not with --resume", fit(resume=str(taken), out=str(home / "new"))),
            (r"set data.directory: .* --data", fit(arguments=["--set", "data.directory='x'"])),
        ]
    )
    assert (taken / "thesis.txt").read_text() == "all of it"


def an_old_run(home: Path) -> None:
    """A second attempt does not go on with the run that the job was to replace."""
    out = home / "old"
    (out / "checkpoints").mkdir(parents=True)
    (out / "checkpoints" / "step-0000000007.safetensors").write_bytes(b"")
    (out / "recipe.toml").write_text("")
    job = Job(bundle="b", train=[], data=None, out=str(out), threads=1, force=True)
    RunPlace(job).check()
    second = RunPlace(replace(job, attempt=1))
    second.settle(Lost("a rank"))
    second.settle(None)
    assert second.last_step() == -1, "the old run would go on"
    (out / "recipe.new").write_text("")
    (out / "recipe.new").rename(out / "recipe.toml")
    assert second.last_step() == 7
    second.settle(Trained(""))
    assert sorted(file.name for file in out.iterdir()) == ["checkpoints", "recipe.toml"]


def failures(home: Path) -> None:
    """What is worth another attempt is the kind's to say, whatever is in the message; and the files that
    were made of a data frame are called what they were made of."""
    file = home / "failure.json"
    assert failure_in(file) is None, "a rank that has said nothing"
    for kind, again in {"rank-lost": True, "interrupted": True, "data": False, "other": False}.items():
        message = "rank 1 of 2, at step 3: waited 60 s for the other ranks"
        file.write_text(json.dumps({"event": "error", "kind": kind, "message": message, "exit": 1}))
        failure = failure_in(file)
        assert failure == Failure(kind, message, 1) and failure.is_passing() == again, kind
    told = Failure("data", "rank 1 of 2: /b/data/train-images-idx3-ubyte: as in /a/data", 1)
    assert in_words(told, ["/a/data", "/b/data"]) == "rank 1 of 2: images to train on: as in data frame"
    told = Failure("other-data", "step-7: not those that the run began with: /a/data", 1)
    words = "began with: data frame: expected the same rows, --placement and, if partitioned, --workers"
    assert in_words(told, ["/a/data"]).endswith(words)
    told = Failure("no-test-set", "/a/data: found no test set", 1)
    assert in_words(told, ["/a/data"]).startswith("no images to validate on: expected --validation-data")


def expect(cases: list[tuple[str, Callable[[], object]]]) -> None:
    """That each call fails with a message that says this."""
    for says, call in cases:
        try:
            call()
        except BobbinError as error:
            assert re.search(says, str(error)), f"expected {says}: {error}"
            print(f"   {error}")
        else:
            raise AssertionError(f"expected an error that says {says}")


def with_column(rows: DataFrame, name: str, column: object) -> DataFrame:
    return rows.withColumn(name, column)


def few(spark: SparkSession, rows: DataFrame) -> object:
    """Labels to validate on that training has none of."""
    return Estimator(spark, Training()).fit(rows.where("label < 5"), 1, rows)


def fit_shape(spark: SparkSession, rows: DataFrame) -> None:
    Estimator(spark, Training(columns=Columns(shape=(10, 100, 1)))).fit(rows)


if __name__ == "__main__":
    main()
