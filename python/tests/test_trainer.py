"""A network in training."""

import _thread
import os
import pickle
import signal
import threading
import time
import warnings

import bobbin
import numpy as np
import pytest
from bobbin import Dataset, Error, Model, Trainer
from conftest import RECIPE, arrays


def bits(trainer: Trainer) -> bytes:
    return b"".join(array.tobytes() for array in trainer.state_dict().values())


@pytest.fixture
def expected(data: Dataset) -> bytes:
    """The weights of a run in one go."""
    trainer = Trainer(RECIPE, data, threads=1)
    assert trainer.run() == "epochs"
    return bits(trainer)


def test_pauses_and_threads_change_nothing(data: Dataset, expected: bytes) -> None:
    by_epochs = Trainer(RECIPE, data, threads=2)
    told = [by_epochs.train_epoch() for _ in range(3)]
    assert [line["epoch"] for line in told] == [1, 2, 3]
    assert bits(by_epochs) == expected
    with pytest.raises(Error, match="no epoch is left"):
        by_epochs.train_epoch()

    by_steps, steps, epochs = Trainer(RECIPE, data, threads=3), [], []
    assert by_steps.run(epochs.append, on_step=steps.append) == "epochs"
    assert [step["step"] for step in steps] == list(range(1, 22))
    assert [step["images"] for step in steps] == 3 * [*6 * [16], 4]
    assert bits(by_steps) == expected
    # The mean over its steps is that of an epoch, whose images are all of them, paused or not.
    for one, other in zip(epochs, told, strict=True):
        own = [step for step in steps if step["epoch"] == one["epoch"]]
        mean = sum(step["loss"] * step["images"] for step in own) / 100
        assert one["images"] == other["images"] == 100
        assert one["loss"] == other["loss"] == pytest.approx(mean)
        assert one["validation_accuracy"] == other["validation_accuracy"]
    assert epochs[-1]["validation_accuracy"] > 0.9

    extended = Trainer(RECIPE, data, epochs=1)
    extended.run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extended.extend(3)
    assert (extended.epoch, extended.step) == (1, 7)
    assert extended.run() == "epochs" and bits(extended) == expected


def test_a_longer_run_is_warned_of_where_the_schedule_was_planned(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data, epochs=1, schedule="cosine")
    trainer.run()
    with pytest.warns(UserWarning, match="the schedule of the learning rate depends on the number of epochs"):
        trainer.extend(2)
    assert trainer.run() == "epochs" and trainer.epoch == 2


def test_a_callback_ends_a_run_that_goes_on(data: Dataset, expected: bytes) -> None:
    trainer = Trainer(RECIPE, data)
    assert trainer.run(on_step=lambda step: step["step"] < 5) == "interrupted"
    assert trainer.step == 5

    def fails(_: object) -> None:
        # The trainer may be used meanwhile.
        assert trainer.epoch == 1 and len(trainer.state_dict()) == 8
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        trainer.run(fails)
    assert trainer.run() == "epochs" and bits(trainer) == expected


def test_ctrl_c_ends_after_the_step(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data, epochs=1_000_000)
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    # Another run to that step has its bits.
    other = Trainer(RECIPE, data, epochs=1_000_000)
    assert trainer.step > 0
    other.run(on_step=lambda step: step["step"] < trainer.step)
    assert bits(other) == bits(trainer)


def test_other_threads_go_on(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data, epochs=1_000_000)
    thread = threading.Thread(target=lambda: trainer.run(lambda _: not done.is_set()))
    done = threading.Event()
    thread.start()
    counted, end = 0, time.monotonic() + 0.2
    while time.monotonic() < end:
        counted += 1
    done.set()
    thread.join(20)
    assert not thread.is_alive() and counted > 1000 and trainer.step > 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timers")
def test_a_handler_that_asks_the_trainer_does_not_hang(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data, epochs=1_000_000)
    before = signal.signal(signal.SIGALRM, lambda *_: trainer.state_dict())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Error, match="in the middle of a run"):
            trainer.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert trainer.step > 0


def test_ctrl_c_ends_the_wait_for_another_thread(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data, epochs=9)
    seconds = min(trainer.train_epoch()["seconds"] for _ in range(9))
    trainer.extend(9 + int(3 / seconds))
    thread = threading.Thread(target=trainer.run)
    thread.start()
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        while thread.is_alive():
            trainer.state_dict()
    assert thread.is_alive()
    thread.join()
    assert trainer.epoch == 9 + int(3 / seconds)


def code_of(child: int) -> int:
    """With which it exits, within some seconds."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found == child:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError("the child hangs")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_lets_go_of_trainer_and_model(data: Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    trainer = Trainer(RECIPE, data, threads=3)
    model = trainer.model()
    assert trainer.run() == "epochs"
    child = os.fork()
    if child == 0:
        try:
            del trainer, model
            os._exit(0)
        finally:
            os._exit(1)
    assert code_of(child) == 0 and capfd.readouterr().err == ""
    assert model.predict(arrays(20)[0]).shape == (20,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_while_another_thread_trains(data: Dataset) -> None:
    trainer, done = Trainer(RECIPE, data, epochs=1_000_000), threading.Event()
    thread = threading.Thread(target=lambda: trainer.run(lambda _: not done.is_set()))
    thread.start()
    time.sleep(0.2)
    child = os.fork()
    if child == 0:
        try:
            trainer.state_dict()
        except Error as error:
            os._exit(42 if "forked" in str(error) else 1)
        finally:
            os._exit(1)
    done.set()
    thread.join(20)
    assert code_of(child) == 42 and not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_is_told_that_it_has_no_threads(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data, threads=2)
    child = os.fork()
    if child == 0:
        try:
            trainer.run()
        except Error as error:
            os._exit(42 if "forked" in str(error) else 1)
        os._exit(1)
    assert code_of(child) == 42


def test_batches_of_the_callers(data: Dataset) -> None:
    recipe = RECIPE | {"augment": {}, "model": {"preset": "lenet-li"}}
    images, labels = np.zeros((32, 28, 28), np.uint8), np.arange(32) % 3
    images[np.arange(32), labels] = 255
    own = Dataset.from_arrays(images, labels)
    trainer = Trainer(recipe, own, validation="none", epochs=9)
    losses = [trainer.step_on(images, labels) for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0] and trainer.step == 30
    found = trainer.evaluate(images, labels)
    assert found["accuracy"] == 1.0 and found["images"] == 32
    with pytest.raises(ValueError, match="expected 784 values|values for each label"):
        trainer.step_on(images[:, :9], labels)
    assert trainer.step == 30


def test_dropout_is_drawn_anew_for_each_batch(data: Dataset) -> None:
    # With so low a learning rate nothing but chance differs.
    trainer = Trainer(RECIPE, data, optimizer={"kind": "sgd", "lr": 1e-30})
    images, labels = arrays(16)
    first, second = (trainer.step_on(images, labels) for _ in range(2))
    assert first != second


def test_the_loss_is_that_of_numpy(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data)
    trainer.run()
    images, labels = arrays(40, seed=1)
    logits = trainer.model()(images).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(trainer.model().predict_proba(images) - probabilities).max() < 1e-6
    loss = -np.log(probabilities[np.arange(40), labels]).mean()
    found = trainer.evaluate(images, labels)
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["accuracy"] == (trainer.model().predict(images) == labels).mean()


def test_weights_go_in_and_out(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data)
    trainer.run()
    state = trainer.state_dict()
    assert {name: (array.shape, array.dtype.name) for name, array in state.items()} == {
        "0.weight": ((4, 3, 3, 3), "float32"),
        "1.weight": ((4,), "float32"),
        "1.bias": ((4,), "float32"),
        "1.running_mean": ((4,), "float32"),
        "1.running_var": ((4,), "float32"),
        "1.num_batches_tracked": ((), "int64"),
        "5.weight": ((3, 168), "float32"),
        "5.bias": ((3,), "float32"),
    }
    assert state["1.num_batches_tracked"] == 21
    other = Trainer(RECIPE, data, weights=state, seed=99)
    assert bits(other) == bits(trainer)
    images, _ = arrays(10)
    assert (other.model()(images) == trainer.model()(images)).all()

    before = bits(other)
    wider = np.concatenate([state["5.bias"], [0]])
    for change, words in [
        ({"5.bias": None}, "`5.bias` is missing"),
        ({"6.bias": wider}, "`6.bias` is no parameter"),
        ({"5.bias": wider}, r"`5.bias` has the shape \(4,\): expected \(3,\)"),
        ({"5.bias": np.array(["a", "b", "c"])}, "expected numbers"),
    ]:
        given = {name: array for name, array in (state | change).items() if array is not None}
        given["0.weight"] = given["0.weight"] + 1
        with pytest.raises(ValueError, match=words):
            other.load_state_dict(given)
        assert bits(other) == before


def test_any_initialisation_of_batch_norm_is_one(data: Dataset) -> None:
    images, labels = arrays(40, seed=1)
    state = Trainer(RECIPE, data).state_dict()
    # As of zero_init_residual=True, and of nn.init.normal_(weight, 1, 0.02).
    for scale in [np.zeros(4), np.array([1.02, 0.98, 1.0, 1.01])]:
        state["1.weight"] = scale.astype(np.float32)
        trainer = Trainer(RECIPE, data, weights=state)
        before = trainer.evaluate(images, labels)
        assert np.isfinite(trainer.model()(images)).all()
        trainer.extend(5)
        assert trainer.evaluate(images, labels) == before
        assert trainer.run() == "epochs" and trainer.state_dict()["1.num_batches_tracked"] == 35
    # The second of them learns: behind a scale of zero the ReLU lets no gradient through.
    assert trainer.evaluate(images, labels)["accuracy"] > 0.9


def test_an_average_begins_anew_with_weights_that_are_loaded(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data, optimizer={"ema": 0.9})
    trainer.run(on_step=lambda step: step["step"] < 5)
    loaded = Trainer(RECIPE, data, seed=9).state_dict()
    trainer.load_state_dict(loaded)
    found = trainer.state_dict()
    assert all((found[name] == array).all() for name, array in loaded.items())
    assert trainer.run() == "epochs"


def test_models_are_saved_loaded_and_pickled(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data)
    trainer.run()
    trainer.save("model.safetensors")
    images, _ = arrays(33)
    logits = trainer.model()(images)
    model = Model.load("model.safetensors", threads=1)
    assert (model.classes, model.image_shape, model.name) == (["0", "1", "2"], (3, 8, 9), "custom")
    pixels = arrays(100)[0] / 255
    assert model.normalize == (
        pytest.approx(pixels.mean(axis=(0, 2, 3)).tolist(), rel=1e-6),
        pytest.approx(pixels.std(axis=(0, 2, 3)).tolist(), rel=1e-6),
    )
    for other in [model, Model.load("."), pickle.loads(pickle.dumps(model))]:
        assert (other(images) == logits).all()
    # Whatever the batch around an image, and from memory of any kind.
    assert (model(images[5:6]) == logits[5:6]).all()
    assert (model(images / 255) == logits).all()
    assert (model(images.transpose(0, 2, 3, 1), layout="nhwc") == logits).all()
    assert model(images[:0]).shape == (0, 3)


def test_recipes_of_every_form_are_the_same(data: Dataset) -> None:
    of_dict = Trainer(RECIPE, data)
    with open("own.toml", "w") as file:
        file.write(of_dict.recipe)
    assert Trainer(of_dict.recipe, data).recipe == of_dict.recipe
    assert Trainer("own.toml", data).recipe == of_dict.recipe
    assert 'preset = "lenet"' in Trainer("paper", Dataset.bundled()).recipe
    assert "lr = 0.25" in Trainer(RECIPE, data, lr=np.float64(0.25)).recipe
    assert "ema = 0.5" in Trainer(RECIPE, data, optimizer={"ema": 0.5}).recipe
    assert "shift = 2" in Trainer(RECIPE, data, **{"augment.shift": 2}).recipe


@pytest.mark.parametrize(
    ("recipe", "fields", "words"),
    [
        ("fats", {}, "unknown recipe `fats`: expected .* did you mean `fast`"),
        ({"optimizer": {"lrr": 1}}, {}, "`optimizer.lrr`.* did you mean `lr`"),
        ("[optimizer]\nlr = 'high'", {}, "line 2: `optimizer.lr` is .high.: expected a number"),
        ("fast", {"epochs": 0}, "`stop.epochs` is 0: expected a whole number from 1"),
        ("fast", {"optimizer": {"betas": object()}}, "`optimizer.betas`: found object"),
        (5, {}, "recipe: found int"),
        ("fast", {"threads": 0}, "threads: found 0: expected 1 to 1024"),
        ("fast", {}, "does not fit its images"),
    ],
)
def test_what_is_wrong_is_said(data: Dataset, recipe: object, fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Trainer(recipe, data, **fields)


def test_a_loss_that_is_not_finite_is_an_error(data: Dataset) -> None:
    trainer = Trainer(RECIPE, data)
    state = trainer.state_dict()
    state["5.bias"][1] = np.inf
    trainer.load_state_dict(state)
    with pytest.raises(Error, match="not finite"):
        trainer.run()
    # Nor is there a most probable class.
    state["5.bias"][:] = [np.nan, 0, 0]
    trainer.load_state_dict(state)
    model, (images, _) = trainer.model(), arrays(3)
    assert np.isnan(model(images)[:, 0]).all()
    for predict in (model.predict, model.predict_proba):
        with pytest.raises(Error, match="what the network makes of image 0 is not finite"):
            predict(images)


def test_files_that_are_none(data: Dataset) -> None:
    with pytest.raises(Error, match="/nowhere.*No such file"):
        Model.load("/nowhere")
    with pytest.raises(Error, match="/nowhere: cannot read the data directory"):
        Dataset.open("/nowhere")
    with pytest.raises(Error, match="/nowhere"):
        Trainer(RECIPE, data, init="/nowhere/model.safetensors")
    with pytest.raises(Error, match="cannot"):
        Trainer(RECIPE, data).save("/proc/model.safetensors")


def test_what_is_in_the_package() -> None:
    assert issubclass(Error, Exception) and all(hasattr(bobbin, name) for name in bobbin.__all__)
