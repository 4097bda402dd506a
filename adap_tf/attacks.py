"""Attacks: functions of `value_and_grad(x)`, which know neither the network nor what it is that they ascend.

`value_and_grad` takes perturbed images `[B, ...]` and returns the values `[B]` to be raised and their gradient
by the images. `ascending` makes one from a network and an ascent on its scores.

All loops are Python's, so that a graph holds every step: what is ascended may hold collectives.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from adap_tf import geometry

RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "eps": (lambda x: x >= 0, "a number of at least 0"),
    "step_size": (lambda x: x > 0, "a number above 0"),
    "steps": (lambda x: x >= 1 and x == int(x), "a whole number of at least 1"),
    "start": (lambda x: x >= 0, "a number of at least 0"),
    "momentum": (lambda x: 0 < x <= 1, "above 0 and up to 1"),
    "rho": (lambda x: 0 <= x <= 1, "from 0 to 1"),
}
"""What is accepted of an attack's numbers, and the words for it."""

ValueAndGrad = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class Attack(Protocol):
    """Perturbs images within a ball of radius `eps`."""

    @property
    def eps(self) -> float:
        """Radius of the ball, in units of the image's [0, 1]."""

    def __hash__(self) -> int: ...

    def __call__(self, value_and_grad: ValueAndGrad, clean: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The perturbed images.

        Args:
            value_and_grad: what to ascend.
            clean: images `[B, ...]` in [0, 1].
            noise: standard normal numbers of the same shape, from `keyed_noise`.
        """


@dataclass(frozen=True)
class FGSM:
    """A single sign step as long as the ball is wide (Goodfellow et al., 2015).

    Attributes:
        eps: radius of the L∞ ball, at least 0.
        start: standard deviation of the start, at least 0; above 0 where what is ascended has no slope at the
            clean image, as a divergence from it has not.
    """

    eps: float = 8 / 255
    start: float = 0.001

    def __post_init__(self) -> None:
        _check_numbers(self)

    def __call__(self, value_and_grad: ValueAndGrad, clean: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The perturbed images."""
        started = clean + self.start * noise
        _, gradient = value_and_grad(started)
        return geometry.linf_project(started + geometry.linf_step(gradient, self.eps), clean, self.eps)


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
        _check_numbers(self)

    def __call__(self, value_and_grad: ValueAndGrad, clean: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The perturbed images."""
        adversarial = clean + self.start * noise
        for _ in range(self.steps):
            _, gradient = value_and_grad(adversarial)
            adversarial = geometry.linf_project(
                adversarial + geometry.linf_step(gradient, self.step_size), clean, self.eps
            )
        return adversarial


@dataclass(frozen=True)
class APGD:
    """Auto-PGD in the L∞ ball (Croce and Hein, 2020, Algorithm 1): momentum, and steps that shorten where they fail.

    The first step is `2ε` long. At checkpoints that come ever faster, an example whose value rose in too few steps,
    or whose best value and step are as they were, halves its step and goes on from its best point; that one is the
    result.

    Attributes:
        eps: radius of the ball in units of the image's [0, 1], at least 0.
        steps: number of steps, at least 1.
        start: standard deviation of the start, in the same units, at least 0.
        momentum: weight of the new step against the last one, in (0, 1].
        rho: share of the steps that must rise, in [0, 1].
    """

    eps: float = 8 / 255
    steps: int = 10
    start: float = 0.001
    momentum: float = 0.75
    rho: float = 0.75

    def __post_init__(self) -> None:
        _check_numbers(self)

    def __call__(self, value_and_grad: ValueAndGrad, clean: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The best of the points that it visits."""

        def chosen(which: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
            return tf.where(tf.reshape(which, [-1] + [1] * (no.shape.rank - 1)), yes, no)

        last = x = best = geometry.linf_project(clean + self.start * noise, clean, self.eps)
        value, gradient = best_value, best_gradient = value_and_grad(x)
        length = length_then = tf.fill([x.shape[0]] + [1] * (x.shape.rank - 1), tf.constant(2 * self.eps, x.dtype))
        best_then, rises, since = best_value, tf.zeros_like(value), 0
        for step in range(1, self.steps + 1):
            moved = geometry.linf_project(x + length * tf.sign(gradient), clean, self.eps)
            if step > 1:
                moved = x + self.momentum * (moved - x) + (1 - self.momentum) * (x - last)
            last, x, before = x, geometry.linf_project(moved, clean, self.eps), value
            value, gradient = value_and_grad(x)
            rises += tf.cast(value > before, value.dtype)
            better = value > best_value
            best, best_gradient = chosen(better, x, best), chosen(better, gradient, best_gradient)
            best_value = tf.maximum(value, best_value)
            if step in self.checkpoints:
                same = (tf.reshape(length == length_then, [-1])) & (best_value == best_then)
                stuck = (rises < self.rho * (step - since)) | same
                length_then, best_then = length, best_value
                length = chosen(stuck, length / 2, length)
                x, gradient = chosen(stuck, best, x), chosen(stuck, best_gradient, gradient)
                value, rises, since = tf.where(stuck, best_value, value), tf.zeros_like(value), step
        return best

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps after which it looks back."""
        last, share, places = 0.0, 0.22, []
        while share <= 1:
            places.append(math.ceil(share * self.steps - 1e-9))
            last, share = share, share + max(share - last - 0.03, 0.06)
        return tuple(sorted({place for place in places if place}))


ATTACKS: Mapping[str, type] = {"pgd": PGD, "fgsm": FGSM, "apgd": APGD}
"""Attacks by name."""


def ascending(
    network: Callable[..., tf.Tensor], ascent: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
) -> ValueAndGrad:
    """`value_and_grad` of an ascent on the scores of a network in inference mode.

    An example's slopes are put on a scale on which the largest is 1: a direction is all that an attack asks for, and
    small slopes would round to 0 on their way through a network of low precision.

    Args:
        network: images `[B, ...]` to scores `[B, C]`, called with `training=False`.
        ascent: scores `[B, C]` to values `[B]` and their gradient by the scores `[B, C]`.
    """

    def value_and_grad(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            scores = network(image, training=False)
        values, slopes = ascent(scores)
        largest = tf.reduce_max(tf.abs(slopes), axis=-1, keepdims=True)
        return values, tape.gradient(scores, image, output_gradients=tf.math.divide_no_nan(slopes, largest))

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


def _check_numbers(attack: object) -> None:
    """Refuses what is out of range among the fields that attacks have."""
    for name, (accepts, words) in RANGES.items():
        value = getattr(attack, name, None)
        if value is not None and not (math.isfinite(value) and accepts(value)):
            raise ValueError(f"{name} must be {words}, not {value}")
