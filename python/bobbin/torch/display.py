"""What ``fit`` shows while it goes on: in a notebook a progress bar and a chart of loss and accuracy, else nothing."""

from __future__ import annotations

import html
import importlib
import sys
import time
from typing import Any

from .history import History, shown, svg, table

# Seconds between two pictures, and points of the curve of steps at most.
_PAUSE, _POINTS = 0.5, 300


class Display:
    """The progress of a fit in a notebook."""

    def __init__(self, history: History, end: str) -> None:
        self._history, self._end = history, end
        self._handle = _handle()
        self._drawn = 0.0
        #: Mean losses of equal numbers of steps, which double when there are too many.
        self._losses: list[tuple[float, float]] = []
        self._together, self._sum, self._count = 1, 0.0, 0

    def step(self, step: int, loss: float, done: int, steps: int | None, rate: float) -> None:
        """After a step: its number in all and its loss, and how many steps of the epoch are done, of how many."""
        if self._handle is None:
            return
        self._sum, self._count = self._sum + loss, self._count + 1
        if self._count == self._together:
            self._losses.append((step, self._sum / self._count))
            self._sum, self._count = 0.0, 0
        if len(self._losses) > _POINTS:
            pairs = zip(self._losses[::2], self._losses[1::2], strict=False)
            self._losses = [(b[0], (a[1] + b[1]) / 2) for a, b in pairs]
            self._together *= 2
        if time.monotonic() - self._drawn >= _PAUSE:
            self._draw(f"step {step}, {rate:,.0f} images/s", done, steps)

    def epoch(self, step: int) -> None:
        """After an epoch, which the history has."""
        if self._handle is not None:
            self._draw(f"step {step}", 1, 1)

    def _draw(self, text: str, done: int, steps: int | None) -> None:
        self._drawn = time.monotonic()
        bar = f'<progress max="{steps}" value="{done}"></progress>' if steps else "<progress></progress>"
        epoch = len(self._history) + (done < (steps or done + 1))
        state = f"<div>{bar} epoch {epoch}{self._end}, {html.escape(text)}</div>"
        charts: list[Any] = [{"loss of steps": self._losses}] if self._losses else []
        charts += [curves for curves in self._history.charts() if curves]
        last = self._history[-1] if self._history else {}
        row = table(list(last), [[shown(name, value) for name, value in last.items()]]) if last else ""
        self._handle.update(_Html(state + row + svg(charts)))


class _Html:
    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "progress of fit"


def _handle() -> Any:
    """That of a display of the notebook that this runs in; None elsewhere."""
    # Where it is not imported there is no notebook.
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if type(shell).__name__ != "ZMQInteractiveShell":
        return None
    return importlib.import_module("IPython.display").display(_Html(""), display_id=True)
