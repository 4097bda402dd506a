"""Auto-PGD: gradient steps with momentum, whose length finds itself."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from adap_tf.attacks.ascent import ValueAndGrad, chosen, repeated
from adap_tf.attacks.base import FromStarts
from adap_tf.geometry import Ball


class _Ascent(NamedTuple):
    """Where APGD is, its best point, its length of step, and how that stood at the last checkpoint."""

    last: tf.Tensor
    x: tf.Tensor
    value: tf.Tensor
    gradient: tf.Tensor
    best: tf.Tensor
    best_value: tf.Tensor
    best_gradient: tf.Tensor
    length: tf.Tensor
    rises: tf.Tensor
    length_then: tf.Tensor
    best_then: tf.Tensor

    def gone_to(self, x: tf.Tensor, value: tf.Tensor, gradient: tf.Tensor) -> "_Ascent":
        """After a step to `x`."""
        rose = value > self.best_value
        return self._replace(
            last=self.x,
            x=x,
            value=value,
            gradient=gradient,
            best=chosen(rose, x, self.best),
            best_value=tf.maximum(value, self.best_value),
            best_gradient=chosen(rose, gradient, self.best_gradient),
            rises=self.rises + tf.cast(value > self.value, value.dtype),
        )


@dataclass(frozen=True)
class APGD(FromStarts):
    """Auto-PGD (Croce and Hein, 2020, Algorithm 1): momentum, and steps that shorten where they fail.

    The first step is `2ε` long. At checkpoints that come ever faster, an example whose value rose in too few steps,
    or whose best value and step are as they were, halves its step and goes on from its best point; that one is the
    result.

    Attributes:
        eps: radius of the ball in units of the image's [0, 1], at least 0.
        steps: number of steps, at least 1.
        start: standard deviation of the start, in the same units, at least 0; or "anywhere" in the ball.
        momentum: weight of the new step against the last one, in (0, 1].
        rho: share of the steps that must rise, in [0, 1].
        norm: "linf" or "l2".
        restarts: number of starts; the best end is kept.
    """

    eps: float = 8 / 255
    steps: int = 10
    start: float | str = 0.001
    momentum: float = 0.75
    rho: float = 0.75
    norm: str = "linf"
    restarts: int = 1

    def climb(self, value_and_grad: ValueAndGrad, ball: Ball, start: tf.Tensor) -> tf.Tensor:
        """The best of the points that it visits."""

        def step(number: int | tf.Tensor, at: _Ascent) -> tuple[_Ascent]:
            moved = ball.project(at.x + ball.step(at.gradient, at.length))
            heavy = at.x + self.momentum * (moved - at.x) + (1 - self.momentum) * (at.x - at.last)
            x = ball.project(tf.where(tf.equal(number, 0), moved, heavy))
            return (self._looked_back(number, at.gone_to(x, *value_and_grad(x))),)

        x = ball.project(start)
        value, gradient = value_and_grad(x)
        length = tf.fill([x.shape[0]] + [1] * (x.shape.rank - 1), tf.constant(2 * self.eps, x.dtype))
        rises = tf.zeros_like(value)
        begun = _Ascent(x, x, value, gradient, x, value, gradient, length, rises, length, value)
        return repeated(self.steps, step, (begun,))[0].best

    def _looked_back(self, number: int | tf.Tensor, at: "_Ascent") -> "_Ascent":
        """At a checkpoint, what is stuck goes back to its best point and halves its step."""
        due, wanted = self._due(number, at.rises)
        same = tf.reshape(at.length == at.length_then, [-1]) & (at.best_value == at.best_then)
        stuck = due & ((at.rises < wanted) | same)
        return at._replace(
            x=chosen(stuck, at.best, at.x),
            value=tf.where(stuck, at.best_value, at.value),
            gradient=chosen(stuck, at.best_gradient, at.gradient),
            length=chosen(stuck, at.length / 2, at.length),
            rises=tf.where(due, tf.zeros_like(at.rises), at.rises),
            length_then=tf.where(due, at.length, at.length_then),
            best_then=tf.where(due, at.best_value, at.best_then),
        )

    def _due(self, number: int | tf.Tensor, like: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Whether there is a checkpoint after the step of that number, and how many must have risen since the last."""
        ends = tf.constant(self.checkpoints)
        since = [after - before for before, after in zip((0, *self.checkpoints), self.checkpoints, strict=False)]
        here = tf.equal(ends, number + 1)
        steps = tf.reduce_sum(tf.where(here, tf.constant(since), 0))
        return tf.reduce_any(here), self.rho * tf.cast(steps, like.dtype)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps after which it looks back."""
        last, share, places = 0.0, 0.22, []
        while share <= 1:
            places.append(math.ceil(share * self.steps - 1e-9))
            last, share = share, share + max(share - last - 0.03, 0.06)
        return tuple(sorted({place for place in places if place}))
