"""mpirun and the processes below a task, each of which ends with its parent."""

from __future__ import annotations

import ctypes
import shlex
import signal
import subprocess
import time
from pathlib import Path

from .errors import BobbinError

STARTUP_SECONDS = 60
_PR_SET_PDEATHSIG = 1
# A peer that is cut off is noticed within 10 + 3 × 5 seconds, not within minutes.
_KEEPALIVE = {"time": 10, "intvl": 5, "probes": 3}
_BIGGEST_LOG = 1_000_000


class Mpirun:
    """mpirun, which asks for the daemons by :file:`agent.sh`."""

    def __init__(
        self, scratch: Path, environment: dict[str, str], order: list[int], networks: str
    ) -> None:
        self.spool = scratch / "spool"
        self.spool.mkdir()
        self.log = scratch / "mpirun"
        (scratch / "agent.sh").write_bytes(_agent())
        parameters = {
            "plm": "rsh",
            # Daemons check it too, on machines that have this shell, but not this script.
            "plm_rsh_agent": "/bin/sh agent.sh",
            "plm_rsh_no_tree_spawn": "1",
            "oob_tcp_if_include": networks,
            "btl_tcp_if_include": networks,
            "orte_startup_timeout": str(STARTUP_SECONDS),
            **{f"oob_tcp_keepalive_{name}": str(value) for name, value in _KEEPALIVE.items()},
        }
        command = ["mpirun", "--noprefix", "--leave-session-attached", "--wdir", "/"]
        command += ["--host", ",".join(f"{alias(p)}:1" for p in order), "-np", str(len(order))]
        for name, value in parameters.items():
            command += ["--mca", name, value]
        command += ["/bin/sh", "-c", 'exec "$BOBBIN_START"']
        environment = environment | {"BOBBIN_SPOOL": str(self.spool)}
        self.process = start_child(command, environment, self.log)

    def daemons(self, order: list[int]) -> dict[str, str]:
        """The command line that starts the daemon of each task."""
        wanted = [alias(p) for p in order]
        deadline = time.monotonic() + STARTUP_SECONDS
        while not all((self.spool / name).exists() for name in wanted):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                said = read_end(self.log.with_suffix(".err")).strip()
                raise BobbinError(f"mpirun did not start its daemons, expected Open MPI 4: {said}")
            time.sleep(0.02)
        return {name: (self.spool / name).read_text() for name in wanted}


def _agent() -> bytes:
    from importlib import resources

    return resources.files(__package__).joinpath("agent.sh").read_bytes()


def daemon_of(line: str) -> list[str]:
    """The daemon in a command line of mpirun's. For a user whose shell is sh that is
    ``( test ! -r ./.profile || . ./.profile; orted … )``, but a shell in between would not take the
    daemon along when it is killed."""
    words = shlex.split(line)
    return [word for word in words[words.index("orted") :] if word != ")"]


def alias(partition: int) -> str:
    """The invented host that stands for a task."""
    return f"bobbin-{partition}"


def start_child(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A child in the directory of its log that ends with this process, whatever ends it."""
    with log.with_suffix(".out").open("wb") as out, log.with_suffix(".err").open("wb") as err:
        tied = ["setpriv", "--pdeathsig", "KILL", *command]
        streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
        return subprocess.Popen(tied, cwd=log.parent, env=environment, **streams)


def read_end(path: Path) -> str:
    """What a file says, or the last of it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _BIGGEST_LOG))
        return file.read().decode(errors="replace")


def end_with_parent() -> None:
    """Has the kernel kill this process when its parent is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
