"""What every Python contestant shares: arguments, data, initial weights, and obeying the driver.

The driver writes one JSON command a line and reads one JSON answer a line; README.md lists them.
"""

import argparse
import json
import os
import resource
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from networks import MEAN, STD
from safetensors.numpy import load_file

# Answers go to the original standard output; whatever a framework prints goes to standard error.
_ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


@dataclass(frozen=True)
class Arguments:
    network: str
    batch: int
    threads: int
    data: Path
    weights: Path
    mode: str
    setting: str
    norm_chunk: int | None
    fresh: bool
    autocast: bool
    without_chance: bool

    @property
    def batches(self) -> int:
        """How many batches an epoch has."""
        return len(load_labels(self)) // self.batch


def parse_arguments(settings: list[str], more_networks: Iterable[str] = ()) -> Arguments:
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", required=True, choices=["lenet", "cnn-bn", "vgg", "resnet", *more_networks])
    parser.add_argument("--batch", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--weights", required=True, type=Path)
    parser.add_argument("--mode", default="train", choices=["train", "infer"])
    parser.add_argument("--setting", default=settings[0], choices=settings)
    parser.add_argument("--norm-chunk", type=int)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--autocast", action="store_true")
    parser.add_argument("--without-chance", action="store_true")
    return Arguments(**vars(parser.parse_args()))


def load_images(arguments: Arguments) -> np.ndarray:
    """All training images, normalised: N×height×width×channels."""
    path = next(arguments.data.glob("train-images-idx?-ubyte"))
    rank = int(path.name.removeprefix("train-images-idx")[0])
    shape = np.fromfile(path, ">u4", count=1 + rank)[1:]
    images = np.fromfile(path, np.uint8, offset=4 * (1 + rank)).astype(np.float32)
    images /= 255
    images -= MEAN
    images /= STD
    return images.reshape(*shape[:3], -1)


def load_labels(arguments: Arguments) -> np.ndarray:
    return np.fromfile(arguments.data / "train-labels-idx1-ubyte", np.uint8, offset=8)


def load_weights(arguments: Arguments) -> dict[str, np.ndarray]:
    return load_file(arguments.weights)


class Contestant(ABC):
    framework: str
    version: str
    parameters: int

    @abstractmethod
    def step(self, batch: int) -> None:
        """Trains on a batch, or classifies it; need not wait for the result."""

    @abstractmethod
    def loss(self) -> float | None:
        """Waits until all steps are done; the last one's loss, if it had one."""


def serve(contestant: Contestant, arguments: Arguments) -> None:
    """Takes the first step, says ready, then obeys until the driver quits."""
    steps, batches = 0, arguments.batches

    def step() -> None:
        nonlocal steps
        contestant.step(steps % batches)
        steps += 1

    def run(count: int) -> dict:
        cpu, start = _cpu_seconds(), time.perf_counter()
        for _ in range(count):
            step()
        loss = contestant.loss()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu, "loss": loss}

    resident = _resident_kb()
    if not arguments.fresh:
        run(1)
    ready = {"framework": contestant.framework, "version": contestant.version}
    ready |= {"setting": arguments.setting, "parameters": contestant.parameters}
    _answer({"ready": True, **ready, "resident_kb": resident})
    for line in sys.stdin:
        match json.loads(line):
            case {"run": count}:
                _answer(run(count))
            case {"losses": count}:
                _answer({"losses": [run(1)["loss"] for _ in range(count)]})
            case {"quit": True}:
                break
            case command:
                sys.exit(f"unknown command: {command}")


def _answer(answer: dict) -> None:
    print(json.dumps(answer), file=_ANSWERS)


def _cpu_seconds() -> float:
    """Processor time of the whole process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
