"""The presets, and any list of layers, as torch.nn networks whose state_dict has Bobbin's names."""

import torch
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

# The kinds that CUSTOM leaves out: norms, functions, and pools of every kind.
KINDS = [
    dict(kind="conv", outputs=8, kernel=5, stride=2),
    dict(kind="softmax"),
    dict(kind="instance-norm", affine=True),
    dict(kind="batch-norm", eps=0.001, momentum=0.01, affine=False),
    dict(kind="relu6"),
    dict(kind="max-pool", kernel=3, stride=2, ceil_mode=True),
    dict(kind="conv", outputs=12, kernel=3, padding=1),
    dict(kind="hardswish"),
    dict(kind="conv", outputs=12, kernel=3, padding=1),
    dict(kind="group-norm", groups=3),
    dict(kind="hardsigmoid"),
    dict(kind="avg-pool", kernel=3, stride=2, padding=1, ceil_mode=True),
    dict(kind="conv", outputs=16, kernel=1),
    dict(kind="layer-norm", eps=0.000001),
    dict(kind="silu"),
    dict(kind="avg-pool", kernel=2, stride=1, padding=1, count_include_pad=False),
    dict(kind="gelu", approximate="tanh"),
    dict(kind="adaptive-max-pool", size=[3, 2]),
    dict(kind="elu", alpha=0.7),
    dict(kind="dropout2d", p=0.2),
    dict(kind="conv", outputs=12, kernel=1, name="mixed"),
    dict(kind="prelu", per_channel=True, name="slopes"),
    dict(kind="adaptive-avg-pool", size=[2, 4]),
    dict(kind="stochastic-depth", p=0.2),
    dict(kind="softplus", beta=2),
    # What images have in common is large by now.
    dict(kind="instance-norm"),
    dict(kind="adaptive-avg-pool", size=[1, 4]),
    dict(kind="conv", outputs=12, kernel=1),
    dict(kind="layer-norm", pixels=True),
    dict(kind="tanh"),
    dict(kind="flatten"),
    dict(kind="linear", outputs=24),
    dict(kind="prelu", per_channel=True),
    dict(kind="linear", outputs=24),
    dict(kind="layer-norm"),
    dict(kind="sigmoid"),
    dict(kind="linear", outputs=16),
    dict(kind="prelu"),
    dict(kind="softplus"),
    dict(kind="elu"),
    dict(kind="linear", name="head"),
    dict(kind="log-softmax"),
]

# What joins layers, layers that several read, and layers that are used again.
GRAPH = [
    dict(kind="conv", outputs=10, kernel=5, stride=2, padding=2, name="stem.0", bias=False),
    dict(kind="batch-norm", name="stem.1"),
    dict(kind="relu", name="stem.2"),
    dict(kind="conv", outputs=10, kernel=3, padding=1, name="block.conv"),
    dict(kind="batch-norm", name="block.norm"),
    dict(kind="global-avg-pool"),
    dict(kind="conv", outputs=4, kernel=1, name="block.squeeze"),
    dict(kind="relu"),
    dict(kind="conv", outputs=10, kernel=1, name="block.excite"),
    dict(kind="gelu"),
    {"kind": "multiply", "from": ["block.norm", "9"], "name": "excited"},
    {"kind": "add", "from": ["excited", "stem.2"]},
    dict(kind="relu", name="sum"),
    dict(kind="again", layer="block.conv"),
    dict(kind="batch-norm", name="second.norm"),
    {"kind": "add", "from": ["second.norm", "sum", "stem.2"], "name": "three"},
    {"kind": "concat", "from": ["three", "sum"]},
    dict(kind="max-pool", kernel=2, name="pool"),
    dict(kind="conv", outputs=8, kernel=3),
    dict(kind="again", layer="pool"),
    dict(kind="flatten", name="flat"),
    dict(kind="linear", outputs=32, name="classifier.0"),
    {"kind": "multiply", "from": ["classifier.0", "classifier.0"]},
    {"kind": "concat", "from": ["22", "flat"]},
    dict(kind="linear", name="classifier.1"),
]

# Channels in groups, and paddings of every kind.
CONVOLUTIONS = [
    dict(kind="conv", outputs=8, kernel=[4, 3], padding="same", name="stem"),
    dict(kind="batch-norm"),
    dict(kind="relu", name="planes"),
    dict(kind="conv", outputs=16, kernel=3, stride=[2, 1], padding=1, groups=8, bias=False, name="depthwise"),
    dict(kind="batch-norm"),
    dict(kind="relu6"),
    dict(kind="conv", outputs=12, kernel=3, padding=[0, 2, 1, 3], groups=4),
    dict(kind="silu"),
    dict(kind="conv", outputs=12, kernel=5, padding=2, padding_mode="reflect", groups=12, bias=False),
    dict(kind="batch-norm"),
    {"kind": "add", "from": ["9", "7"]},
    dict(kind="relu"),
    dict(kind="conv", outputs=10, kernel=[2, 3], padding="same", padding_mode="reflect", dilation=[1, 2], groups=2),
    dict(kind="gelu"),
    dict(kind="conv", outputs=10, kernel=3, padding=[1, 0, 2, 0], padding_mode="reflect"),
    dict(kind="relu"),
    dict(kind="flatten"),
    dict(kind="linear", name="head"),
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


class Convolution(nn.Conv2d):
    """With padding [left, right, top, bottom]."""

    def __init__(self, sides, mode, *sizes, **options):
        super().__init__(*sizes, **options)
        self.sides, self.mode = sides, mode.replace("zeros", "constant")

    def forward(self, x):
        return super().forward(F.pad(x, self.sides, self.mode))


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of each pixel."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Graph(nn.Module):
    """Layers of which each takes in the one before it, or those that it names."""

    def __init__(self, layers, shape, classes, norm):
        super().__init__()
        self.steps, shapes, kinds, before = [], {"input": shape}, {}, "input"
        for index, layer in enumerate(layers):
            name, takes = layer.get("name", str(index)), layer.get("from", before)
            takes = takes if isinstance(takes, list) else [takes]
            owner = layer["layer"] if layer["kind"] == "again" else name
            kinds[name] = kinds[owner] if owner != name else layer
            given = [shapes[other] for other in takes]
            if layer["kind"] in JOINS:
                shapes[name] = joined(layer["kind"], given)
            else:
                module, shapes[name] = custom_layer(kinds[name], given[0], classes, norm)
                if owner == name:
                    self.place(name, module)
            self.steps.append((name, takes, JOINS.get(layer["kind"]), owner))
            before = name
        self.shape = shapes[before]

    def place(self, name, module):
        """Makes a module an attribute of this name, through modules for what is before its dots."""
        *path, last = name.split(".")
        parent = self
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, module)

    def forward(self, x):
        values = {"input": x}
        for name, takes, join, owner in self.steps:
            given = [values[other] for other in takes]
            x = values[name] = join(*given) if join else self.get_submodule(owner)(*given)
        return x


JOINS = {
    "add": lambda *x: sum(x[1:], x[0]),
    "multiply": lambda a, b: a * b,
    "concat": lambda *x: torch.cat(x, 1),
}


def joined(kind, shapes):
    if kind == "concat":
        return [sum(channels for channels, *_ in shapes), *shapes[0][1:]]
    return max(shapes, key=lambda shape: shape[1] * shape[2])


def custom(layers, shape=(1, 28, 28), classes=10, norm=nn.BatchNorm2d):
    """The network of a list of layers, and the shape [channels, rows, columns] after it."""
    net = Graph(layers, shape, classes, norm)
    return net, net.shape


def custom_layer(layer, shape, classes, norm):
    channels, *size = shape
    kind, bias = layer["kind"], layer.get("bias", True)
    if kind in ("conv", "max-pool", "avg-pool"):
        return windowed(layer, kind, channels, size, bias)
    if kind == "residual":
        body, after = custom(layer["body"], shape, classes, norm)
        shortcut, _ = custom(layer.get("shortcut", []), shape, classes, norm)
        return Residual(body, shortcut), after
    if kind == "linear":
        outputs = layer.get("outputs", classes)
        return Linear(channels, outputs, bias), [outputs, 1, 1]
    if kind == "flatten":
        return Flatten(), [channels * size[0] * size[1], 1, 1]
    if kind == "global-avg-pool":
        return nn.AdaptiveAvgPool2d(1), [channels, 1, 1]
    if kind.startswith("adaptive"):
        size = layer["size"] if isinstance(layer["size"], list) else [layer["size"]] * 2
        pool = nn.AdaptiveMaxPool2d if "max" in kind else nn.AdaptiveAvgPool2d
        return pool(size), [channels, *size]
    eps, affine = layer.get("eps", 1e-5), layer.get("affine", kind != "instance-norm")
    simple = {
        "batch-norm": lambda: norm(channels, eps, layer.get("momentum", 0.1), affine),
        "group-norm": lambda: nn.GroupNorm(layer["groups"], channels, eps, affine),
        "instance-norm": lambda: nn.InstanceNorm2d(channels, eps, affine=affine),
        "layer-norm": lambda: nn.LayerNorm(list(shape), eps) if layer.get("pixels") else LayerNorm2d(channels, eps),
        "relu6": nn.ReLU6,
        "hardsigmoid": nn.Hardsigmoid,
        "hardswish": nn.Hardswish,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "silu": nn.SiLU,
        "elu": lambda: nn.ELU(layer.get("alpha", 1.0)),
        "softplus": lambda: nn.Softplus(layer.get("beta", 1.0)),
        "prelu": lambda: nn.PReLU(channels if layer.get("per_channel") else 1),
        "softmax": lambda: nn.Softmax(1),
        "log-softmax": lambda: nn.LogSoftmax(1),
        "dropout2d": lambda: nn.Dropout2d(layer.get("p", 0.5)),
        "stochastic-depth": nn.Identity,
        "relu": nn.ReLU,
        "leaky-relu": lambda: nn.LeakyReLU(layer.get("slope", 0.01)),
        "gelu": lambda: nn.GELU(layer.get("approximate", "none")),
        "dropout": lambda: nn.Dropout(layer.get("p", 0.5)),
    }
    return simple[kind](), shape


def windowed(layer, kind, channels, size, bias):
    def pair(field, default):
        value = layer.get(field, default)
        return tuple(value) if isinstance(value, list) else (value, value)

    if kind == "conv":
        return convolution(layer, channels, size, bias, pair)
    kernel = pair("kernel", None)
    stride = pair("stride", layer["kernel"])
    window = dict(stride=stride, padding=pair("padding", 0), dilation=pair("dilation", 1))
    ceil = layer.get("ceil_mode", False)
    extents = zip(size, kernel, *window.values())
    after = [(n + 2 * p - d * (k - 1) - 1 + (s - 1) * ceil) // s + 1 for n, k, s, p, d in extents]
    # A window begins before the end of the plane.
    starts = zip(after, size, stride, window["padding"])
    after = [a - (ceil and (a - 1) * s >= n + p) for a, n, s, p in starts]
    if kind == "max-pool":
        return nn.MaxPool2d(kernel, ceil_mode=ceil, **window), [channels, *after]
    if window["dilation"] != (1, 1):
        return AveragePool(channels, kernel, **window), [channels, *after]
    counted = layer.get("count_include_pad", True)
    return nn.AvgPool2d(kernel, stride, window["padding"], ceil, counted), [channels, *after]


def convolution(layer, channels, size, bias, pair):
    outputs, padding, mode = layer["outputs"], layer.get("padding", 0), layer.get("padding_mode", "zeros")
    options = dict(stride=pair("stride", 1), dilation=pair("dilation", 1), groups=layer.get("groups", 1), bias=bias)
    sizes = channels, outputs, pair("kernel", None)
    if isinstance(padding, list) and len(padding) == 4:
        top, bottom, left, right = padding
        conv = Convolution((left, right, top, bottom), mode, *sizes, **options)
    else:
        padding = padding if padding == "same" else pair("padding", 0)
        conv = nn.Conv2d(*sizes, padding=padding, padding_mode=mode, **options)
    return conv, list(conv(torch.zeros(1, channels, *size)).shape[1:])
