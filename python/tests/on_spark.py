"""What tests of ``backend="spark"`` have in common: a session on the slots of this machine. They need PySpark, Java, Open MPI,
and the programs with MPI where ``BOBBIN_PROGRAMS`` says (scripts/check-python has them)."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyspark")
if "BOBBIN_PROGRAMS" not in os.environ:
    pytest.skip("BOBBIN_PROGRAMS does not say where the programs with MPI are", allow_module_level=True)

from bobbin_spark import idx  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

from bobbin.torch import stop_orca_context  # noqa: E402


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    yield session
    stop_orca_context()
    session.stop()


def same_as_alone(found: Any, data: Any, names: Any, place: Path, init: Path | None = None) -> bool:
    """Whether the program makes the same file of the recipe, the initial weights and the same images of 12×12 pixels."""
    images, labels = data
    directory = place / "data"
    directory.mkdir(parents=True)
    for part in (idx.TRAIN, idx.TEST):
        # An IDX file by hand, of numbers or of rows of them.
        header = struct.pack(f">HBB{labels.ndim}I", 0, 8, labels.ndim, *labels.shape)
        (directory / f"{part}-labels-idx{labels.ndim}-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())
        header = struct.pack(">HBB3I", 0, 8, 3, len(images), 12, 12)
        (directory / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    (directory / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    (place / "recipe.toml").write_text(found.recipe)
    train = Path(os.environ["BOBBIN_PROGRAMS"], "train")
    command = [train, "--recipe", place / "recipe.toml", "--init", init or found.initial_weights(), "--data", directory]
    subprocess.run([*map(str, command), "--out", str(place / "alone"), "--quiet"], check=True)
    found.save(place / "net.safetensors")
    return (place / "net.safetensors").read_bytes() == (place / "alone" / "model.safetensors").read_bytes()
