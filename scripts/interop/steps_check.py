"""Twenty steps of training by torchvision's networks in float64, and by the presets of their names.

    steps_check.py PROGRAM DIRECTORY [NAME …]

PROGRAM is the example `steps`; DIRECTORY is made, and empty in the end. Needs torch and torchvision. Exits 1 if a loss, a
weight or a running statistic is off.

A step sees four pictures of its own, SGD has momentum 0.9, and nothing is dropped. Pictures are 3×64×64 or 3×32×32, so that
no batch norm sees planes of one pixel: four values a channel would make of each rounding a large difference. Training is
still no smooth function of its rounding: a ReLU within rounding of zero takes the other side, and fifty batch norms after
one another amplify what follows. So rates are low, and PyTorch in float32 takes the same steps: Bobbin may be four times as
far from float64 as that, or as far as the tolerances below, some times what float32 comes to where a network is calm
(resnet18: 2e-6 of a tensor's norm, 4e-4 of its movement in the mean). Where PyTorch in float32 is itself too far off for the
comparison to mean anything, that is a failure.
"""

import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/fixtures"))
from make_presets import by_formula, noise  # noqa: E402
from preset_networks import network, without_chance  # noqa: E402

STEPS, BATCH, CLASSES = 20, 4, 10
NETWORKS = ["resnet18", "resnet50", "squeezenet1-1", "mobilenet-v2", "efficientnet-b0", "wrn-16-4", "resnet20"]
# For the time that they take in float64 only where they are named.
LONG = ["densenet121", "vgg11-bn"]
# The networks for small pictures have planes of 8×8 in the end.
SIZES = {name: 64 for name in NETWORKS + LONG} | {"wrn-16-4": 32, "resnet20": 32}
IMAGES = 4_000_000

# Two with fifty batch norms, one behind the other, amplify most: at 1e-5 PyTorch in float32 is lost after twenty steps.
LR = {name: 1e-5 for name in NETWORKS + LONG} | {"mobilenet-v2": 1e-6, "resnet50": 1e-7}

# Of the largest loss; of the norm of a tensor; of how far a parameter has moved, the largest and the mean; and what float32
# may come to at most.
MEASURES = {"losses": (1e-5, 1e-3), "tensors": (1e-5, 1e-3), "movements": (1e-1, 7e-1), "mean movement": (1e-2, 1.5e-1)}
FACTOR = 4


def pictures(size):
    """Coarse patches, in part those of a picture's class, under noise, in bytes, channels last; and the classes."""
    count = STEPS * BATCH
    labels = np.arange(count) * 7 % CLASSES
    patch = size // 8
    of_class, own = (
        noise(IMAGES + stream, n * 8 * 8 * 3).reshape(n, 8, 8, 3) for stream, n in ((0, CLASSES), (1, count))
    )
    coarse = 50 * of_class[labels] + 30 * own
    fine = noise(IMAGES + 2, count * size * size * 3).reshape(count, size, size, 3)
    pixels = 128 + coarse.repeat(patch, 1).repeat(patch, 2) + 40 * fine
    return pixels.astype(np.uint8), labels.astype(np.uint8)


def write(place):
    place.mkdir(parents=True)
    pixels, labels = pictures(SIZES[place.name])
    for name, values in (("train-images-idx4-ubyte", pixels), ("train-labels-idx1-ubyte", labels)):
        head = np.array([0x800 + values.ndim, *values.shape], ">u4").tobytes()
        (place / name).write_bytes(head + values.tobytes())
    torch.save(by_formula(network(place.name, 3, CLASSES)).state_dict(), place / "net.pth")


def train(place, dtype):
    """The loss before each step, the state before and after all."""
    net = without_chance(network(place.name, 3, CLASSES))
    net.load_state_dict(torch.load(place / "net.pth"))
    net.to(dtype).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=LR[place.name], momentum=0.9)
    pixels, labels = pictures(SIZES[place.name])
    pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1
    losses = []
    for x, y in zip(pixels.split(BATCH), torch.from_numpy(labels).long().split(BATCH)):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses), before, net.state_dict()


def is_trained(key):
    return not key.endswith(("running_mean", "running_var", "num_batches_tracked"))


def differences(exact, losses, after):
    """How far losses and a state are from those in float64, in the order of MEASURES."""
    expected, before, exact_after = exact
    assert after.keys() == exact_after.keys(), set(after) ^ set(exact_after)
    ways = {key: (value - before[key]).norm().item() for key, value in exact_after.items() if is_trained(key)}
    # What a batch norm behind it makes without effect has rounding for a gradient.
    least = 1e-4 * max(ways.values())
    tensors, movements = [], []
    for key, value in exact_after.items():
        found = after[key].reshape(value.shape).double()
        if not value.is_floating_point():
            assert found == value, f"{key} is {found}, not {value}"
            continue
        error, norm = (found - value).norm().item(), value.norm().item()
        tensors.append(error / norm)
        if key in ways:
            # Rounding of a weight's own last bit, once and again, is no difference of its movement.
            movements.append(max(0.0, error - 2**-23 * norm) / max(ways[key], least))
    loss = np.abs(losses - expected).max() / expected.max()
    return [loss, max(tensors), max(movements), sum(movements) / len(movements)]


def check(program, directory, name):
    """Whether Bobbin trains as PyTorch does, and what is to be said of it."""
    torch.set_num_threads(1)
    place = directory / name
    write(place)
    command = [program, name, place, str(LR[name])]
    losses = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    losses, after = np.array(losses.split(), float), load_file(place / "after.safetensors")
    exact = train(place, torch.float64)
    found = differences(exact, losses, after)
    rough, _, state = train(place, torch.float32)
    rough = differences(exact, rough, state)
    shutil.rmtree(place)
    passed, words = True, []
    for what, one, other in zip(MEASURES, found, rough):
        least, most = MEASURES[what]
        passed &= one <= max(least, FACTOR * other) and other <= most
        words.append(f"{what} {one:.1e} ({other:.1e})")
    return passed, f"{name}: off by, and PyTorch in float32 (in brackets): {', '.join(words)}"


def main(program, directory, names):
    directory.mkdir(parents=True)
    passed = True
    with ProcessPoolExecutor(2) as pool:
        for good, text in pool.map(partial(check, program, directory), names or NETWORKS):
            print(text if good else f"{text}: TOO FAR", flush=True)
            passed &= good
    return passed


if __name__ == "__main__":
    match sys.argv[1:]:
        case [program, place, *names]:
            sys.exit(not main(program, Path(place), names))
        case _:
            sys.exit(__doc__)
