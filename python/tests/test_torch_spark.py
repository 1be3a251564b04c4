"""``backend="spark"``: on the slots of this machine, beside the program and PyTorch."""

import shutil

import numpy as np
import pytest
from on_spark import same_as_alone, spark  # noqa: F401, a fixture

torch = pytest.importorskip("torch")

import bobbin_spark  # noqa: E402
from torch import nn  # noqa: E402
from torch.optim import lr_scheduler as s  # noqa: E402

import bobbin  # noqa: E402
from bobbin.torch import Accuracy, EveryEpoch, MaxEpoch, MaxScore, init_orca_context  # noqa: E402
from bobbin.torch.planned import Plan  # noqa: E402

COUNT = 203
NAMES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def data():
    chance = np.random.default_rng(3)
    labels = chance.integers(0, 3, COUNT)
    images = chance.integers(0, 256, (COUNT, 12, 12, 1), np.uint8) // 2 + (40 * labels)[:, None, None, None].astype(np.uint8)
    return images, labels


@pytest.fixture(scope="module")
def frame(spark, data):  # noqa: F811
    rows = [(i, int(y), NAMES[y], bytearray(x.tobytes())) for i, (x, y) in enumerate(zip(*data, strict=True))]
    return spark.createDataFrame(rows, "id int, kind int, name string, picture binary").repartition(3)


def estimator(**options):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 3))
    given = {"loss": nn.CrossEntropyLoss(), "metrics": [Accuracy()], "config": {"workers": 2}} | options
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    return bobbin.Estimator.from_torch(model=net, optimizer=optimizer, backend="spark", **given)


COLUMNS = {"feature_cols": ["picture"], "label_cols": ["kind"]}


@pytest.fixture(scope="module")
def fitted(frame, tmp_path_factory):
    found = estimator(model_dir=str(tmp_path_factory.mktemp("runs")))
    history = found.fit(frame, epochs=3, batch_size=16, validation_data=frame, checkpoint_trigger=EveryEpoch(), **COLUMNS)
    return found, history


def test_one_class_and_the_bits_of_the_program(fitted, data, tmp_path):
    found, history = fitted
    assert isinstance(found, bobbin.Estimator) and isinstance(found, bobbin_spark.Estimator)
    assert [row["epoch"] for row in history] == [1, 2, 3] and history[2]["train_loss"] < history[0]["train_loss"]
    assert same_as_alone(found, data, "012", tmp_path)


def test_classes_that_have_names(frame, data, tmp_path):
    found = estimator(model_dir=str(tmp_path / "runs"))
    found.fit(frame, epochs=1, batch_size=16, validation_data=frame, feature_cols="picture", label_cols="name")
    assert same_as_alone(found, data, NAMES, tmp_path)
    assert found.evaluate(frame, feature_cols="picture", label_cols="name")["num_samples"] == COUNT


SCHEDULERS = {
    "one cycle, once a batch": (lambda o, config: s.OneCycleLR(o, 0.1, total_steps=60, cycle_momentum=False), "batch"),
    "from nought, once an epoch": (lambda o, config: s.LambdaLR(o, lambda epoch: min(epoch / 2, 1)), "epoch"),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_second_fit_is_the_same_run_made_longer(frame, data, tmp_path, name, capsys):
    """Of weights, the optimiser's memory and rates, which are PyTorch's."""
    scheduler, frequency = SCHEDULERS[name]
    options = {"scheduler": scheduler, "scheduler_step_freq": frequency}
    found = estimator(**options, model_dir=str(tmp_path / "runs"))
    first = found.fit(frame, 2, batch_size=16, validation_data=frame, **COLUMNS)
    second = found.fit(frame, MaxEpoch(3), batch_size=16, validation_data=frame, **COLUMNS)
    assert [row["epoch"] for row in [*first, *second]] == [1, 2, 3]
    rates = found.get_train_summary("LearningRate")[:, 1]
    own = estimator_of_torch(scheduler, frequency, len(rates))
    assert len(rates) == 39 and np.allclose(rates, own, rtol=1e-6, atol=0)
    assert "begins anew" not in capsys.readouterr().out
    assert same_as_alone(found, data, "012", tmp_path)
    assert found.fit(frame, MaxEpoch(3), batch_size=16, validation_data=frame, **COLUMNS) == []
    # Of other data the epochs are counted on, and the rates go on.
    if frequency == "epoch":
        [row] = found.fit(frame.limit(100), batch_size=16, **COLUMNS)
        assert row["epoch"] == 4 and found.get_train_summary("LearningRate")[:, 1].tolist() == [pytest.approx(0.05)] * 7
        assert "begins anew from its weights, with an optimiser without memory" in capsys.readouterr().out


LOST = {
    "the run": lambda runs: shutil.rmtree(runs),
    "its checkpoints": lambda runs: shutil.rmtree(runs / "fit" / "checkpoints"),
}


@pytest.mark.parametrize("name", LOST)
def test_a_second_fit_whose_checkpoints_are_gone_begins_anew_and_says_so(frame, data, tmp_path, name, capsys):
    found = estimator(model_dir=str(tmp_path / "runs"))
    found.fit(frame, 2, batch_size=16, **COLUMNS)
    found.save(tmp_path / "first.safetensors")
    LOST[name](tmp_path / "runs")
    [row] = found.fit(frame, 1, batch_size=16, **COLUMNS)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("bobbin: ")]
    assert len(told) == 1 and "runs/fit: found no checkpoint to go on from" in told[0], told
    assert "begins anew from its weights, with an optimiser without memory" in told[0], told
    assert row["epoch"] == 3
    assert same_as_alone(found, data, "012", tmp_path / "alone", init=tmp_path / "first.safetensors")


@pytest.mark.parametrize("at_address", [False, True])
def test_a_second_fit_does_not_go_on_with_the_run_of_another(spark, frame, data, tmp_path, capsys, at_address):  # noqa: F811
    """Which has been given the place of its own, since that was deleted."""
    place = str(tmp_path / "runs")
    if at_address:
        spark.sparkContext._jsc.hadoopConfiguration().set("fs.viewfs.mounttable.check.link./data", tmp_path.as_uri())
        place = "viewfs://check/data/runs"
    one, other = (estimator(model_dir=place, config={"workers": 2, "seed": seed}) for seed in (1, 2))
    one.fit(frame, 1, batch_size=16, **COLUMNS)
    one.save(tmp_path / "first.safetensors")
    shutil.rmtree(tmp_path / "runs")
    other.fit(frame, 1, batch_size=16, **COLUMNS)
    one.fit(frame, 1, batch_size=16, **COLUMNS)
    assert f"{place}/fit: found another run there" in capsys.readouterr().out
    assert same_as_alone(one, data, "012", tmp_path / "alone", init=tmp_path / "first.safetensors")


def test_a_fit_after_one_that_has_failed_says_where_it_begins(frame, tmp_path, capsys):
    found = estimator(model_dir=str(tmp_path / "runs"))
    found.fit(frame, 1, batch_size=16, **COLUMNS)
    checkpoints = tmp_path / "runs" / "fit" / "checkpoints"
    for file in checkpoints.iterdir():
        file.write_bytes(b"damaged")
    with pytest.raises(bobbin_spark.BobbinError, match="no checkpoint to go on from"):
        found.fit(frame, 1, batch_size=16, **COLUMNS)
    [row] = found.fit(frame, 1, batch_size=16, **COLUMNS)
    said = "bobbin: the last fit has failed; after the one before it, training begins anew from its weights"
    assert row["epoch"] == 2 and said in capsys.readouterr().out


def estimator_of_torch(scheduler, frequency, steps):
    """The rate of each step of a program of 13 steps an epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05, momentum=0.9)
    found, rates = scheduler(optimizer, {}), []
    for step in range(1, steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        if frequency == "batch" or step % 13 == 0:
            found.step()
    return rates


def test_a_failed_fit_leaves_the_scheduler():
    groups = [{"params": [nn.Parameter(torch.zeros(1))]}, {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.5}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = s.StepLR(optimizer, 1, 0.5)
    plan = Plan(scheduler, optimizer, "epoch")
    with pytest.raises(OSError), plan.of(3, 5) as rates:
        assert rates == [1.0, 0.5, 0.25]
        raise OSError
    assert scheduler.last_epoch == 0 and [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5]
    with plan.of(3, 5):
        pass
    assert scheduler.last_epoch == 3 and [group["lr"] for group in optimizer.param_groups] == [0.125, 0.0625]
    apart = s.LambdaLR(optimizer, [lambda epoch: 1 / (1 + epoch), lambda epoch: 1.0])
    with pytest.raises(ValueError, match="the rates of groups by different factors"), Plan(apart, optimizer, "epoch").of(2, 1):
        pass


def test_what_it_finds_is_what_the_module_finds(fitted, frame, data):
    found, history = fitted
    net = found.get_model().eval()
    images, labels = data
    with torch.no_grad():
        expected = net(torch.from_numpy(images.transpose(0, 3, 1, 2)).float() / 255)
    rows = found.predict(frame, feature_cols="picture").orderBy("id").collect()
    outputs = np.array([row["outputs"] for row in rows])
    assert np.abs(outputs - expected.numpy()).max() < 1e-4
    assert [row["prediction"] for row in rows] == outputs.argmax(1).tolist()
    scores = found.evaluate(frame, **COLUMNS)
    y = torch.from_numpy(labels)
    assert scores["num_samples"] == COUNT
    assert abs(scores["val_loss"] - float(nn.CrossEntropyLoss()(expected, y))) < 1e-5
    assert abs(scores["Accuracy"] - float((expected.argmax(1) == y).double().mean())) < 1e-9
    assert abs(history[-1]["val_Accuracy"] - scores["Accuracy"]) < 1e-6
    assert len(found.get_train_summary("Loss")) == 3 * -(-COUNT // 16)
    assert found.get_validation_summary("Accuracy").shape == (3, 3)


def test_weights_are_loaded(fitted, frame, tmp_path):
    found, _ = fitted
    found.save(tmp_path / "net.safetensors")
    torch.save(found.get_model().state_dict(), tmp_path / "net.pth")
    one = sorted((r["id"], *r["outputs"]) for r in found.predict(frame, feature_cols="picture").collect())
    for name in ("net.safetensors", "net.pth"):
        other = estimator()
        other.load(tmp_path / name)
        two = sorted((r["id"], *r["outputs"]) for r in other.predict(frame, feature_cols="picture").collect())
        assert one == two, name


def test_refused(frame, data):
    with pytest.raises(ValueError, match="found ndarray|found tuple"):
        estimator().fit(data, **COLUMNS)
    with pytest.raises(ValueError, match="expected a number of 1 or more, or MaxEpoch"):
        estimator().fit(frame, MaxScore(0.5), **COLUMNS)
    with pytest.raises(ValueError, match="found ReduceLROnPlateau, whose rates depend on results, .*backend='local'"):
        estimator(scheduler=lambda optimizer, config: s.ReduceLROnPlateau(optimizer))
    with pytest.raises(ValueError, match="changes more than rates, on Spark: expected cycle_momentum=False"):
        estimator(scheduler=lambda optimizer, config: s.OneCycleLR(optimizer, 0.1, total_steps=20)).fit(frame, **COLUMNS)
    with pytest.raises(bobbin_spark.BobbinError, match="no column `pixels`"):
        estimator().fit(frame, feature_cols="pixels", label_cols="kind")
    with pytest.raises(ValueError, match="cluster_mode='mesos'"):
        init_orca_context(cluster_mode="mesos")
    with pytest.raises(ValueError, match="without master"):
        init_orca_context(cluster_mode="standalone")


def test_the_context_finds_the_session(spark):  # noqa: F811
    assert init_orca_context(cluster_mode="spark-submit", num_nodes=2).applicationId == spark.sparkContext.applicationId


def test_weights_outlive_session_and_run_directory(fitted, spark, tmp_path):  # noqa: F811
    """The last test, as it ends the session."""
    found, _ = fitted
    found.save(tmp_path / "before.safetensors")
    spark.stop()
    shutil.rmtree(found.run_directory)
    found.save(tmp_path / "after.safetensors")
    assert (tmp_path / "after.safetensors").read_bytes() == (tmp_path / "before.safetensors").read_bytes()
