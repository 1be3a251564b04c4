"""``backend="mpi"``: the program `bobbin steps` takes the steps, to the bits of this process.

One process needs no MPI; two ranks need the program that scripts/check-mpi has built.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn, optim  # noqa: E402

from bobbin import Error  # noqa: E402
from bobbin.torch import Accuracy, Estimator, init_orca_context, ranks, stop_orca_context  # noqa: E402
from torch_programs import arrays, estimator  # noqa: E402


@pytest.fixture(params=[1, 2])
def ranked(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two ranks, of the program in BOBBIN_MPI; and a launcher of one process, of that in BOBBIN_PROGRAM."""
    program = os.environ.get("BOBBIN_MPI" if request.param == 2 else "BOBBIN_PROGRAM")
    if program is None or not Path(program).is_file():
        pytest.skip("no such program")
    if request.param == 2:
        monkeypatch.setenv("BOBBIN_MPIRUN", "mpirun --oversubscribe --allow-run-as-root")
        init_orca_context(num_nodes=2, cores=1)
        yield
        stop_orca_context()
        return
    script = tmp_path / "mpirun"
    script.write_text('#!/bin/sh\nwhile [ "$1" != -n ]; do shift; done\nshift 2\nexec "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("BOBBIN_MPIRUN", str(script))
    monkeypatch.setenv("BOBBIN_MPI", program)
    yield


def program(backend: str) -> Estimator:
    module = nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(864, 10)
    )
    torch.manual_seed(4)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    optimizer = optim.Adam([{"params": module[0].parameters(), "lr": 1e-4}, {"params": module[5].parameters()}], lr=1e-3)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, [lambda step: 0.9**step, lambda step: 1 / (1 + step)])
    return Estimator.from_torch(
        model=module,
        optimizer=optimizer,
        loss=nn.CrossEntropyLoss(),
        metrics=[Accuracy()],
        scheduler=scheduler,
        backend=backend,
    )


def test_the_bits_are_those_of_one_process(ranked: None, tmp_path: Path) -> None:
    found: list[Any] = []
    for backend in ("local", "mpi"):
        trained = program(backend)
        torch.manual_seed(1)
        history = trained.fit(arrays(), epochs=2, batch_size=64, validation_data=arrays())
        trained.set_l2_norm_gradient_clipping(0.1)
        trained.fit(arrays(), batch_size=64)
        file = trained.save(tmp_path / f"{backend}.safetensors")
        trained.fit(arrays(), batch_size=64)
        trained.load(file)
        floats = (arrays()[0].astype(np.float32) / 100 - 1, arrays()[1])
        torch.manual_seed(2)
        trained.fit(floats, batch_size=64)
        losses = trained.get_train_summary("Loss")[:, 1]
        found.append((history, losses, trained.get_model().state_dict(), Path(file).read_bytes()))
        trained.shutdown()
    (a_history, a_losses, a, a_file), (b_history, b_losses, b, b_file) = found
    assert a_history == b_history and np.array_equal(a_losses, b_losses)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert a_file == b_file


def test_several_labels(ranked: None) -> None:
    images = arrays()[0]
    labels = (np.random.default_rng(1).random((len(images), 3)) < 0.3).astype(np.float32)
    found = []
    for backend in ("local", "mpi"):
        torch.manual_seed(3)
        module = nn.Sequential(nn.Flatten(), nn.Linear(images[0].size, 3))
        trained = Estimator.from_torch(
            model=module,
            optimizer=optim.SGD(module.parameters(), lr=0.1),
            loss=nn.BCEWithLogitsLoss(),
            metrics=[Accuracy()],
            backend=backend,
        )
        history = trained.fit((images, labels), epochs=2, batch_size=50, validation_data=(images, labels))
        found.append((history, trained.get_model().state_dict()))
        trained.shutdown()
    (a_history, a), (b_history, b) = found
    assert a_history == b_history
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_an_error_is_told_and_the_end_is_noticed(ranked: None) -> None:
    found = estimator(backend="mpi", lr=1e30)
    with pytest.raises(Error, match="not finite"):
        found.fit(arrays(), batch_size=64, epochs=2)
    found._engine.trainer._process.kill()
    with pytest.raises(Error, match="the ranks have ended with exit code -9"):
        found.fit(arrays(), batch_size=64)


@pytest.fixture
def four() -> Iterator[None]:
    init_orca_context(cluster_mode="local", num_nodes=4)
    yield
    stop_orca_context()


def test_where_mpi_is_missing_it_is_said(four: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOBBIN_MPIRUN", "no-such-mpirun")
    with pytest.raises(ValueError, match="found no no-such-mpirun: install Open MPI: sudo apt install"):
        estimator(backend="mpi").fit(arrays())
    monkeypatch.setenv("BOBBIN_MPIRUN", "true")
    monkeypatch.setenv("BOBBIN_MPI", "bobbin-with-mpi")
    assert ranks.launcher(4)[-3:] == ["-n", "4", "bobbin-with-mpi"]
