"""Jobs of ranks: how check-mpi starts them, ends them, and looks at what they leave."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = ROOT / "target" / "mpi"
TRAIN, PLAIN = HOME / "train", HOME / "train-without-mpi"
# No check takes longer, on any machine; who waits as long has found a hang.
LONGEST = 240
# Until a job that cannot go on is over.
SOON = 10


def fail(text):
    sys.exit(f"check-mpi: FAILED: {text}")


def build():
    """The programs, each under a name of its own; `bobbin` is for scripts/check-python."""
    HOME.mkdir(parents=True, exist_ok=True)
    mpi = ["--features", "mpi"]
    for program, features, to in (("bobbin", mpi, HOME / "bobbin"), ("train", mpi, TRAIN), ("train", [], PLAIN)):
        command = ["cargo", "build", "--locked", "--release", "--bin", program, *features]
        command.append("--message-format=json-render-diagnostics")
        built = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT)
        if built.returncode:
            fail("the build")
        messages = map(json.loads, built.stdout.splitlines())
        made = next(path for message in messages if (path := message.get("executable")))
        to.unlink(missing_ok=True)
        shutil.copy2(made, to)


def mpirun(ranks, arguments, program=TRAIN, before=()):
    """The command of a job; `arguments` may be a list for each rank."""
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", *before]
    if arguments and isinstance(arguments[0], list):
        parts = [["-n", "1", str(program), *own] for own in arguments]
        for part in parts[:-1]:
            command += [*part, ":"]
        return command + parts[-1]
    return [*command, "-n", str(ranks), str(program), *arguments]


def version():
    """The major version of Open MPI."""
    said, _ = succeed(["mpirun", "--version"])
    return int(re.search(r"\(Open MPI\) (\d+)", said)[1])


def run(command, **options):
    """Runs to the end: exit code, stdout, stderr."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, **options)
    except subprocess.TimeoutExpired:
        fail(f"a hang: {' '.join(command)}")
    return done.returncode, done.stdout, done.stderr


def succeed(command, **options):
    code, out, err = run(command, **options)
    if code:
        fail(f"exit code {code}: {' '.join(map(str, command))}\n{out}{err}")
    return out, err


def model(directory, file="model.safetensors"):
    return (Path(directory) / file).read_bytes()


def seen(directory):
    """What the steps, validations and epochs of a run found, without times and speeds."""
    lines = map(json.loads, (Path(directory) / "metrics.jsonl").read_text().splitlines())
    kept = ("event", "type", "step", "loss", "accuracy", "validation_loss", "top1", "top5")
    return [
        {key: line[key] for key in kept if key in line}
        for line in lines
        if "validation_loss" in line or "loss" in line
    ]


def alive():
    """The ranks that run: processes of our program."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.readlink(entry / "exe") == str(TRAIN):
                words = (entry / "environ").read_bytes().split(b"\0")
                ranks = [w.split(b"=")[1] for w in words if w.startswith(b"OMPI_COMM_WORLD_RANK=")]
                found[int(ranks[0]) if ranks else None] = int(entry.name)
    return found


def wait_until(what, condition, seconds=LONGEST):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            fail(f"{what}: not within {seconds} s")
        time.sleep(0.02)
    return found


# Long enough to be killed in the middle.
LONG = (
    "--recipe fast --batch-size 64 --validation none --schedule constant --lr 0.05 --threads 1"
    " --set data.shard=16 --set stop.iterations=4000 --set events.checkpoint={iterations=50} --quiet"
).split()


@contextlib.contextmanager
def job(ranks, out, flags=LONG, checkpoints=3, **options):
    """A job in the middle of its training, with as many checkpoints."""
    command = mpirun(ranks, [*flags, "--out", str(out)], **options)
    with open(f"{out}.txt", "w+") as text:
        process = subprocess.Popen(list(map(str, command)), stdout=text, stderr=text)
        try:
            wait_until("a checkpoint", lambda: len(list(Path(out).glob("checkpoints/step-*"))) >= checkpoints)
            yield process, text
        finally:
            process.kill()
            process.wait()


def ended(process, text, seconds=SOON, within=()):
    """That the job is over soon, badly, with these words, and has left nothing behind."""
    started = time.monotonic()
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        fail(f"the job goes on {seconds} s after its end should have come")
    wait_until("the end of all ranks", lambda: not alive(), seconds)
    took = time.monotonic() - started
    text.seek(0)
    told = text.read()
    if code == 0 or not all(words in told for words in within):
        fail(f"exit code {code}, expected another than 0 and the words {within}:\n{told}")
    return took


def resumed(out, ranks, expected):
    flags = ["--resume", str(out), "--threads", "1", "--quiet"]
    succeed([TRAIN, *flags] if ranks == 1 else mpirun(ranks, flags))
    if model(out) != expected:
        fail(f"{out} resumed on {ranks} ranks has other weights than a run that goes through")


def refused(command, code, kind, words, env=None):
    """That the job ends with this exit code, one line with these words, and an object of this kind."""
    file = HOME / "failure.json"
    file.unlink(missing_ok=True)
    found, out, err = run(command, env={**(env or os.environ), "BOBBIN_ERROR_FILE": str(file)})
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    if found != code or len(told) != 1 or words not in told[0]:
        fail(f"exit code {found}: expected {code} and one line with {words!r}:\n{out}{err}")
    failure_is(file, kind, code, words)


def failure_is(file, kind, code, words):
    """That the object in a file says this."""
    failure = json.loads(file.read_text()) if file.exists() else {}
    as_expected = {"event": "error", "kind": kind, "exit": code}
    if not as_expected.items() <= failure.items() or words not in failure["message"]:
        fail(f"{file}: {failure}: expected {as_expected} and {words!r}")
