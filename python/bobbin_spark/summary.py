"""TensorBoard's event files of a run, read without TensorBoard."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# Numbers of fields in TensorFlow's event.proto and summary.proto.
_WALL_TIME, _STEP, _SUMMARY = 1, 2, 5
_VALUE = 1
_TAG, _SIMPLE_VALUE = 1, 2


def scalars(directory: Path, tag: str) -> np.ndarray:
    """A row for each step that has a value under the tag: step, value, and time in seconds since 1970."""
    found: dict[int, tuple[float, float]] = {}
    for file in sorted(directory.glob("events.out.tfevents.*")):
        for record in _records(file.read_bytes()):
            event = dict(_fields(record))
            for number, value in _fields(event.get(_SUMMARY, b"")):
                fields = dict(_fields(value)) if number == _VALUE else {}
                if fields.get(_TAG) == tag.encode() and _SIMPLE_VALUE in fields:
                    single = np.frombuffer(fields[_SIMPLE_VALUE], "<f4")[0]
                    time = struct.unpack("<d", event[_WALL_TIME])[0]
                    # The decimal fraction that it stands for: 0.859, not 0.8590000271797180.
                    found[event.get(_STEP, 0)] = float(str(single)), time
    return np.array([(step, *found[step]) for step in sorted(found)], float).reshape(-1, 3)


def _records(data: bytes) -> Iterator[bytes]:
    """A length and its checksum, the record and its checksum. The last may still be being written."""
    place = 0
    while place + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        if place + 16 + length > len(data):
            return
        yield data[place + 12 : place + 12 + length]
        place += 16 + length


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Numbers and contents of the fields of a message of protocol buffers."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        length = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            length, place = _varint(message, place)
        yield key >> 3, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
