"""Kills before and after every system call on a run's files, and at random times: the same command, or `--resume`,
must reach what an undisturbed run leaves."""

import hashlib
import itertools
import random
import shutil
import signal
import subprocess
import time

import runs
from runs import PROGRAMS, Row, Wrong

# Calls that change nothing on the disk.
QUIET = {"close", "read", "pread", "getdents", "flock", "lseek", "statx", "stat", "fstat"}


class Trial:
    """A command on a directory of its own, how it goes on after a kill, and what it must reach."""

    def __init__(self, name, begin, go_on, outcome, prepare=None):
        self.name, self.begin, self.go_on = name, begin, go_on
        self.outcome, self.prepare = outcome, prepare

    def undisturbed(self, root):
        self.lay(root)
        ended, calls = runs.traced(root, "count", None, self.begin(root))
        if ended.returncode:
            raise Wrong(f"{self.name}: the undisturbed run failed: {ended.stderr.strip()}")
        return self.outcome(root), calls

    def lay(self, root):
        runs.fresh(root)
        if self.prepare:
            self.prepare(root)

    def finish(self, root, expected, what):
        """Goes on until the command succeeds, and compares."""
        ended = None
        for _ in range(3):
            command = self.go_on(root)
            ended = runs.run(command)
            if ended.returncode == 0:
                break
        else:
            raise Wrong(f"{self.name}, {what}: going on fails: {ended.stderr.strip()}")
        wrong = runs.difference(self.outcome(root), expected)
        if wrong:
            raise Wrong(f"{self.name}, {what}: {wrong}")


def at_calls(trial, root, expected, calls, row):
    """A kill before and after each of these calls."""
    for number, *name in calls:
        for action in ("before", "after"):
            with row.trial():
                trial.lay(root)
                ended, _ = runs.traced(root, action, number, trial.begin(root))
                what = f"killed {action} call {number} ({' '.join(name)})"
                if ended.returncode not in (0, 137):
                    raise Wrong(f"{trial.name}, {what}: exit {ended.returncode}: {ended.stderr.strip()}")
                trial.finish(root, expected, what)


def at_random(trial, root, expected, count, seed, row):
    """Kills of the program, and of what goes on after it, at random times."""
    chance = random.Random(seed)
    started = time.monotonic()
    trial.lay(root)
    runs.run(trial.begin(root))
    whole = time.monotonic() - started
    for number in range(count):
        with row.trial():
            trial.lay(root)
            for command in (trial.begin, trial.go_on, trial.go_on):
                words = [str(word) for word in command(root)]
                with subprocess.Popen(
                    words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=runs.environment()
                ) as process:
                    time.sleep(chance.uniform(0, whole))
                    process.send_signal(signal.SIGKILL)
            trial.finish(root, expected, f"random kill {number} of seed {seed}")


def at_deletion(trial, root, row, every):
    """The directory of a run is deleted while the run waits for the disk: the run ends with one message."""
    trial.lay(root)
    synced = []
    runs.traced(root, "count", None, trial.begin(root), synced.append)
    first = next(number for number, path in enumerate(synced) if "checkpoints" in path.parts)
    for target in range(first, len(synced), every):
        with row.trial():
            trial.lay(root)
            waits = itertools.count()

            def delete(_, waits=waits, target=target):
                if next(waits) == target:
                    shutil.rmtree(root / "run")

            ended, _ = runs.traced(root, "count", None, trial.begin(root), delete)
            what = f"{trial.name}, its directory deleted at flush {target}"
            errors = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
            if ended.returncode != 1 or len(errors) != 1 or str(root / "run") not in errors[0]:
                raise Wrong(f"{what}: exit {ended.returncode}: {ended.stderr.strip()}")


def train(recipe):
    """A run, begun and gone on with."""

    def begin(root):
        return [PROGRAMS / "train", "--recipe", recipe, "--keep", "2", "--out", root / "run"]

    def go_on(root):
        if any((root / "run/checkpoints").glob("step-*.safetensors")):
            return [PROGRAMS / "train", "--keep", "2", "--resume", root / "run"]
        return [*begin(root), "--force"]

    return Trial("train", begin, go_on, lambda root: runs.outcome(root / "run"))


def resume(recipe, root):
    """A run that was killed after half of its calls, and goes on."""
    first = train(recipe)
    _, calls = first.undisturbed(root)

    def prepare(root):
        runs.traced(root, "before", len(calls) // 2, first.begin(root))

    return Trial("resume", first.go_on, first.go_on, first.outcome, prepare)


def sweep(recipe):
    """Four runs of a sweep."""
    file = recipe.with_name("sweep.toml")
    file.write_text('recipe = "small.toml"\n[values]\n"optimizer.lr" = [0.01, 0.003]\nseed = [1, 2]\n')

    def command(root):
        return [PROGRAMS / "train", "--sweep", file, "--out", root / "sweep", "--epochs", "1"]

    def outcome(root):
        found = {}
        for directory in sorted((root / "sweep").iterdir()):
            if directory.is_dir():
                for key, value in runs.outcome(directory).items():
                    found[f"{directory.name}: {key}"] = value
        found["files"] = runs.files(root / "sweep")
        return found

    return Trial("sweep", command, command, outcome)


def imported(name, source):
    """A source of pictures that becomes a data set, in the place of an older one."""

    def command(root):
        return [PROGRAMS / "import", source, "--out", root / "set", "--size", "12", "--force"]

    def outcome(root):
        files = sorted((root / "set").iterdir())
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        return {**found, "files": runs.files(root)}

    def prepare(root):
        runs.run([*command(root), "--seed", "9"])

    return Trial(name, command, command, outcome, prepare)


def table(pictures, path):
    """A table of the pictures of a folder; returns it."""
    lines = [f"{picture},{picture.parent.name}\n" for picture in sorted(pictures.glob("*/*"))]
    path.write_text("".join(["path,class\n", *lines]))
    return path


def attack(name, place, pictures, long, seed):
    """All kills of one program; returns rows."""
    root = place / "root"
    trial = make(name, place, pictures)
    expected, calls = trial.undisturbed(root)
    # A kill beside a call that changes nothing is the same as one beside the change before it.
    changing = [call for call in calls if call[1] not in QUIET]
    if name == "sweep":
        changing = changing[seed % 2 :: 2] if long else changing[seed % 40 :: 40]
    elif not long:
        changing = changing[seed % 4 :: 4]
    row = Row(f"`{name}`: SIGKILL before and after a call")
    rows = [row]
    at_calls(trial, root, expected, changing, row)
    rows.append(Row(f"`{name}`: three SIGKILLs in a row, at random times"))
    at_random(trial, root, expected, 200 if long and name != "sweep" else 60 if long else 5, seed, rows[-1])
    if name == "train":
        rows.append(Row(f"`{name}`: its directory deleted under it"))
        at_deletion(trial, root, rows[-1], 1 if long else 6)
    return rows


def make(name, place, pictures):
    """The trial of this name."""
    recipe = runs.write_data(place)
    match name:
        case "train":
            return train(recipe)
        case "resume":
            return resume(recipe, place / "root")
        case "sweep":
            return sweep(recipe)
        case "import":
            return imported(name, pictures)
        case "import-table":
            return imported(name, table(pictures, place / "table.csv"))
        case "import-parquet":
            return imported(name, runs.PROJECT / "tests/fixtures/parquet/hub")
