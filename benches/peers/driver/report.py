"""Renders results as Markdown: tables for the terminal, and the generated parts of the pages."""

from collections.abc import Iterable
from pathlib import Path
from statistics import median

from results import Cell, Losses, Results, Row

PEERS = ["PyTorch", "TensorFlow", "JAX", "Burn", "Candle", "BigDL"]


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


# ---- One cell ------------------------------------------------------------------------------


def title(cell: Cell) -> str:
    threads = "1 thread" if cell.threads == 1 else f"{cell.threads} threads"
    images = "1 image" if cell.batch == 1 else f"batch {cell.batch}"
    size = "" if cell.size == 28 else f" 3×{cell.size}×{cell.size}"
    return f"`{cell.network}`{size}, {images}, {threads}"


def cell_table(cell: Cell) -> str:
    latency = cell.mode == "infer" and cell.batch == 1
    speed = "µs" if latency else "images/s"
    head = ["", f"{speed}: median", "best", "Bobbin's speed ÷ its", "% of peak", "CPU µs per image",
            "peak MB", "MB of steps", "s to first step"]  # fmt: skip
    return table(head, [_cells(cell, row, latency) for row in cell.rows])


def _cells(cell: Cell, row: Row, latency: bool) -> list[str]:
    name = _name(row)
    if row.failed:
        return [f"{name}: {_inline(row.failed)}", *["–"] * 8]
    if len(row.turns) < cell.rounds:
        name += f" ({len(row.turns)} of {cell.rounds} rounds)"
    steps = row.step_seconds()
    speeds = [median(steps), min(steps)]
    share, ratio = cell.share_of_peak(row), cell.ratio(row)
    return [
        name,
        *[_number(1e6 * s if latency else cell.batch / s) for s in speeds],
        "" if row.peer == "Bobbin" else _or_dash(ratio, lambda r: f"{r:.2f}"),
        _or_dash(share, lambda s: f"{100 * s:.1f}"),
        _number(1e6 * row.cpu_seconds_per_step() / cell.batch),
        _or_dash(row.peak_kb, lambda kb: _number(kb / 1000)),
        _or_dash(row.steps_kb(), lambda kb: _number(kb / 1000)),
        _or_dash(row.startup_seconds, lambda s: f"{s:.1f}"),
    ]


def _name(row: Row) -> str:
    return f"{row.peer} {row.setting}".strip()


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
    if rows:
        versions = dict.fromkeys(f"{row.peer} {row.version}" for row in rows)
        dates = sorted(cell.date for cell in results.cells.values())
        lines.append(f"- frameworks: {'; '.join(versions)}")
        lines.append(f"- measured: {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}")
    return "\n".join(lines)


def summary(results: Results) -> str:
    """Bobbin against the fastest setting of each framework."""
    parts = []
    for mode, heading in (("train", "Training"), ("infer", "Inference")):
        head = [heading, "Bobbin", "% of peak", *PEERS, "Bobbin bf16", "PyTorch bf16"]
        if rows := [_summary_cells(cell) for cell in results.of_mode(mode)]:
            parts.append(table(head, rows))
    return "\n\n".join(parts)


def _summary_cells(cell: Cell) -> list[str]:
    bobbin = cell.bobbin()
    if bobbin is None:
        return [title(cell), "failed", "–", *["–"] * (len(PEERS) + 2)]
    seconds = median(bobbin.step_seconds())
    latency = cell.mode == "infer" and cell.batch == 1
    speed = f"{_number(1e6 * seconds)} µs" if latency else f"{_number(cell.batch / seconds)} images/s"
    share = _or_dash(cell.share_of_peak(bobbin), lambda s: f"{100 * s:.0f}")
    ratios = [_against(cell, peer) for peer in PEERS]
    return [title(cell), speed, share, *ratios, _in_bf16(cell), _against(cell, "PyTorch bf16")]


def _in_bf16(cell: Cell) -> str:
    """How many times as fast Bobbin is in bf16 as in f32."""
    row = cell.best_of("Bobbin bf16")
    ratio = None if row is None or row.failed else cell.ratio(row)
    return _or_dash(ratio, lambda r: f"{1 / r:.2f}×")


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
    rounds = "1 round" if cell.rounds == 1 else f"{cell.rounds} rounds"
    return f"Peak of fused multiply-adds: {gflops:,.0f} GFLOP/s; {rounds}, {cell.date}."


def memory(results: Results) -> str:
    """What a further image of the batch takes: the slope between a network's smallest and largest batch."""
    columns: dict[str, dict[str, str]] = {}
    threads = max((cell.threads for cell in results.of_mode("train")), default=0)
    for network in dict.fromkeys(cell.network for cell in results.of_mode("train")):
        cells = [c for c in results.of_mode("train") if c.network == network and c.threads == threads]
        sizes = [cell for cell in cells if cell.size == 28]
        if len(sizes) > 1:
            head = f"`{network}`, batch {sizes[0].batch} → {sizes[-1].batch}"
            columns[head] = {_name(row): _slope(sizes[0], sizes[-1], row) for row in sizes[0].rows}
    if not columns:
        return "Not measured: it takes two batches of a network."
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [[name, *[column.get(name, "–") for column in columns.values()]] for name in names]
    return table(["KB per further image", *columns], rows)


def _slope(small: Cell, large: Cell, row: Row) -> str:
    other = next((r for r in large.rows if _name(r) == _name(row)), None)
    if other is None or row.steps_kb() is None or other.steps_kb() is None:
        return "–"
    return _number((other.steps_kb() - row.steps_kb()) / (large.batch - small.batch))


def losses(results: Results) -> str:
    return "\n\n".join(f"### `{name}`\n\n{losses_table(item)}" for name, item in results.losses.items())


def losses_table(losses: Losses) -> str:
    """A column per framework; the last rows are the largest relative differences from Bobbin's."""
    columns = {name: c for name, c in losses.columns.items() if not isinstance(c, str)}
    steps = max((len(column) for column in columns.values()), default=0)
    rows = [[str(i + 1), *[f"{column[i]:.6f}" for column in columns.values()]] for i in range(steps)]
    if bobbin := columns.get("Bobbin"):
        for last in (1, 5, steps):
            span = "step 1" if last == 1 else f"steps 1–{last}"
            differences = [_farthest(c[:last], bobbin) for c in columns.values()]
            rows.append([f"difference from Bobbin, {span}", *differences])
    failed = [f"{name}: {_inline(c)}" for name, c in losses.columns.items() if isinstance(c, str)]
    norm = f"Batches of {losses.batch}; batch norm over {losses.chunk} images.\n\n"
    return norm + "\n\n".join([table(["step", *columns], rows), *failed])


def _farthest(column: list[float], bobbin: list[float]) -> str:
    difference = max(abs(a - b) / abs(b) for a, b in zip(column, bobbin))
    return f"{difference:.0e}" if difference else "0"


# ---- The files -----------------------------------------------------------------------------

TEMPLATES = Path(__file__).parent


def tables_beside(page: Path) -> Path:
    return page.with_stem(f"{page.stem}-tables")


def write_pages(results: Results, page: Path) -> None:
    """Writes the page, which has the summary, and the file beside it that has every table."""
    _write(page, "page.md", {"summary": summary(results)})
    parts = {
        "machine": machine(results), "training": cells(results, "train"), "inference": cells(results, "infer"),
        "memory": memory(results), "losses": losses(results),
    }  # fmt: skip
    _write(tables_beside(page), "tables.md", parts)


def _write(file: Path, template: str, parts: dict[str, str]) -> None:
    """Replaces what stands between the markers of each generated part, and leaves the rest alone."""
    text = (file if file.exists() else TEMPLATES / template).read_text()
    for name, content in parts.items():
        text = _replace(text, name, content)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _replace(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    part = f"{begin}\n\n{content}\n\n{end}"
    if begin not in text or end not in text:
        return f"{text.rstrip()}\n\n{part}\n"
    before, _, rest = text.partition(begin)
    return before + part + rest.partition(end)[2]
