"""Which columns of a data frame are images, labels and ids."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from .errors import BobbinError

Shape = tuple[int, int, int]
_WHOLE = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)


@dataclass(frozen=True)
class Columns:
    """Names of columns, and the size of images where their length does not say it."""

    image: str = "image"
    label: str = "label"
    id: str = "id"
    shape: Shape | None = None
    """Rows, columns and channels; by default square, of 1, 3 or 4 channels."""
    classes: tuple[str, ...] = ()
    """Names of the classes; without them they are numbers."""

    def select(self, frame: DataFrame, names: list[str]) -> DataFrame:
        """These columns of a frame. Fails unless it has them, of types that fit."""
        if not isinstance(frame, DataFrame):
            kind = f"{type(frame).__module__}.{type(frame).__name__}"
            raise BobbinError(f"the data are a {kind}: expected a data frame of Spark, or a path")
        if len({self.image, self.label, self.id}) < 3:
            raise BobbinError(
                f"columns of images `{self.image}`, labels `{self.label}` and ids `{self.id}`: expected "
                "three different ones"
            )
        for name in names:
            self._check(frame, name)
        return frame.select(*map(exactly, names))

    def _check(self, frame: DataFrame, name: str) -> None:
        kind, fits = {
            self.image: ("binary or an array of bytes", _is_image),
            self.label: ("a whole number", lambda kind: isinstance(kind, _WHOLE)),
            self.id: ("something to order the rows by", _has_order),
        }[name]
        fields = frame.schema.fields
        found = [field.dataType for field in fields if field.name == name]
        if len(found) != 1:
            listed = ", ".join(f"{field.name}: {field.dataType.simpleString()}" for field in fields)
            many = "two columns" if found else "no column"
            raise BobbinError(f"{many} `{name}` ({kind}): found {listed}")
        if not fits(found[0]):
            raise BobbinError(f"column `{name}`: found {found[0].simpleString()}, expected {kind}")


def exactly(name: str) -> Column:
    """The column of this name, whatever is in the name."""
    return F.col("`" + name.replace("`", "``") + "`")


def numbered(frame: DataFrame) -> DataFrame:
    """The frame with numbers for names, which may be there twice or mean something to Spark."""
    return frame.toDF(*(f"c{number}" for number, _ in enumerate(frame.columns)))


def _is_image(kind: T.DataType) -> bool:
    array = isinstance(kind, T.ArrayType) and isinstance(kind.elementType, _WHOLE)
    return isinstance(kind, T.BinaryType) or array


def _has_order(kind: T.DataType) -> bool:
    if isinstance(kind, T.StructType):
        return all(_has_order(field.dataType) for field in kind.fields)
    if isinstance(kind, T.ArrayType):
        return _has_order(kind.elementType)
    return not isinstance(kind, T.MapType | T.VariantType)
