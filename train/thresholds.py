"""Thresholds of an exported network: chosen on validation data, measured on test data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adap_tf.metrics import threshold_at
from train.errors import UsageError
from train.evaluation import Evaluation
from train.settings import Settings
from train.stored import KEPT
from train.subjects import Subject

Level = tuple[str, float]
"""What a threshold is to give, "precision" or "recall", and how much of it."""


def thresholds(subject: Subject, levels: Sequence[Level], test: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """For each level and task, the threshold and what it gives.

    Args:
        subject: the run's network.
        levels: those asked for; if there are none, no data are read.
        test: labels and scores of the test data, `[n, C]`.

    Raises:
        UsageError: the run's data are missing or others, or no threshold reaches a level.
    """
    if not levels:
        return []
    validation = Evaluation(subject.name, subject, None, Settings(threats="clean", split="validation", replicas=1))
    label = validation.examples.label
    scores = validation.evaluator.scores(validation.examples.image, label)["clean"]
    found = []
    for at, level in levels:
        for number, task in enumerate(validation.tasks):
            threshold = _reaching(at, level, task, scores[:, number], label[:, number])
            by_threat = {name: decided(test[name][:, number], test["label"][:, number], threshold) for name in KEPT}
            found.append({"task": task, "at": at, "level": level, "threshold": threshold, **by_threat})
    return found


def _reaching(at: str, level: float, task: str, scores: np.ndarray, label: np.ndarray) -> float:
    """The threshold that gives a level.

    Raises:
        UsageError: there is none.
    """
    try:
        return threshold_at(scores, label, at, level)
    except ValueError as error:
        raise UsageError(
            f"--at-{at}: no threshold gives {level:g} for {task!r} on the validation data: {error}; ask for less"
        ) from None


def decided(scores: np.ndarray, label: np.ndarray, threshold: float) -> dict[str, float | None]:
    """Precision and recall of calling positive what scores at least the threshold; None where nothing is to be counted.

    Args:
        scores: `[n]`.
        label: `[n]`, 1, 0 or NaN for unknown (left out).
        threshold: a logit.
    """
    called, positive = scores >= threshold, label == 1
    right = int((called & positive).sum())
    counts = {"precision": int((called & np.isfinite(label)).sum()), "recall": int(positive.sum())}
    return {name: right / count if count else None for name, count in counts.items()}
