"""Average precision, and what belongs to it. Scores are logits; sums that grow with the data are float64."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve


def average_precision(scores: np.ndarray, labels: np.ndarray, prevalence: float | None = None) -> np.ndarray:
    """Average precision of each task, as `sklearn.metrics.average_precision_score` defines it.

    Args:
        scores: `[n, C]`, or `[n]` for one task; the higher, the more positive.
        labels: the same shape: 1 positive, 0 negative, NaN unknown (left out).
        prevalence: share of positives, in (0, 1), that the AP is for: positives and negatives are weighted so that they
            come in this proportion. The data's own if None.

    Returns:
        `[C]` in [0, 1]; NaN for a task without positives.

    Raises:
        ValueError: shapes differ, a score is not finite, a label is neither 0, 1 nor NaN, or the prevalence is not in
            (0, 1).

    >>> average_precision(np.array([3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0])).round(4).tolist()
    [0.8333]
    >>> average_precision(np.array([3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0]), prevalence=0.5).round(4).tolist()
    [0.75]
    """
    scores, labels = columns(scores, labels)
    if prevalence is not None and not 0 < prevalence < 1:
        raise ValueError(f"prevalence must be between 0 and 1, not {prevalence}")
    return np.array([_one_task(s, y, prevalence) for s, y in zip(scores.T, labels.T, strict=True)])


def columns(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels as `[n, C]`, of float64; those of float32 stay, since sorting them takes less time.

    Raises:
        ValueError: shapes differ, a score is not finite, or a label is neither 0, 1 nor NaN.
    """
    arrays = (np.asarray(x) for x in (scores, labels))
    arrays = (x.reshape(len(x), math.prod(x.shape[1:])) for x in arrays)
    scores, labels = (x.astype(np.result_type(x, np.float32), copy=False) for x in arrays)
    if scores.shape != labels.shape:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must have the same shape")
    if not np.isfinite(scores).all():
        raise ValueError(f"the score of example {np.argwhere(~np.isfinite(scores))[0, 0]} is not finite")
    fine = (labels == 0) | (labels == 1) | np.isnan(labels)
    if not fine.all():
        raise ValueError(f"the label of example {np.argwhere(~fine)[0, 0]} is neither 0, 1 nor NaN")
    return scores, labels


def _one_task(scores: np.ndarray, labels: np.ndarray, prevalence: float | None) -> float:
    known = np.isfinite(labels)
    if not known.all():  # a copy of both takes as long as a tenth of the rest
        scores, labels = scores[known], labels[known]
    positive = labels == 1
    if not positive.any():
        return float("nan")
    # scikit-learn's stable sort takes twice as long as this one, and next to no time on scores in this order.
    order = np.argsort(scores)[::-1]
    scores, positive = scores[order], positive[order]
    weight = None
    if prevalence is not None:
        positives = int(positive.sum())
        weight = np.where(positive, prevalence / positives, (1 - prevalence) / max(len(positive) - positives, 1))
    return float(average_precision_score(positive.view(np.int8), scores, sample_weight=weight))


def mean_average_precision(scores: np.ndarray, labels: np.ndarray, prevalence: float | None = None) -> float:
    """Mean of `average_precision` over the tasks that have positives; NaN where none has."""
    return mean_of_tasks(average_precision(scores, labels, prevalence))


def mean_of_tasks(per_task: np.ndarray) -> float:
    """Mean over the tasks that have a value; NaN where none has."""
    return float(np.nanmean(per_task)) if np.isfinite(per_task).any() else float("nan")


def precision_at_recall(scores: np.ndarray, labels: np.ndarray, recalls: Sequence[float]) -> np.ndarray:
    """The highest precision of any threshold that finds at least so many of the positives.

    Args:
        scores: `[n, C]` or `[n]`.
        labels: the same shape: 1, 0 or NaN.
        recalls: shares of the positives, in (0, 1].

    Returns:
        `[recalls, C]`; NaN for a task without positives.

    >>> precision_at_recall(np.array([3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0]), [0.5, 1.0]).round(4).ravel().tolist()
    [1.0, 0.6667]
    """
    scores, labels = columns(scores, labels)
    found = np.full((len(recalls), scores.shape[1]), np.nan)
    for task, (s, y) in enumerate(zip(scores.T, labels.T, strict=True)):
        known = np.isfinite(y)
        if (y[known] == 1).any():
            precision, recall, _ = precision_recall_curve(y[known], s[known])
            found[:, task] = [precision[recall >= wanted - 1e-12].max() for wanted in recalls]
    return found


def threshold_at(scores: np.ndarray, labels: np.ndarray, at: str, level: float) -> float:
    """The threshold of one task that gives a precision or a recall: scores from it on are called positive.

    For a precision it is that of the highest recall among all thresholds whose precision is at least the level; of
    several with that recall, the highest, which calls the fewest negatives positive. For a recall it is the highest
    threshold whose recall is at least the level. So it is always the score of a positive.

    Args:
        scores: `[n]`.
        labels: `[n]`, 1, 0 or NaN for unknown (left out).
        at: "precision" or "recall".
        level: share, in (0, 1].

    Raises:
        ValueError: no threshold reaches the level; the message says what the best one gives.

    >>> threshold_at(np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0]), "precision", 0.6)
    2.0
    """
    scores, labels = (column[:, 0] for column in columns(scores, labels))
    known = np.isfinite(labels)
    precision, recall, thresholds = precision_recall_curve(labels[known] == 1, scores[known])
    reached = {"precision": precision, "recall": recall}[at][:-1]
    fine = reached >= level
    if not fine.any():
        raise ValueError(f"the highest {at} of any threshold is {reached.max():.4f}")
    if at == "precision":
        fine &= recall[:-1] == recall[:-1][fine].max()
    return float(thresholds[fine].max())


def worst_scores(scores: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Each positive at its lowest score and each negative at its highest: ties aside, pointwise threats' worst AP.

    Args:
        scores: `[n, C]` under each threat; the clean ones belong to them.
        labels: `[n, C]`, 1, 0 or NaN.
    """
    stacked = np.stack([np.asarray(s, np.float64) for s in scores])
    return np.where(np.reshape(labels, stacked.shape[1:]) == 1, stacked.min(axis=0), stacked.max(axis=0))


class RankingErrors(NamedTuple):
    """Shares of the positives: ranked below a negative, clean (natural), only once attacked (boundary), or in all."""

    natural: float
    boundary: float
    robust: float


def ranking_errors(clean: np.ndarray, attacked: np.ndarray, labels: np.ndarray) -> RankingErrors:
    """The three errors of Theorem 1, each from its own definition, of one task.

    The definitions ask whether there *is* a perturbation, and no perturbation is one. So a positive counts at the
    lower of its two scores and a negative at the higher; what an attack did not find is missing, and the boundary and
    the robust error are lower bounds.

    Args:
        clean: scores `[n]`.
        attacked: scores `[n]`.
        labels: `[n]`, 1, 0 or NaN (left out).

    Raises:
        ValueError: there is no positive or no negative.
        ArithmeticError: the robust error is not the sum of the other two.

    >>> tuple(ranking_errors(np.array([3.0, 1.0, 0.0]), np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0])))
    (0.0, 0.5, 0.5)
    """
    labels = np.asarray(labels).ravel()
    worst = worst_scores([np.ravel(clean), np.ravel(attacked)], labels)
    positive, negative = labels == 1, labels == 0
    if not (positive.any() and negative.any()):
        raise ValueError("ranking errors need a positive and a negative")
    clean_below = np.ravel(clean)[positive] <= np.ravel(clean)[negative].max()
    ever_below = worst[positive] <= worst[negative].max()
    errors = RankingErrors(
        float(clean_below.mean()), float((~clean_below & ever_below).mean()), float(ever_below.mean())
    )
    if not np.isclose(errors.robust, errors.natural + errors.boundary, rtol=0, atol=1e-12):
        raise ArithmeticError(f"Theorem 1 does not hold: {errors}")
    return errors
