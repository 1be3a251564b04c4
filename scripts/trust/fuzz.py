"""Inputs of every kind that is read, changed at random by what they reach in the program (libFuzzer, under
AddressSanitizer and with overflow checks): whatever is in a file, it is taken or refused by one message.

The targets are the package `fuzz/`, whose corpora are committed; what is found is kept beside them in target/fuzz.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from runs import PROJECT

HOME = PROJECT / "target/fuzz"
TRIPLE = "x86_64-unknown-linux-gnu"
TARGETS = ["idx", "gzip", "tensors", "checkpoint", "recipe", "sweep", "layers", "picture", "pickle", "import"]
# As `cargo fuzz` has it: counters of edges, comparisons, AddressSanitizer.
FLAGS = [
    "--cfg fuzzing",
    "-Zsanitizer=address",
    "-Cpasses=sancov-module",
    *(
        f"-Cllvm-args=-sanitizer-coverage-{what}"
        for what in ("level=4", "inline-8bit-counters", "pc-table", "trace-compares")
    ),
]


def build() -> Path:
    """Builds every target; returns where they are."""
    environment = os.environ | {
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": " ".join(FLAGS),
        "CARGO_TARGET_DIR": str(HOME),
    }
    command = ["cargo", "build", "--locked", "--release", "--target", TRIPLE]
    subprocess.run(command, cwd=PROJECT / "fuzz", env=environment, check=True)
    return HOME / TRIPLE / "release"


def run(programs: Path, target: str, seconds: int, seed: int) -> tuple[int, str]:
    """How many inputs a target was given, and what is wrong, if anything is."""
    found = HOME / "corpus" / target
    found.mkdir(parents=True, exist_ok=True)
    crashes = HOME / "crashes" / target
    crashes.mkdir(parents=True, exist_ok=True)
    earlier = set(crashes.iterdir())
    command = [
        programs / target,
        found,
        PROJECT / "fuzz/corpus" / target,
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        "-timeout=20",
        "-rss_limit_mb=3000",
        "-malloc_limit_mb=1500",
        "-max_len=16384",
        "-print_final_stats=1",
        f"-artifact_prefix={crashes}/",
    ]
    # One input may be many allocations: memory that is kept for reuse is no leak.
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
    done = subprocess.run(command, capture_output=True, env=environment, text=True, errors="replace")
    executed = re.search(r"stat::number_of_executed_units: *(\d+)", done.stderr)
    tried = int(executed.group(1)) if executed else 0
    for left in Path("/dev/shm").glob("bobbin-fuzz-*"):
        if not Path(f"/proc/{left.name.rsplit('-', 1)[1]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    if done.returncode == 0:
        return tried, ""
    lines = done.stderr.splitlines()
    telling = [line for line in lines if re.search("panicked|ERROR|SUMMARY|assert", line)]
    new = sorted(set(crashes.iterdir()) - earlier)
    # An input has the name of its hash: one that was found before is not new.
    kept = ", ".join(str(path.relative_to(PROJECT)) for path in new) or f"found before: {crashes.relative_to(PROJECT)}"
    return tried, f"{' | '.join(telling[:4]) or lines[-1:]} ({kept})"


def check_onnx(programs: Path) -> str:
    """What `onnx.checker` says of the graphs of every list of layers in the corpus, if it is installed."""
    python = PROJECT / "target/interop/onnx-python/bin/python"
    if not python.exists():
        return "onnx.checker: left out, as scripts/check-interop onnx has not installed it"
    place = HOME / "onnx"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for target in ("layers", "tensors"):
        corpora = [HOME / "corpus" / target, PROJECT / "fuzz/corpus" / target]
        subprocess.run(
            [programs / target, "-runs=0", *corpora],
            env=os.environ | {"BOBBIN_FUZZ_ONNX": str(place), "ASAN_OPTIONS": "detect_leaks=0"},
            capture_output=True,
            check=True,
        )
    script = (
        "import sys, pathlib, onnx\n"
        "files = sorted(pathlib.Path(sys.argv[1]).glob('*.onnx'))\n"
        "assert files\n"
        "[onnx.checker.check_model(onnx.load(f), full_check=True) for f in files]\n"
        "print(len(files))"
    )
    done = subprocess.run([python, "-c", script, place], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"onnx.checker: {done.stderr.strip().splitlines()[-1]}")
    return f"onnx.checker: {done.stdout.strip()} graphs, all sound"


def rows(seconds: int, seed: int) -> str:
    """Rows of a data frame, in Python, where scripts/check-spark has installed what they need."""
    python = PROJECT / "target/spark/bin/python"
    if not python.exists():
        return "rows: left out, as scripts/check-spark has not installed pandas"
    command = [python, PROJECT / "scripts/spark/rows_fuzz.py", str(seconds), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{done.stdout.strip()}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def main(seconds: int, seed: int) -> list[tuple[str, int, int]]:
    """Everything, so long each: rows of the table of figures."""
    started = time.monotonic()
    programs = build()
    print(f"fuzz: built in {time.monotonic() - started:.0f} s", flush=True)
    table, bad = [], 0
    for target in TARGETS:
        tried, problem = run(programs, target, seconds, seed)
        bad += bool(problem)
        table.append((f"fuzz: `{target}`", tried, int(bool(problem))))
        print(f"{target}: {tried:,} inputs{': ' + problem if problem else ''}", flush=True)
    for step in (lambda: check_onnx(programs), lambda: rows(seconds, seed)):
        try:
            print(step(), flush=True)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            bad += 1
            print(error, flush=True)
    total = sum(tried for _, tried, _ in table)
    print(f"fuzz: {total:,} inputs, {bad} faults, in {time.monotonic() - started:.0f} s")
    if bad:
        sys.exit(1)
    return table
