"""Measures cells: all contestants of one are alive at once and take turns."""

from contextlib import ExitStack, closing
from datetime import date

from contestant import TORCHVISION, Contestant, Failed, Peer, Task
from results import Cell, Losses, Row, Turn

TURN_SECONDS = 0.4
# Who has used up this much of turns takes no further ones, so that the slowest do not take hours.
SECONDS_PER_CONTESTANT = 30.0
# A step this long leaves nothing of another's turn in the caches that would count.
LONG_STEP_SECONDS = 2.0
LOSS_BATCH, LOSS_STEPS = 64, 20

# Who takes part: a peer with one of its settings, and why it cannot if it could not be installed.
Entry = tuple[Peer, str, str | None]


class Runner:
    """A contestant in a cell with what is known of its speed."""

    def __init__(self, contestant: Contestant, row: Row):
        self.contestant, self.row = contestant, row
        self.step_seconds = float("inf")
        self.spent = 0.0

    def take_turn(self, number: int, cell: Cell) -> None:
        if self.row.failed or self.spent > SECONDS_PER_CONTESTANT:
            return
        try:
            with self.contestant.turn() as ask:
                # Another's turn has left the caches cold.
                if self.step_seconds == float("inf") or self.step_seconds < LONG_STEP_SECONDS:
                    self.note(ask({"run": 1})["seconds"], 1)
                steps = max(1, round(TURN_SECONDS / self.step_seconds))
                answer = ask({"run": steps})
                self.note(answer["seconds"], steps)
                self.row.turns.append(Turn(number, steps, answer["seconds"], answer["cpu_seconds"]))
                if self.row.peer == "Bobbin":
                    cell.peak[number] = ask({"peak": True})["gflops"]
        except Failed as failure:
            self.row.failed = str(failure)

    def note(self, seconds: float, steps: int) -> None:
        self.step_seconds = min(self.step_seconds, seconds / steps)
        self.spent += seconds


def measure(task: Task, entries: list[Entry], rounds: int) -> Cell:
    cell = Cell(task.mode, task.network, task.batch, task.threads, rounds, str(date.today()), size=task.size)
    with ExitStack() as stack:
        runners = []
        for peer, setting, unavailable in entries:
            row = Row(peer.name, setting, failed=unavailable)
            cell.rows.append(row)
            if runner := _start(row, peer, setting, task):
                runners.append(runner)
                stack.enter_context(closing(runner.contestant))
                if peer.key == "bobbin":
                    with runner.contestant.turn() as ask:
                        cell.flops_per_image = ask({"flops": True})["flops_per_image"]
        for number in range(rounds):
            first = number % max(1, len(runners))
            for runner in runners[first:] + runners[:first]:
                runner.take_turn(number, cell)
        for runner in runners:
            if not runner.row.failed:
                vars(runner.row).update(runner.contestant.memory())
    return cell


def _start(row: Row, peer: Peer, setting: str, task: Task) -> Runner | None:
    if row.failed:
        return None
    try:
        contestant = Contestant(peer, setting, task)
    except Failed as failure:
        row.failed = str(failure)
        return None
    row.version, row.parameters = contestant.ready["version"], contestant.ready["parameters"]
    row.setting = setting or contestant.ready["setting"]
    row.startup_seconds = contestant.startup_seconds
    return Runner(contestant, row)


def compare_losses(task: Task, entries: list[Entry]) -> Losses:
    """The losses of the first steps from the same weights, batch norm over the same images, nothing dropped."""
    columns: dict[str, list[float] | str] = {}
    chunk = task.batch
    for peer, setting, unavailable in entries:
        if unavailable:
            columns[peer.name] = unavailable
            continue
        extra = ["--fresh", *(["--without-chance"] if task.network in TORCHVISION else [])]
        if peer.key != "bobbin" and task.network != "lenet":
            extra += ["--norm-chunk", str(chunk)]
        try:
            with closing(Contestant(peer, setting, task, tuple(extra))) as contestant:
                chunk = contestant.ready.get("shard", chunk)
                with contestant.turn() as ask:
                    columns[peer.name] = ask({"losses": LOSS_STEPS})["losses"]
        except Failed as failure:
            columns[peer.name] = str(failure)
    return Losses(task.network, task.batch, chunk, str(date.today()), columns)
