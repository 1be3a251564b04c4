"""Power cuts: what was not flushed to the disk is gone, or all but the names of files is. After each flush of an
undisturbed run its directory is laid out as a machine would find it, and the run must go on from there to the same
end."""

import os
import shutil
from pathlib import Path

import kills
import runs
from runs import Row, Wrong

# What file systems keep of what was not flushed.
SURVIVES = {
    "flushed": "nothing else survives",
    "names": "names survive too, and contents that were not flushed are empty",
    "names and sizes": "names survive too, and contents that were not flushed are zeros",
}


class Disk:
    """What is durable below a directory: the content of files that were flushed, and the entries of directories that
    were. Nothing else is: neither a file whose directory was not flushed, nor a rename before that."""

    def __init__(self, root, store):
        self.root, self.store = root, store
        self.kept = {}  # inode: the copy of a file, and a descriptor that keeps its number from being used again
        self.entries = {}  # inode of a directory: name -> (inode, is a directory)

    def sync(self, path):
        """Notes that a file or a directory has been flushed."""
        if path.is_dir():
            self.hold(path)
            found = {entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)}
            for name in found:
                self.hold(path / name)
            self.entries[path.stat().st_ino] = found
        elif path.exists():
            copy, _ = self.hold(path)
            shutil.copyfile(path, copy)

    def hold(self, path):
        inode = path.stat().st_ino
        if inode not in self.kept:
            copy = self.store / str(inode)
            self.kept[inode] = (copy, os.open(path, os.O_RDONLY))
            if not path.is_dir():
                copy.touch()
        return self.kept[inode]

    def lay_out(self, place, survives):
        """The directory as a machine would find it; what survives is one of SURVIVES."""
        shutil.rmtree(place, ignore_errors=True)
        if survives == "flushed":
            self.lay_out_directory(self.root.stat().st_ino, place)
        else:
            self.lay_out_names(self.root, place, zeros=survives == "names and sizes")

    def lay_out_directory(self, directory, place):
        place.mkdir(parents=True)
        for name, (inode, is_directory) in self.entries.get(directory, {}).items():
            if is_directory:
                self.lay_out_directory(inode, place / name)
            elif inode in self.kept:
                shutil.copyfile(self.kept[inode][0], place / name)

    def lay_out_names(self, directory, place, zeros):
        """Every entry of now; files have what was flushed of them, perhaps with zeros up to their size."""
        place.mkdir(parents=True)
        for entry in os.scandir(directory):
            if entry.is_dir():
                self.lay_out_names(Path(entry.path), place / entry.name, zeros)
                continue
            kept = self.kept.get(entry.inode())
            content = kept[0].read_bytes() if kept else b""
            size = entry.stat().st_size
            if zeros:
                content = content[:size].ljust(size, b"\0")
            (place / entry.name).write_bytes(content)

    def close(self):
        for _, descriptor in self.kept.values():
            os.close(descriptor)


def attack(name, place, pictures, long, seed):
    """A cut after each flush; returns rows."""
    trial = kills.make(name, place, pictures)
    root, cuts = place / "root", place / "cuts"
    expected, _ = trial.undisturbed(root)
    trial.lay(root)
    disk = Disk(root, runs.fresh(place / "store"))
    if trial.prepare:
        # What an earlier program has left has long been on the disk.
        for path in [root, *root.rglob("*")]:
            disk.sync(path)
    states = []

    def after_sync(path):
        disk.sync(path)
        states.append({})
        for survives in SURVIVES:
            states[-1][survives] = cuts / f"{len(states)}-{survives}"
            disk.lay_out(states[-1][survives], survives)

    shutil.rmtree(cuts, ignore_errors=True)
    runs.traced(root, "count", None, trial.begin(root), after_sync)
    disk.close()
    end = Row(f"`{name}`: power cut after the program has ended well")
    with end.trial():
        check_end(trial, states[-1]["flushed"], expected)
    rows = [end]
    step = {"sweep": 4 if long else 20}.get(name, 1 if long else 5)
    for survives, words in SURVIVES.items():
        rows.append(Row(f"`{name}`: power cut after a flush; {words}"))
        for number, state in list(enumerate(states))[seed % step :: step]:
            with rows[-1].trial():
                runs.fresh(root)
                shutil.copytree(state[survives], root, dirs_exist_ok=True)
                finish(trial, root, expected, f"{trial.name}, power cut after flush {number}; {words}")
    return rows


def check_end(trial, state, expected):
    """Once the program has ended well, a power cut takes nothing."""
    try:
        found = trial.outcome(state)
        # Older checkpoints whose deletion was not flushed do no harm.
        if set(expected["files"]) <= set(found["files"]):
            found["files"] = expected["files"]
        wrong = runs.difference(found, expected)
    except FileNotFoundError as error:
        wrong = f"{error.filename} is gone"
    if wrong:
        raise Wrong(f"{trial.name}: a power cut after its end: {wrong}")


def finish(trial, root, expected, what):
    """Goes on: as the logs are flushed before a checkpoint is, they have no hole."""
    ended = runs.run(trial.go_on(root))
    if ended.returncode:
        raise Wrong(f"{what}: going on fails: {ended.stderr.strip()}")
    wrong = runs.difference(trial.outcome(root), expected)
    if wrong or "missing" in ended.stderr:
        raise Wrong(f"{what}: {wrong}; {ended.stderr.strip()}")
