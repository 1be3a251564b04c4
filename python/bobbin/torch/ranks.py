"""A trainer whose steps the ranks of an MPI job take: ``backend="mpi"``.

``mpirun`` starts the program ``bobbin steps`` (bin/src/steps.rs says what it is asked, and how). Each batch goes to all
ranks, which share out its work and its sums; the weights are those of one process, to the bit.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .. import Error, Model, Trainer, _arrays, _fields

_SLEEP = 0.01


class RankTrainer:
    """Does what a ``Trainer`` does, on ranks. Whatever is not a step is done by one here, which has their state then."""

    def __init__(
        self,
        recipe: dict[str, Any],
        batch: tuple[Any, Any],
        classes: list[str],
        here: Trainer,
        ranks: int,
        threads: int | None,
    ) -> None:
        """``here`` has the state to begin with; ``batch`` is one of images and labels like those to come."""
        self._here, self._is_behind, self._was_heard = here, False, False
        self._place = tempfile.TemporaryDirectory(prefix="bobbin-")
        command = [*launcher(ranks), "steps", self._path("requests"), self._path("answers")]
        for name in ("requests", "answers"):
            os.mkfifo(self._path(name))
        self._output = open(self._path("output"), "w+b")  # noqa: SIM115
        # In a session of its own, as Ctrl-C is for this process.
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True
        )
        self._requests: IO[bytes] = self._opened("requests", os.O_WRONLY)
        self._answers: IO[bytes] = self._opened("answers", os.O_RDONLY)
        self._end = weakref.finalize(self, _ended, self._process, self._requests, self._answers, self._place)
        images = _arrays.images(batch[0], "nchw", "images")
        shape = [images.shape[i] for i in (3, 1, 2)]
        text = _fields.recipe(recipe)[1]
        about = {"recipe": text, "shape": shape, "classes": classes, "threads": threads}
        self._ask({"do": "begin"} | about, images, batch[1])
        self._push()

    def step_on(self, images: Any, labels: Any, *, lr: float | None = None) -> float:
        """As that of ``Trainer``."""
        answer = self._ask({"do": "step", "lr": lr}, _arrays.images(images, "nchw", "images"), labels)
        self._is_behind = True
        return float(answer["loss"])

    def set_optimizer(self, settings: dict[str, Any]) -> None:
        """As that of ``Trainer``."""
        self._current().set_optimizer(settings)
        self._ask({"do": "optimizer", "recipe": _fields.recipe({"optimizer": settings})[1]})

    def load_state_dict(self, weights: Any) -> None:
        """As that of ``Trainer``."""
        self._current().load_state_dict(weights)
        self._push()

    def load_checkpoint(self, path: Any) -> str:
        """As that of ``Trainer``."""
        note = self._here.load_checkpoint(path)
        self._push()
        return note

    def save_checkpoint(self, path: Any, note: str = "") -> None:
        """As that of ``Trainer``."""
        self._current().save_checkpoint(path, note)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """As that of ``Trainer``."""
        return self._current().state_dict()

    def model(self) -> Model:
        """As that of ``Trainer``."""
        return self._current().model()

    @property
    def recipe(self) -> str:
        """As that of ``Trainer``."""
        return self._here.recipe

    @property
    def step(self) -> int:
        """As that of ``Trainer``."""
        return self._current().step

    def close(self) -> None:
        """Ends the job."""
        self._end()

    def _current(self) -> Trainer:
        """The one here, with the state of the ranks."""
        if self._is_behind:
            self._ask({"do": "save", "path": self._path("state")})
            self._here.load_checkpoint(self._path("state"))
            self._is_behind = False
        return self._here

    def _push(self) -> None:
        """Gives the ranks the state that is here."""
        self._here.save_checkpoint(self._path("state"))
        self._send({"do": "load"}, [Path(self._path("state")).read_bytes()])
        self._is_behind = False

    def _ask(self, request: dict[str, Any], images: Any = None, labels: Any = None) -> dict[str, Any]:
        if images is None:
            return self._send(request, [])
        labels = _arrays.labels(labels, len(images), "labels")
        several = labels.shape[1] if labels.ndim == 2 else None
        labels = labels if several else labels.astype("<u4")
        batch = {"images": len(images), "floats": images.dtype != np.uint8, "several": several}
        return self._send(request | {"batch": batch}, [labels.data, images.data])

    def _send(self, request: dict[str, Any], body: list[Any]) -> dict[str, Any]:
        text = json.dumps(request).encode()
        length = sum(memoryview(part).nbytes for part in body)
        try:
            self._requests.write(np.array([len(text), length], "<u8").tobytes() + text)
            for part in body:
                self._requests.write(part)
            self._requests.flush()
            line = self._line()
        except BrokenPipeError:
            line = b""
        if not line:
            raise self._failed()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Error(answer["error"])
        return answer

    def _line(self) -> bytes:
        line = self._answers.readline()
        # Until the first rank has opened the pipe it is at its end.
        while not line and not self._was_heard and self._process.poll() is None:
            time.sleep(_SLEEP)
            line = self._answers.readline()
        self._was_heard = True
        return line

    def _opened(self, name: str, mode: int) -> IO[bytes]:
        """A pipe whose other end the first rank opens, unless the job ends before."""
        while self._process.poll() is None:
            try:
                # A reader waits for nobody; a writer is refused until there is a reader.
                pipe = os.open(self._path(name), mode | os.O_NONBLOCK)
                os.set_blocking(pipe, True)
                return os.fdopen(pipe, "wb" if mode == os.O_WRONLY else "rb")
            except OSError:
                time.sleep(_SLEEP)
        raise self._failed()

    def _failed(self) -> Error:
        self._process.wait()
        self._output.seek(0)
        said = self._output.read().decode(errors="replace").strip()
        return Error(f"the ranks have ended with exit code {self._process.returncode}: {said or 'they said nothing'}")

    def _path(self, name: str) -> str:
        return os.path.join(self._place.name, name)


def _ended(process: Any, requests: IO[bytes], answers: IO[bytes], place: Any) -> None:
    """Without requests the ranks end by themselves."""
    for pipe in (requests, answers):
        try:
            pipe.close()
        except BrokenPipeError:
            pass
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
    place.cleanup()


def launcher(ranks: int) -> list[str]:
    """The command that starts so many ranks, up to the arguments of the program. Raises ``ValueError`` if there is no MPI.

    ``BOBBIN_MPIRUN`` is what is called instead of ``mpirun``, with arguments such as ``--hostfile hosts``; ``BOBBIN_MPI``
    the program instead of the ``bobbin`` that is found.
    """
    given = os.environ.get("BOBBIN_MPIRUN", "").split()
    own = given or ["mpirun"]
    if shutil.which(own[0]) is None:
        raise ValueError(f'backend="mpi": found no {own[0]}: install Open MPI: sudo apt install openmpi-bin libopenmpi-dev')
    if not given and _is_open_mpi(own[0]):
        own += ["--allow-run-as-root"] * (os.geteuid() == 0) + ["--oversubscribe"] * (ranks > (os.cpu_count() or 1))
    return [*own, "-n", str(ranks), _program()]


def _is_open_mpi(mpirun: str) -> bool:
    found = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False)
    return "Open MPI" in found.stdout or "Open MPI" in found.stderr


def _program() -> str:
    """The program ``bobbin`` that was built with MPI, as that of the wheel is not."""
    given = os.environ.get("BOBBIN_MPI")
    if given:
        return given
    places = [*os.environ.get("PATH", "").split(os.pathsep), str(Path.home() / ".cargo" / "bin"), "target/release"]
    for path in (Path(place, "bobbin") for place in places):
        if path.is_file() and b"libmpi.so" in path.read_bytes():
            return str(path.resolve())
    raise ValueError(
        'backend="mpi": found no program bobbin with MPI: build it in a checkout of Bobbin, cargo install --path . '
        "--features mpi, or name it in the variable BOBBIN_MPI"
    )
