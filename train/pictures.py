"""The figures of a report, by the functions that draw them for a run and for an evaluation."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from train import figures, ranking_figures
from train.parts import NOTHING, Cell, Picture, Section, Table, in_legend, number, picture, printable
from train.records import CLEAN, PGD, Record
from train.trade_off import SOURCES, Point, difference, front, points_of

SHOWN = 8  # tasks with a budget curve of their own


def with_intervals(records: Sequence[Record]) -> Picture:
    """AP under each threat with its interval, of all runs that have any."""
    runs = {
        in_legend(record.name): {
            printable(threat): (found["ap"], *found["interval"]) for threat, found in record.measures.items()
        }
        for record in records
        if record.measures
    }
    draw = partial(ranking_figures.intervals, runs)
    alt = f"A row for each threat, a point and a line for each run: {', '.join(runs)}. The table below has the numbers."
    return picture(draw, "intervals", "AP under each threat, with its interval.", alt)


def learning_curves(records: Sequence[Record]) -> Section | None:
    """Validation AP and objective by epoch; None before the first epoch of any."""
    histories = {in_legend(record.name): record.history for record in records if record.history}
    if not histories:
        return None
    last = "; ".join(
        f"{name}, epoch {rows[-1]['epoch']:.0f}: clean {rows[-1]['clean_ap']:.4f}, robust {rows[-1]['robust_ap']:.4f}"
        for name, rows in histories.items()
    )
    caption = "Left, AP of the validation data, clean and attacked; right, the objective, each method's own."
    drawn = picture(partial(figures.training_curves, histories), "training", caption, f"At the end {last}.")
    return Section("training", "Learning curves", (), [drawn])


def precision_recall(records: Sequence[Record]) -> Section | None:
    """Precision against recall: of all finished runs, and of each evaluated one under all of its threats."""
    finished = {in_legend(record.name): record.scores for record in records if record.results is not None}
    parts = []
    if finished:
        caption = "Test data of each run, clean and under the PGD of its own evaluation (the run's scores.npz)."
        parts.append(picture(partial(figures.precision_recall, finished), "pr", caption, _aps(records)))
    for place, record in enumerate(records):
        scores = record.evaluated.scores() if record.evaluated is not None else None
        if scores is not None:
            draw = partial(figures.precision_recall, {in_legend(record.name): scores}, threats=list(record.measures))
            caption = f"{record.name} under every threat ({record.source})."
            parts.append(picture(draw, f"pr-{place}", caption, _aps([record])))
    return Section("precision-recall", "Precision and recall", (), parts) if parts else None


def _aps(records: Sequence[Record]) -> str:
    """The areas under the curves, in words."""
    texts = [
        f"{record.name}, {threat}: AP {found['ap']:.4f}"
        for record in records
        for threat, found in record.measures.items()
    ]
    return f"A curve for each run and threat. {'; '.join(texts)}."


def budgets(records: Sequence[Record]) -> Section | None:
    """How AP falls when the most damaging examples are attacked, a figure a task; None if nothing was attacked."""
    tasks = list(dict.fromkeys(task for record in records for task in record.tasks))
    drawn = [_budget(records, task, place) for place, task in enumerate(tasks[:SHOWN])]
    there = [each for each in drawn if each is not None]
    if not there:
        return None
    text = ["AP when an adversary may attack only the k examples whose attack lowers it most, chosen one by one."]
    if len(tasks) > SHOWN:
        text.append(f"The first {SHOWN} of {len(tasks)} tasks; the evaluation's results.json has all.")
    return Section("budget", "Budget curves", text, there)


def _budget(records: Sequence[Record], task: str, place: int) -> Picture | None:
    curves: dict[str, dict[str, Any]] = {}
    for record in records:
        of_run = {
            threat: np.array(found["budget"][task]["ap"])
            for threat, found in record.measures.items()
            if task in found.get("budget", {})
        }
        if of_run:
            curves[in_legend(record.name)] = of_run
    if not any(len(ap) > 1 for of_run in curves.values() for ap in of_run.values()):
        return None
    draw = partial(ranking_figures.budget_curves, curves, printable(task))
    ten = [
        f"{run}, {threat}: {ap[0]:.4f}, {ap[min(10, len(ap) - 1)]:.4f} after {min(10, len(ap) - 1)}"
        for run, of_run in curves.items()
        for threat, ap in of_run.items()
    ]
    caption = f"AP of {task!r} against the number of attacked examples."
    return picture(draw, f"budget-{place}", caption, f"AP at the start and after the first: {'; '.join(ten)}.")


def trade_off(records: Sequence[Record]) -> Section | None:
    """Robust against clean AP of the finished runs that were tested as the first was; None of less than two points."""
    finished = [record for record in records if record.results is not None]
    alike = [record for record in finished if difference(finished[0].folder, record.folder) is None]
    points = points_of([record.folder for record in alike]) if alike else []
    if len(points) < 2:
        return None
    best = front(points)
    caption = f"Robust AP (under {PGD}) against {CLEAN} AP, as each run itself was tested."
    names = [f"{point.method} {point.name}".strip() for point, on in zip(points, best, strict=True) if on]
    alt = f"On the Pareto front: {', '.join(names)}."
    drawn = picture(partial(figures.trade_off, points, best, SOURCES["test"]), "trade-off", caption, alt)
    text = ["A point is on the Pareto front if no other is at least as good in both APs and better in one."]
    if others := [record.name for record in finished if record not in alike]:
        text.append(f"Left out, for they were tested otherwise than {finished[0].name}: {', '.join(others)}.")
    return Section("trade-off", "Trade-off", text, [drawn, _points(points, best)])


def _points(points: Sequence[Point], best: Sequence[bool]) -> Table:
    rows = [
        [
            Cell(point.method),
            Cell(point.name or NOTHING),
            Cell(str(point.runs), "", "number"),
            number(point.clean),
            number(point.robust),
            Cell("yes" if on else "no"),
        ]
        for point, on in zip(points, best, strict=True)
    ]
    return Table("Points of the figure", ["method", "setting", "runs", "clean AP", "robust AP", "on the front"], rows)
