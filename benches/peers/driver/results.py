"""What was measured: the file compare.json, from which the page is rendered.

A cell is one (mode, network, batch, threads, size of the images). Its rows come from one run, in alternation, so a cell
is only ever replaced as a whole.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from contestant import TORCHVISION


@dataclass
class Turn:
    round: int
    steps: int
    seconds: float
    cpu_seconds: float


@dataclass
class Row:
    """One contestant of a cell; `failed` says why it has no figures."""

    peer: str
    setting: str
    version: str = ""
    parameters: int = 0
    startup_seconds: float | None = None
    resident_kb: int | None = None
    steps_peak_kb: int | None = None
    peak_kb: int | None = None
    turns: list[Turn] = field(default_factory=list)
    failed: str | None = None

    def step_seconds(self) -> list[float]:
        return [turn.seconds / turn.steps for turn in self.turns]

    def steps_kb(self) -> int | None:
        """Resident memory at the peak of the steps after the first, less that before the first."""
        if self.resident_kb is None or self.steps_peak_kb is None:
            return None
        return self.steps_peak_kb - self.resident_kb

    def cpu_seconds_per_step(self) -> float:
        return median(turn.cpu_seconds / turn.steps for turn in self.turns)


@dataclass
class Cell:
    mode: str
    network: str
    batch: int
    threads: int
    rounds: int
    date: str
    flops_per_image: float | None = None
    # Of fused multiply-adds on `threads` threads, GFLOP/s by round.
    peak: dict[int, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    # Rows and columns of an image: of 28 it is grey, else it has three channels.
    size: int = 28

    @property
    def key(self) -> str:
        size = "" if self.size == 28 else f"/{self.size}"
        return f"{self.mode}/{self.network}/{self.batch}/{self.threads}{size}"

    def bobbin(self) -> Row | None:
        return next((row for row in self.rows if row.peer == "Bobbin" and row.turns), None)

    def rival(self, row: Row) -> Row | None:
        """Bobbin in the precision of a peer's row, where it takes part; of its own in bf16, that in f32."""
        own = "Bobbin bf16"
        if row.peer.endswith(" bf16") and row.peer != own:
            return next((other for other in self.rows if other.peer == own and other.turns), None) or self.bobbin()
        return self.bobbin()

    def ratio(self, row: Row) -> float | None:
        """How many times as fast Bobbin is, in the same precision: the median of the ratios within each round."""
        if (bobbin := self.rival(row)) is None:
            return None
        ours = dict(zip((turn.round for turn in bobbin.turns), bobbin.step_seconds()))
        pairs = zip((turn.round for turn in row.turns), row.step_seconds())
        ratios = [theirs / ours[number] for number, theirs in pairs if number in ours]
        return median(ratios) if ratios else None

    def share_of_peak(self, row: Row) -> float | None:
        """The median over the rounds of the share of the peak measured in that round."""
        if self.flops_per_image is None:
            return None
        flops = self.flops_per_image * self.batch
        pairs = zip((turn.round for turn in row.turns), row.step_seconds())
        shares = [flops / s / (self.peak[number] * 1e9) for number, s in pairs if number in self.peak]
        return median(shares) if shares else None

    def best_of(self, peer: str) -> Row | None:
        """The fastest setting of a framework, or a failed one if all have failed."""
        rows = [row for row in self.rows if row.peer == peer]
        running = [row for row in rows if not row.failed and row.turns]
        return min(running, key=lambda row: median(row.step_seconds()), default=next(iter(rows), None))


@dataclass
class Losses:
    """Of the first steps; a column is the losses of a framework, or why it has none."""

    network: str
    batch: int
    chunk: int
    date: str
    columns: dict[str, list[float] | str]


@dataclass
class Results:
    machine: dict[str, str]
    cells: dict[str, Cell] = field(default_factory=dict)
    losses: dict[str, Losses] = field(default_factory=dict)

    def of_mode(self, mode: str) -> Iterator[Cell]:
        order = ["lenet", "cnn-bn", "vgg", "resnet", *TORCHVISION]
        cells = [cell for cell in self.cells.values() if cell.mode == mode]
        yield from sorted(cells, key=lambda c: (order.index(c.network), c.size, c.batch, c.threads))

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=1) + "\n")
        os.replace(draft, file)


def load(file: Path) -> Results | None:
    if not file.exists():
        return None
    stored = json.loads(file.read_text())
    losses = {key: Losses(**value) for key, value in stored["losses"].items()}
    return Results(stored["machine"], {key: _cell(c) for key, c in stored["cells"].items()}, losses)


def _cell(stored: dict) -> Cell:
    rows = [Row(**row | {"turns": [Turn(**t) for t in row["turns"]]}) for row in stored["rows"]]
    peak = {int(number): value for number, value in stored["peak"].items()}
    return Cell(**stored | {"rows": rows, "peak": peak})
