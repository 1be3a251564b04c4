"""Tests under AddressSanitizer, with overflow checks and debug assertions: those in the sources of kernels and those
with guards; in the long form all tests of the crates that are unsafe or do arithmetic on sizes.

The hand-over of work between threads runs under loom (`trainer/loom`), which tries every order of events.
ThreadSanitizer needs a standard library that is built with it (`-Zbuild-std`), so the component rust-src, which
is not part of a usual installation: where it is, the long form runs the tests of the trainer under it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from runs import PROJECT

TRIPLE = "x86_64-unknown-linux-gnu"
SHORT = ["kernels"]
LONG = ["kernels", "autograd", "files", "dataset", "model", "trainer"]


def test(name: str, crates: list[str], flags: str, extra: list[str], variables: dict[str, str]) -> int:
    """Runs the tests of some crates with these flags, in a directory of their own; returns how many passed."""
    environment = os.environ | {
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": flags,
        "CARGO_TARGET_DIR": str(PROJECT / "target" / name),
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
        "CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS": "true",
        "CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS": "true",
        # Its reports name lines.
        "CARGO_PROFILE_RELEASE_DEBUG": "line-tables-only",
        "RUST_BACKTRACE": "0",
        **variables,
    }
    packages = [word for crate in crates for word in ("-p", f"bobbin-{crate}")]
    # Not the examples in documentation: each would be linked with the sanitizer by itself.
    command = ["cargo", "test", "--locked", "--release", "--target", TRIPLE, *packages, "--lib", *extra]

    def passed(printed: str) -> int:
        results = [line for line in printed.splitlines() if line.startswith("test result: ")]
        return sum(int(line.split(" passed")[0].rsplit(" ", 1)[1]) for line in results)

    return counted(name, command, environment, passed)


def loom() -> int:
    """Runs the models of the hand-over; returns how many held."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(PROJECT / "target" / "loom")}
    command = ["cargo", "run", "--locked", "--release", "--manifest-path", "trainer/loom/Cargo.toml"]
    return counted("loom", command, environment, lambda printed: printed.count(": every order is right"))


def counted(name: str, command: list[str], environment: dict[str, str], count: Callable[[str], int]) -> int:
    """Runs a command, and counts in what it prints; it fails where the command does, or nothing is counted."""
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    found = count(done.stdout)
    if done.returncode or not found:
        sys.stdout.write(done.stdout[-6000:] + done.stderr[-6000:])
        sys.exit(f"sanitizers: {name}: failed")
    return found


def has_standard_library() -> bool:
    root = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True)
    return (Path(root.stdout.strip()) / "lib/rustlib/src/rust/library/std").is_dir()


def main(long: bool) -> list[tuple[str, int, int]]:
    """Everything that can be run here: rows of the table of figures."""
    started = time.monotonic()
    rounds = {"BOBBIN_GUARDED_ROUNDS": "3000" if long else "250"}
    crates = LONG if long else SHORT
    tests = ["--tests"] if long else ["--test", "guarded"]
    passed = test("address", crates, "-Zsanitizer=address", tests, rounds)
    chosen = "" if long else " (its own, and those with guards)"
    what = f"AddressSanitizer and overflow checks: tests of {', '.join(crates)}{chosen}"
    table = [(what, passed, 0)]
    print(f"{what}: {passed} passed", flush=True)
    held = loom()
    table.append(("loom: the hand-over of work between threads", held, 0))
    print(f"loom: {held} models of the hand-over of work between threads held", flush=True)
    if not has_standard_library():
        print("ThreadSanitizer: left out, as the component rust-src is not installed", flush=True)
    elif long:
        passed = test("thread", ["trainer"], "-Zsanitizer=thread", ["--tests", "-Zbuild-std"], {})
        table.append(("ThreadSanitizer: tests of trainer", passed, 0))
        print(f"ThreadSanitizer: tests of trainer: {passed} passed", flush=True)
    print(f"sanitizers: passed in {time.monotonic() - started:.0f} s")
    return table
