"""A standalone Spark cluster on this machine, and who is whose child in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyspark

_HOME = Path(pyspark.__file__).parent
_ADDRESS = "127.0.0.1"
# In the environment of all that runs below these workers: others may try the same on this machine.
_OWN = "BOBBIN_CHECK"
_SELF = os.environ.setdefault(_OWN, str(os.getpid()))


def wait_for(what: str, found: Callable[[], Any], seconds: float = 180) -> Any:
    """Waits until there is something, and returns it."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
    return result


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind((_ADDRESS, 0))
        return int(probe.getsockname()[1])


class Cluster:
    """One master, and workers that each are a process with executors below."""

    def __init__(self, home: Path, workers: int, cores: int) -> None:
        self.home = home
        self.cores = cores
        self._ui = free_port()
        port = free_port()
        self.url = f"spark://{_ADDRESS}:{port}"
        (home / "hadoop").mkdir()
        self.ui = free_port()
        places = ["--host", _ADDRESS, "--port", str(port), "--webui-port", str(self._ui)]
        self._processes: list[subprocess.Popen[Any]] = [self._start("master.Master", places)]
        wait_for("the master", lambda: self._state() is not None)
        for _ in range(workers):
            self.add_worker()

    def add_worker(self) -> None:
        """Starts one more worker and waits until the master knows it."""
        known = len(self._alive())
        places = ["--host", _ADDRESS, "--cores", str(self.cores), "--memory", "2g"]
        places += ["--webui-port", "0", "--work-dir", str(self.home / "work"), self.url]
        self._processes.append(self._start("worker.Worker", places))
        wait_for("a worker", lambda: len(self._alive()) > known)

    def _start(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        command = [str(_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *arguments]
        log = (self.home / f"{name}.log").open("ab")
        environment = os.environ | {"SPARK_DAEMON_MEMORY": "256m", "SPARK_LOCAL_IP": _ADDRESS}
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def _state(self) -> Any:
        try:
            with urllib.request.urlopen(f"http://{_ADDRESS}:{self._ui}/json/", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    def _alive(self) -> list[Any]:
        state = self._state() or {"workers": []}
        return [worker for worker in state["workers"] if worker["state"] == "ALIVE"]

    def configuration(self) -> dict[str, str]:
        """What an application says to use it."""
        return {
            "spark.executor.memory": "600m",
            "spark.log.level": "WARN",
            "spark.ui.port": str(self.ui),
            "spark.driver.host": _ADDRESS,
            # An address that only Hadoop understands.
            "spark.hadoop.fs.viewfs.mounttable.check.link./data": f"file://{self.home}/hadoop",
        }

    def submit(self, *arguments: str) -> subprocess.Popen[str]:
        """train_on_spark.py, started by spark-submit, which prints what it says on stdout."""
        conf = [f"--conf={name}={value}" for name, value in self.configuration().items()]
        command = [str(_HOME / "bin" / "spark-submit"), "--master", self.url, *conf]
        command += ["deploy/spark/train_on_spark.py", *arguments]
        environment = os.environ | {"SPARK_LOCAL_IP": _ADDRESS}
        job = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._processes.append(job)
        return job

    def executors_by_task(self) -> dict[int, str]:
        """Of the stage that runs: which executor runs which partition, as Spark itself says."""
        base = f"http://{_ADDRESS}:{self.ui}/api/v1/applications"
        application = _get(base)[0]["id"]
        stage = next(s for s in _get(f"{base}/{application}/stages") if s["status"] == "ACTIVE")
        place = f"stages/{stage['stageId']}/{stage['attemptId']}/taskList"
        return {t["index"]: t["executorId"] for t in _get(f"{base}/{application}/{place}")}

    def descriptions(self) -> list[str]:
        """What the jobs of the application are called in Spark's UI."""
        base = f"http://{_ADDRESS}:{self.ui}/api/v1/applications"
        application = _get(base)[0]["id"]
        return [job.get("description", "") for job in _get(f"{base}/{application}/jobs")]

    def stop(self) -> None:
        """Ends every process that this cluster started."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


def ranks() -> dict[int, int]:
    """The processes of the ranks that run on the cluster of this process."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "exe").readlink().name != "train":
                continue
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        names = dict(variable.partition(b"=")[::2] for variable in variables)
        own = names.get(_OWN.encode()) == _SELF.encode()
        if own and b"BOBBIN_RANK" in names and b"OMPI_COMM_WORLD_RANK" in names:
            assert names[b"BOBBIN_RANK"] == names[b"OMPI_COMM_WORLD_RANK"]
            found[int(names[b"BOBBIN_RANK"])] = int(process.name)
    return found


def drivers() -> list[int]:
    """The Python processes of train_on_spark.py."""
    return [process for process, command in _processes() if "python" in command[0] and _is_driver(command)]


def executors() -> list[int]:
    """The executors of the cluster of this process."""
    return [process for process, command in _processes() if "--executor-id" in command]


def _is_driver(command: list[str]) -> bool:
    return any(word.endswith("train_on_spark.py") for word in command)


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Those that this process started, with their command lines."""
    mark = f"{_OWN}={_SELF}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name), (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue


def ancestors(process: int) -> list[tuple[int, list[str]]]:
    """Process numbers and command lines from a process up."""
    line = []
    while process > 1:
        command = Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
        line.append((process, command))
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return line


def executor_of(process: int) -> tuple[int, str]:
    """The executor that a process is a descendant of: its number, and its name at Spark."""
    for number, command in ancestors(process):
        if "--executor-id" in command:
            return number, command[command.index("--executor-id") + 1]
    raise AssertionError(f"process {process} is not below an executor: {ancestors(process)}")


def worker_of(process: int) -> int:
    """The worker that a process is a descendant of."""
    for number, command in ancestors(process):
        if "org.apache.spark.deploy.worker.Worker" in command:
            return number
    raise AssertionError(f"process {process} is not below a worker")


def kill(process: int) -> None:
    """As if the power failed."""
    os.kill(process, signal.SIGKILL)
