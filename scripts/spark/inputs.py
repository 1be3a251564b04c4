"""Images as data frames have them, files at addresses, and what else an estimator takes and gives: run by frames.py."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
from bobbin_spark import BobbinError, Classifier, Columns, Estimator, Training, idx
from bobbin_spark.bundle import programs_directory
from bobbin_spark.data import write_in_order
from bobbin_spark.forms import in_order, settled, with_classes
from bobbin_spark.pictures import png
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import SparseVector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

MODEL = "model.safetensors"
_SHAPE = (28, 28, 3)
_COUNT = 24
_RECIPE = """
model.layers = [{ kind = "flatten" }, { kind = "linear" }]
data.batch_size = 8
stop.epochs = 2
"""


def inputs(spark: SparkSession, home: Path) -> None:
    """All of this module."""
    folder, pixels = imported(home)
    forms(spark, home, folder, pixels)
    model = trained(spark, home, folder)
    outputs(spark, folder, model)
    state_dict(spark, home, folder, model)
    pipeline(spark, home, folder)
    addresses(spark, home)
    wrong_inputs(spark, folder)


def imported(home: Path) -> tuple[Path, list[bytes]]:
    """Pictures of two classes and many sizes, in colour; and what the program `import` makes of each."""
    chance = np.random.default_rng(1)
    folder = home / "pictures"
    for number in range(_COUNT):
        height, width = chance.integers(20, 40, 2)
        path = folder / ("Bag" if number % 3 else "Boot") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = chance.integers(0, 256, (height, width, 3), np.uint8)
        path.write_bytes(png(image.tobytes(), (int(height), int(width), 3)))
    out = home / "imported"
    command = [programs_directory() / "import", folder, "--out", out, "--test-fraction", "0"]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    images = images_of(out)
    names = (out / "train-names.txt").read_text().splitlines()
    return folder, [image for _, image in sorted(zip(names, images, strict=True))]


def images_of(directory: Path) -> list[bytes]:
    """The images of the IDX file that has channels."""
    content = (directory / "train-images-idx4-ubyte").read_bytes()[20:]
    length = int(np.prod(_SHAPE))
    return [content[place : place + length] for place in range(0, len(content), length)]


def files(spark: SparkSession, folder: Path) -> DataFrame:
    """The pictures as Spark's source `binaryFile` has them, with their class."""
    found = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(str(folder)).repartition(3)
    return found.withColumn("kind", F.element_at(F.split("path", "/"), -2))


def forms(spark: SparkSession, home: Path, folder: Path, pixels: list[bytes]) -> None:
    """Whatever the images are in, they have the bytes that `import` makes of the files."""
    frame = files(spark, folder)
    columns = Columns(image="content", label="kind", id="path")
    struct = frame.select("path", "kind", F.struct(F.col("content").alias("bytes"), "path").alias("content"))
    source = spark.read.format("image").load(f"{folder}/*/*.png").select(F.col("image").alias("content"))
    source = source.withColumn("path", F.col("content.origin")).withColumn("kind", F.element_at(F.split("path", "/"), -2))
    rows = [(f"{number:02}", "Bag", [value / 255 for value in image]) for number, image in enumerate(pixels)]
    floats = spark.createDataFrame(rows, "path string, kind string, content array<double>")
    vectors = floats.withColumn("content", array_to_vector("content"))
    rows = [(path, kind, sparse(np.array(values))) for path, kind, values in rows]
    sparse_vectors = spark.createDataFrame(rows, vectors.schema)
    whole = floats.withColumn("content", F.transform("content", lambda value: F.round(value * 255)))
    cases = {
        "binaryFile": frame, "struct<bytes,path>": struct, "image": source, "floats from 0 to 1": floats,
        "vectors": vectors, "sparse vectors": sparse_vectors, "pixel values": whole,
    }  # fmt: skip
    for name, case in cases.items():
        own = columns if name in ("binaryFile", "struct<bytes,path>") else replace(columns, shape=_SHAPE)
        directory = home / "forms" / name.replace("/", "")
        directory.mkdir(parents=True)
        write_in_order(case, with_classes(case, settled(case, own)), directory, idx.TRAIN)
        assert images_of(directory) == pixels, f"{name}: the pixels are not those of `import`"
    classes = with_classes(frame, columns)
    assert classes.classes == ("Bag", "Boot"), classes
    print(f"   {', '.join(cases)}: the bytes of `import`")


def sparse(values: np.ndarray) -> SparseVector:
    places = np.flatnonzero(values)
    return SparseVector(len(values), places, values[places])


def trained(spark: SparkSession, home: Path, folder: Path) -> Estimator:
    """Trained on pictures, the model is that of one process on what `import` has made of them, in the same order."""
    recipe = home / "pictures.toml"
    recipe.write_text(_RECIPE)
    directory, alone = home / "in-order", home / "in-order-alone"
    frame = files(spark, folder)
    directory.mkdir()
    columns = Columns(image="content", label="kind", id="path")
    write_in_order(frame, with_classes(frame, settled(frame, columns)), directory, idx.TRAIN)
    for name in ("labels.txt", "preparation.toml"):
        (directory / name).write_bytes((home / "imported" / name).read_bytes())
    command = [programs_directory() / "train", "--recipe", recipe, "--data", directory, "--validation", "none"]
    subprocess.run([*map(str, command), "--out", str(alone), "--quiet"], check=True)
    network = Estimator(spark, Training(recipe=str(recipe), columns=columns, out=str(home / "from-pictures"), verbose=False))
    network.fit(frame)
    assert (home / "from-pictures" / MODEL).read_bytes() == (alone / MODEL).read_bytes(), "pictures: other weights"
    # Without ids the order is that of the partitions, which is told; labels may be fractions.
    ordered = frame.orderBy("path").coalesce(1).select("content", F.expr("if(kind = 'Bag', 0.0D, 1.0D)").alias("kind"))
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        found, own = in_order(ordered, replace(columns, id=None, classes=("Bag", "Boot")))
        again = home / "without-ids"
        again.mkdir()
        write_in_order(found, settled(found, own), again, idx.TRAIN)
    assert "order is that of the partitions" in told.getvalue(), told.getvalue()
    for name in ("train-images-idx4-ubyte", "train-labels-idx1-ubyte"):
        assert (again / name).read_bytes() == (directory / name).read_bytes(), name
    return network


def outputs(spark: SparkSession, folder: Path, network: Estimator) -> None:
    """Outputs, probabilities and names belong together, and are those of the program."""
    frame = files(spark, folder)
    rows = network.predict(frame, ["outputs", "probabilities", "names"]).orderBy("path").collect()
    assert len(rows) == _COUNT
    command = [programs_directory() / "predict", "--weights", network.model_file(), "--json", "--logits", "--top", "all"]
    said = subprocess.run([*map(str, command), str(folder)], check=True, capture_output=True, text=True).stdout
    for row, line in zip(rows, map(json.loads, said.splitlines()), strict=True):
        assert row["path"].endswith(line["image"]), (row["path"], line["image"])
        assert row["outputs"] == [np.float32(value) for value in line["logits"]]
        first = line["predictions"][0]
        assert (row["prediction"], row["class_name"]) == (first["label"], first["class"])
        assert max(row["probabilities"]) == first["probability"]


def state_dict(spark: SparkSession, home: Path, folder: Path, network: Estimator) -> None:
    """Weights without a word of what they are for."""
    content = network.model_file().read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    about = header.pop("__metadata__")
    text = json.dumps(header).encode()
    file = home / "state-dict.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    columns = replace(network.training.columns, shape=_SHAPE, classes=("Bag", "Boot"))
    other = Estimator(spark, Training(columns=columns, verbose=False))
    scaling = tuple([float(value) for value in about[f"normalize.{name}"].split(",")] for name in ("mean", "std"))
    other.load(file, model=str(home / "pictures.toml"), normalize=scaling)
    frame = files(spark, folder)
    one, two = (
        {row["path"]: row["outputs"] for row in estimator.predict(frame, "outputs").collect()} for estimator in (network, other)
    )
    assert one == two, "a state_dict gives other outputs"
    assert other.evaluate(frame)["top1"] == network.evaluate(frame)["top1"]
    other.training = replace(other.training, recipe=str(home / "pictures.toml"), out=str(home / "tuned"))
    other.fit(frame, epochs=1)


def pipeline(spark: SparkSession, home: Path, folder: Path) -> None:
    """A stage of a pipeline, saved and read again."""
    columns = Columns(image="content", label="kind", id="path")
    stage = Classifier(Training(recipe=str(home / "pictures.toml"), columns=columns, out=str(home / "stage"), verbose=False))
    frame = files(spark, folder)
    model = Pipeline(stages=[stage]).fit(frame)
    model.write().overwrite().save(str(home / "pipeline"))
    again = PipelineModel.load(str(home / "pipeline"))
    one, two = (sorted(m.transform(frame).select("path", "prediction").collect()) for m in (model, again))
    assert one == two and len(one) == _COUNT
    stage.save(str(home / "stage-alone"))
    assert Classifier.load(str(home / "stage-alone")).training == stage.training


def addresses(spark: SparkSession, home: Path) -> None:
    """Runs and models at an address of Hadoop: written with their checkpoints, gone on with, and read."""
    base, place = "viewfs://check/data", home / "hadoop"
    data = home / "in-order"

    def training(**changes: object) -> Training:
        return replace(Training(recipe=str(home / "pictures.toml"), arguments=("--validation", "none"), verbose=False), **changes)

    alone = home / "address-alone"
    command = [programs_directory() / "train", "--recipe", home / "pictures.toml", "--data", data, "--validation", "none"]
    subprocess.run([*map(str, command), "--epochs", "4", "--out", str(alone), "--quiet"], check=True)
    network = Estimator(spark, training(out=f"{base}/run")).fit(str(data))
    assert not Path("viewfs:").exists()
    run = place / "run"
    assert {"recipe.toml", "metrics.jsonl", MODEL, "checkpoints"} <= {file.name for file in run.iterdir()}
    assert any(run.glob("checkpoints/step-*.safetensors")), "no checkpoint is at the address"
    assert not list(run.rglob("*.part")), "something is left that is not finished"
    # Longer, from the checkpoint at the address.
    more = training(resume=f"{base}/run", arguments=("--epochs", "4"))
    Estimator(spark, more).fit(str(data))
    assert (run / MODEL).read_bytes() == (alone / MODEL).read_bytes(), "the run at an address has other weights"
    for _ in range(2):  # Over the first.
        network.save(f"{base}/models/net.safetensors")
    assert (place / "models" / "net.safetensors").read_bytes() == network.model_file().read_bytes()
    for address in ("models/net.safetensors", "run"):
        Estimator(spark).load(f"{base}/{address}")
    network.save(f"file://{home}/by-file.safetensors")
    assert (home / "by-file.safetensors").is_file()
    refused = {
        "s3a://bucket/net.safetensors": "Spark has no file system for s3a://: expected --packages org.apache.hadoop:hadoop-aws",
        "nothing://h/net": "Spark has no file system for nothing://",
        f"{base}/none": "no such file: expected a model, or a run",
    }
    for address, words in refused.items():
        for act in [network.load] if words.startswith("no such") else [network.load, network.save]:
            expect(words, lambda act=act, address=address: act(address))
    expect("run: exists and is not empty", lambda: Estimator(spark, training(out=f"{base}/run")).fit(str(data)))
    Estimator(spark, training(out=f"{base}/run", force=True)).fit(str(data))
    print(f"   {base}/run: checkpoints and model, resumed to the bytes of one process; s3a without its package is refused")


def wrong_inputs(spark: SparkSession, folder: Path) -> None:
    """One message each."""
    frame = files(spark, folder)
    columns = Columns(image="content", label="kind", id="path")
    broken = frame.withColumn("content", F.expr("if(path like '%/07.png', cast('no picture' as binary), content)"))
    broken = broken.orderBy(F.expr("path not like '%/07.png'"))  # What the first row is does not decide.
    fit = lambda frame, columns: Estimator(spark, Training(columns=columns, verbose=False)).fit(frame)  # noqa: E731
    expect(r"07.png: found something else, expected a PNG", lambda: fit(broken, replace(columns, shape=_SHAPE)))
    expect("found Boot, expected one of Bag, Hat", lambda: fit(frame, replace(columns, classes=("Bag", "Hat"))))
    expect("output: found logits, expected classes, outputs", lambda: Estimator(spark).predict(frame, "logits"))
    halves = spark.createDataFrame([("a", 0, [300.0, 0.5, 1.0, 2.0])], "path string, kind int, content array<float>")
    expect("values from 0.5 to 300.0, expected 0 to 255", lambda: fit(halves, columns))
    halves = halves.withColumn("content", F.array(F.lit(2.0), F.lit(0.5), F.lit(1.0), F.lit(3.0)))
    expect("values between two pixel values", lambda: fit(halves, columns))
    halves = halves.withColumn("kind", F.lit(0.5)).withColumn("content", F.array(*[F.lit(1)] * 4))
    expect("found 0.5, expected the number of a class", lambda: fit(halves, columns))


def expect(words: str, call: object) -> None:
    try:
        call()  # type: ignore[operator]
    except BobbinError as error:
        assert words in str(error), f"expected {words}: {error}"
        print(f"   {error}")
    else:
        raise AssertionError(f"expected an error that says {words}")


