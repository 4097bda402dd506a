"""The training passes over a batch's views, and their gradient by the weights, in the memory of a single view."""

from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf
from keras import layers

from adap_tf.lean import Pass, in_training, is_keras_own

UNREPEATABLE = (layers.Lambda, layers.TFSMLayer, layers.SpectralNormalization, layers.AugMix)
"""Keras' layers that call a user's function, move trained weights in a pass, or draw random numbers in Python."""


class Passes:
    """A pass in training mode over each view of a batch, and then the gradient of a loss by the weights.

    The loss is given by its gradient by the scores, and for a loss on rankings that takes the scores of all views. Only
    the last view's activations are kept until then; the passes before it are made again, one by one, in `gradients`.
    Each costs one more pass forward. A network that is not `repeatable` keeps all activations.

    Args:
        network: built Keras model, images `[B, ...]` to logits `[B, C]`.
        images: of each view, in the order of the passes.
        dtype: of the scores.

    Attributes:
        scores: `[B, C]` of each view.
    """

    def __init__(self, network: keras.Model, images: Mapping[str, tf.Tensor], dtype: str):
        self._network, self._images, self._dtype = network, images, dtype
        self.scores: dict[str, tf.Tensor] = {}
        self._kept: dict[str, list[tf.Tensor]] = {}
        self._again = [*images][:-1] if repeatable(network) else []
        self._before: dict[str, list[tuple[keras.Variable, tf.Tensor]]] = {}
        with tf.GradientTape() as self._tape:
            walk = self._walk(after=images.values())
            for view, image in images.items():
                if view in self._again or not self._before:
                    self._before[view] = [(v, tf.identity(v.value)) for v in network.non_trainable_variables]
                if view in self._again:
                    with self._tape.stop_recording():
                        self.scores[view], *_ = self._pass(walk, image)
                else:
                    self.scores[view], *_ = self._kept[view] = self._pass(walk, image)

    def gradients(self, slopes: Mapping[str, tf.Tensor], penalty_weight: tf.Tensor, l2: float) -> list[tf.Tensor]:
        """The gradient by each trainable weight; can be called once.

        Args:
            slopes: the loss's gradient by the scores of each view, `[B, C]`.
            penalty_weight: of the penalties on top of the loss, a scalar: of the losses that the network's layers have
                of their own, in the mean over the views, and of L2.
            l2: weight of `½‖w‖²` among the penalties.
        """
        weights, share = self._network.trainable_variables, penalty_weight / len(self.scores)
        found = self._gradients(self._tape, self._kept, slopes, share)
        if l2:
            # Here, not to the final sum: Grappler would make one sum of a + b + λw, and keep zeros for every weight.
            found = [
                g + tf.cast(penalty_weight * l2, g.dtype) * tf.cast(w, g.dtype)
                for g, w in zip(found, weights, strict=True)
            ]
        for view in self._again:
            with tf.control_dependencies(found):  # so that the activations of the last pass are freed first
                image = tf.identity(self._images[view])
            with tf.GradientTape() as tape:
                # From the state that the first pass had, and without moving any.
                state = [*self._before[view], *((w, w.value) for w in weights)]
                with keras.StatelessScope(state, collect_losses=True):
                    made = self._pass(self._walk(after=found, again=True), image)
            more = self._gradients(tape, {view: made}, slopes, share)
            found = [tf.add_n(both) for both in zip(found, more, strict=True)]
        return found

    def take_back(self) -> None:
        """Puts back all that the passes have moved: statistics, and the counters of random numbers."""
        first, *_ = self._before.values()
        for variable, value in first:
            variable.assign(value)

    def _walk(self, after: Iterable[tf.Tensor], again: bool = False) -> Pass:
        """A walk through the network; its kernels are not made ready sooner than they are needed."""
        with tf.control_dependencies([*after]):
            return in_training(self._network, again)

    def _pass(self, walk: Pass, image: tf.Tensor) -> list[tf.Tensor]:
        """The scores and the losses of the network's layers."""
        return [tf.cast(walk(image), self._dtype), *self._network.losses]

    def _gradients(
        self,
        tape: tf.GradientTape,
        passes: Mapping[str, list[tf.Tensor]],
        slopes: Mapping[str, tf.Tensor],
        share: tf.Tensor,
    ) -> list[tf.Tensor]:
        """The gradient by the weights of passes on one tape, seeded with the slopes, and with the losses' share."""
        seeds = {view: [slopes[view], *(tf.cast(share, loss.dtype) for loss in passes[view][1:])] for view in passes}
        return tape.gradient(
            [*passes.values()],
            self._network.trainable_variables,
            output_gradients=[*seeds.values()],
            unconnected_gradients="zero",
        )


def repeatable(network: keras.Model) -> bool:
    """Whether a pass can be made again, to the same scores and gradients.

    It can where all that a pass moves, random seeds included, is in Keras' variables that are not trained. That holds
    for Keras' own layers, but for a few, with Keras' own activations; of other layers it is not known. Regularisers
    are taken to be deterministic.
    """
    parts = [part for layer in network._flatten_layers() for part in (layer, *getattr(layer, "operations", ()))]
    return all(_repeatable(part) for part in parts)


def _repeatable(part: keras.Operation) -> bool:
    # The states of a stateful RNN are in no list of variables.
    if isinstance(part, UNREPEATABLE) or getattr(part, "stateful", False):
        return False
    activations = [value for name, value in vars(part).items() if name.endswith("activation") and callable(value)]
    return all(is_keras_own(each) for each in (type(part), *activations))
