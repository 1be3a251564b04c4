"""What the driver has to know of a recipe: the files that it names, which the executors are sent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from pyspark import SparkContext

from .data import idx_directory
from .errors import BobbinError
from .hadoop import Address, is_address
from .paths import local
from .scratch import driver_scratch
from .training import Training

BUNDLED = Path(__file__).resolve().parents[2] / "data" / "fashion-mnist"


class Recipe:
    """The recipe of a training: by name, in a file, or that of the run that goes on."""

    def __init__(self, training: Training, context: SparkContext, copy: Path | None = None) -> None:
        """``copy`` is where the run that goes on is on this machine, if it is at an address."""
        self._training, self._context = training, context
        self.file: Path | None = None
        if training.resume is not None:
            self.file = (copy or local(training.resume, "--resume")) / "recipe.toml"
        elif Path(training.recipe).suffix == ".toml":
            self.file = Path(training.recipe)
            if not self.file.is_file():
                raise BobbinError(f"--recipe: {self.file}: no such file", 2)
        # What is wrong with a recipe the program says better.
        try:
            text = self.file.read_text() if self.file is not None and self.file.is_file() else ""
            self._fields: dict[str, Any] = tomllib.loads(text)
        except (OSError, ValueError):
            self._fields = {}

    def directory(self) -> Path:
        """Of the data that it is for."""
        found = self._get("data", "directory")
        if found is None:
            return BUNDLED
        if (directory := idx_directory(str(found))) is None:
            raise BobbinError(
                f"{self.file}: `data.directory` is {found}, where there are no IDX files: expected --data"
            )
        return directory

    @property
    def name(self) -> str:
        """What people call it."""
        return Path(self._training.recipe).stem if self._training.resume is None else str(self._training.resume)

    def weights(self) -> Path | None:
        """The file to start from, if not at random."""
        found = self._training.init
        if found is None and self._training.resume is None:
            found = self._get("model", "weights")
        if found is None:
            return None
        if is_address(found):
            place = driver_scratch(self._context) / Path(found).name
            return Address(self._context, found).read(place)
        path = local(found, "--init")
        if not path.exists():
            raise BobbinError(f"--init: {found}: no such file: expected weights to start from")
        return path

    def holds_out(self) -> bool:
        """Whether someone has said on what to validate; of a run that goes on it has been."""
        said = any(
            text.removeprefix("--set=").startswith(("--validation", "data.validation"))
            for text in self._training.arguments
        )
        own = self._get("data", "validation")
        shipped = self._training.recipe == "pictures"
        return said or shipped or self._training.resume is not None or own not in (None, "test")

    def _get(self, table: str, field: str) -> Any:
        fields = self._fields.get(table)
        return fields.get(field) if isinstance(fields, dict) else None
