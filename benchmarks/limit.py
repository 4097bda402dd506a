"""How long a computation takes at least: its operations, at the rate of matrix products measured beside it.

Counted are the products and sums of convolutions and dense layers, for as many passes through the network as there are.
BatchNorm, activations, pooling, losses, projections and the optimizer are left out, which makes the limit lower.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from adap_tf import AdversarialModel, Evaluator, Threat
from adap_tf.attacks import Attack
from adap_tf.methods import Method
from benchmarks.timing import WARM_UP, timed

SIDE = 2048
"""Rows and columns of the matrices whose product gives the rate."""


class Need(NamedTuple):
    """What a run has to compute.

    Attributes:
        operations: products and sums.
        precision: the type that they are computed in, "float32", "bfloat16" or "float16".
    """

    operations: int
    precision: str = "float32"


def timed_with_limits(
    runs: Sequence[Callable[[], object]], needs: Sequence[Need], repeats: int, warm_up: int = WARM_UP
) -> tuple[list[list[float]], list[list[float]]]:
    """Seconds of each run, taken in turn, and the least seconds of the first ones at the rate of the same turn."""
    products = [product(need.precision) for need in needs]
    seconds = timed([*runs, *products], repeats, warm_up)
    measured = zip(needs, seconds[len(runs) :], strict=True)
    limits = [[need.operations / (2 * SIDE**3) * each for each in found] for need, found in measured]
    return seconds[: len(runs)], limits


def product(precision: str) -> Callable[[], None]:
    """A product of two large square matrices that can be taken again and again: `2 SIDE³` operations."""
    factors = [tf.cast(tf.random.stateless_normal([SIDE, SIDE], seed=(0, number)), precision) for number in range(2)]

    def take() -> None:
        float(tf.linalg.matmul(*factors)[0, 0])

    return take


# Operations of a pass


def forward_operations(network: keras.Model) -> int:
    """Products and sums of a network for one example, forward.

    Those of its layers `Conv2D`, `DepthwiseConv2D` and `Dense`, biases aside; a tap of a convolution that falls on
    padding counts nothing.
    """
    paddings = {id(layer.output): layer for layer in network.layers if isinstance(layer, layers.ZeroPadding2D)}
    return sum(_operations(layer, paddings) for layer in network.layers)


def _operations(layer: keras.Layer, paddings: dict[int, keras.Layer]) -> int:
    """Of one layer, given the layers that pad with zeros by their output."""
    if isinstance(layer, keras.Model):
        return forward_operations(layer)
    if isinstance(layer, layers.Dense):
        return 2 * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
        zeros = paddings[id(layer.input)].padding if id(layer.input) in paddings else ((0, 0), (0, 0))
        used = math.prod(_taps(layer, axis, *zeros[axis]) for axis in range(2))
        return 2 * used * math.prod(layer.kernel.shape[2:])
    return 0


def _taps(layer: keras.Layer, axis: int, before: int, after: int) -> int:
    """How many taps of a convolution's kernel along an axis fall within the image, for all places together.

    Args:
        layer: the convolution, channels last.
        axis: 0 for the height, 1 for the width.
        before: zeros in its input before the image.
        after: and after it.
    """
    padded, outputs = layer.input.shape[1 + axis], layer.output.shape[1 + axis]
    stride, dilation, kernel = layer.strides[axis], layer.dilation_rate[axis], layer.kernel.shape[axis]
    first = 0
    if layer.padding == "same":
        first = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - padded, 0) // 2
    places = stride * np.arange(outputs)[:, None] + dilation * np.arange(kernel) - first - before
    return int(((places >= 0) & (places < padded - before - after)).sum())


# How many passes


def step_passes(method: str | Method, **options: Any) -> int:
    """How often a training step computes as much for an example as the forward pass.

    A gradient by the layers' inputs and one by their weights count once each: a step of an attack by gradient takes 2,
    a pass that trains 3. One that is made again to save memory (`adap_tf.passes`) counts nothing: the method does not
    need it, and the network that counts is not repeatable.

    Args:
        method: that trains.
        **options: of `AdversarialModel`, such as `attack`.
    """

    def use(network: keras.Model) -> None:
        model = AdversarialModel(network, method, 1, **options)
        model.compile("sgd")
        label, row = tf.constant([[1.0], [0.0]]), tf.constant([[0], [-1]], tf.int64)
        # As a partial: TensorFlow would warn of many tracings of one function.
        tf.function(functools.partial(model.train_step))({"image": label / 2, "label": label, "row": row})

    return _passes(use)


def evaluation_passes(threat: Attack | Threat | None) -> int:
    """How often the evaluation under a threat, None for the clean data, computes as much as the forward pass."""
    image, label = np.full((2, 1), 0.5, np.float32), np.array([1.0, 0.0])
    return _passes(lambda network: Evaluator(network, {"": threat}, len(image)).scores(image, label))


def _passes(use: Callable[[keras.Model], object]) -> int:
    """How often a network that is used for one batch computes its layer, or one of that layer's two gradients."""
    done: list[None] = []
    image = keras.Input([1])
    x = layers.Dense(1)(image)  # so that the gradient by the image, or by weights, goes through the layer after it
    use(keras.Model(image, _Counted(functools.partial(done.append, None))(x)))
    return len(done)


class _Counted(layers.Layer):
    """A product with a weight that tells when it, or one of its gradients, is computed.

    Each is a node of the graph without side effects, so what the graph prunes is not computed and not counted. A
    gradient waits for the product, as that of a network waits for its activations.
    """

    def __init__(self, tell: Callable[[], None]):
        super().__init__()
        self.tell = tell
        self.weight = self.add_weight(shape=(), initializer="ones")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """The product."""

        @tf.custom_gradient
        def product(x: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
            result = self._told(x * weight)

            def slopes(slope: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return self._told(slope * weight, result), self._told(tf.reduce_sum(slope * x), result)

            return result, slopes

        return product(x, tf.convert_to_tensor(self.weight))

    def _told(self, value: tf.Tensor, *after: tf.Tensor) -> tf.Tensor:
        """The value, and that it is computed, after those."""

        def tell(value: np.ndarray, *after: np.ndarray) -> np.ndarray:
            self.tell()
            return value

        return tf.ensure_shape(tf.numpy_function(tell, [value, *after], value.dtype, stateful=False), value.shape)
