"""Average precision, and what belongs to it. Scores are logits; sums that grow with the data are float64."""

import numpy as np
from sklearn.metrics import average_precision_score


def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each task, as `sklearn.metrics.average_precision_score` defines it.

    Args:
        scores: `[n, C]`, or `[n]` for one task; the higher, the more positive.
        labels: the same shape: 1 positive, 0 negative, NaN unknown (left out).

    Returns:
        `[C]` in [0, 1]; NaN for a task without positives.

    Raises:
        ValueError: shapes differ, or a score is not finite.

    >>> average_precision(np.array([3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0])).round(4).tolist()
    [0.8333]
    """
    scores, labels = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (scores, labels))
    if scores.shape != labels.shape:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must have the same shape")
    if not np.isfinite(scores).all():
        raise ValueError(f"the score of example {np.argwhere(~np.isfinite(scores))[0, 0]} is not finite")
    return np.array([_one_task(s, y) for s, y in zip(scores.T, labels.T, strict=True)])


def _one_task(scores: np.ndarray, labels: np.ndarray) -> float:
    known = np.isfinite(labels)
    if not (labels[known] == 1).any():
        return float("nan")
    return float(average_precision_score(labels[known], scores[known]))


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean of `average_precision` over the tasks that have positives; NaN where none has."""
    per_task = average_precision(scores, labels)
    return float(np.nanmean(per_task)) if np.isfinite(per_task).any() else float("nan")
