"""Bits: short runs of the shipped recipes have the published bits (tracking/published/), whatever the number of threads
and ranks, the SIMD path, and wherever they are interrupted; and what a network says of an image does not depend on the
images beside it. A run with another summation tree must not have them."""

import json
import os
import shutil
import subprocess
import sys

import model_file
import runs
from runs import PROGRAMS, PROJECT, Row, Wrong

THREADS = (1, 2, 3, 7, 16)
RANKS = (1, 2, 4)
# As many as are asked for in one call of predict, around one image.
IMAGES = PROJECT / "data/fashion-mnist/t10k-images-idx3-ubyte.gz"
AROUND = ("17", "17..18", "0..18", "3..40", "10..75", "0..257")


def published(recipe):
    """The ledger of a recipe's published run, and its last line."""
    ledger = (PROJECT / "tracking/published" / f"{recipe}.jsonl").read_bytes()
    return ledger, json.loads(ledger.splitlines()[-1])


def run(words, isa):
    environment = {**os.environ, "BOBBIN_ISA": isa, "LC_ALL": "C"}
    ended = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, env=environment, timeout=600
    )
    if ended.returncode:
        raise Wrong(f"exit {ended.returncode}: {ended.stderr.strip()}")
    return ended


def flags(recipe, steps):
    """A published run is of a shipped recipe, or of one in bfloat16."""
    name = recipe.removesuffix("-bf16")
    precision = ["--precision", "bf16"] if name != recipe else []
    return ["--recipe", name, *precision, "--set", f"stop.iterations={steps}", "--validation", "none", "--quiet"]


def paths_of(place, recipe):
    """The SIMD paths with fused multiply-add that this processor has, and that differ for the recipe."""
    found = []
    for isa in (*(["avx512bf16"] if recipe.endswith("-bf16") else []), "avx512", "avx2"):
        out = runs.fresh(place / "isa")
        run([PROGRAMS / "train", *flags("paper", 1), "--out", out / "run"], isa)
        if json.loads((out / "run/metrics.jsonl").open().readline())["isa"] == isa:
            found.append(isa)
    return found


def check_model(out, end, what):
    try:
        found = model_file.digest((out / "model.safetensors").read_bytes())
    except (OSError, ValueError) as error:
        raise Wrong(f"{what}: {error}") from None
    if found != end["model"]:
        raise Wrong(f"{what}: the model is {found}: expected {end['model']}")


def whole_runs(recipe, place, paths, launches, what, row):
    """Runs from their beginning, each with the published ledger and model."""
    ledger, end = published(recipe)
    for launch, threads in launches:
        for isa in paths:
            with row.trial():
                out = runs.fresh(place / "whole")
                words = [*launch, *flags(recipe, end["step"]), "--threads", str(threads)]
                run([*words, "--out", out / "run", "--ledger", out / "ledger"], isa)
                words = f"{recipe}, {what(launch, threads)}, {isa}"
                if (out / "ledger").read_bytes() != ledger:
                    raise Wrong(f"{words}: another ledger: bobbin verify says where it first differs")
                check_model(out / "run", end, words)


def resumes(recipe, place, paths, long, row):
    """Runs that go on after each step."""
    _, end = published(recipe)
    steps = end["step"]
    base = runs.fresh(place / "base")
    words = [PROGRAMS / "train", *flags(recipe, steps), "--keep", "1000", "--out", base / "run"]
    run([*words, "--set", "events.checkpoint={iterations=1}"], paths[0])
    for step in range(steps) if long else [steps // 2]:
        with row.trial():
            out = runs.fresh(place / "resumed") / "run"
            name = f"step-{step:010}.safetensors"
            keep = shutil.ignore_patterns("step-*", "model.safetensors", "report.html")
            shutil.copytree(base / "run", out, ignore=keep)
            shutil.copy2(base / "run/checkpoints" / name, out / "checkpoints")
            threads, isa = THREADS[step % len(THREADS)], paths[step % len(paths)]
            run([PROGRAMS / "train", "--resume", out, "--quiet", "--threads", str(threads)], isa)
            check_model(out, end, f"{recipe}, resumed after step {step}, {threads} threads, {isa}")


def around(recipe, place, paths, long, row):
    """What the network says of one image, with others beside it."""
    weights = place / "base/run/model.safetensors"
    expected = None
    for images in AROUND if long else AROUND[::3]:
        for isa in paths:
            for threads in (1, 3) if long else (3,):
                words = [PROGRAMS / "predict", "--weights", weights, IMAGES, "--index", images]
                words += ["--top", "all", "--json", "--threads", str(threads)]
                with row.trial():
                    printed = run(words, isa).stdout.splitlines()
                    found = [line for line in map(json.loads, printed) if line["index"] == 17]
                    expected = expected or found
                    if not found or found != expected:
                        raise Wrong(f"{recipe}: image 17 among {images} on {isa}: {found}: expected {expected}")


def control(recipe, place, paths, row):
    """The same terms, added in another order."""
    _, end = published(recipe)
    with row.trial():
        out = runs.fresh(place / "control") / "run"
        shard = json.loads((place / "base/run/metrics.jsonl").open().readline())["shard"]
        other = "32" if shard == 16 else "16"
        run([PROGRAMS / "train", *flags(recipe, end["step"]), "--shard", other, "--out", out], paths[0])
        if model_file.digest((out / "model.safetensors").read_bytes()) == end["model"]:
            raise Wrong(f"{recipe}: another summation tree has the same bits")


def prepare(long):
    """The program with ranks, for the long form."""
    if not long:
        return
    sys.path.insert(0, str(PROJECT / "scripts/mpi"))
    import jobs

    subprocess.run([PROJECT / "scripts/install-mpi"], check=True, stdout=subprocess.DEVNULL)
    jobs.build()


def attack(recipe, place, pictures, long, seed):
    """All of a recipe; returns rows."""
    paths = paths_of(place, recipe)
    if not paths:
        row = Row(f"`{recipe}`: this processor has neither AVX-512 nor AVX2: nothing is promised")
        return [row]
    counts = THREADS if long else (1, 3)
    of = ", ".join(paths)
    rows = [Row(f"`{recipe}`: threads {', '.join(map(str, counts))} × {of}")]
    launches = [([PROGRAMS / "train"], threads) for threads in counts]
    whole_runs(recipe, place, paths, launches, lambda _, threads: f"{threads} threads", rows[0])
    if long:
        import jobs

        rows.append(Row(f"`{recipe}`: ranks {', '.join(map(str, RANKS))} × {of}"))
        launches = [(jobs.mpirun(ranks, []), 1) for ranks in RANKS]
        whole_runs(recipe, place, paths, launches, lambda words, _: " ".join(map(str, words[-3:])), rows[-1])
    rows.append(Row(f"`{recipe}`: resumed after {'every step' if long else 'a step'}"))
    resumes(recipe, place, paths, long, rows[-1])
    rows.append(Row(f"`{recipe}`: an image among others"))
    around(recipe, place, paths, long, rows[-1])
    rows.append(Row(f"`{recipe}`: control: another summation tree has other bits"))
    control(recipe, place, paths, rows[-1])
    return rows


def table():
    """The published bits, as a table."""
    lines = ["| recipe | steps | SHA-256 of the model |", "|---|---:|---|"]
    for path in sorted((PROJECT / "tracking/published").glob("*.jsonl")):
        _, end = published(path.stem)
        lines.append(f"| `{path.stem}` | {end['step']} | `{end['model']}` |")
    return "\n".join(lines) + "\n"
