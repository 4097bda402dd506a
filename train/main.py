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
from train.errors import UsageError
from train.fields import flag
from train.loop import Training, Watch
from train.options import RUNS, describes, parse
from train.run_folder import RunFolder, write_json
from train.sources import Splits, load_splits
from train.trade_off import write_beside
from train.workers import Workers, make_workers


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
    workers = make_workers(runs[0][0].replicas)
    check_alike([config for config, _ in runs], workers)
    unchanged = workers.of_chief(lambda: checked(runs))
    found = {folder.path: run(config, folder, workers) for config, folder in in_order(runs)}

    def shown() -> None:
        if not unchanged:
            draw(runs)
            if runs[0][1].path.parent == RUNS.resolve():
                write_beside(runs[0][1])
        config, folder = runs[0]
        report([found[folder.path] for _, folder in runs], folder, f"PGD-{config.eval_steps}")

    workers.of_chief(shown)  # and all end together


def check_alike(configs: Sequence[Config], workers: Workers) -> None:
    """Makes sure that all workers were started for the same runs.

    Raises:
        UsageError: they were not.
    """
    of_chief = workers.of_chief(lambda: [config.resolved() for config in configs])
    who = f"worker {workers.index} has another value than worker 0; give the same"
    if len(configs) != len(of_chief):
        raise UsageError(f"--baseline: {who}")
    for own, config in zip(configs, of_chief, strict=True):
        if name := own.differing(config):
            raise UsageError(f"{flag(name)}: {who}")
        if own.skip_nonfinite != config["skip_nonfinite"]:
            raise UsageError(f"--skip-nonfinite: {who}")


def checked(runs: Sequence[tuple[Config, RunFolder]]) -> bool:
    """Whether all runs are finished, and what is drawn of them too.

    Raises:
        UsageError: one cannot go to its folder.
    """
    for config, folder in runs:
        folder.check(config)
    return all(folder.finished() for _, folder in runs) and runs[0][1].pr_curves.exists()


def in_order(runs: Sequence[tuple[Config, RunFolder]]) -> list[tuple[Config, RunFolder]]:
    """The runs, those first whose weights others of them start from."""
    paths = {folder.path for _, folder in runs}
    return sorted(runs, key=lambda run: run[0].init_from is not None and Path(run[0].init_from).resolve() in paths)


def run(config: Config, folder: RunFolder, workers: Workers, watch: Watch = lambda rows: None) -> dict[str, Any]:
    """Trains, selects, evaluates on test data and exports; or reads the results of a run that is finished.

    Args:
        config: the run.
        folder: where it goes.
        workers: that train together.
        watch: as `Training` takes it.

    Raises:
        UsageError: the user's mistake, or numbers that are not finite.
    """
    if (finished := workers.of_chief(folder.finished)) is not None:
        if workers.chief:
            print(f"{folder.path.name} is finished: {folder.path}")
        return finished
    make_deterministic()
    splits = load_splits(config, config.seed, config.train_examples, config.validation_examples)
    report_skipped(splits)
    started = time.perf_counter()
    training = Training(config, splits, folder, workers, watch)
    selected = training.run()
    trained = time.perf_counter()
    network, threats = training.take_best(), {"clean": None, "pgd": config.threat}
    with workers.strategy.scope():
        evaluator = Evaluator(network, threats, seed=config.seed, reach=splits.reach)
    scores = evaluator.scores(splits.test.image, splits.test.label)

    def written() -> dict[str, Any]:
        keep(config, evaluator, scores, splits, folder)
        export_saved_model(keras.models.load_model(folder.best), folder.export, splits.features)
        results = {
            **about(config, splits),
            "selected": {**selected, "epoch": int(selected["epoch"])},
            "test": summary(scores, splits.test.label, splits.tasks),
            "steps_skipped": int(training.history[-1]["steps_skipped"]),
            "versions": versions(),
            "timing": {
                "train_seconds": round(trained - started, 2),
                "evaluate_and_export_seconds": round(time.perf_counter() - trained, 2),
            },
        }
        write_json(folder.results, results)
        return results

    return workers.of_chief(written)


def about(config: Config, splits: Splits) -> dict[str, Any]:
    """What the results say of a run before it starts."""
    return {
        "method": config.method,
        "data": config.data,
        "positive": config.positive,
        "tasks": list(splits.tasks),
        "seed": config.seed,
        "splits": {
            name: {"examples": len(part), "positives": sum(part.positives)} for name, part in splits.parts.items()
        },
        "skipped": len(splits.skipped),
    }


def keep(
    config: Config, evaluator: Evaluator, scores: dict[str, np.ndarray], splits: Splits, folder: RunFolder
) -> None:
    """Writes the columns of a table and the test scores; draws a few images, perturbed against all tasks' labels."""
    if splits.features is not None:
        write_json(folder.features, splits.features.by_name())
    image, label = splits.test.image, splits.test.label
    folder.write_scores(label, scores)
    figures.perturbed_examples(
        evaluator, "pgd", image, label, scores, config.eps, splits.tasks[0], folder.perturbations
    )


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
