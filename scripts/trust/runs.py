"""Small runs, and all that one leaves, in a form that can be compared."""

import contextlib
import hashlib
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target")).resolve()
PROGRAMS = TARGET / "release"
TRACER = TARGET / "trust/tracer"

RECIPE = """
seed = 3
[model]
layers = [
    {{ kind = "conv", outputs = 4, kernel = 3, bias = false }},
    {{ kind = "batch-norm" }},
    {{ kind = "relu" }},
    {{ kind = "flatten" }},
    {{ kind = "linear", outputs = 3 }},
]
[data]
directory = "{data}"
batch_size = 32
validation = 40
[optimizer]
kind = "adam"
lr = 0.01
ema = 0.9
[stop]
epochs = 3
"""


class Wrong(Exception):
    """What a trial has left is not what it should be."""


class Row:
    """A kind of attack: how often it was tried, and what went wrong."""

    def __init__(self, what):
        self.what, self.tried, self.lost = what, 0, []

    @contextlib.contextmanager
    def trial(self):
        """Counts what is done within it."""
        self.tried += 1
        try:
            yield
        except (Wrong, subprocess.TimeoutExpired) as error:
            self.lost.append(str(error))


def prepare(pictures):
    """Builds the programs and the tracer, and draws a few pictures in a folder for each class."""
    build = ["cargo", "build", "--locked", "--release", "--quiet"]
    subprocess.run(build, cwd=PROJECT, check=True)
    TRACER.parent.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("tracer.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", TRACER, source], check=True)
    example = ["cargo", "run", "--locked", "--release", "--quiet", "--example", "shop_pictures"]
    subprocess.run(
        [*example, "--", pictures], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL
    )
    for number, path in enumerate(sorted(pictures.glob("*/*"))):
        if number % 20:
            path.unlink()


def write_data(place):
    """A data set of 240 and 40 images of 6×6 in three classes that can be learnt; returns its recipe."""
    data = place / "data"
    fresh(data)
    for part, count in (("train", 240), ("t10k", 40)):
        labels = bytes((i * i + i // 3) % 3 for i in range(count))
        noise = hashlib.shake_256(part.encode()).digest(36 * count)
        pixels = bytes((noise[i] // 2 + 60 * (labels[i // 36] == i % 3)) for i in range(36 * count))
        images = struct.pack(">4I", 0x803, count, 6, 6) + pixels
        (data / f"{part}-images-idx3-ubyte").write_bytes(images)
        (data / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels)
    recipe = place / "small.toml"
    recipe.write_text(RECIPE.format(data=data))
    return recipe


def environment():
    """One SIMD path and no colours, whoever calls."""
    return {**os.environ, "NO_COLOR": "1", "LC_ALL": "C", "RUST_BACKTRACE": "0"}


def run(command):
    """Runs a program to its end."""
    command = [str(word) for word in command]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)


def traced(root, action, number, command, after_sync=None):
    """Runs a program under the tracer; returns its end and the calls: (number, name, path) each."""
    calls_out, calls_in = os.pipe()
    go_out, go_in = os.pipe()

    def descriptors():
        for descriptor, wanted in ((os.dup(calls_in), 3), (os.dup(go_out), 4)):
            os.dup2(descriptor, wanted)

    words = [TRACER, root, action, *([number] if number else []), "--", *command]
    process = subprocess.Popen(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=descriptors,
        close_fds=False,
    )
    os.close(calls_in)
    os.close(go_out)
    calls = []
    with open(calls_out, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            call, name, path = line.rstrip("\n").split(" ", 2)
            if name != "synced":
                calls.append((int(call), name, path))
                continue
            if after_sync:
                after_sync(Path(path))
            os.write(go_in, b".")
    out, err = process.communicate(timeout=120)
    os.close(go_in)
    return subprocess.CompletedProcess(words, process.returncode, out, err), calls


def outcome(directory):
    """All that a run has left that must not depend on how it got there."""
    left = {}
    for name in ("model.safetensors", "best.safetensors", "recipe.toml"):
        path = directory / name
        left[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
    left["metrics"] = metrics(directory / "metrics.jsonl")
    for events in ("train", "validation"):
        left[events] = curves(directory / events)
    left["files"] = files(directory)
    return left


def files(directory):
    """The names of all files below a directory, but for those of events, which hold a time."""
    paths = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return [str(path) for path in paths if not path.name.startswith("events.")]


def metrics(path):
    """The lines of metrics.jsonl that tell of steps, without what a clock says."""
    clocks = {"seconds", "images_per_second", "file", "model"}
    kept = []
    for line in path.read_text().splitlines():
        line = json.loads(line)
        if line.get("event") in ("progress", "validation", "epoch", "checkpoint", "end"):
            kept.append({key: value for key, value in line.items() if key not in clocks})
    return kept


def curves(directory):
    """The scalars of event files: (tag, step, value), each once, but for the throughput."""
    found = []
    for path in sorted(directory.glob("events.out.tfevents.*")):
        found.extend(scalars(path.read_bytes()))
    repeated = {point for point in found if found.count(point) > 1}
    if repeated:
        raise Wrong(f"{directory}: told twice: {sorted(repeated)[:3]}")
    return sorted(point for point in found if point[0] != "Throughput")


def scalars(data):
    """The scalars in the records of an event file: `step` (2), `summary` (5) with values of a tag (1)."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        record = data[at + 12 : at + 12 + length]
        if len(record) < length:
            raise Wrong("an event file ends within a record")
        at += 12 + length + 4
        event = fields(record)
        step = next((value for key, value in event if key == 2), 0)
        for summary in (value for key, value in event if key == 5):
            for value in (value for key, value in fields(summary) if key == 1):
                parts = dict(fields(value))
                number = scalar(parts)
                if number is not None:
                    yield parts[1].decode(), step, number


def scalar(parts):
    """The number in a summary's value: `simple_value` (2), or a tensor (8) with one float."""
    if 2 in parts:
        return struct.unpack("<f", parts[2])[0]
    if 8 in parts:
        tensor = dict(fields(parts[8]))
        # float_val (5), packed; or tensor_content (4).
        content = tensor.get(5, tensor.get(4, b""))
        if tensor.get(1) == 1 and len(content) == 4:
            return struct.unpack("<f", content)[0]
    return None


def fields(message):
    """The fields of a protobuf message: number and value."""
    at, found = 0, []

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            length = {1: 8, 2: None, 5: 4}[kind]
            length = varint() if length is None else length
            value = message[at : at + length]
            at += length
        found.append((key >> 3, value))
    return found


def difference(found, expected):
    """The first thing in which a run differs from the undisturbed one, or None."""
    for key, value in expected.items():
        if found[key] == value:
            continue
        if isinstance(value, list):
            pairs = zip(found[key], value)
            first = next((f"{a} in place of {b}" for a, b in pairs if a != b), "")
            return f"{key}: {len(found[key])} in place of {len(value)} entries; {first}"
        return f"{key}: {found[key]} in place of {value}"
    return None


def fresh(place):
    """An empty directory."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place
