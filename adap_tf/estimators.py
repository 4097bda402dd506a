"""The only state of the losses: moving averages that stand for sums over the whole training set.

Both are Keras layers without inputs, because a layer's weights reach every checkpoint and follow a
`tf.distribute` strategy. All replicas make the same update from the same gathered numbers, so their copies stay
equal without a reduction (`aggregation="none"`).
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class RowTable(keras.layers.Layer):
    """`u1` and `u2` of eq. 2 for every positive of every task: 8 bytes a row in float32.

    The rows of all tasks lie one after the other in one variable. A row of zeros has not been visited; a visited
    one is never 0, since both numbers are kept at or above `floor`. One spare row takes the examples that are
    no anchors, so that all shapes are static, and stays 0.

    Args:
        positives: number of rows of each task, a sequence of `C` non-negative integers.
        gamma: moving-average rate `γ1` in (0, 1].
        floor: smallest value of `u1` and `u2`, above 0.
        dtype: "float32", or "float64" where the whole computation is.
    """

    def __init__(self, positives: Sequence[int], gamma: float, floor: float, dtype: str = "float32", **kwargs: Any):
        super().__init__(dtype=dtype, trainable=False, **kwargs)
        self.positives = tuple(int(n) for n in positives)
        self.gamma, self.floor = gamma, floor
        self.u = self.add_weight(
            shape=(sum(self.positives) + 1, 2),
            initializer="zeros",
            trainable=False,
            autocast=False,
            aggregation="none",
            name="u",
        )
        self.built = True

    def update(self, row: tf.Tensor, estimate: tf.Tensor) -> tf.Tensor:
        """Moves the rows of a global batch and gives them back.

        A row's first visit sets it to the estimate. A row that stands several times in the batch moves once, by
        the mean of its estimates.

        Args:
            row: `[B, C]` int64, the place among its task's positives, -1 for an example that is no anchor.
            estimate: `[B, C, 2]`, the batch's estimates of eq. 2's two sums.

        Returns:
            `u` after the update, `[B, C, 2]`; 1 where there is no anchor.

        Raises:
            tf.errors.InvalidArgumentError: a row is not in the table; the message names it.
        """
        anchor = tf.reshape(row >= 0, [-1, 1])
        place = self._places(row)
        estimate = _mean_of_repeats(place, tf.reshape(estimate, [-1, 2]))
        old = tf.gather(self.u.value, place)
        moved = tf.where(old > 0, (1 - self.gamma) * old + self.gamma * estimate, estimate)
        moved = tf.maximum(moved, self.floor)
        self.u.value.scatter_update(tf.IndexedSlices(tf.where(anchor, moved, tf.zeros_like(moved)), place))
        return tf.reshape(tf.where(anchor, moved, tf.ones_like(moved)), [*row.shape, 2])

    def visited(self) -> tf.Tensor:
        """Share of the rows that have been visited, a scalar in [0, 1]."""
        seen = tf.reduce_sum(tf.cast(self.u.value[:, 1] > 0, self.compute_dtype))
        return seen / max(sum(self.positives), 1)

    def _places(self, row: tf.Tensor) -> tf.Tensor:
        """Where each example's row lies in the variable, `[B·C]`; the spare row for those that have none."""
        rows, largest = tf.constant(self.positives, tf.int64), tf.reduce_max(row, axis=0)
        message = ["row out of range; the batch's largest by task:", largest, "rows in the table:", rows]
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(largest < rows), message)]):
            first = tf.constant(np.cumsum((0, *self.positives[:-1])), tf.int64)
        return tf.reshape(tf.where(row >= 0, row + first, sum(self.positives)), [-1])


def _mean_of_repeats(place: tf.Tensor, estimate: tf.Tensor) -> tf.Tensor:
    """Gives every entry of `estimate` `[N, 2]` the mean over the entries with the same place `[N]`."""
    order = tf.argsort(place, stable=True)
    ordered = tf.gather(place, order)
    changes = tf.cast(ordered[1:] != ordered[:-1], tf.int32)
    group = tf.gather(tf.concat([[0], tf.cumsum(changes)], 0), tf.argsort(order))
    means = tf.math.unsorted_segment_mean(estimate, group, num_segments=place.shape[0])
    return tf.gather(means, group)


def _unseen(shape: Sequence[int], dtype: str | None = None) -> tf.Tensor:
    """Listwise state before the first batch: `log u2` and `log u3` of 0, and `r` = 0."""
    return tf.repeat(tf.constant([[-np.inf], [-np.inf], [0.0]], dtype), shape[1], axis=1)


class ListwiseState(keras.layers.Layer):
    """The vector of eq. 11 for each task, kept as `log u2`, `log u3` and `r = u1/u2`: any finite score is safe.

    `log u2 = -∞` marks a task that has seen no batch; its first one sets the state.

    Args:
        tasks: number of tasks `C`.
        gamma: moving-average rate `γ2` in (0, 1].
        dtype: "float32", or "float64" where the whole computation is.
    """

    def __init__(self, tasks: int, gamma: float, dtype: str = "float32", **kwargs: Any):
        super().__init__(dtype=dtype, trainable=False, **kwargs)
        self.gamma = gamma
        self.state = self.add_weight(
            shape=(3, tasks),
            initializer=_unseen,
            trainable=False,
            autocast=False,
            aggregation="none",
            name="listwise",
        )
        self.built = True

    def update(self, log_weight: tf.Tensor, s: tf.Tensor, s_adv: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Moves the state by a global batch and gives it back.

        Args:
            log_weight: `[B, C]`, logs of the candidates' weights, -∞ where the label is unknown.
            s: scores of the clean examples, `[B, C]`.
            s_adv: scores of the perturbed ones, `[B, C]`.

        Returns:
            `log u2`, `log u3` and `r`, each `[C]`. A task without a known label in the batch stays as it was.
        """
        log_g2 = tf.reduce_logsumexp(log_weight + s, axis=0)
        log_g3 = tf.reduce_logsumexp(log_weight + s_adv, axis=0)
        share = tf.nn.softmax(log_weight + s, axis=0)
        log_u2, log_u3, r = tf.unstack(self.state.value)
        new_u2, new_u3 = self._average(log_u2, log_g2), self._average(log_u3, log_g3)
        kept = tf.exp(tf.math.log(tf.constant(1 - self.gamma, s.dtype)) + log_u2 - new_u2)
        new_r = kept * r + (1 - kept) * tf.reduce_sum(share * (s - s_adv), axis=0)
        moved = tf.where(log_g2 > -np.inf, tf.stack([new_u2, new_u3, new_r]), self.state.value)
        self.state.assign(moved)
        return tuple(tf.unstack(moved))

    def _average(self, log_old: tf.Tensor, log_new: tf.Tensor) -> tf.Tensor:
        """Log of the moving average, from the logs of the old value and the new estimate."""
        gamma = tf.constant(self.gamma, log_new.dtype)
        mixed = tf.reduce_logsumexp([tf.math.log(1 - gamma) + log_old, tf.math.log(gamma) + log_new], axis=0)
        return tf.where(log_old > -np.inf, mixed, log_new)
