"""The PyTorch contestant: eager with either memory layout, or torch.compile; in f32, or with autocast to bf16."""

import sys
from collections import OrderedDict
from collections.abc import Callable

import torch
from networks import (
    CLASSES, EPSILON, LEARNING_RATE, MOMENTUM, NORM_MOMENTUM, TORCHVISION,
    Conv, Flatten, GlobalAvgPool, Layer, Linear, MaxPool, Network, Norm, Relu, Residual, network,
)  # fmt: skip
from peer import Arguments, Contestant, load_images, load_labels, load_weights, parse_arguments, serve
from torch import Tensor, nn
from torch.nn import functional as F

SETTINGS = ["channels-last", "plain", "compile", "compile-plain"]
# What batch norm counts, which a file of initial weights may leave out.
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class ResidualBlock(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


class ChunkedBatchNorm2d(nn.BatchNorm2d):
    """Normalises each run of `chunk` images by itself, for the comparison of losses."""

    def __init__(self, channels: int, chunk: int, eps: float = EPSILON, momentum: float = NORM_MOMENTUM):
        super().__init__(channels, eps, momentum)
        self.chunk = chunk

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super(ChunkedBatchNorm2d, self).forward(run) for run in x.split(self.chunk)])


class Builder:
    """Makes modules of layers, each for the shape (channels, size) that those before it leave."""

    def __init__(self, norm_chunk: int | None, channels: int, size: int):
        self.norm_chunk = norm_chunk
        self.channels, self.size = channels, size

    def sequential(self, layers: Network) -> nn.Sequential:
        return nn.Sequential(OrderedDict((name, self.module(layer)) for name, layer in layers.items()))

    def module(self, layer: Layer) -> nn.Module:
        match layer:
            case Conv():
                return self.conv(layer)
            case Norm() if self.norm_chunk:
                return ChunkedBatchNorm2d(self.channels, self.norm_chunk)
            case Norm():
                return nn.BatchNorm2d(self.channels, EPSILON, NORM_MOMENTUM)
            case Relu():
                return nn.ReLU(inplace=True)
            case MaxPool(size):
                self.size //= size
                return nn.MaxPool2d(size)
            case GlobalAvgPool():
                self.size = 1
                return nn.AdaptiveAvgPool2d(1)
            case Flatten():
                self.channels, self.size = self.channels * self.size**2, 1
                return nn.Flatten()
            case Linear(features):
                inputs, self.channels = self.channels, features
                return nn.Linear(inputs, features)
            case Residual(body, shortcut):
                return self.residual(body, shortcut)

    def conv(self, layer: Conv) -> nn.Conv2d:
        inputs, self.channels = self.channels, layer.channels
        self.size = (self.size + 2 * layer.padding - layer.kernel) // layer.stride + 1
        return nn.Conv2d(
            inputs, layer.channels, layer.kernel, layer.stride, layer.padding, bias=layer.bias
        )  # fmt: skip

    def residual(self, body: Network, shortcut: Network) -> ResidualBlock:
        inputs = self.channels, self.size
        body_module = self.sequential(body)
        outputs, (self.channels, self.size) = (self.channels, self.size), inputs
        shortcut_module = self.sequential(shortcut)
        self.channels, self.size = outputs
        return ResidualBlock(body_module, shortcut_module)


def torchvision_network(arguments: Arguments) -> nn.Module:
    """As torchvision builds it, but for what the comparison of losses asks for."""
    # Its import takes time and memory, which must not count in the rows of other networks.
    import torchvision_networks

    model = torchvision_networks.build(arguments.network, CLASSES, arguments.without_chance)
    for module in list(model.modules()) if arguments.norm_chunk else []:
        for name, part in module.named_children():
            if isinstance(part, nn.BatchNorm2d):
                norm = ChunkedBatchNorm2d(part.num_features, arguments.norm_chunk, part.eps, part.momentum)
                setattr(module, name, norm)
    return model


class PyTorch(Contestant):
    framework = "PyTorch"
    version = torch.__version__

    def __init__(self, arguments: Arguments):
        torch.set_num_threads(arguments.threads)
        images = torch.from_numpy(load_images(arguments)).permute(0, 3, 1, 2)
        if arguments.network in TORCHVISION:
            model = torchvision_network(arguments)
        else:
            builder = Builder(arguments.norm_chunk, images.shape[1], images.shape[2])
            model = builder.sequential(network(arguments.network))
        weights = {name: torch.from_numpy(value) for name, value in load_weights(arguments).items()}
        missing, unknown = model.load_state_dict(weights, strict=False)
        wrong = [name for name in [*missing, *unknown] if not name.endswith(STATISTICS)]
        if wrong:
            sys.exit(f"error: {arguments.weights}: not of {arguments.network}: {wrong[0]} is missing or unknown")
        layout = torch.contiguous_format if arguments.setting.endswith("plain") else torch.channels_last
        model, images = model.to(memory_format=layout), images.contiguous(memory_format=layout)
        self.model, self.batch = model, arguments.batch
        self.images, self.labels = images, torch.from_numpy(load_labels(arguments)).long()
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.last: Tensor | None = None
        self.precision = torch.autocast("cpu", torch.bfloat16, enabled=arguments.autocast)
        compiled = arguments.setting.startswith("compile")
        self.forward: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False) if compiled else model

    def slice(self, values: Tensor, batch: int) -> Tensor:
        return values[batch * self.batch : (batch + 1) * self.batch]


class Trainer(PyTorch):
    def __init__(self, arguments: Arguments):
        super().__init__(arguments)
        self.model.train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), LEARNING_RATE, MOMENTUM, fused=True)

    def step(self, batch: int) -> None:
        with self.precision:
            logits = self.forward(self.slice(self.images, batch))
            self.last = F.cross_entropy(logits, self.slice(self.labels, batch))
        self.optimizer.zero_grad()
        self.last.backward()
        self.optimizer.step()

    def loss(self) -> float | None:
        return self.last.item()


class Classifier(PyTorch):
    def __init__(self, arguments: Arguments):
        super().__init__(arguments)
        self.model.eval()

    @torch.inference_mode()
    def step(self, batch: int) -> None:
        with self.precision:
            self.last = self.forward(self.slice(self.images, batch))

    def loss(self) -> None:
        return None


if __name__ == "__main__":
    arguments = parse_arguments(SETTINGS, TORCHVISION)
    kind = Trainer if arguments.mode == "train" else Classifier
    serve(kind(arguments), arguments)
