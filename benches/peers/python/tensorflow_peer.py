"""The TensorFlow contestant: a Keras model in one tf.function per step, with or without XLA."""

import keras
import numpy as np
import tensorflow as tf
from networks import (
    EPSILON, LEARNING_RATE, MOMENTUM, NORM_MOMENTUM,
    Conv, Flatten, GlobalAvgPool, Layer, Linear, MaxPool, Network, Norm, Relu, Residual,
    channels_last, network,
)  # fmt: skip
from peer import Arguments, Contestant, load_images, load_labels, load_weights, parse_arguments, serve

SETTINGS = ["graph", "xla"]


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """By TensorFlow's fused operation, which Keras 3 does not use: a third less time for `cnn-bn`.

    For the comparison of losses it normalises each run of `chunk` images by itself.
    """

    def __init__(self, chunk: int | None):
        super().__init__(epsilon=EPSILON, momentum=1 - NORM_MOMENTUM)
        self.chunk = chunk

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        chunk = self.chunk or x.shape[0]
        runs = [x[start : start + chunk] for start in range(0, x.shape[0], chunk)]
        results = [self.normalize(run, training) for run in runs]
        return results[0] if len(results) == 1 else tf.concat(results, 0)

    def normalize(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=self.gamma, offset=self.beta, mean=self.moving_mean, variance=self.moving_variance,
            epsilon=EPSILON, exponential_avg_factor=NORM_MOMENTUM, is_training=training,
        )  # fmt: skip
        if training:
            self.moving_mean.assign(mean)
            self.moving_variance.assign(variance)
        return y


class Builder:
    """Applies layers to a symbolic tensor; layers that have weights are known by name."""

    def __init__(self, norm_chunk: int | None):
        self.norm_chunk = norm_chunk
        self.weighted: dict[str, keras.Layer] = {}

    def chain(self, x: keras.KerasTensor, layers: Network, prefix: str = "") -> keras.KerasTensor:
        for name, layer in layers.items():
            if isinstance(layer, Residual):
                body = self.chain(x, layer.body, f"{prefix}{name}.body.")
                shortcut = self.chain(x, layer.shortcut, f"{prefix}{name}.shortcut.")
                x = keras.layers.ReLU()(keras.layers.Add()([body, shortcut]))
                continue
            module = self.layer(layer)
            x = module(x)
            if module.weights:
                self.weighted[prefix + name] = module
        return x

    def layer(self, layer: Layer) -> keras.Layer:
        match layer:
            case Conv():
                return _conv(layer)
            case Norm():
                return FusedBatchNormalization(self.norm_chunk)
            case Relu():
                return keras.layers.ReLU()
            case MaxPool(size):
                return keras.layers.MaxPooling2D(size)
            case GlobalAvgPool():
                return keras.layers.GlobalAveragePooling2D()
            case Flatten():
                return keras.layers.Flatten()
            case Linear(features):
                return keras.layers.Dense(features)


def _conv(layer: Conv) -> keras.Layer:
    """PyTorch's padding is the same on each side; Keras's "same" is that only for stride 1."""
    if layer.padding == 0 or layer.stride == 1:
        padding = "same" if layer.padding else "valid"
        return keras.layers.Conv2D(layer.channels, layer.kernel, layer.stride, padding, use_bias=layer.bias)
    return PaddedConv2D(layer.padding, layer.channels, layer.kernel, layer.stride, use_bias=layer.bias)


class PaddedConv2D(keras.layers.Conv2D):
    """With explicit padding, which the operation has but Keras does not offer."""

    def __init__(self, explicit_padding: int, *arguments, **options):
        super().__init__(*arguments, **options)
        self.explicit_padding = [[0, 0], [explicit_padding] * 2, [explicit_padding] * 2, [0, 0]]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(x, self.kernel, self.strides, self.explicit_padding)

    def compute_output_shape(self, shape: tuple) -> tuple:
        batch, height, width, _ = shape
        sizes = [-(-size // stride) for size, stride in zip((height, width), self.strides)]
        return (batch, *sizes, self.filters)


class TensorFlow(Contestant):
    framework = "TensorFlow"
    version = tf.__version__

    def __init__(self, arguments: Arguments):
        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        layers = network(arguments.network)
        builder = Builder(arguments.norm_chunk)
        images = load_images(arguments)
        inputs = keras.Input(images.shape[1:], arguments.batch)
        self.model = keras.Model(inputs, builder.chain(inputs, layers))
        _set_weights(builder.weighted, channels_last(layers, load_weights(arguments)))
        self.batch = arguments.batch
        self.images = tf.constant(images)
        self.labels = tf.constant(load_labels(arguments).astype(np.int32))
        self.parameters = sum(int(tf.size(value)) for value in self.model.trainable_variables)
        self.last: tf.Tensor | None = None
        self.compute = tf.function(self.graph, jit_compile=arguments.setting == "xla")

    def step(self, batch: int) -> None:
        rows = slice(batch * self.batch, (batch + 1) * self.batch)
        self.last = self.compute(self.images[rows], self.labels[rows])


class Trainer(TensorFlow):
    def __init__(self, arguments: Arguments):
        super().__init__(arguments)
        self.optimizer = keras.optimizers.SGD(LEARNING_RATE, MOMENTUM)
        self.optimizer.build(self.model.trainable_variables)

    def graph(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables))
        return loss

    def loss(self) -> float | None:
        return float(self.last)


class Classifier(TensorFlow):
    def graph(self, images: tf.Tensor, _labels: tf.Tensor) -> tf.Tensor:
        return self.model(images, training=False)

    def loss(self) -> None:
        self.last.numpy()


def _set_weights(layers: dict[str, keras.Layer], weights: dict[str, np.ndarray]) -> None:
    for name, layer in layers.items():
        parts = [f"{name}.weight", f"{name}.bias"]
        values = [weights[part] for part in parts if part in weights]
        layer.set_weights(values + layer.get_weights()[len(values) :])


if __name__ == "__main__":
    arguments = parse_arguments(SETTINGS)
    kind = Trainer if arguments.mode == "train" else Classifier
    serve(kind(arguments), arguments)
