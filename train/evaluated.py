"""Evaluations on disk, as `train/evaluate.py` writes them, and which of them speaks of which run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from train.stored import ANY, NUMBER, damaged, fits, read_arrays, read_json


def _is_interval(value: Any) -> bool:
    return fits(value, [NUMBER]) and len(value) == 2


def _is_pair(value: Any) -> bool:
    return fits(value, [str]) and len(value) == 2


def _is_curve(value: Any) -> bool:
    return fits(value, [NUMBER]) and len(value) > 0


def _is_measured(value: Any) -> bool:
    """Whether this is what was found under a threat, with or without what only attacks or several tasks have."""
    return fits(value, MEASURED) and all(fits(value.get(name, {}), shape) for name, shape in OPTIONAL.items())


MEASURED = {
    "ap": NUMBER,
    "interval": _is_interval,
    "ap_at_prevalence": {ANY: NUMBER},
    "precision_at_recall": {ANY: NUMBER},
}
OPTIONAL = {
    "ap_by_task": {ANY: NUMBER},
    "theorem_1": {ANY: {"robust": NUMBER}},
    "budget": {ANY: {"ap": _is_curve}},
}
RUN = {
    "path": str,
    "tasks": [str],
    "limits": {ANY: (int, float, str)},
    "threats": {ANY: _is_measured},
    "twice_the_steps": {ANY: NUMBER},
    "warnings": [{"text": str}],
    "notes": [str],
}
EVALUATION = {
    "settings": {"confidence": NUMBER, "split": str, "norm": str},
    "runs": {ANY: RUN},
    "differences": [{"runs": _is_pair, "threat": str, "difference": NUMBER, "interval": _is_interval}],
    "versions": {ANY: str},
}
"""What a report reads of an evaluation's `results.json`."""


@dataclass(frozen=True, eq=False)
class Stored:
    """An evaluation of one or several networks.

    Attributes:
        folder: where it lies.
        results: its `results.json`.
        paths: of the networks, by the names that they have in it.
    """

    folder: Path
    results: dict[str, Any]
    paths: Mapping[str, Path]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What an evaluation says of one run.

    Attributes:
        evaluation: the evaluation.
        name: what the run is called in it.
    """

    evaluation: Stored
    name: str

    @property
    def entry(self) -> dict[str, Any]:
        """The run's part of the results."""
        return self.evaluation.results["runs"][self.name]

    @property
    def settings(self) -> dict[str, Any]:
        """How it was evaluated."""
        return self.evaluation.results["settings"]

    def scores(self) -> dict[str, np.ndarray] | None:
        """Labels and the scores under each threat, None if they were taken away.

        Raises:
            UsageError: they are damaged.
        """
        path = self.evaluation.folder / f"scores-{self.name}.npz"
        if not path.exists():
            return None
        found = read_arrays(path)
        if not set(found) >= set(self.entry["threats"]):
            raise damaged(path)
        return found


def read_evaluation(folder: Path) -> Stored:
    """An evaluation.

    Args:
        folder: where it lies; if that is a run's, the run may have been moved since with all that lay beside it.

    Raises:
        UsageError: it is missing or damaged.
    """
    results = read_json(folder / "results.json", EVALUATION)
    paths = {name: Path(entry["path"]) for name, entry in results["runs"].items()}
    home = folder.parent
    if paths and not any(home in (path, *path.parents) for path in paths.values()):
        first = next(iter(paths.values()))
        if first.name == home.name:
            paths = {name: Path(os.path.normpath(home / os.path.relpath(p, first))) for name, p in paths.items()}
    return Stored(folder, results, paths)


def choose(evaluations: Sequence[Stored], runs: Sequence[Path]) -> dict[Path, Evaluated]:
    """For each run the evaluation to report, that which speaks of most of the runs, so that they can be compared.

    Args:
        evaluations: those there are; of equals, the first is taken.
        runs: folders of the runs.
    """
    found: dict[Path, Evaluated] = {}
    spoken_of = [(evaluation, names_in(evaluation, runs)) for evaluation in evaluations]
    for evaluation, names in sorted(spoken_of, key=lambda pair: -len(pair[1])):
        for run, name in names.items():
            found.setdefault(run, Evaluated(evaluation, name))
    return found


def names_in(evaluation: Stored, runs: Sequence[Path]) -> dict[Path, str]:
    """What those of the runs are called that an evaluation speaks of: by their folders, or by a network in these."""
    found = {}
    for run in runs:
        names = [name for name, path in evaluation.paths.items() if run in (path, *path.parents)]
        if names:
            found[run] = next((name for name in names if evaluation.paths[name] == run), names[0])
    return found
