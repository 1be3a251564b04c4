"""A table of what `check-pictures` has measured; fails where the recipe is below the linear classifier
by more than a hundredth.

    compare.py DIRECTORY NAME ...
"""

import json
import sys
from pathlib import Path


def main():
    root = Path(sys.argv[1])
    linear = json.loads((root / "sets" / "linear.json").read_text())
    below = []
    print("| set | linear classifier | recipe `pictures` | epochs | seconds |\n|---|---|---|---|---|")
    for name in sys.argv[2:]:
        lines = [json.loads(line) for line in (root / f"{name}.jsonl").read_text().splitlines()]
        end = next(line for line in lines if line["event"] == "end")
        epochs = [line for line in lines if line["event"] == "epoch"]
        found = json.loads((root / f"{name}.json").read_text())["top1"]
        print(f"| {name} | {100 * linear[name]:.1f} % | {100 * found:.1f} % | {len(epochs)} | {end['seconds']:.0f} |")
        if found < linear[name] - 0.01:
            below.append(name)
    if below:
        sys.exit(f"below a linear classifier: {', '.join(below)}")


if __name__ == "__main__":
    main()
