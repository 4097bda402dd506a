"""Attacks: functions of `value_and_grad(x)`, which know neither the network nor what it is that they ascend.

`value_and_grad` takes perturbed images `[B, ...]` and returns the values `[B]` to be raised and their gradient
by the images. `ascending` makes one from a network and an ascent on its scores.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from adap_tf import geometry

ValueAndGrad = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent in the L∞ ball (Madry et al., 2018), last iterate.

    The defaults are the paper's training attack: a Gaussian start taken as drawn, then sign steps, each projected
    onto the ball and onto [0, 1].

    Attributes:
        eps: radius of the ball in units of the image's [0, 1], at least 0.
        step_size: length of a step, in the same units, above 0.
        steps: number of steps, at least 1.
        start: standard deviation of the start, in the same units, at least 0.
    """

    eps: float = 8 / 255
    step_size: float = 0.01
    steps: int = 6
    start: float = 0.001

    def __post_init__(self) -> None:
        for name, low_is_allowed in (("eps", True), ("step_size", False), ("start", True)):
            value = getattr(self, name)
            if not (value >= 0 if low_is_allowed else value > 0) or not math.isfinite(value):
                raise ValueError(
                    f"{name} must be a number {'of at least' if low_is_allowed else 'above'} 0, not {value}"
                )
        if self.steps < 1 or self.steps != int(self.steps):
            raise ValueError(f"steps must be a whole number of at least 1, not {self.steps}")

    def __call__(self, value_and_grad: ValueAndGrad, clean: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The perturbed images.

        Args:
            value_and_grad: what to ascend.
            clean: images `[B, ...]` in [0, 1].
            noise: standard normal numbers of the same shape, from `keyed_noise`.
        """
        adversarial = clean + self.start * noise
        for _ in range(self.steps):  # a loop of Python: what is ascended may hold collectives
            _, gradient = value_and_grad(adversarial)
            adversarial = geometry.linf_project(
                adversarial + geometry.linf_step(gradient, self.step_size), clean, self.eps
            )
        return adversarial


def ascending(
    network: Callable[..., tf.Tensor], ascent: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
) -> ValueAndGrad:
    """`value_and_grad` of an ascent on the scores of a network in inference mode.

    Args:
        network: images `[B, ...]` to scores `[B, C]`, called with `training=False`.
        ascent: scores `[B, C]` to values `[B]` and their gradient by the scores `[B, C]`.
    """

    def value_and_grad(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            scores = network(image, training=False)
        values, slopes = ascent(scores)
        return values, tape.gradient(scores, image, output_gradients=slopes)

    return value_and_grad


def keyed_noise(key: tf.Tensor, first: int | tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Standard normal noise for the examples `first, first + 1, …` of a stream, whoever draws it.

    The generator (Philox) counts blocks of four numbers, and each example has a whole number of blocks of its own.

    Args:
        key: seed of the stream, two integers `[2]`.
        first: place of the first example in the stream.
        like: images `[B, ...]` whose shape and type the noise takes.
    """
    size = math.prod(like.shape[1:])
    blocks = -(-size // 4)
    philox_key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=key)
    skipped = tf.cast(tf.cast(first, tf.int64) * blocks, tf.uint64)
    counter += tf.stack([skipped, tf.zeros([], tf.uint64)])
    noise = tf.raw_ops.StatelessRandomNormalV2(
        shape=[like.shape[0], 4 * blocks], key=philox_key, counter=counter, alg=1, dtype=tf.float32
    )
    return tf.cast(tf.reshape(noise[:, :size], like.shape), like.dtype)
