"""Weights between PyTorch and Bobbin.

    torch_check.py write DIRECTORY               networks with weights of chance, saved by PyTorch
    torch_check.py recipe                        a recipe that trains one of these networks for a few steps
    torch_check.py beside WEIGHTS LOGITS         Bobbin's logits beside those of the same torch.nn network
    torch_check.py accuracy WEIGHTS JSON         what `evaluate --json` found, beside PyTorch on all test images

`write` leaves NAME.safetensors, NAME.pth and NAME.npy, its logits of 1,000 test images, for every preset (without
metadata, as PyTorch saves) and for networks of their own layers. `beside` loads a file of Bobbin into the
torch.nn network that it says it is, by load_state_dict; LOGITS is a file of NumPy or what the example
`logits` printed. Exits 1 if a logit is off by more than 1e-4 of the largest, or of 1; in bfloat16 by more than that
explains.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fashion import allowed, test_images, test_labels, worst
from torch_networks import CONVOLUTIONAL, CONVOLUTIONS, CUSTOM, GRAPH, KINDS, PRESETS, custom

IMAGES = 1000


def logits(net, x):
    net.eval()
    with torch.no_grad():
        return torch.cat([net(part).flatten(1) for part in torch.from_numpy(x).split(100)]).numpy()


def by_chance(net):
    """Weights that let images differ, and statistics as after training: no batch norm is the identity."""
    for module in net.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(module.weight)
        norms = torch.nn.BatchNorm2d, torch.nn.GroupNorm, torch.nn.InstanceNorm2d, torch.nn.LayerNorm
        if isinstance(module, norms) and module.weight is not None:
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
        if isinstance(module, torch.nn.PReLU):
            module.weight.data.uniform_(-0.5, 0.5)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            module.num_batches_tracked.fill_(4711)
    return net


def write(directory):
    torch.manual_seed(1)
    x = test_images(IMAGES)
    for name, make in PRESETS.items():
        net = by_chance(make())
        save_file(net.state_dict(), directory / f"{name}.safetensors")
        torch.save(net.state_dict(), directory / f"{name}.pth")
        np.save(directory / f"{name}.npy", logits(net, x))
    own = [("custom", CUSTOM), ("kinds", KINDS), ("graph", GRAPH), ("convolutions", CONVOLUTIONS)]
    own.append(("convolutional", CONVOLUTIONAL))
    for name, layers in own:
        net = by_chance(custom(layers)[0])
        about = {
            "model": "custom",
            "layers": json.dumps(layers),
            "input": "1,28,28",
            "classes": json.dumps([f"class {i}" for i in range(10)]),
            "normalize.mean": "0.286",
            "normalize.std": "0.353",
        }
        save_file(net.state_dict(), directory / f"{name}.safetensors", about)
        np.save(directory / f"{name}.npy", logits(net, scaled(x, about)))


def recipe():
    """JSON is TOML but for what stands between a key and its value."""
    layers = json.dumps(CUSTOM, separators=(", ", " = "))
    return f"[model]\nlayers = {layers}\n[data]\nbatch_size = 64\nvalidation = 'none'\n[stop]\niterations = 60\n"


def scaled(x, about):
    mean, std = (
        np.array([float(number) for number in about[key].split(",")], np.float32).reshape(1, -1, 1, 1)
        for key in ("normalize.mean", "normalize.std")
    )
    return (x - mean) / std


def beside(weights, found):
    x = test_images(IMAGES)
    with safe_open(weights, "np") as file:
        about = file.metadata() or {}
    if "model" in about:
        name, x = about["model"], scaled(x, about)
        net = custom(json.loads(about["layers"]))[0] if name == "custom" else PRESETS[name]()
        net.load_state_dict(load_file(weights))
        expected = logits(net, x)
    else:
        name, expected = Path(weights).stem, np.load(Path(weights).with_suffix(".npy"))
    error, others = worst(np.loadtxt(found, dtype=np.float32), expected)
    print(f"{weights}: {name}: {IMAGES} images, logits within {error:.1e} of PyTorch's, {others} other classes")
    return error <= allowed(about)[0]


def accuracy(weights, found):
    net = PRESETS[Path(weights).stem]()
    net.load_state_dict(load_file(weights))
    classes, labels = logits(net, test_images(None)).argmax(1), test_labels()
    expected, found = float((classes == labels).mean()), json.loads(Path(found).read_text())["top1"]
    print(f"{weights}: top-1 {found}, in PyTorch {expected}")
    # Two classes may be as good as equal.
    return abs(found - expected) <= 2e-4


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", directory]:
            write(Path(directory))
        case ["recipe"]:
            print(recipe())
        case ["accuracy", weights, found]:
            sys.exit(not accuracy(weights, found))
        case ["beside", weights, found]:
            sys.exit(not beside(weights, found))
        case _:
            sys.exit(__doc__)
