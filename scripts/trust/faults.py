"""Calls that fail: each call on a run's files returns an error once, or from then on, or writes half. The program
must say so in one line, or do without; nothing that was saved is lost, and going on ends where an
undisturbed run does."""

import errno

import kills
import runs
from runs import Row, Wrong

# Errors of calls that write, and of any other.
ACTIONS = {
    True: [f"{often}:{error}" for error in (errno.EIO, errno.ENOSPC) for often in ("once", "ever")],
    False: [f"once:{errno.EIO}", f"ever:{errno.EIO}"],
}


def check_message(ended, what):
    """One line that begins with `error:` and exit code 1; no panic, and no word of the command being wrong."""
    if "panicked" in ended.stderr or ended.returncode not in (0, 1):
        raise Wrong(f"{what}: {ended.stderr.strip()}")
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    if ended.returncode and len(errors) != 1:
        raise Wrong(f"{what}: exit {ended.returncode} with {len(errors)} errors: {ended.stderr.strip()}")
    if ended.returncode == 0 and errors:
        raise Wrong(f"{what}: exit 0 with an error: {errors[0]}")


def at_call(trial, root, expected, call, action):
    """This call fails so."""
    number, *name = call
    what = f"{named(action)} at call {number} ({' '.join(name)})"
    trial.lay(root)
    ended, _ = runs.traced(root, action, number, trial.begin(root))
    check_message(ended, f"{trial.name}, {what}")
    if ended.returncode == 0:
        found = trial.outcome(root)
        if set(expected["files"]) <= set(found["files"]):
            # What could not be deleted is a leftover, for the next to delete.
            found["files"] = expected["files"]
        wrong = runs.difference(found, expected)
        if wrong:
            raise Wrong(f"{trial.name}, {what}: exit 0, but {wrong}")
    trial.finish(root, expected, what)


def attack(name, place, pictures, long, seed):
    """All failures of the calls of one program; returns rows."""
    root = place / "root"
    trial = kills.make(name, place, pictures)
    expected, calls = trial.undisturbed(root)
    calls = [call for call in calls if call[1] != "close"]
    step = {"sweep": 12 if long else 200}.get(name, 1 if long else 12)
    rows = {}
    for call in calls[seed % step :: step]:
        actions = ACTIONS[call[1] not in kills.QUIET]
        for action in [*actions, *(["short"] if call[1] == "write" else [])]:
            row = rows.setdefault(action, Row(f"`{name}`: {named(action)}"))
            with row.trial():
                at_call(trial, root, expected, call, action)
    return list(rows.values())


def named(action):
    """`once:5` in words."""
    if ":" not in action:
        return "a write that writes half"
    often, number = action.split(":")
    return f"{errno.errorcode[int(number)]} {'once' if often == 'once' else 'from then on'}"
