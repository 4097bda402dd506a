"""What the files of runs say of how they came about: settings, hours and versions in words, searches as rows."""

from collections.abc import Sequence
from typing import Any

from adap_tf.methods import METHODS
from experiments.cells import ALL, Cell
from experiments.scales import Values
from experiments.sheet import NONE
from experiments.store import Run
from experiments.study import Study
from train.evaluated import read_evaluation
from train.loop import SELECTED_BY
from train.run_folder import RunFolder

Searched = tuple[str, str, Values, Run]
"""Task, the paper's name of the method, the point of its grid, and the run."""

COLUMNS = ("task", "method", "λ", "validation robust", "validation clean", "epoch", "minutes since its last start", "")


def searches(study: Study, cells: Sequence[Cell]) -> list[Searched]:
    """The searched runs that are over."""
    pairs = dict.fromkeys((task, cell.method) for cell in cells for task in study.tasks(cell))
    return [
        (task, name, values, run)
        for task, name in pairs
        for values, runs in zip(study.points(ALL[name]), study.search(task, ALL[name]), strict=True)
        for run in runs
        if run.over
    ]


def rows(study: Study, found: Sequence[Searched]) -> list[list[str]]:
    """A row a searched run, header first."""
    return [[*COLUMNS], *(_row(study, *each) for each in found)]


def _row(study: Study, task: str, name: str, values: Values, run: Run) -> list[str]:
    start = [f"{run.config.data}, {run.config.positive}", name, f"{values['lam']:g}" if "lam" in values else NONE]
    if (results := run.folder.finished()) is None:
        return [*start, *[NONE] * 4, "given up"]
    of_epoch, method = results["selected"], ALL[name]
    aps = [f"{of_epoch[ap]:.4f}" for ap in ("robust_ap", "clean_ap")]
    by = SELECTED_BY[METHODS[method].selection].removesuffix("_ap")
    chosen = study.is_searched(task, method) and values == study.chosen(task, method)
    minutes = f"{results['timing']['train_seconds'] / 60:.1f}"
    return [*start, *aps, str(of_epoch["epoch"]), minutes, f"selected, by {by} AP" if chosen else ""]


def settings(folders: Sequence[RunFolder]) -> list[str]:
    """The data and the recipes of finished runs, as far as their methods have no part in them, each once."""
    return list(dict.fromkeys(_setting(folder) for folder in folders if folder.finished()))


def _setting(folder: RunFolder) -> str:
    config, parts = folder.config_values(), folder.of_finished()["splits"]
    images = ", ".join(f"{name} {each['examples']:,} ({each['positives']:,})" for name, each in parts.items())
    steps = parts["train"]["examples"] // config["batch_size"]
    recipe = f"{config['backbone']}, {config['precision']}, {config['epochs']} epochs of {steps:,} steps"
    return f"Images of {config['data']} (positives): {images}. Network {recipe}, a batch of {config['batch_size']}."


def hours(folders: Sequence[RunFolder]) -> str:
    """How many runs there are, and how long they took."""
    finished = [results for folder in folders if (results := folder.finished())]
    trained = sum(results["timing"]["train_seconds"] for results in finished)
    evaluations = [each for folder in folders for each in evaluations_of(folder)]
    evaluated = sum(sum(found.get("timing", {}).values()) for found in evaluations)
    told = f"{len(finished)} runs: {trained / 3600:.1f} hours of training, validation included"
    more = f", and {evaluated / 3600:.1f} hours of evaluation" if evaluations else ""
    return f"{told}{more}, each since its last start; what was interrupted took longer."


def evaluations_of(folder: RunFolder) -> list[dict[str, Any]]:
    """The evaluations of a run: of its selected network, and of its last one.

    Raises:
        UsageError: one is damaged.
    """
    return [read_evaluation(path.parent).results for path in sorted(folder.path.glob("**/evaluation/results.json"))]


def versions(folders: Sequence[RunFolder]) -> str:
    """The versions that the runs were made with; the files say nothing of the machine or the commit."""
    found = [results["versions"] for folder in folders if (results := folder.finished())]
    several = dict.fromkeys(", ".join(f"{name} {number}" for name, number in each.items()) for each in found)
    return f"Versions: {'; '.join(several)}. The files do not say which machine and which commit."
