"""Trains, evaluates, exports and draws: `python train/main.py --help`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: its folder is on the path, and the project's has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import train  # noqa: F401, I001  # before TensorFlow

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from adap_tf import Evaluator, export_saved_model
from adap_tf.evaluation import summary
from train import figures
from train.command import ended, make_deterministic, versions
from train.config import Config
from train.describe import describe, report_skipped
from train.loop import Training
from train.options import describes, parse
from train.run_folder import RunFolder, write_json
from train.sources import Splits, load_splits

SHOWN = 5  # images of each class in the figure of perturbations


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    return ended(lambda: trained_and_reported(arguments), "the same command goes on from here")


def trained_and_reported(arguments: Sequence[str] | None) -> None:
    """All that the command does.

    Raises:
        UsageError: the user's mistake, or numbers that are not finite.
    """
    runs = [(config, RunFolder(path)) for config, path in parse(arguments)]
    if describes(arguments):
        return describe(*runs[0])
    for config, folder in runs:
        folder.check(config)
    unchanged = all(folder.finished() for _, folder in runs) and runs[0][1].pr_curves.exists()
    found = {folder.path: run(config, folder) for config, folder in in_order(runs)}
    if not unchanged:
        draw(runs)
    config, folder = runs[0]
    report([found[folder.path] for _, folder in runs], folder, f"PGD-{config.eval_steps}")


def in_order(runs: Sequence[tuple[Config, RunFolder]]) -> list[tuple[Config, RunFolder]]:
    """The runs, those first whose weights others of them start from."""
    paths = {folder.path for _, folder in runs}
    return sorted(runs, key=lambda run: run[0].init_from is not None and Path(run[0].init_from).resolve() in paths)


def run(config: Config, folder: RunFolder) -> dict[str, Any]:
    """Trains, selects, evaluates on test data and exports; or reads the results of a run that is finished.

    Raises:
        UsageError: the user's mistake, or numbers that are not finite.
    """
    if (finished := folder.finished()) is not None:
        print(f"{folder.path.name} is finished: {folder.path}")
        return finished
    make_deterministic()
    splits = load_splits(config, config.seed, config.train_examples, config.validation_examples)
    report_skipped(splits)
    started = time.perf_counter()
    training = Training(config, splits, folder)
    if splits.features is not None:
        write_json(folder.features, splits.features.by_name())
    selected = training.run()
    trained = time.perf_counter()
    with training.strategy.scope():
        network = keras.models.load_model(folder.best)
        test = evaluate(config, network, splits, folder)
    export_saved_model(network, folder.export)
    timing = {
        "train_seconds": trained - started,
        "evaluate_and_export_seconds": time.perf_counter() - trained,
    }
    results = {
        "method": config.method,
        "data": config.data,
        "positive": config.positive,
        "tasks": list(splits.tasks),
        "seed": config.seed,
        "selected": {**selected, "epoch": int(selected["epoch"])},
        "test": test,
        "splits": {
            name: {"examples": len(part), "positives": sum(part.positives)} for name, part in splits.parts.items()
        },
        "skipped": len(splits.skipped),
        "versions": versions(),
        "timing": {name: round(seconds, 2) for name, seconds in timing.items()},
    }
    write_json(folder.results, results)
    return results


def evaluate(config: Config, network: keras.Model, splits: Splits, folder: RunFolder) -> dict[str, Any]:
    """Test AP, clean and under attack; keeps the scores and draws a few images, perturbed against all tasks' labels."""
    evaluator = Evaluator(network, {"clean": None, "pgd": config.threat}, seed=config.seed, reach=splits.reach)
    image, label = splits.test.image, splits.test.label
    scores = evaluator.scores(image, label)
    folder.write_scores(label, scores)
    positive = label[:, 0] == 1
    shown = np.concatenate([np.flatnonzero(positive)[:SHOWN], np.flatnonzero(~positive)[:SHOWN]])
    attacked = evaluator.attacked("pgd", image, label, shown)
    before, after = (scores[threat][shown, 0] for threat in ("clean", "pgd"))
    figures.perturbations(image[shown], attacked, before, after, config.eps, splits.tasks[0], folder.perturbations)
    return summary(scores, label, splits.tasks)


def draw(runs: Sequence[tuple[Config, RunFolder]]) -> None:
    """The figures that put the runs beside each other, in the first one's folder."""
    target = runs[0][1]
    figures.training_curves({config.method: folder.history() for config, folder in runs}, target.training_curves)
    figures.precision_recall({config.method: folder.read_scores() for config, folder in runs}, target.pr_curves)


def report(results: Sequence[dict[str, Any]], folder: RunFolder, threat: str) -> None:
    """The table of test AP, and where everything lies."""
    counts, tasks = results[0]["test"]["clean"], results[0]["tasks"]
    what = "AP" if len(tasks) == 1 else f"mAP over {len(tasks)} tasks"
    print(f"\nTest {what}, {counts['positives']} positives among {counts['examples']} examples")
    print(f"{'method':<12}{'clean':>8}{threat:>8}{'epoch':>8}")
    for result in results:
        clean, attacked = (result["test"][name]["ap"] for name in ("clean", "pgd"))
        print(f"{result['method']:<12}{clean:>8.4f}{attacked:>8.4f}{result['selected']['epoch']:>8}")
    print(f"(constant scores give {counts['positives'] / counts['examples'] / len(tasks):.4f})\n")
    if len(tasks) > 1:
        print(f"{results[0]['method']} by task")
        for task in tasks:
            clean, attacked = (results[0]["test"][name]["ap_by_task"][task] for name in ("clean", "pgd"))
            print(f"{task:<12}{clean:>8.4f}{attacked:>8.4f}")
        print()
    for what, path in (
        ("results", folder.results),
        ("figures", folder.figures),
        ("SavedModel", folder.export),
        ("TensorBoard", f"tensorboard --logdir {folder.path.parent}"),
    ):
        print(f"{what:<12}{path}")


if __name__ == "__main__":
    sys.exit(main())
