"""Files at addresses such as ``hdfs://…`` and ``s3a://…``, by the file systems of Spark's own Hadoop.

They are used on the driver alone, with the configuration and the rights of the application. A file is written under
another name, then renamed: whoever reads it finds it whole or not at all (as far as the file system renames at once,
which S3 does not).
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import SparkContext

from .errors import BobbinError

_PACKAGES = {"s3a": "--packages org.apache.hadoop:hadoop-aws:VERSION, of the VERSION of Spark's Hadoop"}


def is_address(path: str | os.PathLike[str] | None) -> bool:
    """Whether a path is an address, and not one of this machine; ``file://`` is this machine's."""
    return path is not None and "://" in os.fspath(path) and not os.fspath(path).startswith("file://")


class Address:
    """A file or directory of a Hadoop file system."""

    def __init__(self, context: SparkContext, path: str | os.PathLike[str]) -> None:
        self.text = os.fspath(path).rstrip("/")
        self._jvm = context._jvm
        self._configuration = context._jsc.sc().hadoopConfiguration()
        self._path = self._call(lambda: self._jvm.org.apache.hadoop.fs.Path(self.text))
        self._files = self._call(lambda: self._path.getFileSystem(self._configuration))

    def __truediv__(self, name: str) -> Address:
        inner = object.__new__(Address)
        inner.__dict__ |= self.__dict__ | {"text": f"{self.text}/{name}"}
        inner._path = self._call(lambda: self._jvm.org.apache.hadoop.fs.Path(inner.text))
        return inner

    def exists(self) -> bool:
        """Whether there is something."""
        return bool(self._call(lambda: self._files.exists(self._path)))

    def is_directory(self) -> bool:
        """Whether it is a directory that exists."""
        return self.exists() and bool(self._call(lambda: self._files.getFileStatus(self._path).isDirectory()))

    def names(self) -> list[str]:
        """What is in the directory."""
        found = self._call(lambda: self._files.listStatus(self._path)) if self.exists() else []
        return sorted(status.getPath().getName() for status in found)

    def write(self, file: Path) -> None:
        """Puts a file of this machine there, in the place of what was there."""
        part = self._path.suffix(f".{uuid.uuid4().hex[:8]}.part")
        source = self._jvm.org.apache.hadoop.fs.Path(file.absolute().as_uri())
        try:
            self._call(lambda: self._files.copyFromLocalFile(False, True, source, part))
            self._call(lambda: self._rename(part))
        except BobbinError:
            if self._files.exists(part):
                self._files.delete(part, False)
            raise

    def _rename(self, part: Any) -> None:
        """Over what is there, at once where the file system can do that."""
        try:
            options = self._jvm.org.apache.hadoop.fs.Options.Rename
            kinds = self._jvm.java.lang.reflect.Array.newInstance(options.OVERWRITE.getClass(), 1)
            kinds[0] = options.OVERWRITE
            context = self._jvm.org.apache.hadoop.fs.FileContext.getFileContext(self._path.toUri(), self._configuration)
            context.rename(part, self._path, kinds)
            return
        except Py4JJavaError as error:
            if "UnsupportedFileSystem" not in str(error.java_exception.getClass().getName()):
                raise
        # A file system that FileContext does not know renames to new names alone.
        self._files.delete(self._path, False)
        if not self._files.rename(part, self._path):
            raise BobbinError(f"{self.text}: cannot be written: the file system does not rename")

    def read(self, to: Path) -> Path:
        """Copies the file, or the directory and all in it, to this machine."""
        if not self.exists():
            raise BobbinError(f"{self.text}: no such file: expected a model, or a run")
        to.parent.mkdir(parents=True, exist_ok=True)
        # Raw: its own files for checksums would become part of the run.
        target = self._jvm.org.apache.hadoop.fs.Path(to.absolute().as_uri())
        self._call(lambda: self._files.copyToLocalFile(False, self._path, target, True))
        return to

    def delete(self) -> None:
        """Deletes it, and all in it."""
        self._call(lambda: self._files.delete(self._path, True))

    def _call(self, call: Any) -> Any:
        try:
            return call()
        except Py4JJavaError as error:
            kind = str(error.java_exception.getClass().getSimpleName())
            said = str(error.java_exception.getMessage()).splitlines()[0]
            scheme = self.text.partition("://")[0]
            missing = "ClassNotFound" in f"{kind}{said}" or kind == "UnsupportedFileSystemException"
            if missing or "No FileSystem for scheme" in said:
                hint = _PACKAGES.get(scheme, f"the package that has it, and spark.hadoop.fs.{scheme}.impl")
                found = f"{self.text}: Spark has no file system for {scheme}://"
                raise BobbinError(f"{found}: expected {hint} ({said})") from None
            raise BobbinError(f"{self.text}: {kind}: {said}") from None
