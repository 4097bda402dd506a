"""What every attack promises, and what those that climb from a start have in common."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import tensorflow as tf

from adap_tf.attacks.ascent import ValueAndGrad, better, repeated
from adap_tf.geometry import NORMS, Ball
from adap_tf.noise import Noise

ANYWHERE = "anywhere"
KEEPS = ("last", "best")

RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "eps": (lambda x: 0 <= x < math.inf, "a number of at least 0"),
    "step_size": (lambda x: 0 < x < math.inf, "a number above 0"),
    "steps": (lambda x: _counts(x), "a whole number of at least 1"),
    "queries": (lambda x: _counts(x), "a whole number of at least 1"),
    "start": (
        lambda x: x == ANYWHERE if isinstance(x, str) else 0 <= x < math.inf,
        "a number of at least 0, or 'anywhere'",
    ),
    "norm": (lambda x: x in NORMS, f"one of {', '.join(NORMS)}"),
    "restarts": (lambda x: _counts(x), "a whole number of at least 1"),
    "keep": (lambda x: x in KEEPS, f"one of {', '.join(KEEPS)}"),
    "momentum": (lambda x: 0 < x <= 1, "above 0 and up to 1"),
    "rho": (lambda x: 0 <= x <= 1, "from 0 to 1"),
    "area": (lambda x: 0 < x <= 1, "above 0 and up to 1"),
}
"""What is accepted of an attack's settings, and the words for it."""


class Attack(Protocol):
    """Perturbs images. A function of your own will do."""

    def __hash__(self) -> int: ...

    def __call__(
        self, value_and_grad: ValueAndGrad, clean: tf.Tensor, noise: Noise, share: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The perturbed images.

        Args:
            value_and_grad: what to ascend.
            clean: images `[B, ...]` in [0, 1].
            noise: draws random numbers.
            share: what each feature may change, as `Ball` has it; only given if it is not 1 everywhere.
        """


class FromStarts:
    """Base of the attacks that climb from one or several starts: the whole of them but for the climbing itself.

    The first climb begins at `start`; those after it anywhere in the ball. Of several ends each example keeps the one
    with the highest value.
    """

    eps: float
    norm: str
    start: float | str
    restarts: int

    def __post_init__(self) -> None:
        check_settings(self)

    def climb(self, value_and_grad: ValueAndGrad, ball: Ball, start: tf.Tensor) -> tf.Tensor:
        """Where the attack ends that begins at `start`."""
        raise NotImplementedError

    def __call__(
        self, value_and_grad: ValueAndGrad, clean: tf.Tensor, noise: Noise, share: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The perturbed images."""
        ball = Ball(clean, self.eps, self.norm, share)
        spread = noise.normal(clean.shape, clean.dtype)
        start = ball.anywhere(spread) if isinstance(self.start, str) else ball.near(self.start * spread)
        end = self.climb(value_and_grad, ball, start)
        if self.restarts == 1:
            return end

        def again(number: int | tf.Tensor, end: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            start = ball.anywhere(noise.normal(clean.shape, clean.dtype, number + 1))
            new_end = self.climb(value_and_grad, ball, start)
            return better((new_end, value_and_grad(new_end)[0]), (end, value))

        return repeated(self.restarts - 1, again, (end, value_and_grad(end)[0]), unrolled=1)[0]


def check_settings(attack: object) -> None:
    """Refuses what is out of range among the settings that attacks have.

    Raises:
        ValueError: the message names the setting and what is accepted.
    """
    for name, (accepts, words) in RANGES.items():
        value = getattr(attack, name, None)
        if value is not None and not accepts(value):
            raise ValueError(f"{name} must be {words}, not {value!r}")


def _counts(x: float) -> bool:
    return 1 <= x < math.inf and x == int(x)
