"""Renders results as Markdown: tables for the terminal, and the generated parts of the page."""

from collections.abc import Iterable
from pathlib import Path
from statistics import median

from results import Cell, Losses, Results, Row

PEERS = ["PyTorch", "TensorFlow", "JAX", "burn", "candle"]


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


# ---- One cell ------------------------------------------------------------------------------


def title(cell: Cell) -> str:
    threads = "1 thread" if cell.threads == 1 else f"{cell.threads} threads"
    images = "1 image" if cell.batch == 1 else f"batch {cell.batch}"
    return f"`{cell.network}`, {images}, {threads}"


def cell_table(cell: Cell) -> str:
    latency = cell.mode == "infer" and cell.batch == 1
    speed = "µs" if latency else "images/s"
    head = ["", f"{speed}: median", "best", "Bobbin's speed ÷ its", "% of peak", "CPU µs per image",
            "peak MB", "KB per image", "s to first step"]  # fmt: skip
    return table(head, [_cells(cell, row, latency) for row in cell.rows])


def _cells(cell: Cell, row: Row, latency: bool) -> list[str]:
    name = f"{row.peer} {row.setting}".strip()
    if row.failed:
        return [f"{name}: {_inline(row.failed)}", *["–"] * 8]
    if len(row.turns) < cell.rounds:
        name += f" ({len(row.turns)} of {cell.rounds} rounds)"
    steps = row.step_seconds()
    speeds = [median(steps), min(steps)]
    share, ratio, per_image = cell.share_of_peak(row), cell.ratio(row), _kb_per_image(cell, row)
    return [
        name,
        *[_number(1e6 * s if latency else cell.batch / s) for s in speeds],
        "" if row.peer == "Bobbin" else _or_dash(ratio, lambda r: f"{r:.2f}"),
        _or_dash(share, lambda s: f"{100 * s:.1f}"),
        _number(1e6 * row.cpu_seconds_per_step() / cell.batch),
        _or_dash(row.peak_kb, lambda kb: _number(kb / 1000)),
        _or_dash(per_image, _number),
        _or_dash(row.startup_seconds, lambda s: f"{s:.1f}"),
    ]


def _kb_per_image(cell: Cell, row: Row) -> float | None:
    if row.resident_kb is None or row.steps_peak_kb is None:
        return None
    return (row.steps_peak_kb - row.resident_kb) / cell.batch


def _or_dash(value, show) -> str:
    return "–" if value is None else show(value)


def _number(value: float) -> str:
    """Three digits, or all of a whole number's."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _inline(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# ---- The page ------------------------------------------------------------------------------


def machine(results: Results) -> str:
    lines = [f"- {key}: {value}" for key, value in results.machine.items()]
    rows = [row for cell in results.cells.values() for row in cell.rows if row.version]
    versions = dict.fromkeys(f"{row.peer} {row.version}" for row in rows)
    dates = sorted({cell.date for cell in results.cells.values()})
    lines.append(f"- frameworks: {'; '.join(versions)}")
    lines.append(f"- measured: {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}" if dates else "")
    return "\n".join(lines)


def summary(results: Results) -> str:
    """Bobbin against the fastest setting of each framework."""
    parts = []
    for mode, heading in (("train", "Training"), ("infer", "Inference")):
        head = [heading, "Bobbin", "% of peak", *PEERS]
        if rows := [_summary_cells(cell) for cell in results.of_mode(mode)]:
            parts.append(table(head, rows))
    return "\n\n".join(parts)


def _summary_cells(cell: Cell) -> list[str]:
    bobbin = cell.bobbin()
    if bobbin is None:
        return [title(cell), "failed", "–", *["–"] * len(PEERS)]
    seconds = median(bobbin.step_seconds())
    latency = cell.mode == "infer" and cell.batch == 1
    speed = f"{_number(1e6 * seconds)} µs" if latency else f"{_number(cell.batch / seconds)} images/s"
    share = _or_dash(cell.share_of_peak(bobbin), lambda s: f"{100 * s:.0f}")
    return [title(cell), speed, share, *[_against(cell, peer) for peer in PEERS]]


def _against(cell: Cell, peer: str) -> str:
    row = cell.best_of(peer)
    if row is None:
        return "–"
    ratio = None if row.failed else cell.ratio(row)
    return "failed" if ratio is None else f"{ratio:.2f}× {row.setting}".strip()


def cells(results: Results, mode: str) -> str:
    return "\n\n".join(f"### {title(cell)}\n\n{peak(cell)}\n\n{cell_table(cell)}" for cell in results.of_mode(mode))


def peak(cell: Cell) -> str:
    if not cell.peak:
        return "Peak of fused multiply-adds: not measured."
    gflops = median(cell.peak.values())
    return f"Peak of fused multiply-adds: {gflops:,.0f} GFLOP/s; {cell.rounds} rounds, {cell.date}."


def losses(results: Results) -> str:
    return "\n\n".join(f"### `{name}`\n\n{losses_table(item)}" for name, item in results.losses.items())


def losses_table(losses: Losses) -> str:
    """A column per framework; the last row is the largest difference from Bobbin's in the first five."""
    columns = {name: c for name, c in losses.columns.items() if not isinstance(c, str)}
    steps = max((len(column) for column in columns.values()), default=0)
    rows = [[str(i + 1), *[f"{column[i]:.6f}" for column in columns.values()]] for i in range(steps)]
    if bobbin := columns.get("Bobbin"):
        rows.append(["farthest from Bobbin, steps 1–5", *[_farthest(c, bobbin) for c in columns.values()]])
    failed = [f"{name}: {_inline(c)}" for name, c in losses.columns.items() if isinstance(c, str)]
    norm = f"Batches of {losses.batch}; batch norm over {losses.chunk} images.\n\n"
    return norm + "\n\n".join([table(["step", *columns], rows), *failed])


def _farthest(column: list[float], bobbin: list[float]) -> str:
    difference = max(abs(a - b) / abs(b) for a, b in zip(column[:5], bobbin[:5]))
    return f"{difference:.0e}" if difference else "0"


# ---- The file ------------------------------------------------------------------------------

TEMPLATE = Path(__file__).with_name("page.md")


def write_page(results: Results, page: Path) -> None:
    """Replaces what stands between the markers of each generated part, and leaves the rest alone."""
    text = page.read_text() if page.exists() else TEMPLATE.read_text()
    parts = {
        "summary": summary(results), "machine": machine(results), "losses": losses(results),
        "training": cells(results, "train"), "inference": cells(results, "infer"),
    }  # fmt: skip
    for name, content in parts.items():
        text = _replace(text, name, content)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)


def _replace(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    part = f"{begin}\n\n{content}\n\n{end}"
    if begin not in text or end not in text:
        return f"{text.rstrip()}\n\n{part}\n"
    before, _, rest = text.partition(begin)
    return before + part + rest.partition(end)[2]
