"""Images with several labels, or none, as data frames have them; and a run whose checkpoints are gone: run by frames.py."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bobbin_spark import BobbinError, Columns, Estimator, Training
from bobbin_spark.bundle import programs_directory
from bobbin_spark.errors import NoCheckpoint
from bobbin_spark.pictures import png
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

MODEL = "model.safetensors"
_COUNT, _SHAPE = 80, (12, 12, 3)
_NAMES = ("blue", "green", "red", "white")
_RECIPE = """
model = { layers = [{ kind = "flatten" }, { kind = "linear" }], loss = "bce" }
data = { batch_size = 16, validation = "none" }
optimizer.lr = 0.01
stop.epochs = 2
"""


def label_sets(spark: SparkSession, home: Path) -> None:
    """All of this module."""
    place = home / "label-sets"
    place.mkdir()
    (place / "bce.toml").write_text(_RECIPE)
    frame = imported(spark, place)
    training = Training(recipe=str(place / "bce.toml"), columns=Columns(shape=_SHAPE, classes=_NAMES), verbose=False)
    network = same_weights(spark, place, frame, training)
    answers(place, frame, network)
    partitioned(spark, place, frame, training)
    gone(spark, place, frame, training)
    wrong_labels(spark, frame, training)


def imported(spark: SparkSession, place: Path) -> DataFrame:
    """Pictures with any of four labels, and a table of them: what `import` makes of that, and the same rows as a frame."""
    chance = np.random.default_rng(2)
    sets = chance.integers(0, 2, (_COUNT, len(_NAMES)))
    lines, files = ["path,labels"], {}
    for number, has in enumerate(sets):
        image = chance.integers(0, 150, _SHAPE, np.uint8)
        image[:, ::3] += (90 * has).astype(np.uint8)[None, :, None]
        files[f"{number}.png"] = png(image.tobytes(), _SHAPE)
        (place / f"{number}.png").write_bytes(files[f"{number}.png"])
        lines.append(f"{number}.png," + ";".join(name for name, one in zip(_NAMES, has, strict=True) if one))
    (place / "table.csv").write_text("\n".join(lines))
    command = [programs_directory() / "import", place / "table.csv", "--out", place / "data", "--test-fraction", "0"]
    subprocess.run([*map(str, command), "--size", "12"], check=True, stdout=subprocess.DEVNULL)
    assert (place / "data" / "labels.txt").read_text().split() == list(_NAMES)
    # In the order that `import` has given them.
    order = [Path(name).name for name in (place / "data" / "train-names.txt").read_text().splitlines()]
    rows = [(i, bytearray(files[name]), sets[int(Path(name).stem)].tolist()) for i, name in enumerate(order)]
    return spark.createDataFrame(rows, "id int, image binary, label array<int>").repartition(3)


def same_weights(spark: SparkSession, place: Path, frame: DataFrame, training: Training) -> Estimator:
    """Arrays of 0 and 1 train to what the data set of `import` trains to in one process."""
    command = [programs_directory() / "train", "--recipe", place / "bce.toml", "--data", place / "data"]
    subprocess.run([*map(str, command), "--out", str(place / "alone"), "--quiet"], check=True)
    network = Estimator(spark, replace(training, out=str(place / "run"))).fit(frame)
    assert (place / "run" / MODEL).read_bytes() == (place / "alone" / MODEL).read_bytes(), "several labels: other weights"
    print("   several labels to an image: weights as of one process")
    return network


def answers(place: Path, frame: DataFrame, network: Estimator) -> None:
    """Scores and predictions are those of the programs."""
    said = program("evaluate", "--weights", place / "alone", "--data", place / "data", "--split", "train", "--json")[0]
    found = network.evaluate(frame.repartition(2))
    assert set(found) == {"images", "loss", "top1"} and found["images"] == _COUNT, found
    assert abs(found["loss"] - said["loss"]) < 1e-9 and abs(found["top1"] - said["top1"]) < 1e-9, (found, said)
    rows = network.predict(frame, ["outputs", "probabilities", "names"]).orderBy("id").collect()
    images = place / "data" / "train-images-idx4-ubyte"
    every = ("--index", f"0..{_COUNT - 1}", "--json", "--logits", "--top", "all", images)
    for row, line in zip(rows, program("predict", "--weights", place / "alone", *every), strict=True):
        assert row["outputs"] == [np.float32(value) for value in line["logits"]]
        probabilities = {answer["label"]: answer["probability"] for answer in line["predictions"]}
        assert row["probabilities"] == [probabilities[label] for label in range(len(_NAMES))]
        assert row["prediction"] == [int(probability > 0.5) for probability in row["probabilities"]]
        assert row["class_name"] == [name for name, one in zip(_NAMES, row["prediction"], strict=True) if one]
    print(f"   evaluate and predict agree with the programs: all labels right of {found['top1']:.0%}")


def program(name: str, *arguments: object) -> list[dict[str, Any]]:
    """The lines of JSON that a program prints."""
    command = [programs_directory() / name, *arguments]
    said = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def partitioned(spark: SparkSession, place: Path, frame: DataFrame, training: Training) -> None:
    """Each worker has rows of its own, here vectors; how many labels there are is seen in the first."""
    rows = frame.withColumn("label", array_to_vector(F.col("label").cast("array<double>")))
    own = replace(training, columns=Columns(shape=_SHAPE), placement="partitioned", out=str(place / "parts"))
    network = Estimator(spark, own).fit(rows)
    found = network.evaluate(frame)
    assert found["images"] == _COUNT and found["loss"] < 0.6 and (place / "parts" / MODEL).is_file(), found


def gone(spark: SparkSession, place: Path, frame: DataFrame, training: Training) -> None:
    """A run whose checkpoints are gone does not go on, be it with others or from its beginning."""
    shutil.rmtree(place / "run" / "checkpoints")
    resume = replace(training, resume=str(place / "run"), arguments=("--epochs", "5"))
    says(NoCheckpoint, "run: found no checkpoint to go on from", lambda: Estimator(spark, resume).fit(frame))


def wrong_labels(spark: SparkSession, frame: DataFrame, training: Training) -> None:
    """One message each, that names the column."""

    def fit(label: str, classes: tuple[str, ...] = ()) -> Any:
        rows = frame.withColumn("label", F.expr(label))
        own = replace(training, columns=Columns(shape=_SHAPE, classes=classes))
        return lambda: Estimator(spark, own).fit(rows)

    vector = F.when(F.col("id") != 3, array_to_vector(F.col("label").cast("array<double>")))
    vectors = frame.withColumn("label", vector)
    cases = [
        ("row with `id` 3: found nothing, expected 4 numbers", lambda: Estimator(spark, training).fit(vectors)),
        ("row with `id` 3: found nothing for label 1", fit("transform(label, (v, i) -> if(id = 3 and i = 1, null, v))")),
        ("numbers, expected 3 numbers", fit("label", ("a", "b", "c"))),
        ("`label`: found an array of 1 number, expected 2 or more", fit("slice(label, 1, 1)")),
        ("`label`: found array<string>, expected", fit("transform(label, v -> string(v))")),
    ]
    for words, call in cases:
        says(BobbinError, words, call)


def says(kind: type[BobbinError], words: str, call: Any) -> None:
    try:
        call()
    except kind as error:
        assert words in str(error) and "\n" not in str(error), f"expected {words}: {error}"
        print(f"   {error}")
    else:
        raise AssertionError(f"expected an error that says {words}")
