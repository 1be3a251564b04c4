"""Products in bfloat16."""

import copy
from pathlib import Path

import bobbin
import numpy as np
import pytest
from conftest import arrays

# The second convolution has the channels that it takes.
LAYERS = [
    {"kind": "conv", "outputs": 16, "kernel": 3},
    {"kind": "relu"},
    {"kind": "conv", "outputs": 16, "kernel": 3},
    {"kind": "relu"},
    {"kind": "flatten"},
    {"kind": "linear"},
]
RECIPE = {"model": {"layers": LAYERS}, "data": {"batch_size": 16}, "stop": {"epochs": 2}}


def test_a_run_and_its_model_are_in_the_precision(data: bobbin.Dataset) -> None:
    images, _ = arrays(20, seed=4)
    runs = {p: bobbin.train(RECIPE, data, out=p, precision=p, verbose=False) for p in ("f32", "bf16")}
    plain = bobbin.train(RECIPE, data, out="plain", verbose=False)
    for name in ("recipe.toml", "model.safetensors"):
        assert Path("plain", name).read_bytes() == Path("f32", name).read_bytes() != Path("bf16", name).read_bytes()
    models = {p: run.model() for p, run in runs.items()}
    assert [models[p].precision for p in models] == ["f32", "bf16"]
    assert plain.model().precision == "f32"
    logits = models["bf16"](images)
    # One image alone, and in a copy that went through a pickle.
    alone = np.concatenate([models["bf16"](images[i : i + 1]) for i in range(len(images))])
    assert np.array_equal(alone, logits)
    assert np.array_equal(copy.deepcopy(models["bf16"])(images), logits)
    assert not np.array_equal(models["f32"](images), logits)


def test_a_trainer_and_a_classifier(data: bobbin.Dataset) -> None:
    trainer = bobbin.Trainer(RECIPE, data, precision="bf16")
    trainer.run()
    assert trainer.model().precision == "bf16" and 'precision = "bf16"' in trainer.recipe
    sklearn = pytest.importorskip("bobbin.sklearn")
    images, labels = arrays(60)
    recipe = RECIPE | {"data": {"batch_size": 16, "validation": "none"}}
    found = sklearn.Classifier(recipe, fields={"precision": "bf16"}).fit(images, labels)
    assert found.model_.precision == "bf16" and found.predict(images).shape == (60,)


def test_others_are_refused(data: bobbin.Dataset) -> None:
    with pytest.raises(ValueError, match='`model.precision` is "fp16": expected `f32` or `bf16`'):
        bobbin.train(RECIPE, data, precision="fp16")
