"""Batches that a thread of their own fetches while others are trained on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

from .trace import ALONE

T = TypeVar("T")

# Batches that wait at most.
_WAITING = 2


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, of which the next ones are made while the last is used; an exception comes where it would have come.

    Whoever stops early has some made in vain.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(_WAITING)
    stopped = threading.Event()

    def fetch() -> None:
        error: BaseException | None = None
        try:
            iterator = iter(items)
            while not stopped.is_set():
                with ALONE:
                    item = next(iterator)
                waiting.put(item)
        except StopIteration:
            pass
        except BaseException as raised:  # noqa: BLE001
            error = raised
        waiting.put(_End(error))

    thread = threading.Thread(target=fetch, name="bobbin-batches", daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        while thread.is_alive():
            # It may be waiting for room.
            try:
                waiting.get(timeout=0.01)
            except queue.Empty:
                pass
