"""The model card: what an exported network is, how good, and against whom, as `model_card.json` holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from adap_tf.attacks import Attack
from adap_tf.methods import METHODS
from adap_tf.metrics import average_precision
from adap_tf.resampling import bootstrap
from train.errors import UsageError
from train.measures import ap_interval
from train.records import Record
from train.settings import Settings
from train.stored import KEPT, damaged
from train.threats import Limits, make_threats

FORMAT = 1
CARD, TEXT = "model_card.json", "model_card.md"  # names of the files, for programs and for people
CONFIDENCE, RESAMPLES = 0.95, 1000
TOLD = ("eps", "steps", "step_size", "norm")  # of an attack


def card(record: Record, input_: Mapping[str, Any], thresholds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the card says.

    Args:
        record: the run.
        input_: what the network takes: `kind`, `shape` and, of features, `columns` and which are `changeable`.
        thresholds: what `thresholds` found.

    Raises:
        UsageError: files of the run are damaged.
    """
    results, config = record.results, record.config
    assert results is not None
    tasks = results["tasks"]
    scores = {**record.scores, **further_scores(record)}
    label = scores.pop("label")
    method = METHODS[config.method]
    fingerprints = record.folder.fingerprints()
    return {
        "format": FORMAT,
        "name": record.name,
        "input": dict(input_),
        "tasks": tasks,
        "data": {
            "name": config.data,
            "splits": results["splits"],
            **({"fingerprints": fingerprints} if fingerprints else {}),
        },
        "prevalence": {task: float(np.nanmean(y, dtype=np.float64)) for task, y in zip(tasks, label.T, strict=True)},
        "method": {
            "name": config.method,
            "hyperparameters": {name: getattr(config, name) for name in sorted(method.hyperparameters)},
        },
        "threat": threats(record, scores),
        "ap": {name: by_task(each, label, tasks) for name, each in scores.items()},
        "confidence": CONFIDENCE,
        "thresholds": [dict(each) for each in thresholds],
        "versions": results["versions"],
    }


def by_task(scores: np.ndarray, label: np.ndarray, tasks: Sequence[str]) -> dict[str, dict[str, float]]:
    """AP of each task, and the ends of its interval.

    Args:
        scores: `[n, C]`.
        label: `[n, C]`, 1, 0 or NaN.
        tasks: their names.
    """
    found = {}
    for task, ap, s, y in zip(tasks, average_precision(scores, label), scores.T, label.T, strict=True):
        low, high = ap_interval(bootstrap({task: s}, y, RESAMPLES)[task], ap, CONFIDENCE)
        found[task] = {"ap": float(ap), "low": low, "high": high}
    return found


def further_scores(record: Record) -> dict[str, np.ndarray]:
    """Scores under what else the run was evaluated, if that was on the test examples, all of them."""
    found = record.evaluated.scores() if record.evaluated else None
    if found is None or not np.array_equal(found["label"], record.scores["label"], equal_nan=True):
        return {}
    return {name: each for name, each in found.items() if name not in record.scores}


def threats(record: Record, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The attack of training, that of evaluation (`pgd`), and those of further threats by their names."""
    config = record.config
    found = {
        "training": None if METHODS[config.method].attack is None else described(config.training_attack),
        "evaluation": described(config.threat),
    }
    further = [name for name in scores if name not in KEPT]
    attacks = further_attacks(record) if further else {}
    return found | {name: attacks[name] for name in further if name in attacks}


def further_attacks(record: Record) -> dict[str, Any]:
    """The attacks of the run's evaluation by threat; the clean data have none, nor has the worst of all threats.

    Raises:
        UsageError: the evaluation is another version's.
    """
    evaluated = record.evaluated
    assert evaluated is not None
    try:
        settings, limits = Settings(**evaluated.settings), Limits(**evaluated.entry["limits"])
    except (TypeError, UsageError):
        raise damaged(evaluated.evaluation.folder / "results.json") from None
    made = make_threats(settings, limits, asdict(record.config), None)
    reach: dict[str, Any] = {name: getattr(limits, name) for name in ("eps_positives", "eps_negatives")}
    if settings.features is not None:
        reach["mask"] = Path(settings.features).name
    attacks: dict[str, Any] = {name: getattr(threat, "attack", threat) for name, threat in made.items() if threat}
    return {name: described(attack, **reach) for name, attack in attacks.items()}


def described(attack: Attack, **reach: Any) -> dict[str, Any]:
    """An attack in numbers; None for what it does not have.

    Args:
        attack: the attack.
        **reach: `eps_positives` and `eps_negatives` where they may differ from ε, and `mask`, the name of the file that
            says what of an image can change, if there is one.
    """
    told = {name: getattr(attack, name, None) for name in TOLD}
    everywhere = {"eps_positives": told["eps"], "eps_negatives": told["eps"], "mask": None}
    return {"attack": type(attack).__name__.lower(), **told, **everywhere, **reach}
