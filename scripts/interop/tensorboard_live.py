"""Kills a run while TensorBoard reads its logs, resumes it, and asks that TensorBoard for the curve.

    python3 scripts/interop/tensorboard_live.py TRAIN_PROGRAM RUN_DIRECTORY

The directory is made. Needs the package tensorboard. Exits 1 if a step is missing or there twice.
"""

import subprocess
import sys
import time
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EPOCHS, STEPS = 8, 469 * 8


def steps(reader):
    reader.Reload()
    known = "Loss" in reader.Tags()["scalars"]
    return [event.step for event in reader.Scalars("Loss")] if known else []


def main(train, run):
    # Checkpoints are rare, so that steps are lost.
    recipe = ["--recipe", "fast", "--epochs", str(EPOCHS), "--set", "events.checkpoint={epochs=3}"]
    process = subprocess.Popen([train, *recipe, "--out", run, "--quiet"])
    log = Path(run, "train")
    while process.poll() is None and not any(log.glob("events.*")):
        time.sleep(0.01)
    reader = EventAccumulator(str(log), size_guidance={"scalars": 0})
    while process.poll() is None and len(steps(reader)) <= 300:
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = steps(reader)
    subprocess.run([train, "--resume", run, "--quiet"], check=True)
    # A reload goes no further than to the next file.
    after = [steps(reader) for _ in range(3)][-1]
    if after != list(range(1, STEPS + 1)):
        sys.exit(f"{run}: {len(after)} steps, the last {after[-1:]}, after {len(before)} before: "
                 f"expected {STEPS}")
    print(f"{run}: killed after {len(before)} steps that TensorBoard had read, resumed: all {STEPS} "
          "steps once")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
