"""The Square attack: random search that sees scores and no gradient."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from adap_tf.attacks.ascent import ValueAndGrad, better, repeated
from adap_tf.attacks.base import check_settings
from adap_tf.geometry import Ball
from adap_tf.noise import Noise

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries of 10,000 after which the squares' area halves."""

Size = Any  # height and width of a window: two integers or a tensor of two


@dataclass(frozen=True)
class Square:
    """Random search by squares (Andriushchenko et al., 2020); needs scores alone.

    It begins with stripes; each query changes a square of an example, the smaller the later, and what does not raise
    the example's value is taken back. L∞: a square of one colour, at the ball's border. L2: the length of one square
    goes to another, as two bumps of opposite sign. Features without places are squares one high.

    Attributes:
        eps: radius of the ball in units of the image's [0, 1], at least 0.
        queries: looks at each example's scores, at least 1.
        area: share of the image that the first squares cover, in (0, 1].
        norm: "linf" or "l2".
    """

    eps: float = 8 / 255
    queries: int = 1000
    area: float = 0.8
    norm: str = "linf"

    def __post_init__(self) -> None:
        check_settings(self)

    def __call__(
        self, value_and_grad: ValueAndGrad, clean: tf.Tensor, noise: Noise, share: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The perturbed images."""
        ball = Ball(clean, self.eps, self.norm, share)
        # [B, H, W, c]; features are a single line
        layout = (
            clean.shape if clean.shape.rank == 4 else tf.TensorShape([clean.shape[0], 1, math.prod(clean.shape[1:]), 1])
        )
        stripes, squares = (_stripes, _squares) if self.norm == "linf" else (_bumps, _moved_bumps)
        sizes = tf.constant(self.sizes(layout[1], layout[2]))

        def query(number: int | tf.Tensor, x: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            draw = _Draw(noise, number + 1, layout, clean.dtype)
            now = tf.reshape(ball.perturbation(x), layout) / self._radius
            new = self._image(ball, squares(now, tf.gather(sizes, number), draw))
            return better((new, value_and_grad(new)[0]), (x, value))

        x = self._image(ball, stripes(_Draw(noise, 0, layout, clean.dtype)))
        return repeated(self.queries, query, (x, value_and_grad(x)[0]), unrolled=1)[0]

    @property
    def _radius(self) -> float:
        return self.eps or 1.0  # in the ball of radius 0 nothing moves whatever the unit

    def _image(self, ball: Ball, perturbation: tf.Tensor) -> tf.Tensor:
        """The image with a perturbation in units of the radius."""
        return ball.project(ball.near(self.eps * tf.reshape(perturbation, ball.clean.shape)))

    def sizes(self, height: int, width: int) -> np.ndarray:
        """Height and width of each query's square, `[queries, 2]`."""
        found = []
        for query in range(self.queries):
            done = query / self.queries * 10_000
            covered = self.area / 2 ** sum(done > end for end in HALVINGS) * height * width
            side = max(round(math.sqrt(covered)), 1) if height > 1 else max(round(covered), 1)
            if self.norm == "l2":
                side = max(side, 3) | 1  # odd, so that it has a middle
            found.append((min(side, height), min(side, width)))
        return np.array(found, np.int32)


class _Draw:
    """The random numbers of one query: places of windows and signs of channels, for each example."""

    def __init__(self, noise: Noise, number: int | tf.Tensor, layout: tf.TensorShape, dtype: tf.DType):
        self.batch, self.height, self.width, self.channels = layout
        self.noise, self.number, self.dtype = noise, number, dtype
        self.uniform = noise.uniform([self.batch, 5 + self.channels], dtype, number)

    def window(self, which: int, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The rows `[B, H, 1]` and columns `[B, 1, W]` of the images, counted from a window's corner."""
        places = []
        for axis, length in enumerate((self.height, self.width)):
            free = tf.cast(length - size[axis] + 1, self.dtype)
            corner = tf.minimum(tf.floor(self.uniform[:, 2 * which + axis] * free), free - 1)
            places.append(tf.range(length)[None] - tf.cast(corner, tf.int32)[:, None])
        return places[0][:, :, None], places[1][:, None, :]

    @property
    def coin(self) -> tf.Tensor:
        """Yes or no, `[B, 1, 1]`."""
        return self.uniform[:, 4, None, None] > 0.5

    @property
    def signs(self) -> tf.Tensor:
        """A sign for each channel, `[B, 1, 1, c]`."""
        return tf.where(self.uniform[:, None, None, 5:] > 0.5, 1.0, -1.0)

    def all_signs(self, height: int, width: int) -> tf.Tensor:
        """Signs `[B, height, width, c]`."""
        return tf.sign(self.noise.normal([self.batch, height, width, self.channels], self.dtype, self.number))


def _inside(rows: tf.Tensor, columns: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Whether places lie in the window, `[B, H, W]`."""
    return (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)


def _stripes(draw: _Draw) -> tf.Tensor:
    """L∞'s start: each column of each channel up or down as far as the ball goes."""
    return tf.tile(draw.all_signs(1, draw.width), [1, draw.height, 1, 1])


def _squares(now: tf.Tensor, size: tf.Tensor, draw: _Draw) -> tf.Tensor:
    """L∞'s proposal: a window of one colour, all the way up or down."""
    inside = _inside(*draw.window(0, size), size[0], size[1])[..., None]
    return tf.where(inside, tf.ones_like(now) * tf.cast(draw.signs, now.dtype), now)


def _bump(rows: tf.Tensor, columns: tf.Tensor, height: tf.Tensor, width: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """A hill of height Σ 1/m² from its distance to the middle outwards, of length 1: `[B, H, W]`."""
    most = rows.shape[1] + columns.shape[2]
    falling = np.concatenate([[0.0], np.cumsum(1 / np.arange(1.0, most + 1) ** 2)])
    distance = tf.maximum(tf.abs(rows - height // 2), tf.abs(columns - width // 2))
    table = tf.constant(falling, dtype)
    hill = tf.gather(table, tf.maximum(height, width) // 2 + 1) - tf.gather(table, tf.minimum(distance, most))
    return _unit(tf.where(_inside(rows, columns, height, width), hill, tf.zeros_like(hill)), (1, 2))


def _two_bumps(rows: tf.Tensor, columns: tf.Tensor, size: Size, draw: _Draw) -> tf.Tensor:
    """A hill and a valley, above each other or side by side, of length 1: `[B, H, W]`."""
    height, width = size[0], size[1]
    upper, left = height // 2, width // 2
    above = _bump(rows, columns, upper, width, draw.dtype) - _bump(
        rows - upper, columns, height - upper, width, draw.dtype
    )
    beside = _bump(rows, columns, height, left, draw.dtype) - _bump(
        rows, columns - left, height, width - left, draw.dtype
    )
    return _unit(tf.where(draw.coin, beside, above), (1, 2))


def _bumps(draw: _Draw) -> tf.Tensor:
    """L2's start: five rows of bumps, each channel of each up or down."""
    size = tall, wide = max(draw.height // 5, 1), max(draw.width // 5, 1)
    rows, columns = tf.range(draw.height)[None, :, None] % tall, tf.range(draw.width)[None, None] % wide
    signs = draw.all_signs(-(-draw.height // tall), -(-draw.width // wide))
    signs = tf.repeat(tf.repeat(signs, tall, axis=1), wide, axis=2)[:, : draw.height, : draw.width]
    return _unit(_two_bumps(rows, columns, size, draw)[..., None] * signs, (1, 2, 3))


def _moved_bumps(now: tf.Tensor, size: tf.Tensor, draw: _Draw) -> tf.Tensor:
    """L2's proposal: a window gives its length to another, which takes a new bump besides what it was."""
    windows = [draw.window(which, size) for which in (0, 1)]
    taker, giver = (tf.cast(_inside(*window, size[0], size[1]), now.dtype)[..., None] for window in windows)
    unused = tf.nn.relu(1 - tf.reduce_sum(now**2, (1, 2, 3), keepdims=True)) / draw.channels
    available = tf.reduce_sum(now**2 * tf.maximum(taker, giver), (1, 2), keepdims=True) + unused
    bump = _two_bumps(*windows[0], size, draw)[..., None] * tf.cast(draw.signs, now.dtype)
    new = _unit(bump + _unit(now * taker, (1, 2)), (1, 2)) * tf.sqrt(available)
    return _unit(now * (1 - tf.maximum(taker, giver)) + new * taker, (1, 2, 3))


def _unit(x: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    """Of length 1 over those axes, or 0."""
    return tf.math.divide_no_nan(x, tf.sqrt(tf.reduce_sum(x**2, axes, keepdims=True)))
