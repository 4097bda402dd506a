"""The attacks by gradient steps of one length: FGSM and PGD."""

import math
from dataclasses import dataclass

import tensorflow as tf

from adap_tf.attacks.ascent import ValueAndGrad, better, repeated
from adap_tf.attacks.base import FromStarts
from adap_tf.geometry import Ball


@dataclass(frozen=True)
class FGSM(FromStarts):
    """A single step as long as the ball is wide (Goodfellow et al., 2015).

    Attributes:
        eps: radius of the ball, in units of the image's [0, 1], at least 0.
        start: standard deviation of the start, at least 0; above 0 where what is ascended has no slope at the
            clean image, as a divergence from it has not. Or "anywhere" in the ball.
        norm: "linf" or "l2".
        restarts: number of starts.
    """

    eps: float = 8 / 255
    start: float | str = 0.001
    norm: str = "linf"
    restarts: int = 1

    def climb(self, value_and_grad: ValueAndGrad, ball: Ball, start: tf.Tensor) -> tf.Tensor:
        """One step."""
        return ball.project(start + ball.step(value_and_grad(start)[1], self.eps))


@dataclass(frozen=True)
class PGD(FromStarts):
    """Projected gradient ascent (Madry et al., 2018).

    The defaults are the paper's training attack: a Gaussian start taken as drawn, then sign steps, each projected
    onto the ball and onto [0, 1]; the last iterate.

    Attributes:
        eps: radius of the ball in units of the image's [0, 1], at least 0.
        step_size: length of a step, in the same units, above 0.
        steps: number of steps, at least 1.
        start: standard deviation of the start, in the same units, at least 0; or "anywhere" in the ball.
        norm: "linf" or "l2".
        restarts: number of starts; the best end is kept.
        keep: "last" iterate, or the "best" of all points from the first step on.
    """

    eps: float = 8 / 255
    step_size: float = 0.01
    steps: int = 6
    start: float | str = 0.001
    norm: str = "linf"
    restarts: int = 1
    keep: str = "last"

    def climb(self, value_and_grad: ValueAndGrad, ball: Ball, start: tf.Tensor) -> tf.Tensor:
        """The last iterate or the best."""

        def step(number: int | tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor]:
            return (ball.project(x + ball.step(value_and_grad(x)[1], self.step_size)),)

        def noted(number: int | tf.Tensor, x: tf.Tensor, best: tf.Tensor, highest: tf.Tensor) -> tuple[tf.Tensor, ...]:
            value, gradient = value_and_grad(x)
            value = tf.where(tf.equal(number, 0), nothing, value)  # the start may lie outside
            return (ball.project(x + ball.step(gradient, self.step_size)), *better((x, value), (best, highest)))

        if self.keep == "last":
            return repeated(self.steps, step, (start,))[0]
        nothing = tf.fill(start.shape[:1], tf.constant(-math.inf, start.dtype))
        last, best, highest = repeated(self.steps, noted, (start, start, nothing))
        return better((last, value_and_grad(last)[0]), (best, highest))[0]
