"""Random changes of training images, each a pure function of the images and of uniform random numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf


class Augmentation(Protocol):
    """What the pipeline asks of an augmentation.

    Attributes:
        draws: uniform numbers that it needs for an image.
    """

    @property
    def draws(self) -> int: ...  # noqa: D102

    def __call__(self, image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Changed images of the same shape and type.

        Args:
            image: `[b, height, width, channels]`.
            uniform: `[b, draws]` in [0, 1).
        """


@dataclass(frozen=True)
class CropAndFlip:
    """Pads with black, cuts out a window of the image's size at random, and mirrors every other one left to right.

    Attributes:
        padding: pixels on each side, at least 0.
    """

    padding: int = 4
    draws = 3

    def __call__(self, image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Every whole shift from -padding to padding is as likely, on either axis; see `Augmentation`."""
        height, width = image.shape[1:3]
        border = [self.padding, self.padding]
        padded = tf.pad(image, [[0, 0], border, border, [0, 0]])
        shift = tf.cast(uniform[:, :2] * (2 * self.padding + 1), tf.int32)
        row = shift[:, :1] + tf.range(height)
        column = tf.range(width)
        column = shift[:, 1:] + tf.where(uniform[:, 2:] < 0.5, column, width - 1 - column)
        return tf.gather(tf.gather(padded, row, axis=1, batch_dims=1), column, axis=2, batch_dims=1)


@dataclass(frozen=True)
class AffineAndFlip:
    """Turns, moves and scales an image at random, and mirrors every other one left to right.

    Colours in between are bilinear; what comes from outside the image is black.

    Attributes:
        degrees: most to turn, either way, at least 0.
        shift: most to move on either axis, as a share of the image's size, at least 0.
        scale: most to enlarge or shrink by, as a share, in [0, 1).
    """

    degrees: float = 15.0
    shift: float = 0.05
    scale: float = 0.05
    draws = 5

    def __call__(self, image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Every angle, shift and scale in its range is as likely; see `Augmentation`."""
        either_way = 2 * uniform - 1
        middle = self.shift * tf.constant([*image.shape[1:3]], tf.float32) * either_way[:, :2]
        scale = 1 + self.scale * either_way[:, 2:3]
        return warped(image, middle, scale, self.degrees * either_way[:, 3], uniform[:, 4] < 0.5)


@dataclass(frozen=True)
class ResizedCrop:
    """Cuts out a window of random area and shape, makes it as large as the image, turns it, and mirrors one in two.

    Attributes:
        area: least share of the image's area, in (0, 1]; the window has from this to all of it.
        aspect: most that the window's width to height differs from the image's, as a factor either way, at least 1.
        degrees: most to turn, either way, at least 0.
    """

    area: float = 0.7
    aspect: float = 4 / 3
    degrees: float = 15.0
    draws = 6

    def __call__(self, image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """Every area and place is as likely, and every aspect on a scale of logarithms; see `Augmentation`."""
        area = self.area + (1 - self.area) * uniform[:, 0]
        stretch = tf.exp((uniform[:, 1] - 0.5) * math.log(self.aspect))
        share = tf.minimum(tf.sqrt(area)[:, None] * tf.stack([1 / stretch, stretch], 1), 1)  # of height and width
        middle = (1 - share) * tf.constant([*image.shape[1:3]], tf.float32) * (uniform[:, 2:4] - 0.5)
        return warped(image, middle, 1 / share, self.degrees * (2 * uniform[:, 4] - 1), uniform[:, 5] < 0.5)


def warped(image: tf.Tensor, middle: tf.Tensor, scale: tf.Tensor, degrees: tf.Tensor, upright: tf.Tensor) -> tf.Tensor:
    """Images with another place in the middle, and about it scaled, turned and mirrored left to right.

    Args:
        image: `[b, height, width, channels]`.
        middle: `[b, 2]`, the place that comes to the middle, in pixels down and to the right from the middle.
        scale: `[b, 2]` or `[b, 1]`, of height and width; above 1 enlarges.
        degrees: `[b]`, to turn counterclockwise.
        upright: `[b]` bool, where an image is not mirrored.

    Returns:
        The same shape and type, bilinear between pixels, 0 outside.
    """
    height, width = image.shape[1:3]
    centre = tf.constant([(height - 1) / 2, (width - 1) / 2])
    cos, sin = tf.cos(degrees * (math.pi / 180)), tf.sin(degrees * (math.pi / 180))
    down, across = 1 / scale[:, 0], tf.where(upright, 1.0, -1.0) / scale[:, -1]
    # the column and the row that a column x and a row y of the result come from, as factors of x, y and 1
    factors = []
    for axis, x, y in ((1, across * cos, -across * sin), (0, down * sin, down * cos)):
        factors += [x, y, centre[axis] + middle[:, axis] - x * centre[1] - y * centre[0]]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image, tf.float32),
        transforms=tf.stack([*factors, tf.zeros_like(cos), tf.zeros_like(cos)], axis=1),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    moved = tf.ensure_shape(moved, image.shape)
    return tf.cast(tf.round(moved), image.dtype) if image.dtype.is_integer else tf.cast(moved, image.dtype)


AUGMENTATIONS: Mapping[str, Augmentation | None] = {
    "none": None,
    "crop_flip": CropAndFlip(),
    "affine_flip": AffineAndFlip(),
    "resized_crop": ResizedCrop(),
}
"""Augmentations by name; the paper has `crop_flip` for CIFAR, `affine_flip` for CelebA, `resized_crop` for BDD100K."""
