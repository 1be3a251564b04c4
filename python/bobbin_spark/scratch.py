"""Directories that Spark deletes at the end of an application, whatever ends it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pyspark import SparkContext, SparkFiles


def driver_scratch(context: SparkContext) -> Path:
    """A new directory on the driver."""
    return Path(tempfile.mkdtemp(prefix="bobbin-", dir=context._temp_dir))


def executor_scratch() -> str:
    """The directory on an executor in which to make one: even what a killed process leaves is deleted."""
    local = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    return local if os.path.isdir(local) else SparkFiles.getRootDirectory()
