"""What scores say: AP with intervals and at other prevalences, precision at recalls, Theorem 1, budget curves."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from adap_tf.budget import budget_curve
from adap_tf.evaluation import summary
from adap_tf.metrics import mean_average_precision, mean_of_tasks, precision_at_recall, ranking_errors, worst_scores
from adap_tf.resampling import interval
from train.settings import Settings

CLEAN, WORST = "clean", "worst"
Scores = Mapping[str, np.ndarray]


def with_worst(scores: Scores, label: np.ndarray) -> dict[str, np.ndarray]:
    """The scores, and if there are several attacks, for each example and task the worst that any of them found."""
    found = dict(scores)
    if len(set(scores) - {CLEAN}) > 1:
        found[WORST] = worst_scores(list(scores.values()), label)
    return found


def measured(
    scores: Scores, label: np.ndarray, tasks: Sequence[str], samples: Scores, settings: Settings
) -> dict[str, Any]:
    """For each threat, what `results.json` holds of it.

    Args:
        scores: logits `[n, C]` by threat.
        label: `[n, C]`, 0, 1 or NaN.
        tasks: their names.
        samples: bootstrapped AP by threat.
        settings: recalls, prevalences, confidence and the length of the budget curve.
    """
    found = summary(scores, label, tasks)
    for threat, logits in scores.items():
        precisions = precision_at_recall(logits, label, settings.recall_levels)
        found[threat] |= {
            "interval": ap_interval(samples[threat], found[threat]["ap"], settings.confidence),
            "ap_at_prevalence": {
                f"{share:g}": mean_average_precision(logits, label, share) for share in settings.prevalence_levels
            },
            "precision_at_recall": {
                f"{recall:g}": mean_of_tasks(row)
                for recall, row in zip(settings.recall_levels, precisions, strict=True)
            },
            "ties": _ties(logits, label),
        }
        if threat != CLEAN and CLEAN in scores:
            found[threat] |= _compared(scores[CLEAN], logits, label, tasks, settings.budget)
    return found


def _compared(
    clean: np.ndarray, attacked: np.ndarray, label: np.ndarray, tasks: Sequence[str], budget: int
) -> dict[str, Any]:
    """What the clean and the attacked scores say together, by task."""
    found: dict[str, Any] = {"theorem_1": {}, "budget": {}}
    for number, task in enumerate(tasks):
        before, after, y = clean[:, number], attacked[:, number], label[:, number]
        if not ((y == 1).any() and (y == 0).any()):
            continue
        found["theorem_1"][task] = ranking_errors(before, after, y)._asdict()
        curve = budget_curve(before, after, y, budget)
        found["budget"][task] = {
            "ap": curve.ap.tolist(),
            "examples": [
                {
                    "example": int(place),
                    "label": int(y[place]),
                    "clean_score": float(before[place]),
                    "attacked_score": float(after[place]),
                }
                for place in curve.examples
            ],
        }
    return found


def ap_interval(samples: np.ndarray, ap: float, confidence: float) -> list[float]:
    """The interval of an AP from its resamples, within [0, 1]."""
    return [min(max(end, 0.0), 1.0) for end in interval(samples, ap, confidence)]


def _ties(logits: np.ndarray, label: np.ndarray) -> int:
    """How many positives have the very score of a negative, over all tasks; AP then depends on how ties are counted."""
    columns = zip(logits.T, label.T, strict=True)
    return int(sum(np.isin(scores[y == 1], scores[y == 0]).sum() for scores, y in columns))


def differences(
    names: Sequence[str],
    results: Sequence[Mapping[str, Any]],
    samples: Sequence[Scores],
    comparable: Sequence[Collection[str]],
    settings: Settings,
) -> list[dict[str, Any]]:
    """AP of the first run minus that of each other, under each threat, with intervals from paired resamples.

    Args:
        names: of the runs.
        results: what `measured` says of each.
        samples: of each, drawn on the same resamples where the examples are the same.
        comparable: for each, the threats under which it was evaluated as the first was.
        settings: the confidence.
    """
    found = []
    for name, other, other_samples, alike in list(zip(names, results, samples, comparable, strict=True))[1:]:
        for threat in results[0]:
            if threat in alike and threat in other:
                difference = results[0][threat]["ap"] - other[threat]["ap"]
                low, high = interval(samples[0][threat] - other_samples[threat], difference, settings.confidence)
                found.append(
                    {"runs": [names[0], name], "threat": threat, "difference": difference, "interval": [low, high]}
                )
    return found
