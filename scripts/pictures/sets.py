"""Writes six data sets of pictures to try the recipe `pictures` on, and what a linear classifier makes of each.

    sets.py DIRECTORY [NAME ...]    writes DIRECTORY/NAME/ as IDX files, and DIRECTORY/linear.json

Two to sixty classes, 200 to 10,000 training pictures, balanced and one to fifty, grey and colour, 8x8 to 224x224.
The digits are scikit-learn's; the others are drawn here, the same every time. The linear classifier is scikit-learn's
logistic regression on scaled pixels (of the two largest sets its ridge classifier, which takes seconds), with the
best of several strengths of the penalty by the test pictures themselves, so that it is not held too low.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import StandardScaler


def digits(random):
    """Ten classes of 8x8 as scikit-learn has them, a fifth of them to test on."""
    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)
    order = random.permutation(len(images))
    test = order[: len(order) // 5]
    train = order[len(order) // 5 :]
    return images[train], found.target[train], images[test], found.target[test]


def letter(random, kind):
    """A letter of 28x28, turned, moved, bright on dark, and noise over it."""
    font = ImageFont.load_default(size=int(random.integers(17, 25)))
    picture = Image.new("L", (28, 28))
    draw = ImageDraw.Draw(picture)
    draw.text((14, 14), chr(ord("a") + kind), font=font, fill=int(random.integers(150, 255)), anchor="mm")
    picture = picture.rotate(random.uniform(-20, 20), Image.Resampling.BILINEAR)
    moved = np.roll(np.asarray(picture, float), random.integers(-2, 3, 2), (0, 1))
    return moved + random.normal(0, 25, moved.shape)


def grating(random, kind):
    """Stripes of ten directions and six widths, 32x32 in two random colours, at a random phase."""
    direction, width = kind % 10 * math.pi / 10, 2.5 * 1.35 ** (kind // 10)
    y, x = np.mgrid[:32, :32]
    wave = np.sin(2 * math.pi * (x * math.cos(direction) + y * math.sin(direction)) / width + random.uniform(0, 6.3))
    one, other = random.uniform(0, 255, (2, 3))
    share = (0.5 + 0.5 * wave)[..., None]
    return share * one + (1 - share) * other + random.normal(0, 15, (32, 32, 3))


def shape(random, kind, side, channels):
    """A polygon of three to six sides, a disc, a ring, a cross or a bar, anywhere, of any colour on any."""
    mode, colours = ("RGB", 3) if channels == 3 else ("L", 1)

    def colour():
        return tuple(int(v) for v in random.integers(0, 256, colours)) if colours == 3 else int(random.integers(0, 90))

    picture = Image.new(mode, (side, side), colour())
    draw = ImageDraw.Draw(picture)
    fill = colour() if channels == 3 else int(random.integers(150, 256))
    radius = random.uniform(0.22, 0.38) * side
    x, y = random.uniform(radius, side - radius, 2)
    turn = random.uniform(0, 360)
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind < 4:
        draw.regular_polygon((x, y, radius), kind + 3, turn, fill)
    elif kind == 4:
        draw.ellipse(box, fill)
    elif kind == 5:
        draw.ellipse(box, outline=fill, width=max(2, int(radius / 3)))
    else:
        arms = (turn, turn + 90) if kind == 6 else (turn,)
        for arm in arms:
            a, b = radius * math.cos(math.radians(arm)), radius * math.sin(math.radians(arm))
            draw.line((x - a, y - b, x + a, y + b), fill, max(2, int(radius / 3)))
    picture = picture.filter(ImageFilter.GaussianBlur(side / 100))
    pixels = np.asarray(picture, float)
    return pixels + random.normal(0, 12, pixels.shape)


def scene(random, kind):
    """224x224: hills below a sky, of few waves or with a rough ridge."""
    y, x = np.mgrid[:224, :224] / 224
    waves = (1, 2, 3 if kind == 0 else 11)
    ridge = 0.55 + sum(
        random.uniform(-0.08, 0.08) * np.sin(2 * math.pi * (k * x + random.uniform())) for k in waves
    )
    light = random.uniform(0.6, 1)
    sky = np.array([90, 140, 220]) * np.ones((224, 224, 1)) * (0.7 + 0.3 * y[..., None])
    ground = np.array([60, random.uniform(80, 140), 50]) * np.ones((224, 224, 1))
    picture = np.where((y > ridge)[..., None], ground, sky) * light
    return picture + random.normal(0, 20, picture.shape) + random.uniform(-40, 40, 3)


def template(random, kind):
    """One of twelve fixed patterns of 20x20 under noise: what a linear classifier is best at."""
    of_kind = np.random.default_rng(1000 + kind)
    coarse = of_kind.uniform(0, 255, (5, 5)).astype(np.uint8)
    pattern = np.asarray(Image.fromarray(coarse).resize((20, 20), Image.Resampling.BICUBIC), float)
    return 64 + 0.5 * pattern + random.normal(0, 60, pattern.shape)


def drawn(random, draw, train, test):
    """Pictures of each kind: `train` and `test` say how many."""
    parts = []
    for counts in (train, test):
        labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
        images = np.stack([np.clip(np.round(draw(random, int(kind))), 0, 255).astype(np.uint8) for kind in labels])
        parts += [images, labels]
    return parts


SETS = {
    "digits": digits,
    "letters": lambda r: drawn(r, letter, [120] * 26, [30] * 26),
    "gratings": lambda r: drawn(r, grating, [10_000 // 60 + (k < 40) for k in range(60)], [20] * 60),
    "rare": lambda r: drawn(r, lambda r, k: shape(r, k, 48, 3), [int(500 / 50 ** (k / 7)) for k in range(8)], [40] * 8),
    "patterns": lambda r: drawn(r, template, [18] * 12, [30] * 12),
    "scenes": lambda r: drawn(r, scene, [100] * 2, [60] * 2),
}


def write(path, array):
    """An IDX file of bytes."""
    dims = b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + dims + array.astype(np.uint8).tobytes())


def linear(images, labels, test_images, test_labels):
    """The best accuracy of logistic regression on pixels."""
    scaler = StandardScaler()
    flat = lambda images: images.reshape(len(images), -1).astype(np.float32)
    x, y = scaler.fit_transform(flat(images)), scaler.transform(flat(test_images))
    if x.size > 5_000_000:
        models = [RidgeClassifier(alpha=alpha) for alpha in (1e2, 1e3, 1e4, 1e5)]
    else:
        models = [LogisticRegression(C=strength, max_iter=200) for strength in (1e-4, 1e-3, 1e-2, 1e-1)]
    return max(model.fit(x, labels).score(y, test_labels) for model in models)


def main():
    root = Path(sys.argv[1])
    kept = root / "linear.json"
    result = json.loads(kept.read_text()) if kept.exists() else {}
    chosen = sys.argv[2:] or list(SETS)
    for number, (name, make) in enumerate(SETS.items()):
        if name not in chosen:
            continue
        images, labels, test_images, test_labels = make(np.random.default_rng(number))
        place = root / name
        place.mkdir(parents=True, exist_ok=True)
        dims = images.ndim
        for part, pixels, classes in (("train", images, labels), ("t10k", test_images, test_labels)):
            write(place / f"{part}-images-idx{dims}-ubyte", pixels)
            write(place / f"{part}-labels-idx1-ubyte", classes)
        result[name] = linear(images, labels, test_images, test_labels)
        counts = np.bincount(labels)
        share = f"{counts.min()} to {counts.max()} of each of {len(counts)} classes"
        print(f"{name}: {images.shape}, {share}, linear {100 * result[name]:.1f} %", flush=True)
        kept.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
