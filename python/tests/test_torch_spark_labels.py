"""``backend="spark"``: images with several labels, or none, as arrays of 0 and 1."""

import numpy as np
import pytest
from on_spark import same_as_alone, spark  # noqa: F401, a fixture

torch = pytest.importorskip("torch")

import bobbin_spark  # noqa: E402
import pandas as pd  # noqa: E402
from bobbin_spark import idx  # noqa: E402
from bobbin_spark.data import write_in_order  # noqa: E402
from bobbin_spark.forms import settled, with_classes  # noqa: E402
from bobbin_spark.images import label_bytes  # noqa: E402
from pyspark.ml.functions import array_to_vector  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402
from torch import nn  # noqa: E402

import bobbin  # noqa: E402
from bobbin.torch import AUC, F1, Accuracy, Precision  # noqa: E402

COUNT, LABELS = 150, 5
NAMES = tuple(map(str, range(LABELS)))
COLUMNS = {"feature_cols": "picture", "label_cols": "tags"}


@pytest.fixture(scope="module")
def data():
    """Images of which each of the first columns is bright where they have its label."""
    chance = np.random.default_rng(5)
    labels = chance.integers(0, 2, (COUNT, LABELS))
    images = chance.integers(0, 160, (COUNT, 12, 12, 1), np.uint8)
    images[:, :, :LABELS, 0] += (80 * labels)[:, None, :].astype(np.uint8)
    return images, labels


@pytest.fixture(scope="module")
def frame(spark, data):  # noqa: F811
    rows = [(i, y.tolist(), bytearray(x.tobytes())) for i, (x, y) in enumerate(zip(*data, strict=True))]
    return spark.createDataFrame(rows, "id int, tags array<int>, picture binary").repartition(3)


def estimator(backend="spark", outputs=LABELS, **options):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, outputs))
    metrics = [Accuracy(), Precision(), F1(), AUC()]
    given = {"loss": nn.BCEWithLogitsLoss(), "metrics": metrics, "config": {"workers": 2}} | options
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    return bobbin.Estimator.from_torch(model=net, optimizer=optimizer, backend=backend, **given)


@pytest.fixture(scope="module")
def fitted(frame, tmp_path_factory):
    found = estimator(model_dir=str(tmp_path_factory.mktemp("runs")))
    first = found.fit(frame, epochs=6, batch_size=16, validation_data=frame, **COLUMNS)
    second = found.fit(frame, epochs=2, batch_size=16, validation_data=frame, **COLUMNS)
    return found, [*first, *second]


def test_the_bits_of_the_program(fitted, data, tmp_path):
    found, history = fitted
    assert [row["epoch"] for row in history] == list(range(1, 9)) and history[-1]["val_loss"] < history[0]["val_loss"]
    assert same_as_alone(found, data, NAMES, tmp_path)
    assert found.get_validation_summary("Top1Accuracy")[-1, 1] == pytest.approx(history[-1]["val_Top1Accuracy"], abs=1e-6)
    with pytest.raises(bobbin_spark.BobbinError, match="tag: found Accuracy"):
        found.get_validation_summary("Accuracy")


def test_what_it_finds_is_what_one_process_finds(fitted, frame, data, tmp_path):
    found, history = fitted
    file = tmp_path / "net.safetensors"
    found.save(file)
    images, labels = data
    here = estimator("local")
    here.load(file)
    expected = here.evaluate((images.transpose(0, 3, 1, 2), labels))
    scores = found.evaluate(frame, **COLUMNS)
    assert scores == pytest.approx(expected, abs=1e-6) and 0.6 < scores["Accuracy"] < 1
    assert history[-1]["val_loss"] == pytest.approx(scores["val_loss"], abs=1e-6)
    asked = ["outputs", "probabilities", "names"]
    rows = found.predict(frame, feature_cols="picture", output=asked).orderBy("id").collect()
    images = images.transpose(0, 3, 1, 2)
    for name, form in (("outputs", "outputs"), ("probabilities", "probabilities"), ("prediction", "classes")):
        of_rows = np.array([row[name] for row in rows])
        assert of_rows.shape == (COUNT, LABELS) and np.abs(of_rows - here.predict(images, output=form)).max() < 1e-5, name
    said = here.predict(images, output="classes")
    assert [row["class_name"] for row in rows] == [[NAMES[label] for label in np.flatnonzero(row)] for row in said]
    alone = found.predict(frame, feature_cols="picture", output="classes").orderBy("id").collect()
    assert [row["prediction"] for row in alone] == said.tolist()


@pytest.mark.parametrize("form", ["fractions", "booleans", "vectors"])
def test_labels_of_every_form_are_the_same_file(frame, data, tmp_path, form):
    fractions = F.col("tags").cast("array<double>")
    forms = {
        "fractions": lambda: fractions,
        "booleans": lambda: F.col("tags").cast("array<boolean>"),
        "vectors": lambda: array_to_vector(fractions),
    }
    rows = frame.withColumn("tags", forms[form]())
    columns = with_classes(rows, bobbin_spark.Columns(image="picture", label="tags"))
    assert columns.classes == NAMES
    write_in_order(rows, settled(rows, columns), tmp_path, idx.TRAIN)
    content = (tmp_path / "train-labels-idx2-ubyte").read_bytes()
    assert content[:12] == bytes([0, 0, 8, 2, 0, 0, 0, COUNT, 0, 0, 0, LABELS])
    assert content[12:] == data[1].astype(np.uint8).tobytes()
    found = estimator().predict(rows, feature_cols="picture")
    assert found.select("tags").head() is not None and len(found.head()["prediction"]) == LABELS


WRONG = {
    "another number": ("if(id = 7, array(1, 0, 1, 0), tags)", "row with `id` 7: found 4 numbers, expected 5 numbers"),
    "another value": ("transform(tags, v -> if(id = 7, 2, v))", "row with `id` 7: found 2 for label 0, expected 5 numbers: 1"),
    "a half": ("transform(tags, v -> if(id = 7, 0.5D, v))", "row with `id` 7: found 0.5 for label 0"),
    "null": ("if(id = 7, null, tags)", "row with `id` 7: found nothing, expected 5 numbers"),
    "null within": ("transform(tags, (v, i) -> if(id = 7 and i = 2, null, v))", "row with `id` 7: found nothing for label 2"),
    "fewer than outputs": ("slice(tags, 1, 4)", "found 4 numbers, expected 5 numbers"),
    "class numbers": ("id % 5", "found int, expected an array of 0 and 1, as an image may have several labels"),
    "texts": ("transform(tags, v -> string(v))", "found array<string>, expected the number or the name of a class, or an arr"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_labels_are_one_message(frame, name):
    tags, said = WRONG[name]
    rows = frame.withColumn("tags", F.expr(tags))
    with pytest.raises(bobbin_spark.BobbinError) as error:
        estimator().fit(rows, batch_size=16, **COLUMNS)
    assert str(error.value).startswith("column `tags`") and said in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(bobbin_spark.BobbinError, match="column `tags`") as error:
        estimator().evaluate(rows, **COLUMNS)
    assert said.partition("7: ")[2] in str(error.value)


def test_a_state_dict_does_not_say_that_an_image_may_have_several(fitted, spark, frame, tmp_path):  # noqa: F811
    found, _ = fitted
    torch.save(found.get_model().state_dict(), tmp_path / "net.pth")
    (tmp_path / "net.toml").write_text(found.recipe)
    columns = bobbin_spark.Columns(image="picture", label="tags", shape=(12, 12, 1), classes=NAMES, several=True)
    other = bobbin_spark.Estimator(spark, bobbin_spark.Training(columns=columns))
    other.load(tmp_path / "net.pth", model=str(tmp_path / "net.toml"))
    one, two = (
        {row["id"]: row["prediction"] for row in some.collect()}
        for some in (found.predict(frame, feature_cols="picture"), other.predict(frame))
    )
    assert one == two and set(map(len, one.values())) == {LABELS}
    assert other.evaluate(frame)["loss"] == pytest.approx(found.evaluate(frame, **COLUMNS)["val_loss"], abs=1e-6)


def test_more_classes_than_a_byte_has_are_refused():
    columns = bobbin_spark.Columns(classes=tuple(map(str, range(300))))
    with pytest.raises(bobbin_spark.BobbinError, match="column `label`: found labels of 300 classes, expected at most 256"):
        label_bytes(pd.DataFrame({"label": [299]}), columns)


def test_labels_that_the_loss_is_not_for(frame):
    with pytest.raises(bobbin_spark.BobbinError, match="column `tags`: found array<int>, expected the number or the name of"):
        estimator(loss=nn.CrossEntropyLoss()).fit(frame, **COLUMNS)
    with pytest.raises(bobbin_spark.BobbinError, match="column `tags`: found array<int>, expected the number or the name of"):
        estimator(outputs=1).fit(frame, **COLUMNS)
    numbers = frame.withColumn("tags", F.expr("id % 5"))
    with pytest.raises(bobbin_spark.BobbinError, match="column `tags`: found int, expected an array of 0 and 1"):
        estimator().fit(frame, validation_data=numbers, **COLUMNS)


def test_a_column_for_each_label(fitted, frame, tmp_path, capsys):
    names = [f"has `{label}`.x" for label in range(LABELS)]
    rows = frame
    for label, name in enumerate(names):
        rows = rows.withColumn(name, F.col("tags")[label].cast("boolean" if label == 2 else "int"))
    rows = rows.drop("tags")
    found = estimator()
    given = {"feature_cols": ["picture"], "label_cols": names}
    history = found.fit(rows, epochs=8, batch_size=16, validation_data=rows, **given)
    found.save(tmp_path / "columns.safetensors")
    fitted[0].save(tmp_path / "array.safetensors")
    assert (tmp_path / "columns.safetensors").read_bytes() == (tmp_path / "array.safetensors").read_bytes()
    assert history[-1]["val_loss"] == fitted[1][-1]["val_loss"]
    # The same images with other labels are other data.
    found.fit(rows, epochs=1, batch_size=16, feature_cols="picture", label_cols=names[::-1])
    assert "other data or settings" in capsys.readouterr().out
    found = estimator()
    found.load(tmp_path / "columns.safetensors")
    assert found.evaluate(rows, **given) == pytest.approx(fitted[0].evaluate(frame, **COLUMNS), abs=1e-6)
    with pytest.raises(bobbin_spark.BobbinError, match="label_cols: column `elsewhere`: found no such column, expected numbers 0 and 1"):
        found.evaluate(rows, feature_cols="picture", label_cols=[*names, "elsewhere"])
    with pytest.raises(bobbin_spark.BobbinError, match="label_cols: column `picture`: found binary, expected numbers 0 and 1, or boo"):
        found.evaluate(rows, feature_cols="picture", label_cols=[*names, "picture"])
    with pytest.raises(ValueError, match="feature_cols: found .*: expected one column"):
        found.evaluate(rows, feature_cols=["picture", "id"], label_cols=names)
    with pytest.raises(ValueError, match=r"label_cols: found \[\]: expected one column at least"):
        found.evaluate(rows, feature_cols="picture", label_cols=[])
    with pytest.raises(bobbin_spark.BobbinError, match="expected a data frame of Spark, or a path"):
        found.fit(rows, validation_data=rows.toPandas(), **given)
    with pytest.raises(bobbin_spark.BobbinError, match="column `label_cols`: found one in the data: expected none"):
        found.evaluate(rows.withColumn("label_cols", F.lit(1)), **given)
    missing = rows.withColumn(names[3], F.expr("if(id = 7, null, 1)"))
    with pytest.raises(bobbin_spark.BobbinError, match="row with `id` 7: found nothing for label 3"):
        estimator().fit(missing, batch_size=16, **given)
