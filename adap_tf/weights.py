"""Who counts how much: means over tasks, and the candidates' weights at the batch's or the data's prevalence."""

from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

Prevalence = Literal["batch", "dataset"]
PREVALENCES = ("batch", "dataset")
"""Whose share of positives the ranking terms aim at: the batch's as it is drawn, or the training set's."""


@dataclass(frozen=True)
class Population:
    """How many examples the batches are drawn from.

    Attributes:
        positives: number of positives of each task.
        examples: number of examples of each task whose label is known, `n`; None if nobody said.

    Raises:
        ValueError: a task has more positives than examples.
    """

    positives: tuple[int, ...]
    examples: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.examples is not None and any(p > n for p, n in zip(self.positives, self.examples, strict=True)):
            raise ValueError(f"there are more positives, {self.positives}, than examples, {self.examples}")

    def counts(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """`n₊` and `n` of each task, `[C]`."""
        return tf.constant(self.positives, dtype), tf.constant(self.examples, dtype)


def normalised(weight: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Weights divided by their sum along an axis; where that is 0 they stay 0."""
    return tf.math.divide_no_nan(weight, tf.reduce_sum(weight, axis, keepdims=True))


def task_mean_weights(mask: tf.Tensor) -> tf.Tensor:
    """Weights `[B, C]` of the mean within a task over `mask` (0 or 1), then over the tasks that have any.

    They sum to 1, or to 0 where the mask is empty.
    """
    within = normalised(mask)
    return tf.math.divide_no_nan(within, tf.reduce_sum(within))


def list_weights(label: tf.Tensor, candidate: tf.Tensor, prevalence: str, population: Population) -> tf.Tensor:
    """Weights `[B, C]` of the candidates of each task, which sum to 1: `1/B`, or by the data's prevalence `π = n₊/n`.

    In the latter case the batch's positives share `π`, its negatives `1 - π`; where there are none of either kind,
    the other has all.

    Args:
        label: `[B, C]`, 0 or 1.
        candidate: `[B, C]`, 1 where an example is a candidate, else 0.
        prevalence: one of `PREVALENCES`.
        population: the training set's counts.
    """
    if prevalence == "batch":
        return normalised(candidate)
    positives, examples = population.counts(label.dtype)
    of_positives, of_negatives = normalised(candidate * label), normalised(candidate * (1 - label))
    return normalised(positives * of_positives + (examples - positives) * of_negatives)


def pair_weights(
    label: tf.Tensor, candidate: tf.Tensor, same: tf.Tensor, prevalence: str, population: Population
) -> tf.Tensor:
    """Weights of the candidates as each anchor sees them, `[A, B, C]`, or `[1, B, C]` where all see the same.

    By the data's prevalence an anchor's own pair has the weight `1/n` that it has in the whole data, whether the
    anchor is a candidate or not, and the other positives share `π - 1/n`. (Where anchors are drawn apart, a copy of the
    anchor among the candidates counts as another positive: batches do not say which examples are the same.)

    Args:
        label: `[B, C]`, 0 or 1.
        candidate: `[B, C]`, 1 where an example is a candidate, else 0.
        same: `[A, B]`, 1 where the candidate is the anchor itself.
        prevalence: one of `PREVALENCES`.
        population: the training set's counts.
    """
    if prevalence == "batch":
        return normalised(candidate)[None]
    positives, examples = population.counts(label.dtype)
    same = same[:, :, None]
    others = normalised((1 - same) * candidate * label, axis=1)
    negatives = normalised(candidate * (1 - label))
    return normalised(same + (positives - 1) * others + (examples - positives) * negatives, axis=1)
