"""What tasks do with the rows of a data frame and a model: prediction and evaluation, by the programs."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark import SparkFiles

from . import idx
from .bundle import executable
from .columns import Columns, Shape
from .errors import BobbinError
from .images import image_bytes, label_bytes
from .scratch import executor_scratch

MODEL = "model.safetensors"
PREDICTION = "prediction"
SCORES = "images long, loss double, top1 double, top5 double, problem string"


class RowWork:
    """What tasks do with their rows."""

    def __init__(
        self, bundle: str, columns: Columns, threads: int, shape: Shape | None, image: int
    ) -> None:
        self.bundle = bundle
        # The program would make images of another size fit the model.
        self.columns = replace(columns, shape=shape or columns.shape)
        self.threads = threads
        self.image = image

    def predict(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Adds the predictions to each batch."""
        for batch in batches:
            images = pd.DataFrame({self.columns.image: batch.column(self.image).to_pandas()})
            found = pa.array(self._classes(images) if len(images) else [], pa.int32())
            names = [*batch.schema.names, PREDICTION]
            yield pa.RecordBatch.from_arrays([*batch.columns, found], names)

    def _classes(self, batch: pd.DataFrame) -> list[int]:
        with tempfile.TemporaryDirectory(prefix="bobbin-", dir=executor_scratch()) as scratch:
            pixels, shape = image_bytes(batch, self.columns)
            writer = idx.IdxWriter(Path(scratch), idx.TEST, shape)
            writer.write(pixels, bytes(len(batch)))
            index = f"0..{len(batch) - 1}"
            command = [*self._program("predict"), "--top", "1", "--index", index]
            lines = _json_lines([*command, "--threads", str(self.threads), str(writer.close())])
            return [line["predictions"][0]["label"] for line in lines]

    def evaluate(self, batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """One row: how many images the partition has, and the means over them."""
        names = SCORES.replace(",", "").split()[::2]
        with tempfile.TemporaryDirectory(prefix="bobbin-", dir=executor_scratch()) as scratch:
            directory = Path(scratch)
            try:
                if not self._write(batches, directory):
                    return
                scores = measured(self._program("evaluate"), directory, self.threads)
                row: tuple[object, ...] = (*(scores[name] for name in names[:-1]), None)
            except BobbinError as error:
                row = (0, 0.0, 0.0, 0.0, str(error))
        yield pd.DataFrame([row], columns=names)

    def _write(self, batches: Iterator[pd.DataFrame], directory: Path) -> bool:
        """Writes the rows as test images; whether there are any."""
        writer = None
        for batch in batches:
            if len(batch):
                pixels, shape = image_bytes(batch, self.columns)
                writer = writer or idx.IdxWriter(directory, idx.TEST, shape)
                writer.write(pixels, label_bytes(batch, self.columns))
        if writer is not None:
            writer.close()
        return writer is not None

    def _program(self, name: str) -> list[str]:
        bundle = Path(SparkFiles.get(self.bundle))
        return [executable(bundle, name), "--weights", str(bundle / MODEL)]


def input_shape(model: Path) -> Shape | None:
    """Rows, columns and channels of the images of a model, if its file says them."""
    try:
        with model.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 100_000_000)))
        channels, rows, columns = map(int, header.get("__metadata__", {})["input"].split(","))
    except KeyError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise BobbinError(f"{model}: not a safetensors file: {error}") from None
    return rows, columns, channels


def measured(command: list[str], directory: Path, threads: int | None) -> dict[str, float]:
    """What ``evaluate`` finds out about the test images of a directory."""
    options = [] if threads is None else ["--threads", str(threads)]
    found = _json_lines([*command, "--data", str(directory), "--mistakes", "0", *options])[0]
    return {name: found[name] for name in ("images", "loss", "top1", "top5")}


def _json_lines(command: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BobbinError(done.stderr.strip().removeprefix("error: "))
    return [json.loads(line) for line in done.stdout.splitlines()]
