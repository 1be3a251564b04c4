"""Runs with a directory, and the program."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from _thread import interrupt_main
from pathlib import Path

import bobbin
import pytest
from conftest import PROJECT, RECIPE

FASHION = PROJECT / "data/fashion-mnist"
# The program of the workspace, where it has been built.
PROGRAM = Path(os.environ.get("BOBBIN_PROGRAM", PROJECT / "target/release/bobbin"))
SCRIPT = Path(sys.executable).with_name("bobbin")
SETTINGS = ["--set", "stop.iterations=40", "--seed", "5", "--lr", "0.02", "--quiet"]
FIELDS = {"stop": {"iterations": 40}, "seed": 5, "lr": 0.02, "verbose": False}


def same_model(one: Path, other: Path) -> bool:
    names = ["model.safetensors", "recipe.toml"]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.skipif(not PROGRAM.exists(), reason="cargo build --release --bin bobbin makes the program")
def test_bits_are_those_of_the_program() -> None:
    subprocess.run([PROGRAM, "train", "--recipe", "fast", *SETTINGS, "--out", "program"], check=True)
    lines = []
    run = bobbin.train("fast", out="python", threads=1, callback=lines.append, **FIELDS)
    assert (run.directory, run.reason, run.steps) == (Path("python"), "iterations", 40)
    assert same_model(Path("program"), run.directory)
    written = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    assert lines == written and lines[-1]["event"] == "end"
    assert run.accuracy == written[-1]["top1"] and run.loss == written[-1]["validation_loss"]
    assert (run.directory / "report.html").exists()
    # Other seeds have other bits.
    other = bobbin.train("fast", out="other", **FIELDS | {"seed": 6})
    assert not same_model(Path("program"), other.directory)


def test_the_script_is_the_program_too() -> None:
    done = subprocess.run([SCRIPT, "train", "--recipe", "fast", *SETTINGS, "--out", "script"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    run = bobbin.train("fast", **FIELDS)
    assert run.directory == Path("runs/fast-1") and same_model(Path("script"), run.directory)
    evaluated = subprocess.run([SCRIPT, "evaluate", "--weights", "script", "--json"], capture_output=True, check=True)
    assert json.loads(evaluated.stdout)["top1"] == run.accuracy
    exported = subprocess.run([SCRIPT, "export", "--weights", "script", "--onnx", "net.onnx"], capture_output=True)
    assert exported.returncode == 0 and Path("net.onnx").exists()


def test_data_in_memory_and_in_files() -> None:
    data = bobbin.Dataset.open(FASHION)
    assert (data.train_images, data.test_images, data.image_shape) == (60_000, 10_000, (1, 28, 28))
    one = bobbin.train("fast", data, out="one", **FIELDS)
    other = bobbin.train("fast", FASHION, out="other", **FIELDS)
    read = [(run.directory / "model.safetensors").read_bytes() for run in (one, other)]
    assert read[0] == read[1]


def test_a_run_on_arrays(data: bobbin.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    run = bobbin.train(RECIPE, data, epochs=2)
    assert run.directory == Path("runs/run-1") and run.steps == 14 and len(run.epochs) == 2
    trainer = bobbin.Trainer(RECIPE, data, epochs=2)
    trainer.run()
    trainer.save("trainer.safetensors")
    assert (run.directory / "model.safetensors").read_bytes() == Path("trainer.safetensors").read_bytes()
    assert capsys.readouterr().out.startswith("epoch 1  loss ")
    with pytest.raises(bobbin.Error, match="run-1"):
        bobbin.train(RECIPE, data, out=run.directory)
    assert bobbin.train(RECIPE, data, out=run.directory, force=True, verbose=False).steps == 21
    # A recipe in a file gives the directory its name.
    Path("mine.toml").write_text(trainer.recipe)
    short = {"stop": {"iterations": 1}, "verbose": False}
    found = [bobbin.train(recipe, data, **short).directory for recipe in (Path("mine.toml"), "mine.toml")]
    assert found == [Path("runs/mine-1"), Path("runs/mine-2")]
    # By default the recipe for pictures.
    bobbin.train(data=data, out="pictures", epochs=1, verbose=False)
    assert 'kind = "adamw"' in Path("pictures/recipe.toml").read_text()


def test_ctrl_c_leaves_a_checkpoint() -> None:
    threading.Timer(1.0, interrupt_main).start()
    with pytest.raises(KeyboardInterrupt, match="go on with: bobbin train --resume 'my runs/stopped'$"):
        bobbin.train("fast", out="my runs/stopped", epochs=1000, verbose=False)
    assert list(Path("my runs/stopped/checkpoints").iterdir())
    assert not Path("my runs/stopped/model.safetensors").exists()


def test_a_run_that_was_ended_goes_on_to_the_same_bits(data: bobbin.Dataset) -> None:
    def fails(line: dict) -> None:
        if line["event"] == "epoch":
            raise error

    whole = bobbin.train(RECIPE, data, out="whole", verbose=False)
    for error in (ZeroDivisionError(), KeyboardInterrupt()):
        out = type(error).__name__
        with pytest.raises(type(error)) as raised:
            bobbin.train(RECIPE, data, out=out, callback=fails, verbose=False)
        way = f'interrupted after step 7; go on with: bobbin.resume("{out}", data)'
        assert str(raised.value) == (way if out == "KeyboardInterrupt" else "")
        assert not (Path(out) / "model.safetensors").exists()
        run = bobbin.resume(out, data, verbose=False)
        assert (run.reason, run.steps, len(run.epochs)) == ("epochs", 21, 2)
        assert same_model(run.directory, whole.directory)
    longer = bobbin.train(RECIPE, data, out="longer", epochs=1, verbose=False)
    assert not same_model(longer.directory, whole.directory)
    assert same_model(bobbin.resume("longer", data, epochs=3, verbose=False).directory, whole.directory)
    with pytest.raises(ValueError, match="epochs: found 1: expected at least 3"):
        bobbin.resume("longer", data, epochs=1)
    with pytest.raises(bobbin.Error, match="the data are not those that the run began with"):
        bobbin.resume("longer")
    with pytest.raises(bobbin.Error, match="nowhere"):
        bobbin.resume("nowhere")


def test_a_callback_that_has_raised_is_not_called_again(data: bobbin.Dataset) -> None:
    events = []

    def fails(line: dict) -> None:
        events.append(line["event"])
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        bobbin.train(RECIPE, data, out="ended", callback=fails, verbose=False)
    assert events == ["start"]
    assert len(Path("ended/metrics.jsonl").read_text().splitlines()) > 1


def test_a_longer_run_is_warned_of_where_the_schedule_was_planned(data: bobbin.Dataset) -> None:
    bobbin.train(RECIPE, data, out="planned", epochs=1, schedule="cosine", verbose=False)
    with pytest.warns(UserWarning, match="the schedule of the learning rate depends on the number of epochs") as told:
        bobbin.resume("planned", data, epochs=2, verbose=False)
    assert [warning.filename for warning in told] == [__file__]
    bobbin.train(RECIPE, data, out="free", epochs=1, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bobbin.resume("free", data, epochs=2, verbose=False)


def test_a_recipe_that_was_changed_is_refused(data: bobbin.Dataset) -> None:
    bobbin.train(RECIPE, data, out="changed", epochs=1, verbose=False)
    recipe = Path("changed/recipe.toml")
    recipe.write_text(recipe.read_text().replace("outputs = 4", "outputs = 5"))
    with pytest.raises(ValueError, match="`model.layers.*expected .*, as in changed/checkpoints/step-"):
        bobbin.resume("changed", data, epochs=2)


def test_ctrl_c_of_the_script() -> None:
    command = [SCRIPT, "train", "--epochs", "1000", "--json", "--out", "stopped"]
    # A shell that starts tests in the background has them ignore Ctrl-C.
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=restore)
    assert process.stdout is not None
    while '"event":"progress"' not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        process.stdout.readline()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: {SCRIPT} train --resume stopped" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, "Usage: bobbin <COMMAND>"),
        (["--version"], 0, f"bobbin {bobbin.__version__}"),
        (["trian"], 2, "unrecognized subcommand 'trian'"),
        ([], 2, "Usage: bobbin"),
        (["evaluate", "--weights", "nowhere"], 1, "nowhere"),
        (["train", "--lr", "high"], 2, "--lr: `optimizer.lr` is high: expected a number"),
    ],
)
@pytest.mark.parametrize("program", [[SCRIPT], [sys.executable, "-m", "bobbin"]])
def test_exit_codes_are_those_of_the_program(program: list, arguments: list, code: int, words: str) -> None:
    done = subprocess.run([*program, *arguments], capture_output=True, text=True)
    assert done.returncode == code and words in done.stdout + done.stderr
