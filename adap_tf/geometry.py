"""Threat models: the ball that a perturbation stays in, and the step that a gradient takes in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf


class Norm(Protocol):
    """A length of perturbations `[B, ...]`."""

    def step(self, gradient: tf.Tensor) -> tf.Tensor:
        """The perturbation of length 1 (0 where there is no gradient) along which a function rises fastest."""

    def shrink(self, perturbation: tf.Tensor, radius: float) -> tf.Tensor:
        """The nearest perturbation that is no longer than `radius`."""

    def anywhere(self, noise: tf.Tensor) -> tf.Tensor:
        """Spreads standard normal numbers over the ball of radius 1."""


class Linf:
    """The largest change of any feature."""

    def step(self, gradient: tf.Tensor) -> tf.Tensor:
        """Every feature moves as far as any."""
        return tf.sign(gradient)

    def shrink(self, perturbation: tf.Tensor, radius: float) -> tf.Tensor:
        """Cuts off each feature for itself."""
        return tf.clip_by_value(perturbation, -radius, radius)

    def anywhere(self, noise: tf.Tensor) -> tf.Tensor:
        """Uniform in the cube."""
        return tf.math.erf(noise / 2**0.5)


class L2:
    """The Euclidean length of the change of all features."""

    def step(self, gradient: tf.Tensor) -> tf.Tensor:
        """Along the gradient."""
        largest = tf.reduce_max(tf.abs(gradient), axis=_features(gradient), keepdims=True)
        gradient = tf.math.divide_no_nan(gradient, largest)  # the square of a small number would round to 0
        return tf.math.divide_no_nan(gradient, self.length(gradient))

    def shrink(self, perturbation: tf.Tensor, radius: float) -> tf.Tensor:
        """Shortens what is too long."""
        length = self.length(perturbation)
        return perturbation * tf.where(length > radius, tf.math.divide_no_nan(radius, length), tf.ones_like(length))

    def anywhere(self, noise: tf.Tensor) -> tf.Tensor:
        """Uniform on the sphere, where nearly all of a ball of many dimensions is."""
        return tf.math.divide_no_nan(noise, self.length(noise))

    def length(self, perturbation: tf.Tensor) -> tf.Tensor:
        """The length of each, `[B, 1, ...]`."""
        return tf.sqrt(tf.reduce_sum(perturbation**2, axis=_features(perturbation), keepdims=True))


NORMS: Mapping[str, Norm] = {"linf": Linf(), "l2": L2()}
"""Norms by name."""


@dataclass(frozen=True, eq=False)
class Ball:
    """What an adversary can make of clean examples: perturbations of bounded norm, values in [0, 1].

    Attributes:
        clean: images `[B, ...]` in [0, 1].
        eps: radius, in units of the image's [0, 1].
        norm: a name in `NORMS`.
        share: factor from 0 to 1 on what each feature may change, broadcastable to the images: the ball is that
            of `perturbation / share`, and a feature whose share is 0 stays as it is. None for 1 everywhere.
    """

    clean: tf.Tensor
    eps: float
    norm: str = "linf"
    share: tf.Tensor | None = None

    def near(self, perturbation: tf.Tensor) -> tf.Tensor:
        """The clean images with a perturbation that is given in units of the shares, wherever that leads."""
        return self.clean + self.scaled(perturbation)

    def step(self, gradient: tf.Tensor, length: float | tf.Tensor) -> tf.Tensor:
        """Steepest ascent of so many units of length."""
        return length * self.scaled(NORMS[self.norm].step(self.scaled(gradient)))

    def project(self, image: tf.Tensor) -> tf.Tensor:
        """Back into the ball, then into [0, 1], which leads out of neither."""
        if self.norm == "linf":  # bounds rather than differences: no digit is lost
            radius = self.scaled(tf.constant(self.eps, self.clean.dtype))
            return tf.clip_by_value(tf.clip_by_value(image, self.clean - radius, self.clean + radius), 0.0, 1.0)
        return tf.clip_by_value(self.near(NORMS[self.norm].shrink(self.perturbation(image), self.eps)), 0.0, 1.0)

    def perturbation(self, image: tf.Tensor) -> tf.Tensor:
        """What has been done to the clean images, in units of the shares."""
        moved = image - self.clean
        return moved if self.share is None else tf.math.divide_no_nan(moved, self.share)

    def anywhere(self, noise: tf.Tensor) -> tf.Tensor:
        """Random images all over the ball, from standard normal noise."""
        return self.project(self.near(self.eps * NORMS[self.norm].anywhere(noise)))

    def scaled(self, perturbation: tf.Tensor) -> tf.Tensor:
        """In units of the image, from units of the shares."""
        return perturbation if self.share is None else self.share * perturbation


def _features(x: tf.Tensor) -> list[int]:
    return list(range(1, x.shape.rank))
