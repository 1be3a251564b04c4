"""Damage: checkpoints and logs of a run that was interrupted are changed, as by a bad disk or a wrong copy. A
checkpoint that is not what was written is passed over for the older one, and a hole in the logs is told."""

import itertools
import json
import random
import re
import shutil
import struct

import kills
import runs
from runs import Row, Wrong

TOLD = "; going on from an older one"


def header_length(content):
    return 8 + struct.unpack_from("<Q", content)[0]


def flip(content, chance, of_header):
    """One bit, of the header or of the values."""
    first = header_length(content)
    at = chance.randrange(first) if of_header else chance.randrange(first, len(content))
    changed = bytearray(content)
    changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def exchange(content, chance):
    """Two tensors of one shape have each other's names."""
    first = header_length(content)
    header = json.loads(content[8:first])
    tensors = [(name, value["shape"]) for name, value in header.items() if name != "__metadata__"]
    pairs = [
        (a, b) for (a, of_a), (b, of_b) in itertools.combinations(tensors, 2) if of_a == of_b and of_a
    ]
    a, b = (f'"{name}":'.encode() for name in chance.choice(pairs))
    text = content[8:first].replace(a, b"@@").replace(b, a).replace(b"@@", b)
    return content[:8] + text + content[first:]


def cut(content, chance):
    return content[: chance.randrange(len(content))]


def check_restored(trial, root, expected, what):
    """The run goes on from the older checkpoint, says so once, and ends as it should."""
    ended = runs.run(trial.go_on(root))
    if ended.returncode or ended.stderr.count(TOLD) != 1 or "panicked" in ended.stderr:
        raise Wrong(f"{what}: exit {ended.returncode}: {ended.stderr.strip()}")
    wrong = runs.difference(trial.outcome(root), expected)
    if wrong:
        raise Wrong(f"{what}: {wrong}")


def interrupted(place, trial):
    """A run that has been killed with two checkpoints; returns what it must end with too."""
    root, kept = place / "root", place / "kept"
    expected, calls = trial.undisturbed(root)
    renames = [
        number for number, name, path in calls
        if name.startswith("rename") and "/checkpoints/" in path
    ]
    trial.lay(root)
    runs.traced(root, "after", renames[2], trial.begin(root))
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(root, kept)
    return root, kept, expected


def of_checkpoints(place, trial, other, long, chance):
    """Rows of checkpoints that are not what was written."""
    root, kept, expected = interrupted(place, trial)
    newest = sorted((kept / "run/checkpoints").glob("step-*"))[-1]
    content = newest.read_bytes()
    kinds = [
        ("a bit of the header of a checkpoint flipped", 400, lambda: flip(content, chance, True)),
        ("a bit of the values of a checkpoint flipped", 100, lambda: flip(content, chance, False)),
        ("a checkpoint cut off", 100, lambda: cut(content, chance)),
        ("two tensors of a checkpoint exchanged", 20, lambda: exchange(content, chance)),
        ("a checkpoint of another network in its place", 3, lambda: other),
    ]
    for what, count, change in kinds:
        row = Row(what)
        for number in range(count if long else min(count, 6)):
            with row.trial():
                runs.fresh(root)
                shutil.copytree(kept, root, dirs_exist_ok=True)
                (root / "run/checkpoints" / newest.name).write_bytes(change())
                check_restored(trial, root, expected, f"{what}, {number}")
        yield row


def of_logs(place, trial, long, chance):
    """A row of logs that end early: the model is the same, and the hole is told and in the report."""
    root, kept, expected = interrupted(place, trial)
    row = Row("a log of a run that goes on cut off")
    logs = [kept / "run/metrics.jsonl", *(kept / "run/train").iterdir()]
    for number in range(60 if long else 4):
        with row.trial():
            runs.fresh(root)
            shutil.copytree(kept, root, dirs_exist_ok=True)
            log = logs[number % len(logs)]
            content = log.read_bytes()
            # More than the lines after the last step before the checkpoint, which are not missed.
            content = content[: chance.randrange(len(content) // 2)]
            (root / log.relative_to(kept)).write_bytes(content)
            ended = runs.run(trial.go_on(root))
            told = [line for line in ended.stderr.splitlines() if "missing" in line]
            what = f"{log.name} cut to {len(content)} bytes"
            page = (root / "run/report.html").read_text()
            if ended.returncode or len(told) != 1 or not re.search(r"class=.warning.[^<]*missing", page):
                raise Wrong(f"{what}: exit {ended.returncode}: {ended.stderr.strip()}")
            model = {"model.safetensors": expected["model.safetensors"]}
            wrong = runs.difference(trial.outcome(root), model)
            if wrong:
                raise Wrong(f"{what}: {wrong}")
    return row


def attack(name, place, pictures, long, seed):
    """All damage; returns rows."""
    chance = random.Random(seed)
    trial = kills.make(name, place, pictures)
    recipe = place / "other.toml"
    text = (place / "small.toml").read_text()
    recipe.write_text(text.replace("outputs = 4", "outputs = 5"))
    runs.run(kills.train(recipe).begin(runs.fresh(place / "other")))
    other = sorted((place / "other/run/checkpoints").glob("step-*"))[-1].read_bytes()
    return [*of_checkpoints(place, trial, other, long, chance), of_logs(place, trial, long, chance)]
