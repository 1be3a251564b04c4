"""torchvision's networks beside the presets of their names.

    presets_check.py write DIRECTORY            networks with weights of chance, their logits, and two data sets
    presets_check.py beside DIRECTORY NAME      the logits of Bobbin and those of ONNX Runtime beside torchvision's

`write` needs torch and torchvision, `beside` needs onnx and onnxruntime. Images have 3×64×64 pixels, the data sets ten and
three classes. Exits 1 if a logit is off by more than 1e-4 of the largest.
"""

import sys
from pathlib import Path

import numpy as np

TOLERANCE, IMAGES, SIZE = 1e-4, 20, 64
PRESETS = [
    "resnet18",
    "resnet50",
    "squeezenet1-1",
    "vgg11-bn",
    "densenet121",
    "mobilenet-v2",
    "efficientnet-b0",
    "wrn-16-4",
    "resnet20",
]


def write_set(directory, classes):
    """IDX files of noise, the channels of a pixel side by side."""
    directory.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8)
    labels = np.arange(IMAGES, dtype=np.uint8) % classes
    for part in ("train", "t10k"):
        for name, values in ((f"{part}-images-idx4-ubyte", pixels), (f"{part}-labels-idx1-ubyte", labels)):
            head = np.array([0x800 + values.ndim, *values.shape], ">u4").tobytes()
            (directory / name).write_bytes(head + values.tobytes())
    return pixels


def images(directory):
    raw = np.frombuffer((directory / "ten/t10k-images-idx4-ubyte").read_bytes(), np.uint8, offset=20)
    return raw.reshape(IMAGES, SIZE, SIZE, 3).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def write(directory):
    import torch

    sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/fixtures"))
    from preset_networks import network
    from torch_check import by_chance, logits

    write_set(directory / "ten", 10)
    write_set(directory / "three", 3)
    x = np.ascontiguousarray(images(directory))
    for name in PRESETS:
        torch.manual_seed(1)
        net = by_chance(network(name, 3, 10))
        torch.save(net.state_dict(), directory / f"{name}.pth")
        np.save(directory / f"{name}.npy", logits(net, x))


def beside(directory, name):
    import onnx
    import onnxruntime

    expected = np.load(directory / f"{name}.npy")
    scale = np.abs(expected).max()
    assert expected.std(0).max() > 1e-3 * scale, "all images have the same logits: that proves nothing"
    onnx.checker.check_model(str(directory / f"{name}.onnx"), full_check=True)
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(str(directory / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    found = {
        "Bobbin": np.loadtxt(directory / f"{name}.logits", dtype=np.float32),
        "ONNX Runtime": session.run(["logits"], {"image": images(directory)})[0],
    }
    errors = {who: float(np.abs(logits - expected).max() / scale) for who, logits in found.items()}
    print(f"{name}: logits within", ", ".join(f"{error:.1e} in {who}" for who, error in errors.items()))
    return max(errors.values()) <= TOLERANCE


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", place]:
            write(Path(place))
        case ["beside", place, name]:
            sys.exit(not beside(Path(place), name))
        case _:
            sys.exit(__doc__)
