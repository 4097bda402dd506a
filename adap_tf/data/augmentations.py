"""Random changes of training images, each a pure function of the images and of uniform random numbers."""

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


AUGMENTATIONS: Mapping[str, Augmentation | None] = {"none": None, "crop_flip": CropAndFlip()}
"""Augmentations by name: `crop_flip` is the paper's for CIFAR."""
