"""Average precision of trained networks under attack: `python train/evaluate.py --help`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: its folder is on the path, and the project's has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import train  # noqa: F401, I001  # before TensorFlow

import contextlib
import itertools
import shutil
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from adap_tf.adversary import EVERYTHING
from train import figures, ranking_figures
from train.command import ended, make_deterministic, versions
from train.describe import report_skipped
from train.errors import UsageError
from train.evaluation import Evaluation
from train.measures import CLEAN, differences
from train.run_folder import replacing, write_json
from train.settings import parse
from train.subjects import Subject, load_subject
from train.workers import make_strategy

OURS = ("figures", "results", "scores", ".part")  # how the names in an evaluation's folder begin
SHOWN = 5  # images of each class in the figure of perturbations


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    return ended(lambda: evaluated_and_reported(arguments), "nothing was written unless its path stands above")


def evaluated_and_reported(arguments: Sequence[str] | None) -> None:
    """All that the command does.

    Raises:
        UsageError: the user's mistake.
    """
    settings, paths, out = parse(arguments)
    make_deterministic()
    with make_strategy(settings.replicas).scope():
        subjects = [load_subject(path) for path in paths]
        attacker = None if settings.attacker is None else load_subject(settings.attacker)
    folder = subjects[0].home / "evaluation" if out is None else Path(out).resolve()
    found = [Evaluation(name, s, attacker, settings) for name, s in zip(names(subjects), subjects, strict=True)]
    with prepared(folder):
        for evaluation in found:
            report_skipped(evaluation.splits)
            evaluation.run()
            report(evaluation)
    comparable = [evaluation.comparable(found[0]) for evaluation in found]
    pairs = differences(
        [each.name for each in found],
        [each.measures for each in found],
        [each.samples for each in found],
        comparable,
        settings,
    )
    report_differences(found, comparable, pairs)
    results = {
        "settings": settings.resolved(),
        "runs": {evaluation.name: evaluation.results() for evaluation in found},
        "differences": pairs,
        "versions": versions(),
        "timing": {evaluation.name: round(evaluation.seconds, 2) for evaluation in found},
    }
    write(found, results, folder)
    print(f"\n{'results':<12}{folder / 'results.json'}", flush=True)
    for evaluation in found:
        draw(evaluation, folder / "figures")
    draw_together(found, folder / "figures")
    print(f"{'figures':<12}{folder / 'figures'}")


def names(subjects: Sequence[Subject]) -> list[str]:
    """The subjects' names, told apart by their parents' or a number where they are the same."""
    found: list[str] = []
    for subject in subjects:
        tries = (subject.name, f"{subject.path.parent.name}-{subject.name}")
        numbered = (f"{subject.name}-{number}" for number in itertools.count(2))
        found.append(next(name for name in itertools.chain(tries, numbered) if name not in found))
    return found


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[None]:
    """Makes the folder; if what follows fails, an empty one goes again.

    Raises:
        UsageError: it cannot be made, or is not one of evaluations.
    """
    try:
        strange = (
            [path.name for path in folder.iterdir() if path.stem.split("-")[0] not in OURS] if folder.exists() else []
        )
        if strange:
            raise UsageError(
                f"--out: {folder} holds {strange[0]} and is no evaluation's; give a new or an empty folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: cannot write {folder}: {error.strerror or error}") from None
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def report(evaluation: Evaluation) -> None:
    """A table of one network, a line a threat, and what speaks against it."""
    settings, label, tasks = evaluation.settings, evaluation.examples.label, evaluation.tasks
    what = "AP" if len(tasks) == 1 else f"mAP over {len(tasks)} tasks"
    print(
        f"\n{evaluation.name}: {settings.split} {what}, {int(np.nansum(label))} positives among {len(label)} examples"
    )
    print(f"ε = {evaluation.limits.eps:.4g} {'in L2' if settings.norm == 'l2' else 'in L∞'}{reach_of(evaluation)}")
    interval = f"{settings.confidence:.0%} interval"
    shares = [f"at {100 * share:g}%" for share in settings.prevalence_levels]
    recalls = [f"P@R{recall:g}" for recall in settings.recall_levels]
    print(f"{'threat':<11}{'AP':>8}  {interval:<17}" + "".join(f"{x:>9}" for x in (*shares, *recalls, "R_rob")))
    for threat, found in evaluation.measures.items():
        low, high = found["interval"]
        errors = found.get("theorem_1") or {}
        robust = [f"{np.mean([each['robust'] for each in errors.values()]):.4f}"] if errors else []
        numbers = [f"{x:.4f}" for x in (*found["ap_at_prevalence"].values(), *found["precision_at_recall"].values())]
        print(
            f"{threat:<11}{found['ap']:>8.4f}  {f'{low:.4f} to {high:.4f}':<17}"
            + "".join(f"{x:>9}" for x in numbers + robust)
        )
    for threat, ap in evaluation.doubled.items():
        print(f"{threat} with twice the steps: {ap:.4f}")
    for note in evaluation.notes:
        print(f"note: {note}")
    for doubt in evaluation.doubts:
        print(f"warning: {doubt.text}")


def reach_of(evaluation: Evaluation) -> str:
    """What the adversary cannot change, in words."""
    reach, words = evaluation.reach, []
    if reach is EVERYTHING:
        return ""
    if min(reach.positives, reach.negatives) < 1:
        words += [f"{name} {getattr(evaluation.limits, f'eps_{name}'):.4g}" for name in ("positives", "negatives")]
    if reach.features is not None:
        words.append(f"{(reach.features > 0).mean():.0%} of the features")
    return f" ({', '.join(words)})"


def report_differences(
    found: Sequence[Evaluation], comparable: Sequence[Collection[str]], pairs: Sequence[dict[str, Any]]
) -> None:
    """A line a pair of runs and threat."""
    if pairs:
        print(f"\nAP of {found[0].name} minus that of")
    for pair in pairs:
        low, high = pair["interval"]
        print(f"{pair['runs'][1]:<28}{pair['threat']:<11}{pair['difference']:>+8.4f}  {low:+.4f} to {high:+.4f}")
    for evaluation, alike in zip(found, comparable, strict=True):
        others = ", ".join(threat for threat in evaluation.measures if threat not in alike)
        if not evaluation.same_examples(found[0]):
            print(f"note: {evaluation.name} has other examples than {found[0].name}: their difference means nothing")
        elif others:
            print(
                f"note: {evaluation.name} was attacked with other settings than {found[0].name} under {others}: "
                "their difference means nothing"
            )


def draw(evaluation: Evaluation, folder: Path) -> None:
    """The figures of one network; of several tasks, those of ranks show the first."""
    scores, label, name = evaluation.scores, evaluation.examples.label, evaluation.name
    figures.precision_recall({name: {"label": label, **scores}}, folder / f"{name}-pr.png", list(scores))
    threat, limits = evaluation.shown_threat, evaluation.limits
    if threat is None or CLEAN not in scores or not evaluation.measures[threat]["budget"]:
        return
    task, curve = next(iter(evaluation.measures[threat]["budget"].items()))
    number = evaluation.tasks.index(task)
    y, clean, attacked = label[:, number], scores[CLEAN][:, number], scores[threat][:, number]
    title = f"{name}, task {task!r}"
    ranking_figures.score_shift(y, clean, attacked, threat, title, folder / f"{name}-shift.png")
    ranking_figures.ranked_list(y, clean, attacked, threat, title, folder / f"{name}-ranked.png")
    damaging = [each["example"] for each in curve["examples"]]
    order = np.array([*damaging, *(place for place in range(len(y)) if place not in set(damaging))])
    shown = np.concatenate([order[y[order] == 1][:SHOWN], order[y[order] == 0][:SHOWN]])
    images = evaluation.examples.image
    perturbed = evaluation.evaluator.attacked(threat, images, label, shown, evaluation.examples.ids)
    figures.perturbations(
        images[shown],
        perturbed,
        clean[shown],
        attacked[shown],
        limits.eps if evaluation.settings.norm == "linf" else None,
        task,
        folder / f"{name}-images.png",
    )


def draw_together(found: Sequence[Evaluation], folder: Path) -> None:
    """The budget curves of all networks and threats, of the first task each."""
    curves = {
        evaluation.name: {
            threat: np.array(next(iter(measures["budget"].values()))["ap"])
            for threat, measures in evaluation.measures.items()
            if measures.get("budget")
        }
        for evaluation in found
    }
    if any(len(curve) > 1 for of_run in curves.values() for curve in of_run.values()):
        ranking_figures.budget_curves(curves, found[0].tasks[0], folder / "budget.png")


def write(found: Sequence[Evaluation], results: dict[str, Any], folder: Path) -> None:
    """Keeps the results, and labels and scores for further analysis, in place of an earlier evaluation's files."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    (folder / "figures").mkdir()
    for evaluation in found:
        path = folder / f"scores-{evaluation.name}.npz"
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, label=evaluation.examples.label, **evaluation.scores)
    write_json(folder / "results.json", results)


if __name__ == "__main__":
    sys.exit(main())
