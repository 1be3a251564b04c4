"""One contestant: a process that trains or classifies on command, and sleeps while others do."""

import ctypes
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from install import (
    HOME, PEERS, binary, build_crate, build_scala, install_python, jvm, python, reason,
)  # fmt: skip

# Installation and the first step of compilers and of slow peers; a turn of the slowest.
START_LIMIT, ANSWER_LIMIT = 600.0, 600.0
CPUS = sorted(os.sched_getaffinity(0))
# Networks that torchvision builds; Bobbin's presets have these names.
TORCHVISION = ["resnet18", "mobilenet-v2", "densenet121", "efficientnet-b0"]
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """Why a contestant is out, in one line."""


@dataclass(frozen=True)
class Peer:
    """`built` are those settings of a crate that are a build of their own, with the feature of that name. With `options`
    a peer is another of the program of `program`. Who takes `pictures` takes those of other sizes than 28×28 too; who
    has `torchvision` takes its networks.
    """

    key: str
    name: str
    settings: tuple[str, ...]
    language: str = "rust"
    built: tuple[str, ...] = ()
    program: str = ""
    options: tuple[str, ...] = ()
    pictures: bool = False
    torchvision: bool = False

    def takes(self, task: "Task") -> bool:
        return (self.pictures or task.size == 28) and (self.torchvision or task.network not in TORCHVISION)

    def install(self, setting: str) -> None:
        match self.language:
            case "rust":
                build_crate(self._program, self._feature(setting))
            case "python":
                install_python(self._program)
            case "scala":
                install_python(self.key)
                build_scala(self.key)

    def command(self, setting: str) -> list[str]:
        match self.language:
            case "python":
                script = PEERS / "python" / f"{self._program}_peer.py"
                return [str(python(self._program)), str(script), *self.options]
            case "scala":
                return [*jvm(self.key), f"com.intel.analytics.{self.key}.contestant.Contestant"]
        return [str(binary(self._program, self._feature(setting))), *self.options]

    @property
    def _program(self) -> str:
        return self.program or self.key

    def _feature(self, setting: str) -> str:
        return setting if setting in self.built else ""


@dataclass(frozen=True)
class Task:
    """`size` are the rows and columns of an image: of 28 it is grey, else it has three channels."""

    mode: str
    network: str
    batch: int
    threads: int
    size: int = 28

    def __str__(self) -> str:
        size = "" if self.size == 28 else f"/{self.size}"
        return f"{self.mode}/{self.network}/{self.batch}/{self.threads}{size}"

    def arguments(self) -> list[str]:
        weights = weights_file(self.network, self.size)
        words = ["--mode", self.mode, "--network", self.network, "--batch", str(self.batch)]
        words += ["--threads", str(self.threads)]
        return [*words, "--data", str(data_directory(self.size)), "--weights", str(weights)]


def data_directory(size: int) -> Path:
    return HOME / ("data" if size == 28 else f"data-{size}")


def weights_file(network: str, size: int) -> Path:
    name = network if size == 28 else f"{network}-{size}"
    return HOME / "weights" / f"{name}.safetensors"


class Contestant:
    """Running from the constructor to `close`; stopped by SIGSTOP but for start-up and turns."""

    def __init__(self, peer: Peer, setting: str, task: Task, extra: tuple[str, ...] = ()):
        self.peer, self.setting = peer, setting
        self.log = HOME / "logs" / f"{str(task).replace('/', '-')}-{peer.key}-{setting or 'only'}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = peer.command(setting) + task.arguments() + list(extra)
        command += ["--setting", setting] if setting else []
        start = time.monotonic()
        self.process = self._spawn(command, task.threads)
        self._unread = b""
        try:
            self.ready = self._answer(START_LIMIT)
        except BaseException:
            self.close()
            raise
        self.startup_seconds = time.monotonic() - start - self.ready.get("warm_up_seconds", 0.0)
        self.startup_peak_kb = self._status_kb("VmHWM")
        # From here on VmHWM is the peak of further steps alone.
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        self._signal(signal.SIGSTOP)

    def _spawn(self, command: list[str], threads: int) -> subprocess.Popen:
        with self.log.open("w") as log:
            try:
                return subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                    env=_environment(threads), start_new_session=True, preexec_fn=_child(threads),
                )  # fmt: skip
            except FileNotFoundError:
                raise Failed("not installed") from None

    @contextmanager
    def turn(self) -> Iterator[Callable[[dict], dict]]:
        """Lets the process run; gives the function that asks it something."""
        self._signal(signal.SIGCONT)
        try:
            yield self._ask
        finally:
            self._signal(signal.SIGSTOP)

    def _ask(self, command: dict) -> dict:
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died, and reading says of what
        return self._answer(ANSWER_LIMIT)

    def _answer(self, limit: float) -> dict:
        deadline = time.monotonic() + limit
        pipe = self.process.stdout.fileno()
        while b"\n" not in self._unread:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Failed(f"no answer within {limit:.0f} s")
            data = os.read(pipe, 1 << 16)
            if not data:
                raise Failed(self._cause_of_death())
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError:
            raise Failed(f"not an answer: {line[:80]!r}") from None

    def _cause_of_death(self) -> str:
        status = self.process.wait()
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}: {reason(self.log.read_text(errors='replace'))}"

    def memory(self) -> dict[str, int | None]:
        """Peaks of resident memory: of the whole life, and of the steps after the first."""
        steps = self._status_kb("VmHWM")
        return {"peak_kb": max(self.startup_peak_kb, steps), "steps_peak_kb": steps,
                "resident_kb": self.ready.get("resident_kb")}  # fmt: skip

    def _status_kb(self, field: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)

    def _signal(self, number: signal.Signals) -> None:
        """To the process and its children: it leads a group of its own."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def _environment(threads: int) -> dict[str, str]:
    limits = dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"], str(threads))
    # A start-up is a first one: what torch.compile has compiled for another run does not help.
    inductor = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "TORCHINDUCTOR_CACHE_DIR": str(HOME / "inductor")}
    return os.environ | limits | inductor | {"TF_CPP_MIN_LOG_LEVEL": "2"}


def _child(threads: int) -> Callable[[], None]:
    """What the new process does first: keeps to `threads` processors and dies with the driver.

    The kernel's SIGKILL at the driver's death reaches a stopped process too.
    """

    def prepare() -> None:
        os.sched_setaffinity(0, CPUS[-threads:])
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare
