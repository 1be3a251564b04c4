"""mpirun and the processes below a task, each of which ends with its parent."""

from __future__ import annotations

import ctypes
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .errors import BobbinError
from .network import LOOPBACK

STARTUP_SECONDS = 60
_PR_SET_PDEATHSIG = 1
# A peer that is cut off is noticed within 10 + 3 × 5 seconds, not within minutes.
_KEEPALIVE = {"time": 10, "intvl": 5, "probes": 3}
_BIGGEST_LOG = 1_000_000
# Any of the programs, and what has them.
_PROGRAMS = (
    (("mpirun",), "Open MPI 4 or 5: openmpi-bin"),
    (("orted", "prted"), "Open MPI 4 or 5: openmpi-bin"),
    (("setpriv",), "util-linux"),
)
_DAEMON = re.compile(r"(?:[^\s;(]*/)?\b(?:orted|prted)(?= )")
_EXPORT = re.compile(r"\w+=\S*|export \w+")


def missing() -> str | None:
    """What this machine lacks to take part in a job, if anything."""
    for names, package in _PROGRAMS:
        if not any(shutil.which(name) for name in names):
            return f"{' or '.join(names)} is not on this machine: expected {package}"
    return None


def version() -> int:
    """The major version of Open MPI here: 5 and later start their ranks by PRRTE."""
    said = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\(Open MPI\) (\d+)\.", said)
    if found is None:
        raise BobbinError(f"mpirun: found {said.strip()[:100] or 'another MPI'}, expected Open MPI 4 or 5")
    return int(found[1])


def parameters(version: int, networks: str) -> dict[str, dict[str, str]]:
    """Flags of ``mpirun`` that set parameters, and those to set: how daemons are started and what networks carry."""
    keepalive = {f"oob_tcp_keepalive_{name}": str(value) for name, value in _KEEPALIVE.items()}
    # Daemons check it too, on machines that have this shell, but not this script.
    agent, ranks = "/bin/sh agent.sh", {"btl_tcp_if_include": networks}
    if version >= 5:
        starting = {"plm": "ssh", "plm_ssh_agent": agent, "plm_ssh_no_tree_spawn": "1"}
        # Its daemons find no loopback device, so that they talk over any other.
        between = {} if networks == LOOPBACK else {"prte_if_include": networks}
        return {"--prtemca": starting | between | keepalive, "--mca": ranks}
    starting = {"plm": "rsh", "plm_rsh_agent": agent, "plm_rsh_no_tree_spawn": "1"}
    timeout = {"orte_startup_timeout": str(STARTUP_SECONDS)}
    return {"--mca": starting | timeout | {"oob_tcp_if_include": networks} | ranks | keepalive}


class Mpirun:
    """mpirun, which asks for the daemons by :file:`agent.sh`."""

    def __init__(
        self, scratch: Path, environment: dict[str, str], order: list[int], networks: str
    ) -> None:
        self.spool = scratch / "spool"
        self.spool.mkdir()
        self.log = scratch / "mpirun"
        (scratch / "agent.sh").write_bytes(_agent())
        command = ["mpirun", "--noprefix", "--leave-session-attached", "--wdir", "/"]
        command += ["--host", ",".join(f"{alias(p)}:1" for p in order), "-np", str(len(order))]
        for flag, values in parameters(version(), networks).items():
            for name, value in values.items():
                command += [flag, name, value]
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
                raise BobbinError(f"mpirun did not start its daemons, expected Open MPI 4 or 5: {said}")
            time.sleep(0.02)
        return {name: (self.spool / name).read_text() for name in wanted}


def _agent() -> bytes:
    from importlib import resources

    return resources.files(__package__).joinpath("agent.sh").read_bytes()


def daemon_of(line: str) -> list[str]:
    """The daemon in a command line of mpirun's, and the environment that comes before it. For a user whose shell is sh
    the line of Open MPI 4 is ``( test ! -r ./.profile || . ./.profile; orted … )``, and that of 5
    ``NAME=…;export NAME;…;/…/prted …``; but a shell that stayed in between would not take the daemon along when it is
    killed."""
    found = _DAEMON.search(line)
    if found is None:
        raise BobbinError(f"mpirun asks for no daemon, expected Open MPI 4 or 5: {line[:200]}")
    before = (part.strip() for part in line[: found.start()].split(";"))
    exports = [part for part in before if _EXPORT.fullmatch(part)]
    command = line[found.start() :].strip().removesuffix(")")
    return ["/bin/sh", "-c", "; ".join([*exports, f"exec {command}"])]


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
