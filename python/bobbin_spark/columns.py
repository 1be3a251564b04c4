"""Which columns of a data frame are images, labels and ids, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from .errors import BobbinError
from .pictures import FITS

Shape = tuple[int, int, int]
Form = Literal["pixels", "pictures", "struct", "numbers"]
_WHOLE = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)
_NUMBERS = (T.FloatType, T.DoubleType)
_ANSWERS = (*_WHOLE, *_NUMBERS, T.BooleanType)
_OF_SOURCE = {"height", "width", "nChannels", "data"}
ORDER = "bobbin-order"
"""The column that takes the place of an id where there is none."""


@dataclass(frozen=True)
class Columns:
    """Names of columns, and what they do not say themselves."""

    image: str = "image"
    """Pixels (binary or an array), pictures (PNG, JPEG, …: binary, or a struct of ``bytes`` and ``path``), Spark's
    ``image``, or a vector of ML."""
    label: str = "label"
    """Numbers of classes, or their names; or, of several labels to an image, arrays of 0 and 1 (also vectors of ML)."""
    id: str | None = "id"
    """What orders the rows. None, or no column ``id``: they stay in the order of the partitions."""
    shape: Shape | None = None
    """Rows, columns and channels. By default pixels are square, of 1, 3 or 4 channels, and pictures become 28×28, of 3
    channels if any of them has colour."""
    classes: tuple[str, ...] = ()
    """Names of the classes; by default they are numbers or, of labels that are names, these in the order of the
    alphabet."""
    fit: str = "pad"
    """What is done with pictures of other proportions: pad, crop or stretch."""
    scale: float | None = None
    """What fractional numbers are multiplied by to be pixels of 0 to 255. By default 255 if none is over 1, else 1."""
    several: bool | None = None
    """Whether an image may have several labels, or none: a label is then an array with a number for each class, 1 if the
    image has it. By default the type of the column says so, or the model."""
    form: Form = "pixels"
    """How images are there: settled when a frame is looked at (:func:`forms.settled`)."""
    bundle: str = ""
    """The archive that has the program by which pictures are decoded, where they are."""

    @property
    def ids(self) -> str:
        """The column of ids, of a frame that has one or was given one (:func:`forms.in_order`)."""
        assert self.id is not None, "rows without ids are given some"
        return self.id

    @property
    def labels(self) -> int | None:
        """How many labels there are to choose from, where an image may have several."""
        return len(self.classes) if self.several else None

    def select(self, frame: DataFrame, names: list[str]) -> DataFrame:
        """These columns of a frame, vectors as arrays. Fails unless it has them, of types that fit."""
        check_frame(frame)
        if len({self.image, self.label, self.id}) < 3:
            raise BobbinError(
                f"columns of images `{self.image}`, labels `{self.label}` and ids `{self.id}`: expected "
                "three different ones"
            )
        if self.fit not in FITS:
            raise BobbinError(f"--fit: found {self.fit}, expected {', '.join(FITS)}", 2)
        for name in names:
            self._check(frame, name)
        return frame.select(*(self.column(frame, name) for name in names))

    def column(self, frame: DataFrame, name: str) -> Column:
        """A column of a frame as it is read."""
        if name in (self.image, self.label) and is_vector(frame.schema[name].dataType):
            from pyspark.ml.functions import vector_to_array

            # Which has no answer for null.
            return F.when(exactly(name).isNotNull(), vector_to_array(exactly(name))).alias(name)
        return exactly(name)

    def _check(self, frame: DataFrame, name: str) -> None:
        kind, fits = {
            self.image: ("images: binary, an array of numbers, an `image` of Spark, or a vector", _is_image),
            self.label: ("the number or the name of a class, or an array of 0 and 1", _is_label),
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


def check_frame(frame: object) -> None:
    """Fails unless it is a data frame of Spark."""
    if not isinstance(frame, DataFrame):
        kind = f"{type(frame).__module__}.{type(frame).__name__}"
        raise BobbinError(f"the data are a {kind}: expected a data frame of Spark, or a path")


def exactly(name: str) -> Column:
    """The column of this name, whatever is in the name."""
    return F.col("`" + name.replace("`", "``") + "`")


def gathered(frame: DataFrame, names: list[str], to: str) -> DataFrame:
    """The frame with a column more: an array of the numbers, or booleans, of columns that say each whether an image has a
    label."""
    check_frame(frame)
    for name in names:
        found = [field.dataType for field in frame.schema.fields if field.name == name]
        if len(found) != 1 or not isinstance(found[0], _ANSWERS):
            said = found[0].simpleString() if len(found) == 1 else "two such columns" if found else "no such column"
            raise BobbinError(f"label_cols: column `{name}`: found {said}, expected numbers 0 and 1, or booleans")
    return frame.withColumn(to, F.array(*(exactly(name).cast("double") for name in names)))


def numbered(frame: DataFrame) -> DataFrame:
    """The frame with numbers for names, which may be there twice or mean something to Spark."""
    return frame.toDF(*(f"c{number}" for number, _ in enumerate(frame.columns)))


def is_vector(kind: T.DataType) -> bool:
    """Whether it is a vector of Spark's ML."""
    return isinstance(kind, T.UserDefinedType) and kind.simpleString() == "vector"


def is_of_source(kind: T.DataType) -> bool:
    """Whether it is what Spark's data source ``image`` gives."""
    return isinstance(kind, T.StructType) and set(kind.names) >= _OF_SOURCE


def is_of_hub(kind: T.DataType) -> bool:
    """Whether it has the bytes of a file, as data sets of the Hugging Face Hub do."""
    return isinstance(kind, T.StructType) and "bytes" in kind.names and isinstance(kind["bytes"].dataType, T.BinaryType)


def is_label_set(kind: T.DataType) -> bool:
    """Whether it says of each label whether an image has it."""
    return is_vector(kind) or (isinstance(kind, T.ArrayType) and isinstance(kind.elementType, _ANSWERS))


def is_fractional(kind: T.DataType) -> bool:
    """Whether it is an array or vector of numbers with fractions."""
    return is_vector(kind) or (isinstance(kind, T.ArrayType) and isinstance(kind.elementType, _NUMBERS))


def _is_image(kind: T.DataType) -> bool:
    whole = isinstance(kind, T.ArrayType) and isinstance(kind.elementType, _WHOLE)
    pictures = isinstance(kind, T.BinaryType) or is_of_source(kind) or is_of_hub(kind)
    return whole or pictures or is_fractional(kind)


def _is_label(kind: T.DataType) -> bool:
    return isinstance(kind, (*_WHOLE, *_NUMBERS, T.StringType)) or is_label_set(kind)


def _has_order(kind: T.DataType) -> bool:
    if isinstance(kind, T.StructType):
        return all(_has_order(field.dataType) for field in kind.fields)
    if isinstance(kind, T.ArrayType):
        return _has_order(kind.elementType)
    return not isinstance(kind, T.MapType | T.VariantType)
