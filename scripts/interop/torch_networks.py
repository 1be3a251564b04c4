"""The presets, and any list of layers, as torch.nn networks whose state_dict has Bobbin's names."""

from torch import nn
from torch.nn import functional as F


class LeNet(nn.Module):
    def __init__(self, first, second, third, fourth, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.fc1 = nn.Linear(second * 4 * 4, third)
        self.fc2 = nn.Linear(third, fourth)
        self.fc3 = nn.Linear(fourth, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Residual(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def conv3x3(inputs, outputs, stride=1, activated=True):
    layers = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
    return layers + [nn.ReLU()] * activated


def cnn_bn():
    def stage(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 5, padding=2), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)

    return nn.Sequential(*stage(1, 16), *stage(16, 32), nn.Flatten(), nn.Linear(1568, 10))


def vgg():
    layers = conv3x3(1, 64) + conv3x3(64, 64)
    for inputs, outputs in [(64, 128), (128, 256)]:
        layers += [nn.MaxPool2d(2)] + conv3x3(inputs, outputs) + conv3x3(outputs, outputs)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


def resnet():
    layers, inputs = conv3x3(1, 16), 16
    for stage, outputs in enumerate([16, 32, 64, 128]):
        for stride in [1 if stage == 0 else 2, 1]:
            body = conv3x3(inputs, outputs, stride) + conv3x3(outputs, outputs, 1, False)
            shortcut = nn.Sequential()
            if stride == 2:
                norm = nn.BatchNorm2d(outputs)
                shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), norm)
            layers.append(Residual(nn.Sequential(*body), shortcut))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


PRESETS = {
    "lenet": lambda: LeNet(6, 16, 120, 84),
    "lenet-li": lambda: LeNet(6, 12, 120, 60),
    "cnn-bn": cnn_bn,
    "vgg": vgg,
    "resnet": resnet,
}

# Every kind of layer and every field, in places where they matter.
CUSTOM = [
    dict(kind="conv", outputs=6, kernel=[5, 3], padding=[2, 1], stride=[1, 2], name="stem"),
    dict(kind="batch-norm"),
    dict(kind="leaky-relu", slope=0.1),
    dict(kind="conv", outputs=8, kernel=3, dilation=[2, 1], padding=[0, 2], bias=False),
    dict(kind="batch-norm", name="norm"),
    dict(kind="gelu"),
    dict(kind="max-pool", kernel=3, stride=2, padding=1),
    dict(
        kind="residual",
        body=[
            dict(kind="conv", outputs=12, kernel=3, padding=1, stride=[2, 1]),
            dict(kind="batch-norm"),
            dict(kind="relu"),
            dict(kind="dropout", p=0.3),
            dict(kind="conv", outputs=12, kernel=[1, 3], padding=[0, 1], name="last"),
        ],
        shortcut=[dict(kind="avg-pool", kernel=[2, 1], stride=[2, 1]), dict(kind="conv", outputs=12, kernel=1)],
    ),
    dict(kind="residual", body=[dict(kind="conv", outputs=12, kernel=3, padding=1)], name="block"),
    dict(kind="avg-pool", kernel=3, stride=1, padding=1),
    dict(kind="avg-pool", kernel=[2, 1], stride=1, dilation=[3, 1]),
    dict(kind="dropout"),
    dict(kind="flatten"),
    dict(kind="linear", outputs=24, bias=False),
    dict(kind="batch-norm"),
    dict(kind="relu"),
    dict(kind="residual", body=[dict(kind="linear", outputs=24)]),
    dict(kind="conv", outputs=20, kernel=1),
    dict(kind="gelu"),
    dict(kind="linear", name="head"),
    dict(kind="dropout", p=0.1),
]

# Ends in planes that are vectors only because they have one pixel.
CONVOLUTIONAL = [
    dict(kind="conv", outputs=9, kernel=5, stride=2),
    dict(kind="relu"),
    dict(kind="conv", outputs=10, kernel=3, bias=False),
    dict(kind="batch-norm"),
    dict(kind="global-avg-pool"),
]


# In such a network everything stays [images, channels, rows, columns], vectors with one pixel.


class Flatten(nn.Module):
    def forward(self, x):
        return x.reshape(len(x), -1, 1, 1)


class Linear(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1))[:, :, None, None]


class AveragePool(nn.Module):
    """nn.AvgPool2d, which knows no dilation, by a convolution of each channel."""

    def __init__(self, channels, kernel, **window):
        super().__init__()
        conv = nn.Conv2d(channels, channels, kernel, groups=channels, bias=False, **window)
        conv.weight.data.fill_(1 / (kernel[0] * kernel[1]))
        self.pool = [conv]  # in a list it is no part of the state_dict

    def forward(self, x):
        return self.pool[0](x)


def custom(layers, shape=(1, 28, 28), classes=10):
    """The network of a list of layers, and the shape [channels, rows, columns] after it."""
    net = nn.Sequential()
    for index, layer in enumerate(layers):
        module, shape = custom_layer(layer, shape, classes)
        net.add_module(layer.get("name", str(index)), module)
    return net, shape


def custom_layer(layer, shape, classes):
    channels, *size = shape
    kind, bias = layer["kind"], layer.get("bias", True)
    if kind in ("conv", "max-pool", "avg-pool"):
        return windowed(layer, kind, channels, size, bias)
    if kind == "residual":
        body, after = custom(layer["body"], shape, classes)
        shortcut, _ = custom(layer.get("shortcut", []), shape, classes)
        return Residual(body, shortcut), after
    if kind == "linear":
        outputs = layer.get("outputs", classes)
        return Linear(channels, outputs, bias), [outputs, 1, 1]
    if kind == "flatten":
        return Flatten(), [channels * size[0] * size[1], 1, 1]
    if kind == "global-avg-pool":
        return nn.AdaptiveAvgPool2d(1), [channels, 1, 1]
    simple = {
        "batch-norm": lambda: nn.BatchNorm2d(channels),
        "relu": nn.ReLU,
        "leaky-relu": lambda: nn.LeakyReLU(layer.get("slope", 0.01)),
        "gelu": nn.GELU,
        "dropout": lambda: nn.Dropout(layer.get("p", 0.5)),
    }
    return simple[kind](), shape


def windowed(layer, kind, channels, size, bias):
    def pair(field, default):
        value = layer.get(field, default)
        return tuple(value) if isinstance(value, list) else (value, value)

    kernel = pair("kernel", None)
    stride = pair("stride", 1 if kind == "conv" else layer["kernel"])
    window = dict(stride=stride, padding=pair("padding", 0), dilation=pair("dilation", 1))
    extents = zip(size, kernel, *window.values())
    after = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in extents]
    if kind == "conv":
        outputs = layer["outputs"]
        return nn.Conv2d(channels, outputs, kernel, bias=bias, **window), [outputs, *after]
    pool = nn.MaxPool2d(kernel, **window) if kind == "max-pool" else AveragePool(channels, kernel, **window)
    return pool, [channels, *after]
