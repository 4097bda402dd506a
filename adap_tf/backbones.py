"""Networks: images in [0, 1] to one logit a task. Normalisation lies inside, and the head is float32 or wider."""

from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf
from keras import layers


def small_cnn(input_shape: Sequence[int], tasks: int = 1, widths: Sequence[int] = (16, 32, 64, 128)) -> keras.Model:
    """A small convolutional network: 3×3 convolutions, stride 1 then 2, BatchNorm, ReLU, global average.

    Args:
        input_shape: height, width and channels; any size from 1 pixel on.
        tasks: number of logits.
        widths: channels of the convolutions.
    """
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(2.0, offset=-1.0)(image)
    for place, width in enumerate(widths):
        x = layers.Conv2D(width, 3, strides=1 if place == 0 else 2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(_batch_norm()(x))
    return keras.Model(image, _head(tasks)(layers.GlobalAveragePooling2D()(x)), name="small_cnn")


def mlp(input_shape: Sequence[int], tasks: int = 1, widths: Sequence[int] = (128, 128)) -> keras.Model:
    """A dense network without normalisation, for tables of features or small images.

    Args:
        input_shape: shape of one example; it is flattened.
        tasks: number of logits.
        widths: units of the hidden layers.
    """
    image = keras.Input(input_shape, name="image")
    x = layers.Flatten()(image)
    for width in widths:
        x = layers.Dense(width, activation="relu")(x)
    return keras.Model(image, _head(tasks)(x), name="mlp")


BACKBONES: Mapping[str, Callable[..., keras.Model]] = {"small_cnn": small_cnn, "mlp": mlp}
"""Networks by name, each a function of the input shape and the number of tasks."""


def _batch_norm() -> layers.Layer:
    """BatchNorm with the paper's constants, over the global batch where several replicas share it."""
    synchronized = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=synchronized)


def _head(tasks: int) -> layers.Layer:
    """The logits: never in a low precision, where they would tie."""
    wide = "float64" if keras.config.dtype_policy().variable_dtype == "float64" else "float32"
    return layers.Dense(tasks, dtype=wide, name="logits")
