"""A Keras network's scores in fewer operations: the same function of the same weights, but for rounding.

A pass is a walk along the network's layers, in which some are done otherwise:

- convolutions take the form that is fastest (`convolutions`). ResNet-18 on 32×32 pixels ends in maps of 2×2 and 1×1,
  where most taps of a 3×3 kernel never see anything but padding;
- BatchNorm of a training pass is a single operation;
- *at rest*, in inference mode while no weight moves, BatchNorm is part of the kernel before it, and kernels are made
  and rounded to the network's precision once for all passes.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import keras
import tensorflow as tf
from keras import layers

from adap_tf.convolutions import Form, form_of

Scores = Callable[[tf.Tensor], tf.Tensor]  # images `[B, ...]` → logits `[B, C]`


class Lean:
    """The scores of a network in fewer operations. The network itself stays as it is, and so does what is saved of it.

    A network that is no functional or sequential model, or calls a layer twice, is called as a whole.

    Args:
        network: images `[B, ...]` to logits `[B, C]`.
    """

    def __init__(self, network: Any):
        self.network = network
        self._steps = _steps(network)

    def in_training(self) -> Scores:
        """The network in training mode, for as many passes as share one gradient by the weights.

        The function that it returns takes images and gives logits. BatchNorm's statistics move with each pass.
        """
        if not self._steps:
            return partial(self.network, training=True)
        return partial(self._walked, done=[step.in_training() for step in self._steps])

    def at_rest(self) -> Scores:
        """The network in inference mode with its weights as they are now, for many passes.

        The function that it returns takes images and gives logits, differentiable by the images.
        """
        if not self._steps:
            return partial(self.network, training=False)
        return partial(self._walked, done=[step.at_rest() for step in self._steps])

    def _walked(self, image: tf.Tensor, done: Sequence[Callable[[Any], tf.Tensor]]) -> tf.Tensor:
        (first,), (last,) = self.network.inputs, self.network.outputs
        values = {id(first): tf.cast(image, first.dtype)}
        for step, do in zip(self._steps, done, strict=True):
            values[id(step.output)] = do(keras.tree.map_structure(lambda x: values[id(x)], step.input))
        return values[id(last)]


class Step(Protocol):
    """One or several layers on the way."""

    @property
    def input(self) -> Any:
        """What goes in, as the network's symbolic tensors."""

    @property
    def output(self) -> Any:
        """What comes out, as one of them."""

    def in_training(self) -> Callable[[Any], tf.Tensor]:
        """What the layers make of tensors in training mode."""

    def at_rest(self) -> Callable[[Any], tf.Tensor]:
        """The same in inference mode, with the weights of now."""


@dataclass(frozen=True)
class Whole:
    """A layer that is called as it is."""

    layer: keras.Layer

    @property
    def input(self) -> Any:
        """What goes in."""
        return self.layer.input

    @property
    def output(self) -> Any:
        """What comes out."""
        return self.layer.output

    def in_training(self) -> Callable[[Any], tf.Tensor]:
        """The layer in training mode."""
        return partial(self.layer, training=True)

    def at_rest(self) -> Callable[[Any], tf.Tensor]:
        """The layer in inference mode."""
        return partial(self.layer, training=False)


@dataclass(frozen=True)
class Convolution:
    """A convolution with the padding before it and the BatchNorm after it, if there are any."""

    conv: layers.Conv2D
    form: Form
    pad: layers.ZeroPadding2D | None
    norm: layers.BatchNormalization | None

    @property
    def input(self) -> Any:
        """What goes in."""
        return (self.pad or self.conv).input

    @property
    def output(self) -> Any:
        """What comes out."""
        return (self.norm or self.conv).output

    def in_training(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Convolved, then normalised."""
        convolved = self._convolving(self.form.ready(self.conv.kernel.value), self.conv.bias)
        return convolved if self.norm is None else lambda x: normalised(self.norm, convolved(x))

    def at_rest(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Both in one."""
        kernel, bias = self.form.ready(self.conv.kernel.value), self.conv.bias
        if self.norm is not None:
            slope, offset = affine(self.norm)
            kernel = kernel * tf.tile(slope, [kernel.shape[-1] // slope.shape[0]])
            bias = offset if bias is None else offset + slope * bias.value
        return self._convolving(kernel, bias)

    def _convolving(self, ready: tf.Tensor, bias: Any) -> Callable[[tf.Tensor], tf.Tensor]:
        rounded = partial(tf.cast, dtype=self.conv.compute_dtype)
        ready, bias = rounded(ready), None if bias is None else rounded(bias)

        def convolved(x: tf.Tensor) -> tf.Tensor:
            y = self.form(rounded(x), ready)
            return self.conv.activation(y if bias is None else tf.nn.bias_add(y, bias))

        return convolved


def affine(norm: layers.BatchNormalization) -> tuple[tf.Tensor, tf.Tensor]:
    """BatchNorm in inference mode as slope and offset of each channel."""
    slope = tf.math.rsqrt(norm.moving_variance.value + norm.epsilon)
    slope = slope if norm.gamma is None else slope * norm.gamma.value
    offset = -norm.moving_mean.value * slope
    return slope, offset if norm.beta is None else offset + norm.beta.value


def normalised(norm: layers.BatchNormalization, x: tf.Tensor) -> tf.Tensor:
    """What the layer makes of `[B, H, W, C]` in training, by a single operation where there is one."""
    if not norm.trainable or norm.synchronized or norm.compute_dtype == "float64":
        return norm(x, training=True)
    mean, variance = norm.moving_mean, norm.moving_variance
    y, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=tf.ones_like(mean.value) if norm.gamma is None else norm.gamma.value,
        offset=tf.zeros_like(mean.value) if norm.beta is None else norm.beta.value,
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=norm.epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(x) // x.shape[-1], batch_variance.dtype)
    biased = batch_variance * (count - 1) / count  # the operation divides by one less, Keras does not
    for statistic, found in ((mean, batch_mean), (variance, biased)):
        statistic.assign(statistic.value * norm.momentum + tf.stop_gradient(found) * (1 - norm.momentum))
    return y


def _steps(network: Any) -> list[Step]:
    """How to walk through a network; nothing if that cannot be done."""
    found = _layers(network)
    users = Counter(id(x) for layer in found for x in keras.tree.flatten(layer.input))
    after = {id(x): layer for layer in found for x in keras.tree.flatten(layer.input) if users[id(x)] == 1}
    steps: list[Step] = []
    done: set[int] = set()
    for layer in found:
        if id(layer) in done:
            continue
        pad = layer if _pads(layer) and _convolves(after.get(id(layer.output))) else None
        conv = layer if pad is None else after[id(layer.output)]
        if not _convolves(conv):
            steps.append(Whole(layer))
            continue
        norm = after.get(id(conv.output))
        norm = norm if _normalises(norm) and conv.activation is keras.activations.linear else None
        done |= {id(conv), id(norm)}
        steps.append(Convolution(conv, form_of(conv, pad), pad, norm))
    return steps


def _layers(network: Any) -> list[keras.Layer]:
    """The layers of a network in their order if each is called once, on what came before and nothing else."""
    try:
        (first,), (last,) = network.inputs, network.outputs
    except (AttributeError, ValueError):  # a model of another kind, or with several ends
        return []
    operations = network.layers if isinstance(network, keras.Sequential) else network.operations
    found = [layer for layer in operations if not isinstance(layer, layers.InputLayer)]
    known = {id(first)}
    for layer in found:
        if not isinstance(layer, keras.Layer) or not _takes_one_argument(layer):
            return []
        if not known.issuperset(map(id, keras.tree.flatten(layer.input))):
            return []
        known.add(id(layer.output))
    return found if id(last) in known else []


def _takes_one_argument(layer: keras.Layer) -> bool:
    return len(inspect.signature(layer.call).parameters.keys() - {"training", "mask"}) == 1


def _pads(layer: Any) -> bool:
    return type(layer) is layers.ZeroPadding2D and layer.data_format == "channels_last"


def _convolves(layer: Any) -> bool:
    plain = type(layer) is layers.Conv2D and layer.data_format == "channels_last" and layer.groups == 1
    return plain and layer.dilation_rate == (1, 1) and layer.activity_regularizer is None


def _normalises(layer: Any) -> bool:
    return type(layer) is layers.BatchNormalization and layer.axis in (-1, 3)
