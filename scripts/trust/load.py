"""Load: training for long in constant memory; more images than there is memory; numbers below the normal ones."""

import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import runs

TRAIN = runs.PROGRAMS / "train"
# Part by which resident memory may change once it is warm.
TOLERANCE = 0.01
SPARSE_BYTES = 40 * 10**9


def build() -> None:
    """Builds what is watched, as users run it."""
    command = ["cargo", "build", "--locked", "--release", "--quiet", "--bin", "train"]
    subprocess.run(command, cwd=runs.PROJECT, check=True)


def status(pid: int) -> dict[str, int]:
    """What the system says of a process: memory in KB, threads, descriptors."""
    fields = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in ("RssAnon", "RssFile", "VmRSS", "Threads"):
            fields[key] = int(value.split()[0])
    return fields | {"descriptors": len(os.listdir(f"/proc/{pid}/fd"))}


def watch(command: list[object], seconds: float, every: float) -> tuple[list[dict[str, int]], bool]:
    """Samples of a program while it runs, and whether it ended by itself; it is asked to end after so long and must
    then do so in good order."""
    samples, end = [], time.monotonic() + seconds
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as program:
        while program.poll() is None and time.monotonic() < end:
            time.sleep(every)
            with contextlib.suppress(OSError):
                sample = status(program.pid)
                # A program that has just ended has no memory.
                samples += [sample] if "RssAnon" in sample else []
        early = program.poll() is not None
        if not samples:
            sys.exit(f"load: {command[0]}: {program.communicate()[1].strip()}")
        if not early:
            program.terminate()
        message = program.communicate(timeout=120)[1]
    if program.returncode != (0 if early else 143):
        sys.exit(f"load: {command[0]} ended with {program.returncode}: {message.strip()}")
    return samples, early


def spread(samples: list[dict[str, int]], key: str) -> tuple[int, int]:
    values = [sample[key] for sample in samples]
    return min(values), max(values)


def soak(minutes: int) -> list[tuple[str, str, int]]:
    """Trains so long, with checkpoints, logs and validation in every epoch; the first fifth is to get warm."""
    build()
    place = Path(tempfile.mkdtemp(prefix="bobbin-soak-"))
    try:
        command = [TRAIN, "--epochs", 1_000_000, "--validation", 5000, "--out", place / "run", "--quiet"]
        samples, early = watch([str(word) for word in command], 60 * minutes, max(0.5, minutes / 4))
        if early:
            sys.exit("soak: training ended by itself")
        epochs = steps = 0
        for line in (place / "run/metrics.jsonl").read_text().splitlines():
            line = json.loads(line)
            if line["event"] == "epoch":
                epochs, steps = epochs + 1, line["step"]
    finally:
        shutil.rmtree(place)
    warm = samples[len(samples) // 5 :]
    (least, most), threads, files = (spread(warm, key) for key in ("RssAnon", "Threads", "descriptors"))
    rows = [
        (f"{minutes} minutes of training: {epochs:,} epochs, {steps:,} steps", f"{len(samples)} samples", 0),
        (
            "anonymous memory, MB (±1 %)",
            f"{least / 1000:.1f} to {most / 1000:.1f}",
            int(most > least * (1 + 2 * TOLERANCE)),
        ),
        ("threads", f"{threads[0]} to {threads[1]}", int(threads[0] != threads[1])),
        ("descriptors", f"{files[0]} to {files[1]}", int(files[0] != files[1])),
    ]
    for row in rows:
        print(*row, sep=": ", flush=True)
    if any(wrong for _, _, wrong in rows):
        sys.exit("soak: not constant")
    return rows


def sparse(place: Path) -> tuple[str, str, int]:
    """Trains on a file that is larger than memory and mostly hole."""
    images = (SPARSE_BYTES - 16) // 784
    data = place / "data"
    data.mkdir()
    file = data / "train-images-idx3-ubyte"
    file.write_bytes(struct.pack(">4I", 0x803, images, 28, 28))
    os.truncate(file, 16 + images * 784)
    labels = data / "train-labels-idx1-ubyte"
    labels.write_bytes(struct.pack(">2I", 0x801, images) + bytes([0, 1]))
    os.truncate(labels, 8 + images)
    held = file.stat().st_blocks * 512 + labels.stat().st_blocks * 512
    if held > 10**7:
        sys.exit(f"load: this file system has no holes: {held} bytes are held; use another TMPDIR")
    settings = ["--set", "data.normalize={ mean = [0.3], std = [0.35] }", "--set", "stop.iterations=3000"]
    command = [TRAIN, "--data", data, "--out", place / "run", "--quiet", "--validation", "none", *settings]
    # The images are hashed once, at their start: minutes, and memory stays flat in them too.
    samples, early = watch([str(word) for word in command], 3600, 1)
    if not early:
        sys.exit("load: no end within an hour")
    warm = samples[3:]
    least, most = spread(warm, "RssAnon")
    # What a step needs, and for each image four bytes, its place in the order of an epoch.
    wrong = int(most > 100_000 + 5 * images // 1000)
    what = f"a sparse file of {SPARSE_BYTES // 10**9} GB ({images:,} images): anonymous memory, MB"
    return what, f"{least / 1000:.1f} to {most / 1000:.1f}", wrong


def subnormals(place: Path) -> tuple[str, str, int]:
    """Times an epoch on usual weights and on weights that make every value subnormal."""
    times = {}
    for name, factor in (("usual", 1.0), ("subnormal", 2.0**-140)):
        weights = place / f"{name}.safetensors"
        write_weights(weights, factor)
        best = float("inf")
        for attempt in range(3):
            out = place / f"{name}-{attempt}"
            settings = ["--set", "optimizer.lr=1e-30", "--set", "stop.iterations=400", "--validation", "none"]
            command = [TRAIN, "--init", weights, "--threads", "1", "--out", out, "--json", *settings]
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"load: {done.stderr.strip()}")
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            best = min(best, next(line["seconds"] for line in lines if line["event"] == "epoch"))
        times[name] = best
    ratio = times["subnormal"] / times["usual"]
    return "time of training on subnormal values / on usual ones", f"{ratio:.2f}", int(ratio > 1.25)


def write_weights(path: Path, factor: float) -> None:
    """A LeNet of random weights times this factor, as PyTorch would save it."""
    import random

    chance, shapes = random.Random(1), lenet()
    header, values, at = {}, [], 0
    for name, shape in shapes.items():
        count = 1
        for n in shape:
            count *= n
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * count]}
        at += 4 * count
        values += [chance.uniform(-0.1, 0.1) * factor for _ in range(count)]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack(f"<{len(values)}f", *values))


def lenet() -> dict[str, list[int]]:
    """Names and shapes of the parameters, from a run of one step."""
    place = Path(tempfile.mkdtemp(prefix="bobbin-lenet-"))
    try:
        settings = ["--set", "stop.iterations=1", "--validation", "none", "--out", str(place / "run"), "--quiet"]
        subprocess.run([str(TRAIN), *settings], check=True, capture_output=True)
        file = (place / "run/model.safetensors").read_bytes()
    finally:
        shutil.rmtree(place)
    header = json.loads(file[8 : 8 + struct.unpack("<Q", file[:8])[0]])
    return {name: info["shape"] for name, info in header.items() if name != "__metadata__"}


def main() -> list[tuple[str, str, int]]:
    """Files larger than memory, and subnormals."""
    build()
    place = runs.fresh(Path(tempfile.mkdtemp(prefix="bobbin-load-")) / "work")
    try:
        rows = [sparse(place), subnormals(place)]
    finally:
        shutil.rmtree(place.parent)
    for row in rows:
        print(*row, sep=": ", flush=True)
    if any(wrong for _, _, wrong in rows):
        sys.exit("load: failed")
    return rows
