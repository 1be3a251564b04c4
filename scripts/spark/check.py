"""Trains on a standalone Spark cluster on this machine, and holds it against what `train` does alone.

Run by scripts/check-spark, which installs what it needs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyspark
from cluster import Cluster, drivers, executor_of, kill, ranks, wait_for, worker_of
from fashion import LABELS, parquet

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(os.environ["BOBBIN_PROGRAMS"])
HOME = ROOT / "target" / "spark" / "check"
MODEL = "model.safetensors"
_PAPER = 0.8439
_LONG = ["--recipe", "paper", "--epochs", "24"]


def main() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    cluster = Cluster(HOME, workers=2, cores=2)
    try:
        for step in STEPS:
            if sys.argv[1:] and step.__name__ not in sys.argv[1:]:
                continue
            started = time.monotonic()
            print(f"== {step.__name__.replace('_', ' ')}", flush=True)
            step(cluster)
            print(f"   {time.monotonic() - started:.0f} s", flush=True)
    finally:
        cluster.stop()
    wait_for("the end of all ranks", lambda: not ranks(), 10)


def one_version(cluster: Cluster) -> None:
    """The PySpark that requirements.txt names is that of the image in the Dockerfile, and of this check."""
    del cluster
    image = f"ARG SPARK=apache/spark:{pyspark.__version__}-"
    assert image in (ROOT / "deploy" / "kubernetes" / "Dockerfile").read_text(), image
    required = f"pyspark=={pyspark.__version__}"
    assert required in (ROOT / "deploy" / "spark" / "requirements.txt").read_text().split(), required


def same_weights(cluster: Cluster) -> None:
    """The paper's recipe: its accuracy, the bytes of one process, ranks below their executors."""
    alone = train_alone("alone", "--recipe", "paper")
    out = HOME / "paper"
    job = cluster.submit("--recipe", "paper", "--workers", "2", "--out", str(out))
    finish(job)
    assert same(out / MODEL, alone / MODEL), "the weights are not those of one process"
    accuracy = last(out, "epoch")["top1"]
    print(f"   accuracy {100 * accuracy:.2f} %, weights as of one process")
    assert accuracy >= _PAPER


def a_lost_rank_and_worker(cluster: Cluster) -> None:
    """Ranks are below the executors of their tasks, and the driver tells how far they are. Rank 1 is killed in the
    middle, then a machine with two of the three slots in use fails and is not replaced; the run goes on, at last on the
    two workers that are left, to the same weights."""
    alone = train_alone("alone-long", *_LONG)
    out = HOME / "lost"
    job = cluster.submit(*_LONG, "--workers", "3", "--out", str(out))
    first = in_the_middle(out, 3)
    epochs = [text for text in cluster.descriptions() if text.startswith("Bobbin: paper: epoch ")]
    assert any(text.startswith("Bobbin: paper, 3 workers") for text in cluster.descriptions())
    assert epochs and still_there(first), "Spark's UI has no line of an epoch while the job runs"
    print(f"   in Spark's UI: {epochs[0]}")
    os.kill(first[1], signal.SIGKILL)
    wait_for("the end of the lost attempt", lambda: not still_there(first))
    found = in_the_middle(out, 3)
    executors = {rank: executor_of(process)[1] for rank, process in found.items()}
    assert executors == cluster.executors_by_task(), "a rank is not below the executor of its task"
    print(f"   rank → executor: {executors}")
    worker, executor = worker_of(found[0]), executor_of(found[0])[0]
    kill(worker)
    kill(executor)
    killed = time.monotonic()
    wait_for("the end of the killed job", lambda: not still_there(found))
    print(f"   all ranks gone {time.monotonic() - killed:.1f} s after their executor")
    said = finish(job, r"attempts: 3")
    print(f"   over {time.monotonic() - killed:.0f} s after the loss")
    assert "2 of 3 workers are left, and go on" in said, said
    assert went_on(out) > 0, "the last attempt began from nothing"
    assert same(out / MODEL, alone / MODEL), "the weights are not those of one process"
    cluster.add_worker()


def still_there(found: dict[int, int]) -> set[int]:
    """Which of these processes are still ranks."""
    return set(found.values()) & set(ranks().values())


def a_partitioned_run(cluster: Cluster) -> None:
    """Each worker has rows of its own. An executor is lost in the middle, a driver is interrupted: both
    runs go on, to the weights of the run that nobody disturbed."""
    arguments = ["--data", parquet(HOME, "train"), "--validation-data", parquet(HOME, "t10k")]
    arguments += ["--placement", "partitioned", "--classes", str(LABELS), "--workers", "2"]
    begin = ["--recipe", "paper", "--epochs", "12", *arguments]
    alone, lost, interrupted = (HOME / f"partitioned-{name}" for name in ("alone", "lost", "stopped"))
    finish(cluster.submit(*begin, "--out", str(alone)))

    job = cluster.submit(*begin, "--out", str(lost))
    found = in_the_middle(lost)
    kill(executor_of(found[1])[0])
    wait_for("the end of the killed job", lambda: not still_there(found))
    finish(job, r"attempts: 2")
    assert went_on(lost) > 0, "the second attempt began from nothing"
    assert same(lost / MODEL, alone / MODEL), "a lost executor changed the weights"

    job = cluster.submit(*begin, "--out", str(interrupted))
    in_the_middle(interrupted)
    for process in drivers():
        os.kill(process, signal.SIGINT)
    said = "".join(job.communicate(timeout=60))
    assert job.returncode == 130, f"exit code {job.returncode}: {said[-2000:]}"
    assert f"error: interrupted; go on with --resume {interrupted}" in said, said[-2000:]
    assert "Traceback" not in said, said
    wait_for("the end of the interrupted job", lambda: not ranks(), 20)
    finish(cluster.submit("--resume", str(interrupted), *arguments))
    assert went_on(interrupted) > 0, "the run began from nothing"
    assert same(interrupted / MODEL, alone / MODEL), "an interruption changed the weights"

    problem(
        cluster.submit("--resume", str(alone), "--epochs", "13", *arguments[:-1], "3"),
        "data are not those .* expected the same rows, --placement and, if partitioned, --workers",
    )


def in_the_middle(out: Path, count: int = 2) -> dict[int, int]:
    """The ranks of a run that has checkpoints."""
    found = wait_for("all ranks", lambda: len(now := ranks()) == count and now, 180)
    wait_for("a checkpoint", lambda: len(list(out.glob("checkpoints/step-*.safetensors"))) >= 2)
    return found


def went_on(out: Path) -> int:
    """The step from which the last attempt went on."""
    step = [line["step"] for line in lines(out) if line["event"] == "start"][-1]
    print(f"   went on from step {step}")
    return step


def bad_input(cluster: Cluster) -> None:
    """One clear message each, soon."""
    file = HOME / "file"
    file.write_text("")
    none = HOME / "none"
    cases = [
        (1, r"--workers 9: .* runs \d tasks at once .*at least 9", ["--workers", "9"]),
        (1, r"/file/run: cannot write the run directory: Not a dir", ["--out", f"{file}/run"]),
        (1, r"s3a://h/run: Spark has no file system for s3a://: expected --packages", ["--out", "s3a://h/run"]),
        (2, r"`optimizer.lr` is -1.0: expected", ["--set", "optimizer.lr=-1", "--out", str(none)]),
        (1, r"none: found no checkpoint to go on from", ["--resume", str(none)]),
    ]
    for code, text, arguments in cases:
        started = time.monotonic()
        job = cluster.submit(*arguments)
        problem(job, text, code)
        assert not none.exists(), "a directory was left of a run that could not begin"
        assert time.monotonic() - started < 60


def data_frames(cluster: Cluster) -> None:
    """Parquet and the estimator, in a process of its own."""
    script = ROOT / "scripts" / "spark" / "frames.py"
    python(script, cluster)


def notebook(cluster: Cluster) -> None:
    """The notebook runs from the first cell to the last."""
    del cluster
    script = ROOT / "scripts" / "spark" / "run_notebook.py"
    subprocess.run(
        [sys.executable, str(script), "deploy/spark/fashion_mnist.ipynb"], check=True, timeout=300
    )


def python(script: Path, cluster: Cluster) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"spark.master": cluster.url} | cluster.configuration(), file)
        file.flush()
        subprocess.run([sys.executable, str(script), file.name, str(HOME)], check=True, timeout=600)


def train_alone(name: str, *arguments: str) -> Path:
    """The run directory of one process."""
    out = HOME / name
    command = [str(PROGRAMS / "train"), *arguments, "--out", str(out), "--quiet"]
    subprocess.run(command, check=True)
    return out


def finish(job: subprocess.Popen[str], says: str = "") -> str:
    output, errors = job.communicate(timeout=600)
    assert job.returncode == 0, f"exit code {job.returncode}: {output}\n{errors[-5000:]}"
    assert re.search(says, output), output
    return output + errors


def problem(job: subprocess.Popen[str], says: str, code: int = 1) -> None:
    output, errors = job.communicate(timeout=180)
    told = [line for line in (output + errors).splitlines() if line.startswith("error: ")]
    assert job.returncode == code, f"exit code {job.returncode}: {output}{errors}"
    assert len(told) == 1 and re.search(says, told[0]), f"expected {says}:\n{output}{errors}"
    print(f"   {told[0]}")


def same(a: Path, b: Path) -> bool:
    return a.read_bytes() == b.read_bytes()


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def last(run: Path, event: str) -> dict:
    return [line for line in lines(run) if line["event"] == event][-1]


STEPS = (
    one_version,
    same_weights,
    a_lost_rank_and_worker,
    a_partitioned_run,
    bad_input,
    data_frames,
    notebook,
)

if __name__ == "__main__":
    main()
