"""The JAX contestant: a Flax model and an Optax optimiser in one jitted step with donated state."""

from functools import partial
from importlib.metadata import version
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from networks import (
    EPSILON, LEARNING_RATE, MOMENTUM, NORM_MOMENTUM,
    Conv, Flatten, GlobalAvgPool, Layer, Linear, MaxPool, Network, Norm, Relu, Residual,
    channels_last, network, walk,
)  # fmt: skip
from peer import Arguments, Contestant, load_images, load_labels, load_weights, parse_arguments, serve

SETTINGS = ["max_pool", "reshape"]
State = dict[str, Any]


class ChunkedBatchNorm(nn.Module):
    """Normalises each run of `chunk` images by itself, for the comparison of losses."""

    chunk: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        runs = x.reshape(-1, self.chunk, *x.shape[1:])
        runs = jax.nn.standardize(runs, axis=(1, 2, 3), epsilon=EPSILON)
        return runs.reshape(x.shape) * scale + bias


class Model(nn.Module):
    """Layers in order; a layer with weights has the name that it has in the file of weights."""

    layers: Network
    pooling: str
    norm_chunk: int | None
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.chain(x, self.layers)

    def chain(self, x: jax.Array, layers: Network, prefix: str = "") -> jax.Array:
        for name, layer in layers.items():
            if isinstance(layer, Residual):
                body = self.chain(x, layer.body, f"{prefix}{name}.body.")
                shortcut = self.chain(x, layer.shortcut, f"{prefix}{name}.shortcut.")
                x = nn.relu(body + shortcut)
            else:
                x = self.apply_layer(x, layer, prefix + name)
        return x

    def apply_layer(self, x: jax.Array, layer: Layer, name: str) -> jax.Array:
        match layer:
            case Conv():
                kernel, strides = (layer.kernel,) * 2, (layer.stride,) * 2
                options = {"padding": layer.padding, "use_bias": layer.bias, "name": name}
                return nn.Conv(layer.channels, kernel, strides, **options)(x)
            case Norm():
                if self.norm_chunk:
                    return ChunkedBatchNorm(self.norm_chunk, name=name)(x)
                options = {"momentum": 1 - NORM_MOMENTUM, "epsilon": EPSILON, "name": name}
                return nn.BatchNorm(not self.train, **options)(x)
            case Relu():
                return nn.relu(x)
            case MaxPool(size):
                return self.max_pool(x, size)
            case GlobalAvgPool():
                return x.mean((1, 2), keepdims=True)
            case Flatten():
                return x.reshape(len(x), -1)
            case Linear(features):
                return nn.Dense(features, name=name)(x)

    def max_pool(self, x: jax.Array, size: int) -> jax.Array:
        """By Flax, or as the maximum over axes of a reshaped array.

        XLA's gradient of the first is slow on processors; that of the second is faster, but shared by
        equals, which images with a plain background have many of.
        """
        if self.pooling == "max_pool":
            return nn.max_pool(x, (size, size), (size, size))
        images, height, width, channels = x.shape
        return x.reshape(images, height // size, size, width // size, size, channels).max((2, 4))


def initial_variables(layers: Network, weights: dict[str, np.ndarray]) -> dict[str, State]:
    """Flax's collections of parameters and of running statistics."""
    params, statistics = {}, {}
    for name, layer in walk(layers):
        if f"{name}.weight" not in weights:
            continue
        kind = "scale" if isinstance(layer, Norm) else "kernel"
        params[name] = {kind: jnp.asarray(weights[f"{name}.weight"])}
        if f"{name}.bias" in weights:
            params[name]["bias"] = jnp.asarray(weights[f"{name}.bias"])
        if isinstance(layer, Norm):
            shape = params[name]["scale"].shape
            statistics[name] = {"mean": jnp.zeros(shape), "var": jnp.ones(shape)}
    return {"params": params, "batch_stats": statistics}


class Jax(Contestant):
    framework = "JAX"
    version = f"{jax.__version__}, Flax {version('flax')}"

    def __init__(self, arguments: Arguments):
        layers = network(arguments.network)
        self.model = Model(layers, arguments.setting, arguments.norm_chunk, arguments.mode == "train")
        self.variables = initial_variables(layers, channels_last(layers, load_weights(arguments)))
        self.batch = arguments.batch
        self.images = jnp.asarray(load_images(arguments))
        self.labels = jnp.asarray(load_labels(arguments).astype(np.int32))
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))
        self.last: jax.Array | None = None

    def rows(self, values: jax.Array, batch: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(values, batch * self.batch, self.batch)


class Trainer(Jax):
    def __init__(self, arguments: Arguments):
        super().__init__(arguments)
        self.optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
        self.state = (self.variables, self.optimizer.init(self.variables["params"]))

    def step(self, batch: int) -> None:
        self.state, self.last = self.update(self.state, self.images, self.labels, batch)

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def update(self, state: State, images: jax.Array, labels: jax.Array, batch: int) -> tuple[State, jax.Array]:
        variables, momentum = state
        x, targets = self.rows(images, batch), self.rows(labels, batch)

        def loss(params: State) -> tuple[jax.Array, State]:
            inputs = {"params": params, "batch_stats": variables["batch_stats"]}
            logits, changed = self.model.apply(inputs, x, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
            return losses.mean(), changed.get("batch_stats", {})

        params = variables["params"]
        (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, momentum = self.optimizer.update(gradients, momentum, params)
        variables = {"params": optax.apply_updates(params, updates), "batch_stats": statistics}
        return (variables, momentum), value

    def loss(self) -> float | None:
        return float(self.last)


class Classifier(Jax):
    def step(self, batch: int) -> None:
        self.last = self.classify(self.variables, self.images, batch)
        if self.batch == 1:  # latency, so that calls must not overlap
            self.last.block_until_ready()

    @partial(jax.jit, static_argnums=0)
    def classify(self, variables: State, images: jax.Array, batch: int) -> jax.Array:
        return self.model.apply(variables, self.rows(images, batch))

    def loss(self) -> None:
        self.last.block_until_ready()


if __name__ == "__main__":
    arguments = parse_arguments(SETTINGS)
    kind = Trainer if arguments.mode == "train" else Classifier
    serve(kind(arguments), arguments)
