"""What a data frame has for images and labels, and what follows for how they are read.

Settled on the driver before any row is read for good, so that all tasks do the same: the form of images, the size that
pictures are given, the pixel values of fractions, whether an image may have several labels, the classes, and the order of
the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from . import cluster
from .bundle import Bundle
from .columns import ORDER, Columns, Form, exactly, is_fractional, is_label_set, is_of_hub, is_of_source
from .errors import BobbinError
from .images import content_of
from .notes import note
from .pictures import SIZE, coloured, is_picture

_MOST_CLASSES = 256
_PIXEL_VALUES = 255.0
# Rows of which most say whether a binary column has pictures.
_LOOKED_AT = 32


def settled(frame: DataFrame, columns: Columns) -> Columns:
    """The columns with what the frame's images say: their form, the size of pictures, the scale of fractions."""
    columns.select(frame, [columns.image])
    kind = frame.schema[columns.image].dataType
    columns = replace(columns, form=_form(frame, columns, kind))
    if is_fractional(kind) and columns.scale is None:
        columns = replace(columns, scale=_scale(frame, columns))
    if columns.form in ("pictures", "struct"):
        columns = _with_decoder(frame, columns)
        if columns.shape is None:
            columns = replace(columns, shape=_shape(frame, columns))
    return columns


def in_order(frame: DataFrame, columns: Columns) -> tuple[DataFrame, Columns]:
    """The frame with a column that its rows are ordered by, which is the place of each if there is no other."""
    if columns.id is not None and (columns.id != "id" or columns.id in frame.columns):
        return frame, columns
    note(
        "the rows have no column `id`: their order is that of the partitions, and the weights depend on it; with "
        "a column of ids they do not"
    )
    return frame.withColumn(ORDER, F.monotonically_increasing_id()), replace(columns, id=ORDER)


def labelled(frame: DataFrame, columns: Columns) -> Columns:
    """The columns with whether an image may have several labels, which the frame and they must agree about."""
    columns.select(frame, [columns.label])
    kind = frame.schema[columns.label].dataType
    several = is_label_set(kind)
    if columns.several not in (None, several):
        one = "the number or the name of a class; several labels are for binary cross-entropy with an output for each"
        sets = "an array of 0 and 1, as an image may have several labels"
        expected = sets if columns.several else one
        raise BobbinError(f"column `{columns.label}`: found {kind.simpleString()}, expected {expected}")
    return replace(columns, several=several)


def with_classes(frame: DataFrame, columns: Columns) -> Columns:
    """The columns with the names of the classes, if labels are names or arrays and nobody has said them."""
    columns = labelled(frame, columns)
    if columns.classes:
        return columns
    if columns.several:
        return replace(columns, classes=_numbers_of_labels(frame, columns))
    if not isinstance(frame.schema[columns.label].dataType, T.StringType):
        return columns
    rows = frame.select(exactly(columns.label)).distinct().limit(_MOST_CLASSES + 1).collect()
    names = sorted(row[0] for row in rows if row[0] is not None)
    if len(rows) > _MOST_CLASSES:
        raise BobbinError(f"column `{columns.label}`: found over {_MOST_CLASSES} names of classes, expected at most as many")
    if not names:
        raise BobbinError("the data frame has no rows: expected images")
    shown = ", ".join(f"{number} {name}" for number, name in enumerate(names[:20]))
    note(f"classes: {shown}" + (", …" if len(names) > 20 else ""))
    return replace(columns, classes=tuple(names))


def _numbers_of_labels(frame: DataFrame, columns: Columns) -> tuple[str, ...]:
    """Names of as many labels as the first row has numbers; that the others have as many is seen when they are read."""
    labels = columns.select(frame, [columns.label])
    first = labels.where(exactly(columns.label).isNotNull()).head(1)
    if not first and frame.isEmpty():
        raise BobbinError("the data frame has no rows: expected images")
    if not first:
        raise BobbinError(f"column `{columns.label}`: found nothing in any row, expected arrays of 0 and 1")
    count = len(first[0][0])
    if count < 2:
        numbers = "number" if count == 1 else "numbers"
        expected = "2 or more; a label alone is two classes, 0 and 1"
        raise BobbinError(f"column `{columns.label}`: found an array of {count} {numbers}, expected {expected}")
    return tuple(map(str, range(count)))


def _form(frame: DataFrame, columns: Columns, kind: T.DataType) -> Form:
    if is_of_source(kind):
        return "struct"
    if is_of_hub(kind):
        return "pictures"
    if isinstance(kind, T.BinaryType):
        # Of the whole column at once, and of more than one row: pixels of one image may begin as a picture does, and a
        # picture may be damaged.
        image = _image(columns)
        first = frame.where(image.isNotNull()).select(F.substring(image, 1, 16), F.length(image)).head(_LOOKED_AT)
        pictures = sum(is_picture(bytes(beginning), length) for beginning, length in first)
        return "pictures" if 2 * pictures > len(first) else "pixels"
    return "numbers" if is_fractional(kind) else "pixels"


def _scale(frame: DataFrame, columns: Columns) -> float:
    """Whether fractions are parts of one or pixel values."""
    values = columns.select(frame, [columns.image])
    highest = values.select(F.max(F.array_max(_image(columns)))).head()
    return 1.0 if highest is not None and highest[0] is not None and highest[0] > 1 else _PIXEL_VALUES


def _shape(frame: DataFrame, columns: Columns) -> tuple[int, int, int]:
    """As ``import`` would have it: 28×28, but for a column of images that all have one size, of 3 channels if any has
    colour."""
    height, width = SIZE
    if columns.form == "struct":
        sizes = frame.select(_image(columns)["height"], _image(columns)["width"]).distinct().limit(2).collect()
        if len(sizes) == 1 and all(size is not None and size > 0 for size in sizes[0]):
            height, width = sizes[0]
    rows = columns.select(frame, [columns.image]).mapInPandas(lambda batches: _colours(batches, columns), "coloured long")
    found = rows.select(F.sum("coloured")).head()
    channels = 3 if found is not None and found[0] else 1
    colour = "colour" if channels == 3 else "grey"
    note(f"pictures become images of {height}×{width} pixels, {colour}; the shape of the columns says otherwise (--shape)")
    return height, width, channels


def _colours(batches: Iterator[pd.DataFrame], columns: Columns) -> Iterator[pd.DataFrame]:
    for batch in batches:
        found = [content_of(image, columns) for image in batch[columns.image]]
        pictures = [content for content in found if isinstance(content, bytes)]
        yield pd.DataFrame({"coloured": [coloured(pictures, columns.bundle) if pictures else 0]})


def _with_decoder(frame: DataFrame, columns: Columns) -> Columns:
    """The columns with the program that decodes pictures, sent to the executors."""
    if columns.bundle:
        return columns
    context = cluster.context_of(frame.sparkSession)
    cluster.send_package(context)
    bundle = Bundle(context, ["import"])
    bundle.send()
    return replace(columns, bundle=bundle.name)


def _image(columns: Columns) -> Column:
    return exactly(columns.image)
