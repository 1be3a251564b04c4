"""The networks that torchvision builds, by the names of Bobbin's presets."""

from collections.abc import Callable

from torch import nn
from torchvision import models
from torchvision.ops import StochasticDepth

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": models.resnet18,
    "mobilenet-v2": models.mobilenet_v2,
    "densenet121": models.densenet121,
    "efficientnet-b0": models.efficientnet_b0,
}


def build(name: str, classes: int, without_chance: bool) -> nn.Module:
    """With weights of chance; `without_chance` neither values nor branches are dropped in training."""
    model = BUILDERS[name](weights=None, num_classes=classes)
    for module in model.modules():
        if without_chance and isinstance(module, (nn.Dropout, StochasticDepth)):
            module.p = 0.0
    return model
