"""Labelled examples, and where each positive stands in the estimators' table."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from adap_tf.data.images import Array, Images, taken

BAD_LABELS = "labels must be 0 for a negative (not -1), 1 for a positive or NaN for unknown"


@dataclass(frozen=True)
class Examples:
    """Images or features with binary labels.

    Attributes:
        image: `[n, ...]`, float in [0, 1] or uint8 in 0…255: an array, or `Images` that stay on disk.
        label: `[n, C]` for `C` tasks, or `[n]` for one: 1 positive, 0 negative, NaN unknown.
        ids: `[n]` int64, a number that stays with each example; its place if not given.

    Raises:
        ValueError: lengths differ, images lie outside their range, or labels are neither 0, 1 nor NaN.

    >>> examples = Examples(np.zeros((3, 8, 8, 1)), np.array([[1, 0], [0, np.nan], [1, 1]]))
    >>> examples.positives, examples.known
    ((2, 1), (3, 2))
    >>> examples.rows.tolist()
    [[0, -1], [-1, -1], [1, 0]]
    """

    image: Array
    label: np.ndarray
    ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        image = self.image if isinstance(self.image, Images) else np.asarray(self.image)
        label = np.asarray(self.label, np.float32)
        if len(image) != len(label) or not len(image):
            raise ValueError(f"{len(image)} images and {len(label)} labels: their numbers must be equal and above 0")
        label = label.reshape(len(label), -1)
        if not (np.isnan(label) | (label == 0) | (label == 1)).all():
            raise ValueError(BAD_LABELS)
        if isinstance(image, np.ndarray) and image.dtype != np.uint8:
            image = image.astype(np.float64 if image.dtype == np.float64 else np.float32)
            if not (image.min() >= 0 and image.max() <= 1):
                raise ValueError(
                    "images must be floats in [0, 1] or uint8 in 0…255; they lie outside, or are not finite"
                )
        object.__setattr__(self, "image", image)
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "ids", np.arange(len(image)) if self.ids is None else np.asarray(self.ids, np.int64))

    def __len__(self) -> int:
        return len(self.image)

    @property
    def positives(self) -> tuple[int, ...]:
        """Number of positives of each task."""
        return tuple(int(n) for n in (self.label == 1).sum(axis=0))

    @property
    def known(self) -> tuple[int, ...]:
        """Number of examples with a known label, of each task."""
        return tuple(int(n) for n in np.isfinite(self.label).sum(axis=0))

    @property
    def rows(self) -> np.ndarray:
        """`[n, C]` int64: the place of each positive among its task's positives, -1 for all others."""
        positive = self.label == 1
        return np.where(positive, np.cumsum(positive, axis=0) - 1, -1)

    def take(self, indices: np.ndarray) -> "Examples":
        """The examples at those places."""
        return Examples(taken(self.image, indices), self.label[indices], np.asarray(self.ids)[indices])


def as_unit_range(image: tf.Tensor) -> tf.Tensor:
    """Images as floats in [0, 1]: uint8 is divided by 255, and in less than 32 bits a ball would have no exact edge."""
    wide = image if image.dtype.size >= 4 else tf.cast(image, tf.float32)
    return wide / 255 if image.dtype == tf.uint8 else wide


def checked_labels(label: tf.Tensor) -> tf.Tensor:
    """The labels, float and unchanged.

    Raises:
        tf.errors.InvalidArgumentError: some are neither 0, 1 nor NaN.
    """
    fine = tf.reduce_all(tf.math.is_nan(label) | (label == 0) | (label == 1))
    with tf.control_dependencies([tf.debugging.Assert(fine, [BAD_LABELS])]):
        return tf.identity(label)
