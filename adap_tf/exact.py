"""Attacks on the ranking itself: the AP surrogate over a whole data set, and its gradient by every image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from adap_tf import losses
from adap_tf.attacks import as_direction
from adap_tf.data.examples import Examples
from adap_tf.lean import at_rest
from adap_tf.scored import ADVERSARIAL, Scored
from adap_tf.spread import Spread
from adap_tf.terms import CrossEntropy, Gradients, Joint, Term
from adap_tf.weights import Population


@dataclass(frozen=True)
class ExactAveragePrecision(Joint):
    """`P` of all examples at once (eq. 1), without moving averages: exact, and O(n log n) in time, O(n) in memory.

    Every positive is an anchor, every example with a known label a candidate. Sorted scores and their running sums
    give each sum of squared hinges, so no pair is ever formed.

    Attributes:
        view: "clean" or "adversarial".
        margin: `m` of the pair loss, above 0.
        ap_score: what it sees of a logit, a name in `losses.SCORES`.
    """

    view: str = ADVERSARIAL
    margin: float = 0.6
    ap_score: str = "sigmoid"
    name = "P"
    needs_rows = False

    @property
    def views(self) -> tuple[str, ...]:
        """The one view it reads."""
        return (self.view,)

    def estimator(self, population: Population, dtype: str) -> None:
        """None: nothing is estimated."""

    def __call__(self, batch: Scored, estimator: None = None, peek: bool = False) -> tuple[tf.Tensor, Gradients]:
        """Minus the mean `u1/u2`, over the tasks that have positives, and its gradient."""
        h = batch.scores[self.view]
        s, slope = losses.SCORES[self.ap_score](h)
        each = [
            self._one_task(*(tf.cast(x[:, task], tf.float64) for x in (s, batch.label, batch.known)))
            for task in range(s.shape[-1])
        ]
        values, gradients, there = (tf.stack(x, axis=-1) for x in zip(*each, strict=True))
        tasks = tf.maximum(tf.reduce_sum(there), 1)
        gradient = tf.cast(gradients / tasks, h.dtype) * slope
        return tf.cast(tf.reduce_sum(values) / tasks, h.dtype), {self.view: gradient}

    def ascent(self, batch: Scored, estimator: None = None, peek: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """The value and the gradient by the scores; an example whose slopes are all 0 goes against its labels.

        Far scores have a sigmoid without slope, and a network that is sure of itself would seem robust.
        """
        value, slopes = super().ascent(batch, estimator, peek)
        against = CrossEntropy(self.view).ascent(batch)[1]
        return value, tf.where(tf.reduce_all(slopes == 0, axis=-1, keepdims=True), against, slopes)

    def _one_task(self, s: tf.Tensor, label: tf.Tensor, known: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Value, gradient by the scores `[n]`, and 1 if there is a positive, else 0."""
        anchors = tf.reduce_sum(label)
        reach = s - self.margin  # the candidates above it have a loss
        (n_pos, sum_pos, square_pos), (n_all, sum_all, square_all) = (
            _sums_above(s, reach, [w, w * s, w * s * s]) for w in (label, known)
        )
        # Σ (m - s_a + s_j)² and Σ (m - s_a + s_j), by powers of s_j
        u1, u2 = (
            n * reach**2 - 2 * reach * total + squares
            for n, total, squares in ((n_pos, sum_pos, square_pos), (n_all, sum_all, square_all))
        )
        hinge_pos, hinge_all = sum_pos - n_pos * reach, sum_all - n_all * reach
        by_positive, by_all = (tf.math.divide_no_nan(label * x, anchors) for x in (1 / u2, u1 / u2**2))
        toward = 2 * (by_all * hinge_all - by_positive * hinge_pos)
        # a candidate meets the anchors whose reach is below it: those above it, looked at from the other side
        away = [_sums_above(-reach, -s, [w, w * reach]) for w in (by_all, by_positive)]
        met_all, met_positive = (s * total - moment for total, moment in away)
        gradient = 2 * (known * met_all - label * met_positive) - toward
        value = -tf.math.divide_no_nan(tf.reduce_sum(label * u1 / u2), anchors)
        return value, gradient, tf.minimum(anchors, 1)


def _sums_above(s: tf.Tensor, bounds: tf.Tensor, weights: list[tf.Tensor]) -> tf.Tensor:
    """For each bound, the sum of each weight over the scores above it, `[weights, bounds]`."""
    order = tf.argsort(s)
    sums = tf.cumsum(tf.gather(tf.stack(weights), order, axis=1), axis=1, reverse=True)
    sums = tf.pad(sums, [[0, 0], [0, 1]])
    return tf.gather(sums, tf.searchsorted(tf.gather(s, order), bounds, side="right"), axis=1)


class WholeSet:
    """`value_and_grad` of a joint term over a whole data set, whose images are scored a batch on each replica at once.

    Each look takes two passes: the scores of all, and once their slopes are known, the gradient by the images. Of
    several workers each has its own images, and all scores.

    Args:
        network: images to logits `[b, C]`.
        term: what to ascend.
        image: clean images `[m, ...]` in [0, 1], those at the places that `spread` gives, one after another.
        label: `[n, C]`, 0, 1 or NaN for unknown, of all examples.
        spread: who looks at which of them.
        looked: called at the end of every look.
    """

    def __init__(
        self,
        network: Callable[..., tf.Tensor],
        term: Term,
        image: tf.Tensor,
        label: np.ndarray,
        spread: Spread,
        looked: Callable[[], None] = lambda: None,
    ):
        self.network, self.term, self.spread, self.looked = network, term, spread, looked
        examples = Examples(np.zeros(len(label)), label)
        self.label, self.row = tf.constant(examples.label), tf.constant(examples.rows)
        self.places = spread.places(len(label))
        self.estimator = term.estimator(Population(examples.positives, examples.known), "float32")
        self._score = tf.function(lambda x: network(x, training=False))
        self._differentiate = tf.function(self._gradient)
        others = set(term.views) - {ADVERSARIAL}
        self.still = dict.fromkeys(others, self._scores(image)) if others else {}

    def __call__(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The term's value for every image `[m]`, and the gradient by the images."""
        batch = Scored.of({**self.still, ADVERSARIAL: self._scores(image)}, self.label, self.row)
        values, slopes = self.term.ascent(batch, self.estimator, peek=True)
        at = self.places.ravel()
        rounds = self._rounds(self._differentiate, image, tf.gather(as_direction(slopes), at))
        self.looked()
        return tf.gather(values, at), tf.concat([part for parts in rounds for part in parts], axis=0)

    def _scores(self, image: tf.Tensor) -> tf.Tensor:
        """Of all examples, `[n, C]`."""
        return tf.constant(self.spread.joined(self._rounds(self._score, image), len(self.label)))

    def _gradient(self, image: tf.Tensor, slopes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            scores = at_rest(self.network)(image)
        return tape.gradient(scores, image, output_gradients=slopes)

    def _rounds(self, function: Any, *arrays: tf.Tensor) -> list[list[tf.Tensor]]:
        """What a function finds of arrays `[m, ...]`, by round and replica."""
        _, own, size = self.places.shape
        split = [tf.unstack(tf.reshape(array, [-1, size, *array.shape[1:]])) for array in arrays]
        firsts = range(0, len(split[0]), own)
        return [self.spread(function, *(batches[first : first + own] for batches in split)) for first in firsts]
