"""What ``fit`` found in each epoch: a list of dicts, shown as a table and as curves."""

from __future__ import annotations

import html
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

# Of which names the left of the two charts is.
_LOSSES = ("train_loss", "val_loss")
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 360, 220, 52, 34


class History(list[dict[str, float]]):
    """A dict for each epoch: ``epoch``, ``num_samples``, ``train_loss``, and ``val_…`` where there is a validation."""

    def _repr_html_(self) -> str:
        names = list(self[-1]) if self else []
        return table(names, [[shown(name, row.get(name)) for name in names] for row in self])

    def plot(self) -> Any:
        """The curves of loss and metrics over epochs: a figure of matplotlib if that is installed, or else an ``Svg``."""
        charts = self.charts()
        try:
            pyplot = importlib.import_module("matplotlib.pyplot")
        except ImportError:
            return Svg(svg(charts))
        figure, places = pyplot.subplots(1, len(charts), squeeze=False, figsize=(4.5 * len(charts), 3))
        for place, curves in zip(places[0], charts, strict=True):
            for name, points in curves.items():
                place.plot(*zip(*points, strict=True), "o-", label=name)
            place.set_xlabel("epoch")
            place.legend()
        figure.tight_layout()
        # A notebook shows what a cell returns; a figure left open it would show twice.
        pyplot.close(figure)
        return figure

    def charts(self) -> list[dict[str, list[tuple[float, float]]]]:
        """The curves of each chart, by name: losses, and metrics if there are any."""
        names = [name for name in (self[-1] if self else []) if name not in ("epoch", "num_samples")]
        losses = [name for name in names if name in _LOSSES]
        metrics = [name for name in names if name not in _LOSSES]
        curve = {name: [(row["epoch"], row[name]) for row in self if name in row] for name in names}
        return [{name: curve[name] for name in some} for some in (losses, metrics) if some or some is losses]


class Svg:
    """A picture that a notebook shows."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_svg_(self) -> str:
        return self.text


def table(names: list[str], rows: list[list[str]]) -> str:
    """A table of HTML."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def shown(name: str, value: float | None) -> str:
    """A number of an epoch as text."""
    if value is None:
        return ""
    return f"{value:.0f}" if name in ("epoch", "num_samples") else f"{value:.4f}"


def svg(charts: Sequence[Mapping[str, list[tuple[float, float]]]]) -> str:
    """Charts side by side, each with its curves in colours and a legend."""
    parts = [_chart(curves, number * _WIDTH) for number, curves in enumerate(charts)]
    size = f'width="{_WIDTH * len(charts)}" height="{_HEIGHT}"'
    style = 'font-family="sans-serif" font-size="11"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>'


def _chart(curves: Mapping[str, list[tuple[float, float]]], left: float) -> str:
    points = [point for curve in curves.values() for point in curve if all(abs(v) < 1e300 for v in point)]
    if not points:
        return ""
    (low_x, high_x), (low_y, high_y) = ((min(v), max(v)) for v in zip(*points, strict=True))
    span_x, span_y = (high_x - low_x) or 1.0, (high_y - low_y) or 1.0
    width, height = _WIDTH - _LEFT - 12, _HEIGHT - _BOTTOM - 12

    def x(value: float) -> float:
        return float(left + _LEFT + width * (value - low_x) / span_x)

    def y(value: float) -> float:
        return float(12 + height * (high_y - value) / span_y)

    box = f'<rect x="{left + _LEFT}" y="12" width="{width}" height="{height}" fill="none" stroke="#bbb"/>'
    marks = "".join(
        f'<text x="{left + _LEFT - 4}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.3g}</text>' for v in {low_y, high_y}
    )
    marks += "".join(
        f'<text x="{x(v):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{v:.4g}</text>' for v in {low_x, high_x}
    )
    lines = ""
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curve if abs(b) < 1e300)
        lines += f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        if len(curve) == 1:
            lines += f'<circle cx="{x(curve[0][0]):.1f}" cy="{y(curve[0][1]):.1f}" r="3" fill="{colour}"/>'
        at = left + _LEFT + width - 6
        lines += f'<text x="{at}" y="{26 + 14 * number}" text-anchor="end" fill="{colour}">{html.escape(name)}</text>'
    return box + marks + lines
