"""A batch as the terms see it: scores, labels and rows, of all replicas."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import tensorflow as tf

from adap_tf.replicas import ALONE, Replicas
from adap_tf.weights import task_mean_weights

CLEAN, ADVERSARIAL = "clean", "adversarial"

FLAG = tf.float16
"""The smallest type that can be gathered and has 0, 1 and NaN."""


@dataclass(frozen=True)
class Scored:
    """A global batch as the terms see it.

    Attributes:
        scores: logits `[B, C]` by view, "clean" or "adversarial".
        label: `[B, C]`, 1 positive, 0 negative or unknown.
        known: `[B, C]`, 1 where the label is known, else 0.
        candidate: `[B, C]`, 1 where the label is known and the example is not there as an anchor alone.
        row: `[B, C]` int64, the place of an anchor among its task's positives, -1 for all other examples.
        replicas: the replicas that hold the batch.
    """

    scores: Mapping[str, tf.Tensor]
    label: tf.Tensor
    known: tf.Tensor
    candidate: tf.Tensor
    row: tf.Tensor
    replicas: Replicas = ALONE

    @classmethod
    def of(
        cls,
        scores: Mapping[str, tf.Tensor],
        label: tf.Tensor,
        row: tf.Tensor | None = None,
        candidate: tf.Tensor | None = None,
        replicas: Replicas = ALONE,
    ) -> "Scored":
        """From one replica's part of the batch; gathers the rest. The scores can come later: `with_scores`.

        Args:
            scores: logits `[b, C]` by view.
            label: `[b, C]`, 0, 1 or NaN for unknown.
            row: `[b, C]` int64; without it there are no anchors.
            candidate: `[b]`, 1 where the example is a candidate, else 0; without it all are.
            replicas: the replicas that hold the batch.
        """
        label = replicas.gather(tf.cast(label, FLAG))
        known = tf.cast(tf.math.is_finite(label), FLAG)
        compared = known if candidate is None else known * replicas.gather(tf.cast(candidate, FLAG))[:, None]
        row = tf.fill(label.shape, tf.constant(-1, tf.int64)) if row is None else replicas.gather(row)
        batch = cls({}, tf.where(known > 0, label, tf.zeros_like(label)), known, compared, row, replicas)
        return batch.with_scores(scores)

    def alone(self) -> "Scored":
        """The same batch with nobody else there: what is computed from it needs no more words of other replicas."""
        return replace(self, replicas=ALONE)

    def with_scores(self, scores: Mapping[str, tf.Tensor]) -> "Scored":
        """The same batch with more scores, or others in their place: logits `[b, C]` of this replica by view."""
        found = {**self.scores, **{view: self.replicas.gather(h) for view, h in scores.items()}}
        dtype = next(iter(found.values()), self.label).dtype
        label, known, candidate = (tf.cast(x, dtype) for x in (self.label, self.known, self.candidate))
        return replace(self, scores=found, label=label, known=known, candidate=candidate)

    def mean(self, value: tf.Tensor) -> tf.Tensor:
        """Mean within each task over its candidates, then over the tasks that have any: `[B, C]` to a scalar."""
        return tf.reduce_sum(value * task_mean_weights(self.candidate))
