"""A run of PyTorch by one of Bobbin's recipes on Fashion-MNIST; prints the top-1 of the test images in percent.

    torch_run.py RECIPE.toml SEED f32|bf16 [EPOCHS]

The recipe is a preset with SGD, `one-cycle`, shifts and flips; batch norm is over whole batches.
"""

import gzip
import sys
import tomllib
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "interop"))
from torch_networks import PRESETS  # noqa: E402


def read(part):
    """Bytes of the images, [n, 1, 28, 28], and their classes."""
    found = []
    for name, header in (("images-idx3", 16), ("labels-idx1", 8)):
        with gzip.open(ROOT / "data" / "fashion-mnist" / f"{part}-{name}-ubyte.gz") as file:
            found.append(torch.from_numpy(np.frombuffer(file.read(), np.uint8, offset=header).copy()))
    return found[0].view(-1, 1, 28, 28), found[1].long()


def changed(images, shift, flip):
    """Each moved by up to `shift` pixels along both axes, black coming in, and mirrored with probability `flip`."""
    n, size = len(images), images.shape[-1]
    padded = F.pad(images, [shift] * 4)[:, 0]
    rows, columns = (torch.randint(2 * shift + 1, (n, 1)) + torch.arange(size) for _ in range(2))
    columns = torch.where(torch.rand(n, 1) < flip, columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


def initialise(network):
    """He's initialisation, as `init = "he"`."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def main():
    recipe, seed, precision = tomllib.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2]), sys.argv[3]
    torch.manual_seed(seed)
    train, labels = read("train")
    test, expected = read("t10k")
    mean, std = train.float().mean() / 255, train.float().std() / 255
    scaled = lambda images: ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
    network = PRESETS[recipe["model"]["preset"]]().to(memory_format=torch.channels_last)
    initialise(network)
    epochs = int(sys.argv[4]) if len(sys.argv) > 4 else recipe["stop"]["epochs"]
    batch, sgd = recipe["data"]["batch_size"], recipe["optimizer"]
    optimizer = torch.optim.SGD(network.parameters(), **sgd)
    steps = epochs * -(-len(train) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, sgd["lr"], steps, cycle_momentum=False)
    autocast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(train)).split(batch):
            images = scaled(changed(train[chosen], **recipe["augment"]))
            with autocast():
                outputs = network(images)
            loss = F.cross_entropy(outputs.float(), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad(), autocast():
        found = torch.cat([network(scaled(images)).argmax(1) for images in test.split(500)])
    print(100 * (found == expected).double().mean().item())


if __name__ == "__main__":
    main()
