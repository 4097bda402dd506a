"""A Keras network's scores in fewer operations: the same function of the same weights, but for rounding.

A pass is a walk along the network's layers, in which some are done otherwise:

- convolutions take the form that is fastest (`convolutions`). ResNet-18 on 32×32 pixels ends in maps of 2×2 and 1×1,
  where most taps of a 3×3 kernel never see anything but padding;
- BatchNorm of a map, in training, is a single operation;
- *at rest*, in inference mode while no weight moves, BatchNorm is part of the kernel before it, and kernels are made
  and rounded to the network's precision once for all passes.

The network itself stays as it is, and so does what is saved of it. One that cannot be walked through, such as a model
with a `call` of its own, is called as a whole.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf
from keras import layers
from keras.src.models.functional import Functional

from adap_tf.convolutions import Form, form_of

PLAIN = (keras.Sequential, Functional)
"""Models that are their layers and nothing else."""

Pass = Callable[[Any], tf.Tensor]


def in_training(network: Any, again: bool = False) -> Pass:
    """A network in training mode, for as many passes as share one tape.

    Args:
        network: images `[B, ...]` to logits `[B, C]`.
        again: whether the passes have been made before, and are now in a `StatelessScope`.

    Returns:
        Images to logits. BatchNorm's statistics move with each pass, unless it is made again.
    """
    return _walk(network, True, lambda unit: unit.in_training(again))


def at_rest(network: Any) -> Pass:
    """A network in inference mode with its weights as they are now, for many passes.

    Args:
        network: images `[B, ...]` to logits `[B, C]`.

    Returns:
        Images to logits, differentiable by the images.
    """
    return _walk(network, False, lambda unit: unit.at_rest())


def _walk(network: Any, training: bool, made: Callable[["Unit"], Pass]) -> Pass:
    whole, found = partial(network, training=training), steps(network)
    if not found:
        return whole
    (first,), (last,) = network.inputs, network.outputs
    done = [(made(unit), *ends) for unit, *ends in found]

    def scores(image: tf.Tensor) -> tf.Tensor:
        if not tf.TensorShape(first.shape[1:]).is_compatible_with(image.shape[1:]):
            return whole(image)  # which gives it another axis, or refuses it
        values = {id(first): tf.cast(image, first.dtype)}
        with tf.name_scope(network.name):
            for do, argument, output in done:
                values[id(output)] = do(keras.tree.map_structure(lambda x: values[id(x)], argument))
        return values[id(last)]

    return scores


class Unit(Protocol):
    """What is done at once on the way through a network."""

    def in_training(self, again: bool) -> Pass:
        """It in training mode; `again`, without what a first such pass has moved where that can be left out."""

    def at_rest(self) -> Pass:
        """It in inference mode, with the weights of now."""


class Step(NamedTuple):
    """A unit and its place: the network's symbolic tensors that go in, as they do, and the one that comes out."""

    unit: Unit
    argument: Any
    output: Any


@dataclass(frozen=True)
class Other:
    """A layer that is called as it is; or a network within the network, and a walk through that."""

    layer: keras.Layer

    def in_training(self, again: bool) -> Pass:
        """The layer in training mode."""
        return in_training(self.layer, again)

    def at_rest(self) -> Pass:
        """The layer in inference mode."""
        return at_rest(self.layer)


@dataclass(frozen=True)
class Norm:
    """BatchNorm of a map `[B, H, W, C]`."""

    norm: layers.BatchNormalization

    def in_training(self, again: bool) -> Pass:
        """A single operation where there is one, which needs to know the map's size; else the layer."""
        whole = partial(self.norm, training=True)
        fused = self.norm.trainable and not self.norm.synchronized and self.norm.variable_dtype == "float32"
        return lambda x: self._fused(x, again) if fused and x.shape.is_fully_defined() else whole(x)

    def at_rest(self) -> Pass:
        """The layer in inference mode."""
        return partial(self.norm, training=False)

    def affine(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Slope and offset of each channel in inference mode."""
        norm = self.norm
        slope = tf.math.rsqrt(norm.moving_variance.value + norm.epsilon)
        slope = slope if norm.gamma is None else slope * norm.gamma.value
        offset = -norm.moving_mean.value * slope
        return slope, offset if norm.beta is None else offset + norm.beta.value

    def _fused(self, x: tf.Tensor, again: bool) -> tf.Tensor:
        norm, nothing = self.norm, tf.zeros([0])
        mean, variance = norm.moving_mean, norm.moving_variance
        y, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(x, norm.compute_dtype),
            scale=tf.ones_like(mean.value) if norm.gamma is None else norm.gamma.value,
            offset=tf.zeros_like(mean.value) if norm.beta is None else norm.beta.value,
            mean=nothing,
            variance=nothing,
            epsilon=norm.epsilon,
            is_training=True,
        )
        if not again:
            count, share = x.shape[:-1].num_elements(), 1 - norm.momentum
            biased = (count - 1) / count  # the operation divides by one less than the count, Keras does not
            mean.assign(mean.value * norm.momentum + batch_mean * share)
            variance.assign(variance.value * norm.momentum + batch_variance * (share * biased))
        return y


@dataclass(frozen=True)
class Convolution:
    """A convolution with the BatchNorm after it, if there is one; the padding before it is the form's."""

    conv: layers.Conv2D
    form: Form
    norm: Norm | None

    def in_training(self, again: bool) -> Pass:
        """Convolved, then normalised."""
        convolved = self._convolving(self._kernel(), self.conv.bias)
        if self.norm is None:
            return convolved
        normed = self.norm.in_training(again)
        return lambda x: normed(convolved(x))

    def at_rest(self) -> Pass:
        """Both in one."""
        kernel, bias = self._kernel(), self.conv.bias
        if self.norm is not None:
            slope, offset = self.norm.affine()
            kernel = kernel * tf.tile(slope, [kernel.shape[-1] // slope.shape[0]])
            bias = offset if bias is None else offset + slope * bias.value
        return self._convolving(kernel, bias)

    def _kernel(self) -> tf.Tensor:
        return self.form.ready(tf.convert_to_tensor(self.conv.kernel))

    def _convolving(self, ready: tf.Tensor, bias: Any) -> Pass:
        rounded = partial(tf.cast, dtype=self.conv.compute_dtype)
        ready, bias = rounded(ready), None if bias is None else rounded(bias)

        def convolved(x: tf.Tensor) -> tf.Tensor:
            y = self.form(rounded(x), ready)
            return self.conv.activation(y if bias is None else tf.nn.bias_add(y, bias))

        return convolved


class Call(NamedTuple):
    """A call of a layer: what it takes and what it gives, as the network's symbolic tensors."""

    layer: keras.Layer
    argument: Any
    output: Any


def steps(network: Any) -> list[Step]:
    """How to walk through a network; nothing if that cannot be done."""
    try:
        calls = list(_calls(network))
    except LookupError:
        return []
    often = Counter(id(call.layer) for call in calls)
    if any(often[id(call.layer)] > 1 and _may_add_losses(call.layer) for call in calls):
        return []  # Keras would forget those of the first call when the second begins
    used = [id(x) for call in calls for x in keras.tree.flatten(call.argument)] + [id(network.outputs[0])]
    once = {x for x, count in Counter(used).items() if count == 1}
    after = {id(x): call for call in calls for x in keras.tree.flatten(call.argument) if id(x) in once}
    found: list[Step] = []
    done: set[int] = set()
    for call in calls:
        if id(call.output) not in done:
            together = _together(call, after)
            done.update(id(each.output) for each in together)
            found.append(Step(_unit(together), call.argument, together[-1].output))
    return found


def _calls(network: Any) -> Iterator[Call]:
    """The calls of a network's layers, each after those whose output it takes.

    Raises:
        LookupError: it is more than its layers, or has several ends, or a call takes more than one argument.
    """
    if type(network) not in PLAIN or not network.built or not len(network.inputs) == len(network.outputs) == 1:
        raise LookupError("no plain model")
    (first,), (last,) = network.inputs, network.outputs
    known, ahead = {id(first)}, [last]
    while ahead:
        if id(ahead[-1]) in known:
            ahead.pop()
            continue
        call = _call(ahead[-1])
        missing = [x for x in keras.tree.flatten(call.argument) if id(x) not in known]
        ahead += missing
        if not missing:
            known.add(id(call.output))
            yield call


def _call(output: Any) -> Call:
    """The call that a symbolic tensor came out of, by Keras' own record of it."""
    layer, number, _ = output._keras_history
    node = layer._inbound_nodes[number]
    args, kwargs = node.arguments.args, node.arguments.kwargs
    named = [value for name, value in kwargs.items() if name != "training"]  # of which the network decides
    alone = args and len(node.outputs) == 1 and all(x is None for x in (*args[1:], *named))
    tensors = all(isinstance(x, keras.KerasTensor) for x in keras.tree.flatten(args[:1]))
    if not (isinstance(layer, keras.Layer) and alone and tensors):
        raise LookupError(f"{layer.name} is called otherwise")
    return Call(layer, args[0], output)


def _together(call: Call, after: dict[int, Call]) -> list[Call]:
    """The calls from this one on that are one unit: padding, convolution, norm.

    Args:
        call: the first of them.
        after: the call that takes a tensor, if there is one alone.
    """
    found = [call]
    following = after.get(id(call.output))
    if following and _pads(call.layer) and _convolves(following.layer):
        found.append(following)
    conv, norm = found[-1].layer, after.get(id(found[-1].output))
    if norm and _convolves(conv) and _follows(conv, norm.layer):
        found.append(norm)
    return found


def _unit(calls: list[Call]) -> Unit:
    """What does these calls at once."""
    conv = next((call for call in calls if _convolves(call.layer)), None)
    if conv is not None:
        pad, norm = calls[0].layer, calls[-1].layer
        form = form_of(conv.layer, conv.argument.shape, conv.output.shape, None if pad is conv.layer else pad)
        return Convolution(conv.layer, form, None if norm is conv.layer else Norm(norm))
    (only,) = calls
    return Norm(only.layer) if _normalises(only.layer) and only.output.ndim == 4 else Other(only.layer)


def _pads(layer: keras.Layer) -> bool:
    return _is(layer, layers.ZeroPadding2D) and layer.data_format == "channels_last"


def _convolves(layer: keras.Layer) -> bool:
    plain = _is(layer, layers.Conv2D) and layer.data_format == "channels_last" and layer.groups == 1
    return plain and layer.dilation_rate == (1, 1)


def _normalises(layer: keras.Layer) -> bool:
    return _is(layer, layers.BatchNormalization) and layer.axis in (-1, 3) and not getattr(layer, "renorm", False)


def _follows(conv: layers.Conv2D, layer: keras.Layer) -> bool:
    """Whether a layer is a norm that can be part of the kernel before it."""
    types = [(each.compute_dtype, each.variable_dtype) for each in (conv, layer)]
    return _normalises(layer) and conv.activation is keras.activations.linear and types[0] == types[1]


def _may_add_losses(layer: keras.Layer) -> bool:
    """Whether a layer, or one within it, has losses that depend on what it is given, as far as is known."""
    return any(x.activity_regularizer is not None or not is_keras_own(type(x)) for x in layer._flatten_layers())


def is_keras_own(thing: Any) -> bool:
    """Whether a class or function is Keras' own."""
    return thing.__module__.startswith("keras.")


def _is(layer: Any, kind: Any) -> bool:
    """Whether it is a layer of just that kind, and adds no loss of its output."""
    return type(layer) is kind and layer.activity_regularizer is None
