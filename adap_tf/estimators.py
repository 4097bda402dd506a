"""The only state of the losses: moving averages that stand for sums over the whole training set.

Both are Keras layers without inputs, because a layer's weights reach every checkpoint and follow a
`tf.distribute` strategy. All replicas make the same update from the same gathered numbers, so their copies stay
equal without a reduction (`aggregation="none"`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from adap_tf.losses import to_mean, top_one
from adap_tf.weights import Population

Start = Literal["first_visit", "zero"]
STARTS = ("first_visit", "zero")
"""Where a moving average begins: at the first batch's estimate, or at 0 as in the authors' code."""

SLICE = 2**20  # rows looked at together: a table may leave no room for a copy of itself


class RowTable(keras.layers.Layer):
    """`u1` and `u2` of eq. 2 for every positive of every task: 8 bytes a row in float32.

    The rows of all tasks lie one after the other in one variable. A row of zeros has not been visited; a visited
    one is never 0, since both numbers are kept at or above their floor. One spare row takes the examples that are
    no anchors, so that all shapes are static, and stays 0.

    Args:
        population: the training set's counts, of `C` tasks.
        gamma: moving-average rate `γ1` in (0, 1].
        self_loss: the pair loss of an anchor with itself, `m²`. Its share `m²/n` of the sums over all data is the
            smallest value of `u1` and `u2`; `1.2e-7 m²` where `n` is not known.
        start: one of `STARTS`.
        dtype: "float32", or "float64" where the whole computation is.
    """

    def __init__(
        self,
        population: Population,
        gamma: float,
        self_loss: float,
        start: Start = "first_visit",
        dtype: str = "float32",
        **kwargs: Any,
    ):
        super().__init__(dtype=dtype, trainable=False, **kwargs)
        self.population, self.gamma, self.start = population, gamma, start
        examples = np.array(population.examples or 1 / np.finfo(np.float32).eps, np.float64)
        self.floor = self_loss / np.broadcast_to(np.maximum(examples, 1), len(population.positives))
        self.rows = sum(population.positives)
        self.u = self.add_weight(
            shape=(self.rows + 1, 2),
            initializer="zeros",
            trainable=False,
            autocast=False,
            aggregation="none",
            name="u",
        )
        self.built = True

    def update(self, row: tf.Tensor, estimate: tf.Tensor, peek: bool = False) -> tf.Tensor:
        """Moves the rows of a global batch and gives them back.

        A row that stands several times in the batch moves once, by the mean of its estimates.

        Args:
            row: `[B, C]` int64, the place among its task's positives, -1 for an example that is no anchor.
            estimate: `[B, C, 2]`, the batch's estimates of eq. 2's two sums.
            peek: whether the table itself stays as it is.

        Returns:
            `u` after the update, `[B, C, 2]`; 1 where there is no anchor.

        Raises:
            tf.errors.InvalidArgumentError: a row is not in the table; the message names it.
        """
        anchor = (row >= 0)[:, :, None]
        place = self._places(row)
        estimate = tf.reshape(_mean_of_repeats(place, tf.reshape(estimate, [-1, 2])), estimate.shape)
        old = tf.reshape(self._drawn(place), estimate.shape)
        moved = (1 - self.gamma) * old + self.gamma * estimate
        if self.start == "first_visit":
            moved = tf.where(old > 0, moved, estimate)
        moved = tf.maximum(moved, tf.constant(self.floor, moved.dtype)[:, None])
        if not peek:
            stored = tf.reshape(tf.where(anchor, moved, tf.zeros_like(moved)), [-1, 2])
            self.u.value.scatter_update(tf.IndexedSlices(stored, place))
        return tf.where(anchor, moved, tf.ones_like(moved))

    def remembered(self, row: tf.Tensor) -> Callable[[], object]:
        """A function that puts the rows `[B, C]` of a batch back to what they are now."""
        place = self._places(row)
        old = self._drawn(place)
        return lambda: self.u.value.scatter_update(tf.IndexedSlices(old, place))

    def _drawn(self, place: tf.Tensor) -> tf.Tensor:
        """The rows at those places. Not by `tf.gather`, which copies all of a variable mirrored on several replicas."""
        return tf.raw_ops.ResourceGather(resource=self.u.value.handle, indices=place, dtype=self.u.dtype)

    def health(self) -> dict[str, float]:
        """What the table says of itself; reads all of it, so not for every step.

        Returns:
            `rows_visited`, the share of rows that have been visited, and `u_ratio`, their mean `u1/u2`: the surrogate
            of AP over the training set as the table has it (0 before the first visit).
        """
        own = tf.distribute.get_strategy().experimental_local_results(self.u.value)[0]
        visited, total = 0, 0.0
        for first in range(0, self.rows, SLICE):
            places = tf.range(first, min(first + SLICE, self.rows), dtype=tf.int64)
            u1, u2 = tf.unstack(tf.gather(own, places), axis=1)
            visited += int(tf.math.count_nonzero(u2))
            total += float(tf.reduce_sum(tf.cast(tf.math.divide_no_nan(u1, u2), tf.float64)))
        return {"rows_visited": visited / max(self.rows, 1), "u_ratio": total / max(visited, 1)}

    def _places(self, row: tf.Tensor) -> tf.Tensor:
        """Where each example's row lies in the variable, `[B·C]`; the spare row for those that have none."""
        counts = self.population.positives
        rows, largest = tf.constant(counts, tf.int64), tf.reduce_max(row, axis=0)
        message = ["row out of range; the batch's largest by task:", largest, "rows in the table:", rows]
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(largest < rows), message)]):
            first = tf.constant(np.cumsum((0, *counts[:-1])), tf.int64)
        return tf.reshape(tf.where(row >= 0, row + first, self.rows), [-1])


def _mean_of_repeats(place: tf.Tensor, estimate: tf.Tensor) -> tf.Tensor:
    """Gives every entry of `estimate` `[N, 2]` the mean over the entries with the same place `[N]`."""
    order = tf.argsort(place, stable=True)
    ordered = tf.gather(place, order)
    changes = tf.cast(ordered[1:] != ordered[:-1], tf.int32)
    group = tf.gather(tf.concat([[0], tf.cumsum(changes)], 0), tf.argsort(order))
    means = tf.math.unsorted_segment_mean(estimate, group, num_segments=place.shape[0])
    return tf.gather(means, group)


class Averages(NamedTuple):
    """The listwise state of two views' lists of scores, `s` and `s'`.

    Attributes:
        log_u: logs of the moving averages of `Σ w e^s` and of the same of `s'`, `[2, C]`: of `u2` and `u3`.
        r: `u1/u2`, the mean of `s - s'` under the top-one probabilities of `s`, `[1, C]`.
        k: what Jensen–Shannon needs, `[2, C]`: the mean of `log(2p/(p+q))` under `p`, and of `log(2q/(p+q))` under `q`.
    """

    log_u: tf.Tensor
    r: tf.Tensor
    k: tf.Tensor


SIZES = Averages(2, 1, 2)
"""Rows that each takes of the state."""


def _unseen(shape: Sequence[int], dtype: str) -> tf.Tensor:
    """Listwise state before the first batch: logs of 0, and means of 0."""
    logs = tf.fill([SIZES.log_u, shape[1]], tf.constant(-np.inf, dtype))
    return tf.concat([logs, tf.zeros([SIZES.r + SIZES.k, shape[1]], dtype)], axis=0)


class ListwiseState(keras.layers.Layer):
    """The vector of eq. 11 for each task, kept as logs and a ratio: any finite score is safe.

    Both views' numbers lie side by side and are computed at once. `log u2 = -∞` marks a task that has seen no batch.

    Args:
        population: the training set's counts, of `C` tasks.
        gamma: moving-average rate `γ2` in (0, 1].
        start: one of `STARTS`.
        dtype: "float32", or "float64" where the whole computation is.
    """

    def __init__(
        self,
        population: Population,
        gamma: float,
        start: Start = "first_visit",
        dtype: str = "float32",
        **kwargs: Any,
    ):
        super().__init__(dtype=dtype, trainable=False, **kwargs)
        self.population, self.gamma, self.start = population, gamma, start
        self.state = self.add_weight(
            shape=(sum(SIZES), len(population.positives)),
            initializer=_unseen,
            trainable=False,
            autocast=False,
            aggregation="none",
            name="listwise",
        )
        self.built = True

    def remembered(self, row: tf.Tensor) -> Callable[[], object]:
        """A function that puts the state back to what it is now, whatever the batch."""
        old = tf.identity(self.state.value)
        return lambda: self.state.assign(old)

    def update(self, log_weight: tf.Tensor, scores: tf.Tensor, peek: bool = False) -> Averages:
        """Moves the state by a global batch and gives it back.

        Args:
            log_weight: `[B, 1, C]`, logs of the candidates' weights, -∞ for examples that are none.
            scores: of both views, `[B, 2, C]`.
            peek: whether the state itself stays as it is.

        Returns:
            The averages after the update. A task without a candidate in the batch stays as it was.
        """
        before = self.state.value
        old = Averages(*tf.split(before, SIZES))
        begun = tf.unstack(old.log_u)[0] > -np.inf
        log_kept = old.log_u + (math.log1p(-self.gamma) if self.gamma < 1 else -math.inf)
        log_g = tf.reduce_logsumexp(log_weight + scores, axis=0)
        log_u = self._moved(begun, _log_sum(log_kept, log_g + math.log(self.gamma)), log_g)

        kept, _ = tf.unstack(tf.exp(log_kept - log_u))
        s, s_adv = tf.unstack(scores, axis=1)
        in_batch, _ = tf.unstack(top_one(log_weight, scores, log_g), axis=1)
        in_batch /= tf.reduce_sum(in_batch, axis=0)  # 1 but for rounding, which large differences would show
        r = kept * old.r + (1 - kept) * tf.reduce_sum(in_batch * (s - s_adv), axis=0)
        mean = tf.reduce_sum(top_one(log_weight, scores, log_u) * to_mean(scores - log_u), axis=0)
        k = self._moved(begun, (1 - self.gamma) * old.k + self.gamma * mean, mean)

        moved = tf.where(tf.unstack(log_g)[0] > -np.inf, tf.concat([log_u, r, k], axis=0), before)
        if not peek:
            self.state.assign(moved)
        return Averages(*tf.split(moved, SIZES))

    def _moved(self, begun: tf.Tensor, average: tf.Tensor, estimate: tf.Tensor) -> tf.Tensor:
        """The moving average, or the estimate for a task that begins with that."""
        return average if self.start == "zero" else tf.where(begun, average, estimate)


def _log_sum(log_a: tf.Tensor, log_b: tf.Tensor) -> tf.Tensor:
    """`log(a + b)` of numbers known by their logs, of which one at least is not 0."""
    return tf.maximum(log_a, log_b) + tf.nn.softplus(-tf.abs(log_a - log_b))
