"""Programs that are killed or interrupted, and go on from a checkpoint: to the weights of a run that was not disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402
from torch.optim import lr_scheduler as s  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from bobbin.torch import Accuracy, Estimator, EveryEpoch, MaxIteration, SeveralIteration  # noqa: E402
from bobbin.torch import estimator as engine_of  # noqa: E402

COUNT, BATCH, EPOCHS = 80, 16, 3
PER_EPOCH = COUNT // BATCH


def loader(generator: Any = None) -> DataLoader:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.random((COUNT, 1, 8, 8), np.float32))
    y = torch.from_numpy(random.integers(0, 3, COUNT))
    return DataLoader(TensorDataset(x, y), BATCH, shuffle=True, generator=generator)


def estimator(directory: Path | None = None, frequency: str = "epoch") -> Estimator:
    torch.manual_seed(4)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(144, 3))
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return Estimator.from_torch(
        model=net,
        optimizer=optimizer,
        loss=nn.CrossEntropyLoss(),
        metrics=[Accuracy()],
        scheduler=s.StepLR(optimizer, 1 if frequency == "epoch" else 3, 0.5),
        scheduler_step_freq=frequency,
        model_dir=directory,
    )


def weights(found: Estimator) -> list[Any]:
    return [value.clone() for value in found.get_model().state_dict().values()]


def undisturbed(frequency: str = "epoch", generator: Any = None) -> tuple[Estimator, Any]:
    found = estimator(frequency=frequency)
    return found, found.fit(loader(generator), epochs=EPOCHS, validation_data=loader())


def assert_same(found: Estimator, expected: Estimator) -> None:
    assert all(torch.equal(a, b) for a, b in zip(weights(found), weights(expected), strict=True))


@pytest.mark.parametrize("frequency", ["batch", "epoch"])
@pytest.mark.parametrize("after", [2, PER_EPOCH, PER_EPOCH + 3, 2 * PER_EPOCH])
def test_every_checkpoint_goes_on(tmp_path: Path, frequency: str, after: int) -> None:
    """In the middle of an epoch and at its end: batches, their order, the scheduler, what an epoch tells."""
    expected, history = undisturbed(frequency)
    estimator(tmp_path, frequency).fit(
        loader(), EPOCHS, validation_data=loader(), checkpoint_trigger=SeveralIteration(1)
    )
    found = estimator(tmp_path, frequency)
    found.load_orca_checkpoint(tmp_path, after)
    torch.manual_seed(99)
    own = found.fit(loader(), EPOCHS - after // PER_EPOCH, validation_data=loader())
    assert_same(found, expected)
    assert own == history[after // PER_EPOCH :]
    assert found.get_train_summary("LearningRate")[:, 1].tolist() == (
        expected.get_train_summary("LearningRate")[after:, 1].tolist()
    )


def test_a_loader_with_a_generator_goes_on(tmp_path: Path) -> None:
    expected, _ = undisturbed(generator=torch.Generator().manual_seed(7))
    estimator(tmp_path).fit(
        loader(torch.Generator().manual_seed(7)), 2, validation_data=loader(), checkpoint_trigger=SeveralIteration(4)
    )
    found = estimator(tmp_path)
    found.load_orca_checkpoint(tmp_path, 8)
    found.fit(loader(torch.Generator().manual_seed(1)), 2, validation_data=loader())
    assert_same(found, expected)


@pytest.mark.parametrize("at", [3, PER_EPOCH, PER_EPOCH + 2])
def test_an_interrupted_fit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, at: int) -> None:
    """Ctrl-C comes in the middle of a step, which is finished with all that belongs to it: here and in another process."""
    expected, _ = undisturbed("batch")
    found, complete = estimator(tmp_path, "batch"), (at - 1) // PER_EPOCH
    step, count = engine_of.Engine.step, 0

    def struck(self: Any, *batch: Any) -> float:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGINT)
            # Python's handlers run between two of its instructions.
            time.sleep(0.01)
        return step(self, *batch)

    monkeypatch.setattr(engine_of.Engine, "step", struck)
    with pytest.raises(KeyboardInterrupt, match=f"interrupted after step {at}: .*model-{at}.safetensors"):
        found.fit(loader(), EPOCHS, validation_data=loader())
    other = estimator(tmp_path, "batch")
    other.load_orca_checkpoint(tmp_path)
    for one in (found, other):
        one.fit(loader(), EPOCHS - complete, validation_data=loader())
        assert_same(one, expected)
    assert f"epoch {1 + complete} goes on after {at - complete * PER_EPOCH} batches" in capsys.readouterr().out


def test_an_end_that_was_asked_for_is_no_interruption() -> None:
    """The next fit begins an epoch: of other data, maybe."""
    found = estimator()
    found.fit(loader(), MaxIteration(2))
    [row] = found.fit(loader())
    assert row["num_samples"] == COUNT


def test_a_failed_batch_is_no_interruption() -> None:
    found = estimator()
    x, y = next(iter(loader()))
    y[-1] = 7
    with pytest.raises(ValueError, match="found label 7"):
        found.fit(DataLoader(TensorDataset(x, y), 8))
    [row] = found.fit(loader())
    assert row["num_samples"] == COUNT


KILLED = """
    import sys
    sys.path.insert(0, sys.argv[1])
    from test_torch_interrupted import *
    estimator(Path(sys.argv[2])).fit(loader(), 10**6, validation_data=loader(), checkpoint_trigger=EveryEpoch())
"""


def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    """SIGKILL at any time, also while a checkpoint is written."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(Path(__file__).parent), str(tmp_path)]
    process = subprocess.Popen(command)
    try:
        while process.poll() is None and len(list(tmp_path.glob("model-*.safetensors"))) < 3:
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    found = estimator()
    found.load_orca_checkpoint(tmp_path)
    epochs = round(max(int(path.stem[6:]) for path in tmp_path.glob("model-*.safetensors")) / PER_EPOCH)
    found.fit(loader(), 2, validation_data=loader())
    expected = estimator()
    expected.fit(loader(), epochs + 2, validation_data=loader())
    assert_same(found, expected)
