"""What has to hold of kept runs before anything is said of them."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from adap_tf.methods import HYPERPARAMETERS
from experiments.cells import Entry
from experiments.recorded import evaluations_of
from experiments.study import Study
from experiments.work import check_same, evaluations
from train.config import Config
from train.errors import UsageError
from train.run_folder import RunFolder

OF_METHOD = {"method", "init_from", "sampling", *HYPERPARAMETERS}
"""Fields in which runs differ that compare methods."""


def check_entry(study: Study, entry: Entry) -> None:
    """Makes sure that the runs of an entry that is done are what their names say, and evaluated as the entry asks.

    Raises:
        UsageError: one is not.
    """
    for runs in study.stages(entry):
        check_same(runs)
    for job in evaluations(study, entry):
        if not job.done():
            raise UsageError(f"{job.folder.path}: evaluated with other settings; evaluate it again, or leave it out")


def check_finite(folders: Iterable[RunFolder]) -> None:
    """Makes sure that the APs of those runs that are finished are finite.

    Raises:
        UsageError: one is not.
    """
    for folder in folders:
        if (results := folder.finished()) and not np.isfinite(_aps(folder, results)).all():
            raise UsageError(f"{folder.path}: an AP is not finite; leave that run out")


def _aps(folder: RunFolder, results: dict[str, Any]) -> list[float]:
    """All there are of a run: by epoch, of its test, and of its evaluations with their intervals."""
    told = [run for evaluation in evaluations_of(folder) for run in evaluation["runs"].values()]
    threats = [threat for run in told for threat in run["threats"].values()]
    by_epoch = [row[part] for row in [*folder.history(), results["selected"]] for part in ("robust_ap", "clean_ap")]
    tested = [each["ap"] for each in [*results["test"].values(), *threats]]
    return [*by_epoch, *tested, *(bound for threat in threats for bound in threat["interval"])]


def check_alike(runs: Sequence[RunFolder]) -> None:
    """Makes sure that runs differ in what belongs to their methods alone, so that they can be compared by epoch.

    Raises:
        UsageError: they differ in something else.
    """
    recipes = [_recipe(run) for run in runs]
    for run, recipe in zip(runs, recipes, strict=True):
        if name := next((name for name, value in recipe.items() if value != recipes[0].get(name, value)), None):
            raise UsageError(f"{run.path}: another {name} than in {runs[0].path}; runs are compared by epoch")


def _recipe(run: RunFolder) -> dict[str, Any]:
    """What may change a run's result whatever the method: fields, data, and the epochs that it has."""
    config = run.config_values()
    names = {spec.name: spec.default for spec in fields(Config) if spec.metadata["result"]}
    recipe = {name: config.get(name, default) for name, default in names.items() if name not in OF_METHOD}
    data = {f"{part} data": fingerprint for part, fingerprint in run.fingerprints().items()}
    return {**recipe, **data, "length of metrics.csv": len(run.history())}
