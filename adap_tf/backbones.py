"""Networks: images in [0, 1] to one logit a task. Normalisation lies inside, and the head is float32 or wider.

Padding and initial values are PyTorch's, since the paper's networks are: convolutions padded alike on all sides,
Kaiming-normal by their outputs (He et al., 2015), the head uniform in ±1/√inputs.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's red, green and blue
STEMS = ("imagenet", "cifar")


def resnet18(
    input_shape: Sequence[int],
    tasks: int = 1,
    stem: str = "imagenet",
    widths: Sequence[int] = (64, 128, 256, 512),
) -> keras.Model:
    """ResNet-18 (He et al., 2016): 11,177,025 trainable weights for colour images and one task.

    Args:
        input_shape: height, width and channels.
        tasks: number of logits.
        stem: "imagenet", a 7×7 convolution of stride 2 and a 3×3 max-pool of stride 2, as the paper has it; or
            "cifar", a 3×3 convolution of stride 1, which keeps small images at their size for 15 times the work.
        widths: channels of the four groups of two blocks.

    Raises:
        ValueError: no such stem.
    """
    if stem not in STEMS:
        raise ValueError(f"stem must be one of {', '.join(STEMS)}, not {stem!r}")
    image = keras.Input(input_shape, dtype=_wide(), name="image")
    large = stem == "imagenet"
    x = _conv(_normalised(image), widths[0], kernel=7 if large else 3, stride=2 if large else 1)
    x = layers.ReLU()(_batch_norm()(x))
    if large:  # zeros will do around the maximum of numbers that are not negative
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for group, width in enumerate(widths):
        x = _residual_block(x, width, stride=1 if group == 0 else 2)
        x = _residual_block(x, width)
    return keras.Model(image, _head(layers.GlobalAveragePooling2D()(x), tasks), name="resnet18")


def small_cnn(input_shape: Sequence[int], tasks: int = 1, widths: Sequence[int] = (16, 32, 64, 128)) -> keras.Model:
    """A small convolutional network: 3×3 convolutions, stride 1 then 2, BatchNorm, ReLU, global average.

    Args:
        input_shape: height, width and channels; any size from 1 pixel on.
        tasks: number of logits.
        widths: channels of the convolutions.
    """
    image = keras.Input(input_shape, dtype=_wide(), name="image")
    x = _normalised(image)
    for place, width in enumerate(widths):
        x = layers.ReLU()(_batch_norm()(_conv(x, width, stride=1 if place == 0 else 2)))
    return keras.Model(image, _head(layers.GlobalAveragePooling2D()(x), tasks), name="small_cnn")


def mlp(input_shape: Sequence[int], tasks: int = 1, widths: Sequence[int] = (128, 128)) -> keras.Model:
    """A dense network without normalisation, for tables of features or small images.

    Args:
        input_shape: shape of one example; it is flattened.
        tasks: number of logits.
        widths: units of the hidden layers.
    """
    image = keras.Input(input_shape, dtype=_wide(), name="image")
    x = layers.Flatten()(image)
    for width in widths:
        x = layers.Dense(width, activation="relu")(x)
    return keras.Model(image, _head(x, tasks), name="mlp")


def application(input_shape: Sequence[int], tasks: int = 1, *, name: str) -> keras.Model:
    """A network of `keras.applications` without its weights, such as "MobileNetV2".

    Args:
        input_shape: height, width and channels; most want at least 32 pixels.
        tasks: number of logits.
        name: its name there.

    Raises:
        ValueError: the images are too small for it.
    """
    make = getattr(keras.applications, name)
    trunk = make(include_top=False, weights=None, input_shape=tuple(input_shape), pooling="avg")
    for layer in trunk.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.synchronized = _shared()
    image = keras.Input(input_shape, dtype=_wide(), name="image")
    normalises = any(isinstance(layer, layers.Rescaling | layers.Normalization) for layer in trunk.layers)
    x = layers.Rescaling(255, dtype=_wide())(image) if normalises else _normalised(image)
    return keras.Model(image, _head(trunk(x), tasks), name=name.lower())


def take_trunk(network: keras.Model, other: keras.Model) -> None:
    """Gives a network the weights of another one of its kind, but for the last layer's, its head.

    Raises:
        ValueError: the two differ in more than the head.
    """
    trunks = [[weight for layer in model.layers[:-1] for weight in layer.weights] for model in (network, other)]
    shapes, others = ([tuple(weight.shape) for weight in trunk] for trunk in trunks)
    if shapes != others:
        raise ValueError(f"its network {other.name} has other weights than {network.name}, and not only in the head")
    for weight, theirs in zip(*trunks, strict=True):
        weight.assign(theirs)


BACKBONES: Mapping[str, Callable[..., keras.Model]] = {
    "resnet18": resnet18,
    "resnet18_cifar": functools.partial(resnet18, stem="cifar"),
    "small_cnn": small_cnn,
    "mlp": mlp,
}
"""Networks by name, each a function of the input shape and the number of tasks."""


def is_backbone(name: str) -> bool:
    """Whether there is a network of that name, here or in `keras.applications`."""
    return name in BACKBONES or callable(getattr(keras.applications, name, None))


def find_backbone(name: str) -> Callable[..., keras.Model]:
    """The function that makes the network of that name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    if not is_backbone(name):
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}, and those of keras.applications")
    return BACKBONES[name] if name in BACKBONES else functools.partial(application, name=name)


def _normalised(image: tf.Tensor) -> tf.Tensor:
    """Colours by ImageNet's mean and deviation, other channels to [-1, 1]; before any rounding to a low precision."""
    mean, deviation = (MEAN, DEVIATION) if image.shape[-1] == 3 else ((0.5,), (0.5,))
    scale, offset = 1 / np.array(deviation), -np.array(mean) / np.array(deviation)
    return layers.Rescaling(scale, offset, dtype=_wide())(image)


def _conv(x: tf.Tensor, width: int, kernel: int = 3, stride: int = 1) -> tf.Tensor:
    """A convolution without bias. Keras' own "same" padding is lopsided where the stride is 2."""
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    kaiming = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    padding = "same" if stride == 1 else "valid"
    return layers.Conv2D(width, kernel, stride, padding, use_bias=False, kernel_initializer=kaiming)(x)


def _residual_block(x: tf.Tensor, width: int, stride: int = 1) -> tf.Tensor:
    """Two convolutions and a way around them, which is a 1×1 convolution where the shape changes."""
    around = x
    if stride > 1 or x.shape[-1] != width:
        around = _batch_norm()(_conv(x, width, kernel=1, stride=stride))
    x = layers.ReLU()(_batch_norm()(_conv(x, width, stride=stride)))
    x = _batch_norm()(_conv(x, width))
    return layers.ReLU()(layers.Add()([x, around]))


def _batch_norm() -> layers.Layer:
    """BatchNorm with the paper's constants, over the global batch."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=_shared())


def _shared() -> bool:
    """Whether several replicas share a batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync > 1


def _head(x: tf.Tensor, tasks: int) -> tf.Tensor:
    """The logits: never in a low precision, where they would tie."""
    limit = 1 / math.sqrt(x.shape[-1])
    kernel, bias = (keras.initializers.RandomUniform(-limit, limit) for _ in range(2))
    return layers.Dense(tasks, kernel_initializer=kernel, bias_initializer=bias, dtype=_wide(), name="logits")(x)


def _wide() -> str:
    """The type of numbers that must not be rounded: float32, or float64 where the whole network is."""
    return "float64" if keras.config.dtype_policy().variable_dtype == "float64" else "float32"
