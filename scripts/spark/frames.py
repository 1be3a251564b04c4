"""Parquet, data frames and the estimator on the cluster of check.py, which runs this."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy" / "spark")]

from bobbin_spark import BobbinError, Columns, Estimator, Training, cluster  # noqa: E402

DATA = ROOT / "data" / "fashion-mnist"
CLASSES = tuple((DATA / "labels.txt").read_text().splitlines())
COLUMNS = Columns(classes=CLASSES)
MODEL = "model.safetensors"


def main() -> None:
    settings, home = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    spark = SparkSession.builder.config(map=settings).appName("check").getOrCreate()
    try:
        train, test = parquet(spark, home, "train"), parquet(spark, home, "t10k")
        same_weights(spark, home, train, test)
        estimator(spark, home, train, test)
        partitioned(spark, home, train, test)
        wrong_frames(spark, test)
        wrong_places(spark, home)
    finally:
        spark.stop()


def parquet(spark: SparkSession, home: Path, part: str) -> str:
    """A part of Fashion-MNIST as Parquet, its rows in disorder."""
    images = np.frombuffer(unpacked(f"{part}-images-idx3-ubyte")[16:], np.uint8).reshape(-1, 784)
    labels = np.frombuffer(unpacked(f"{part}-labels-idx1-ubyte")[8:], np.uint8)
    frame = pd.DataFrame({"id": range(len(labels)), "label": labels.astype(np.int32)})
    frame["image"] = [image.tobytes() for image in images]
    path = home / f"{part}.parquet"
    frame.sample(frac=1, random_state=1).to_parquet(path, row_group_size=10_000)
    return str(path)


def unpacked(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


def same_weights(spark: SparkSession, home: Path, train: str, test: str) -> None:
    """Rows of a data frame, ordered by id, train to what the IDX files train to on one machine."""
    arguments = ["--recipe", "fast", "--epochs", "1", "--out", str(home / "alone-1"), "--quiet"]
    subprocess.run([str(cluster.programs_directory() / "train"), *arguments], check=True)
    training = Training(recipe="fast", workers=3, columns=COLUMNS, out=str(home / "frame"))
    Estimator(spark, training).fit(spark.read.parquet(train).repartition(5), 1, test)
    alone, frame = ((home / run / MODEL).read_bytes() for run in ("alone-1", "frame"))
    assert alone == frame, "the weights from a data frame are not those from IDX files"
    print("   a data frame on 3 ranks: weights as of one process")


def estimator(spark: SparkSession, home: Path, train: str, test: str) -> None:
    """What an estimator finds out is what the programs find out."""
    training = Training(recipe="fast", workers=2, columns=COLUMNS)
    network = Estimator(spark, training)
    network.set_tensorboard(home / "logs", "fit")
    network.fit(train, epochs=1, validation_data=test)
    assert (home / "logs" / "fit" / "train").is_dir()
    steps = [step for step, _ in network.get_train_summary("Loss")]
    assert steps and steps == sorted(steps)
    top1 = network.get_validation_summary("Top1Accuracy")[-1][1]

    rows = spark.read.parquet(test).repartition(3)
    on_cluster, here = network.evaluate(rows), network.evaluate()
    assert on_cluster["images"] == 10_000 and on_cluster["top1"] == here["top1"] == top1
    assert abs(on_cluster["loss"] - here["loss"]) < 1e-9

    predicted = network.predict(rows)
    assert "MapInPandas" in predicted._jdf.queryExecution().toString()
    assert predicted.columns == [*rows.columns, "prediction"]
    right = predicted.where("prediction = label").count()
    assert right == round(10_000 * top1), f"{right} predictions are right, {top1} was measured"
    print(f"   fit, evaluate and predict agree: {right} of 10000 right")

    network.save(home / "saved" / "net.safetensors")
    again = Estimator(spark, training).load(home / "saved" / "net.safetensors")
    both = again.predict(rows.drop("label")).withColumnRenamed("prediction", "again")
    differing = both.join(predicted, "id").where("again <> prediction").count()
    assert differing == 0, f"{differing} predictions of the saved model are others"

    again.training = Training(workers=2, columns=COLUMNS, out=str(home / "more"))
    more = again.fit(train, epochs=1, validation_data=test).evaluate(rows)
    print(f"   a second epoch from the saved weights: {on_cluster['top1']} → {more['top1']}")
    assert more["loss"] < on_cluster["loss"]


def partitioned(spark: SparkSession, home: Path, train: str, test: str) -> None:
    """Each worker has rows of its own: the same weights again, by the same partitioning."""
    models = []
    for attempt in ("first", "second"):
        out = home / f"partitioned-{attempt}"
        training = Training(
            recipe="fast", workers=2, placement="partitioned", columns=COLUMNS, out=str(out)
        )
        network = Estimator(spark, training).fit(train, epochs=4, validation_data=test)
        models.append((out / MODEL).read_bytes())
    top1 = network.get_validation_summary("Top1Accuracy")[-1][1]
    assert models[0] == models[1], "another run of the same partitions has other weights"
    assert models[0] != (home / "frame" / MODEL).read_bytes()
    assert top1 > 0.87
    print(f"   partitioned: {top1} after 4 epochs, and the same weights again")


def wrong_frames(spark: SparkSession, test: str) -> None:
    """One message each, that names the column."""
    rows = spark.read.parquet(test).limit(100)
    network = Estimator(spark, Training(columns=COLUMNS))
    fit = network.fit
    shorter = F.when(F.col("id") % 7 == 3, F.expr("substring(image, 1, 700)")).otherwise(F.col("image"))
    nothing = F.when(F.col("id") % 7 != 3, F.col("image"))
    cases: list[tuple[str, Callable[[], object]]] = [
        (r"no column `image` .*found id: ", lambda: fit(rows.drop("image"))),
        (r"no column `label` \(a whole number\)", lambda: fit(rows.drop("label"))),
        (r"no column `id`", lambda: fit(rows.drop("id"))),
        (r"`label`: found string", lambda: fit(with_column(rows, "label", F.lit("bag")))),
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
        ]
    )
    assert (taken / "thesis.txt").read_text() == "all of it"


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


def fit_shape(spark: SparkSession, rows: DataFrame) -> None:
    Estimator(spark, Training(columns=Columns(shape=(10, 100, 1)))).fit(rows)


if __name__ == "__main__":
    main()
