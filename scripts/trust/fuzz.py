"""Inputs of every kind that is read, changed at random by what they reach in the program (libFuzzer, under
AddressSanitizer and with overflow checks): whatever is in a file, it is taken or refused by one message.

The targets are the package `fuzz/`, whose corpora are committed; what is found is kept beside them in target/fuzz.
"""

import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from runs import PROJECT

HOME = PROJECT / "target/fuzz"
TRIPLE = "x86_64-unknown-linux-gnu"
# Each with the most bytes of an input: twice the largest of its corpus, or so. The fastest first.
TARGETS = {
    "sweep": 1024,
    "layers": 1024,
    "gzip": 1024,
    "idx": 1024,
    "recipe": 4096,
    "picture": 8192,
    "pickle": 8192,
    "checkpoint": 8192,
    "tensors": 4096,
    "import": 16384,
}
# Inputs of each target in the long form.
LONG = 10_000_000
# Seconds for rows of data frames in it.
LONG_ROWS = 600
# Seeds by their rarity (entropic) cost a quarter of the time in bookkeeping.
OPTIONS = ["-timeout=20", "-rss_limit_mb=3000", "-malloc_limit_mb=1500", "-print_final_stats=1", "-entropic=0"]
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
# One input may be many allocations: memory that is kept for reuse is no leak. Where memory was asked for is not recorded,
# and frames are not kept for uses after their return, which the language excludes: both took a third of the time.
SANITIZER = {
    "detect_leaks": 0,
    "allocator_may_return_null": 1,
    "malloc_context_size": 0,
    "detect_stack_use_after_return": 0,
    "quarantine_size_mb": 16,
}


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


@dataclass
class Fuzzing:
    """What is asked of each target, and the processes that are at it."""

    programs: Path
    seed: int
    # How long at most, unless it is 0; and how many inputs, unless it is -1.
    seconds: int
    inputs: int
    running: set[subprocess.Popen] = field(default_factory=set)
    stopped: bool = False

    def stop(self, *_: object) -> None:
        """An interrupt: every target ends, and says how far it has come."""
        self.stopped = True
        for process in self.running:
            process.send_signal(signal.SIGINT)

    def target(self, name: str) -> tuple[int, str]:
        """How many inputs a target was given, and what is wrong, if anything is."""
        found, crashes = HOME / "corpus" / name, HOME / "crashes" / name
        found.mkdir(parents=True, exist_ok=True)
        crashes.mkdir(parents=True, exist_ok=True)
        earlier, tried = set(crashes.iterdir()), 0
        while not self.stopped:
            limits = [f"-max_total_time={self.seconds}", f"-runs={self.inputs - tried if self.inputs > 0 else -1}"]
            options = [f"-seed={self.seed}", f"-max_len={TARGETS[name]}", f"-artifact_prefix={crashes}/"]
            places = [found, PROJECT / "fuzz/corpus" / name]
            ended, said, _ = self.run([self.programs / name, *places, *limits, *options, *OPTIONS])
            executed = re.search(r"stat::number_of_executed_units: *(\d+)", said)
            tried += int(executed.group(1)) if executed else 0
            if ended == 0 or "run interrupted" in said:
                break
            new = sorted(set(crashes.iterdir()) - earlier)
            if self.inputs > 0 and new and all(self.is_in_time(name, path) for path in new):
                continue
            lines = said.splitlines()
            telling = [line for line in lines if re.search("panicked|ERROR|SUMMARY|assert", line)]
            # An input has the name of its hash: one that was found before is not new.
            kept = ", ".join(str(path.relative_to(PROJECT)) for path in new) or f"found before: {crashes}"
            return tried, f"{' | '.join(telling[:4]) or lines[-1:]} ({kept})"
        return tried, ""

    def is_in_time(self, name: str, path: Path) -> bool:
        """Whether an input that took too long does not when it is run again: the machine, or the target, was stopped."""
        if path.name.startswith("timeout-") and self.run([self.programs / name, path, *OPTIONS])[0] == 0:
            path.unlink()
            return True
        return False

    def run(self, command: list[object]) -> tuple[int, str, str]:
        """Exit code, standard error and standard output of a target."""
        options = ":".join(f"{key}={value}" for key, value in SANITIZER.items())
        environment = os.environ | {"ASAN_OPTIONS": options}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
        with subprocess.Popen(command, env=environment, **pipes) as process:
            self.running.add(process)
            out, said = process.communicate()
            self.running.remove(process)
        for left in Path("/dev/shm").glob(f"bobbin-fuzz-{process.pid}-*"):
            shutil.rmtree(left, ignore_errors=True)
        return process.returncode, said, out

    def rows(self) -> tuple[int, str]:
        """Rows of a data frame, in Python, where scripts/check-spark has installed what they need."""
        python = PROJECT / "target/spark/bin/python"
        if not python.exists():
            print("rows: left out, as scripts/check-spark has not installed pandas", flush=True)
            return 0, ""
        script = PROJECT / "scripts/spark/rows_fuzz.py"
        seconds = self.seconds or LONG_ROWS
        ended, said, out = self.run([python, script, str(seconds), str(self.seed)])
        batches = re.search(r"rows: (\d+) batches", out)
        problem = "" if ended == 0 or self.stopped else f"{out.strip()}: {said.strip().splitlines()[-1:]}"
        return int(batches.group(1)) if batches else 0, problem


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


def figures(earlier: str, name: str, tried: int, seconds: float, wrong: int) -> str:
    """The table with the longest run of each target, and in it this one, if it is that or found something."""
    rows = dict(re.findall(r"^\| `(\w+)` (\|.*\|)$", earlier, re.MULTILINE))
    longest = int(rows[name].split("|")[1].replace(",", "")) if name in rows else 0
    if tried >= longest or wrong:
        rows[name] = f"| {tried:,} | {tried / max(seconds, 1):,.0f} | {wrong} | {datetime.date.today()} |"
    lines = ["| target | inputs | in a second | wrong | ended |", "|---|---:|---:|---:|---|"]
    return "\n".join(lines + [f"| `{name}` {rows[name]}" for name in [*TARGETS, "rows"] if name in rows]) + "\n"


def main(seconds: int, names: list[str], seed: int, record: Callable[[str, int, float, int], None] | None) -> None:
    """Targets, as many at a time as there are processors for this process, each so long (0: without a limit); with
    `record`, for LONG inputs at most, and `record` is told of each at its end."""
    started = time.monotonic()
    fuzzing = Fuzzing(build(), seed, seconds, LONG if record else -1)
    print(f"fuzz: built in {time.monotonic() - started:.0f} s", flush=True)
    signal.signal(signal.SIGINT, fuzzing.stop)
    signal.signal(signal.SIGTERM, fuzzing.stop)

    def timed(name: str) -> tuple[str, int, str, float]:
        begun = time.monotonic()
        return name, *(fuzzing.rows() if name == "rows" else fuzzing.target(name)), time.monotonic() - begun

    total = bad = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in as_completed([pool.submit(timed, name) for name in names]):
            name, tried, problem, took = done.result()
            total, bad = total + tried, bad + bool(problem)
            print(f"{name}: {tried:,} inputs in {took:.0f} s{': ' + problem if problem else ''}", flush=True)
            if record and tried:
                record(name, tried, took, int(bool(problem)))
    if {"layers", "tensors"} <= set(names) and not fuzzing.stopped:
        try:
            print(check_onnx(fuzzing.programs), flush=True)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            bad += 1
            print(error, flush=True)
    print(f"fuzz: {total:,} inputs, {bad} faults, in {time.monotonic() - started:.0f} s")
    if bad:
        sys.exit(1)
