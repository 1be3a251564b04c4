"""Holds what evaluate and predict say beside PyTorch, and gives them weights that PyTorch saved.

    python3 scripts/interop/evaluate_check.py PROGRAMS TRAINED

PROGRAMS is the folder of the programs, such as target/release; in TRAINED are run directories named as
their presets. Needs the packages torch, numpy and safetensors. Exits 1 if something is wrong.
"""

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch_networks import PRESETS

DATA = Path(__file__).resolve().parents[2] / "data" / "fashion-mnist"
CLASSES = 10


def read(name, header):
    return np.frombuffer(gzip.decompress((DATA / f"{name}.gz").read_bytes()), np.uint8)[header:].copy()


def close(found, expected, tolerance, what):
    # What is undefined is null here and not a number there.
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    worst = np.max(np.where(np.isnan(found) & np.isnan(expected), 0, np.abs(found - expected)))
    if not worst <= tolerance:
        sys.exit(f"evaluate_check: {what}: off by {worst}, at most {tolerance} expected")
    print(f"  {what}: within {worst:.2g}")


def scores(logits, labels):
    """By the definitions, in float64."""
    order = torch.sort(logits, dim=1, descending=True, stable=True).indices
    confusion = np.zeros((CLASSES, CLASSES), int)
    np.add.at(confusion, (labels.numpy(), order[:, 0].numpy()), 1)
    hits, support, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore"):
        precision, recall = hits / predicted, hits / support
        f1 = 2 * hits / (predicted + support)
    return {
        "loss": nn.functional.cross_entropy(logits, labels).item(),
        "top1": (order[:, 0] == labels).double().mean().item(),
        "top5": (order[:, :5] == labels[:, None]).any(1).double().mean().item(),
        "confusion": confusion,
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


def main():
    programs, trained = map(Path, sys.argv[1:3])
    run = lambda name, *args: subprocess.run(  # noqa: E731
        [programs / name, *map(str, args)], check=True, capture_output=True, text=True
    ).stdout
    images = torch.tensor(read("t10k-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28))
    labels = torch.tensor(read("t10k-labels-idx1-ubyte", 8).astype(np.int64))
    with tempfile.TemporaryDirectory() as folder:
        for preset in ("lenet", "cnn-bn", "resnet"):
            print(preset)
            out, network = trained / preset, PRESETS[preset]()
            network.load_state_dict(load_file(out / "model.safetensors"))
            network.eval()
            found = json.loads(run("evaluate", "--weights", out, "--json"))
            [mean], [std] = found["normalize"]["mean"], found["normalize"]["std"]

            def logits(x):
                with torch.no_grad():
                    return network(((x.double() / 255 - mean) / std).float()).double()

            plain = logits(images)
            expected = scores(plain, labels)
            for key in ("loss", "top1", "top5", "confusion"):
                # An image whose two largest logits agree to rounding may change sides.
                tolerance = {"loss": 1e-5, "confusion": 1}.get(key, 1e-4)
                close(found[key], expected[key], tolerance, key)
            for key in ("precision", "recall", "f1"):
                close([c[key] for c in found["classes"]], expected[key], 2e-3, key)

            mirrored = (plain + logits(images.flip(3))) / 2
            tta = json.loads(run("evaluate", "--weights", out, "--json", "--tta", "mirror"))
            close(tta["loss"], scores(mirrored, labels)["loss"], 1e-5, "loss with mirror images")

            saved = Path(folder) / f"{preset}.safetensors"
            save_file(network.state_dict(), saved)
            on_data = ["--weights", saved, "--data", DATA, "--json"]
            again = json.loads(run("evaluate", *on_data, "--normalize", f"{mean},{std}"))
            close(again["loss"], found["loss"], 0, "loss of weights saved from PyTorch")
            assert again["confusion"] == found["confusion"] and again["model"] == preset
            measured = json.loads(run("evaluate", *on_data))
            close(measured["normalize"]["mean"], [0.28604], 1e-4, "measured mean")

            index = ["--index", "0..99", "--top", CLASSES, "--json"]
            file = DATA / "t10k-images-idx3-ubyte.gz"
            lines = run("predict", "--weights", out, file, *index).splitlines()
            table = np.zeros((100, CLASSES))
            for row, line in enumerate(lines):
                for entry in json.loads(line)["predictions"]:
                    table[row, entry["label"]] = entry["probability"]
            close(table, torch.softmax(plain[:100], 1), 1e-5, "probabilities")


if __name__ == "__main__":
    main()
