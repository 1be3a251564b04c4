"""Batches of rows as a data frame could hold them, by the thousand: they become bytes, or one message. By a seed.

    python scripts/spark/rows_fuzz.py [SECONDS] [SEED]
"""

import random
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from bobbin_spark.columns import Columns  # noqa: E402
from bobbin_spark.errors import BobbinError  # noqa: E402
from bobbin_spark.images import check_ids, image_bytes, label_bytes  # noqa: E402


def image(chance: random.Random, length: int) -> object:
    """An image of this length, or something that is none."""
    data = [chance.randrange(256) for _ in range(length)]
    kinds = [
        lambda: bytes(data),
        lambda: bytearray(data),
        lambda: data,
        lambda: np.array(data, np.uint8),
        lambda: np.array(data, np.int64),
        lambda: np.array(data, np.int16) - chance.randrange(300),
        lambda: np.array(data, np.float64),
        lambda: np.array([*data, None], object),
        lambda: [*data, chance.choice([256, -1, 2**31, 2**63, -(2**70)])],
        lambda: bytes(data[:-1]),
        lambda: None,
        lambda: float("nan"),
        lambda: "text",
        lambda: [[0, 1], [2]],
        lambda: b"",
        lambda: [],
    ]
    return chance.choice(kinds[:5] if chance.random() < 0.9 else kinds)()


def label(chance: random.Random) -> object:
    usual = [0, 1, 9, 255, 2.0, np.int8(3)]
    odd = [-1, 256, 2**63, 1.5, None, float("nan"), float("inf"), "3", "cat", b"1", True, [1]]
    return chance.choice(usual if chance.random() < 0.95 else odd)


def label_set(chance: random.Random, count: int) -> object:
    """Whether an image has each of so many labels, or something that does not say it."""
    usual = [0, 1, 0.0, 1.0, True, np.int8(1)]
    odd = [2, -1, 0.5, None, float("nan"), float("inf"), "1", 2**70]
    numbers = [chance.choice(usual if chance.random() < 0.98 else odd) for _ in range(count)]
    kinds = [
        lambda: numbers,
        lambda: np.array(numbers, object),
        lambda: np.array([bool(number) for number in numbers]),
        lambda: numbers[:-1],
        lambda: [],
        lambda: None,
        lambda: "text",
        lambda: 1,
    ]
    return chance.choice(kinds[:3] if chance.random() < 0.95 else kinds)()


def identity(chance: random.Random, row: int) -> object:
    odd = [None, row - 1, "x", (1, 2), [1], {"a": 1}, float("nan"), b"id"]
    return row if chance.random() < 0.97 else chance.choice(odd)


def attempt(chance: random.Random) -> bool:
    """One batch; whether it became bytes."""
    shape = chance.choice([None, None, (2, 3, 1), (2, 2, 3), (4, 1, 4)])
    classes = chance.choice([(), (), ("a", "b", "c")])
    columns = Columns(shape=shape, classes=classes, several=bool(classes) and chance.random() < 0.5)
    length = chance.choice([4, 6, 9, 12, 16, 27, 0, 5])
    rows = chance.randrange(1, 6)
    batch = pd.DataFrame(
        {
            "id": pd.Series([identity(chance, row) for row in range(rows)], dtype=object),
            "image": pd.Series([image(chance, length) for _ in range(rows)], dtype=object),
            "label": pd.Series(
                [label_set(chance, len(classes)) if columns.several else label(chance) for _ in range(rows)], dtype=object
            ),
        }
    )
    try:
        check_ids(batch, columns, None)
        pixels, (height, width, channels) = image_bytes(batch, columns)
        labels = label_bytes(batch, columns)
    except BobbinError as error:
        assert str(error) and "\n" not in str(error), repr(str(error))
        return False
    assert channels in (1, 3, 4) and len(pixels) == rows * height * width * channels
    assert len(labels) == rows * (columns.labels or 1)
    return True


def main() -> None:
    seconds, seed = (float(sys.argv[1]) if len(sys.argv) > 1 else 5, int((sys.argv[2:] or [1])[0]))
    chance, end, tried, packed = random.Random(seed), time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        try:
            packed += attempt(chance)
        except Exception:
            print(f"rows: seed {seed}, batch {tried}")
            raise
        tried += 1
    assert packed, "no batch at all was packed"
    print(f"rows: {tried} batches, {packed} packed, {tried - packed} refused by a message")


if __name__ == "__main__":
    main()
