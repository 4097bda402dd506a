"""The figures: what is drawn of an entry's runs, with the project's own figures where it has them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from experiments import published
from experiments.cells import Cell, Entry
from experiments.gather import numbers_of
from experiments.measures import MEASURES, TRANSFER, Number, curves
from experiments.store import Run
from experiments.study import Study
from train import figures, ranking_figures
from train.evaluated import Evaluated, read_evaluation
from train.figures import save_with_legend
from train.trade_off import Point, front

Drawing = Callable[[str, Entry, Study, Path], list[Path]]
Curves = Mapping[str, Mapping[str, Sequence[float]]]
"""Validation AP by epoch: by the paper's name of the method, and "robust" or "clean"."""


def trade_off(name: str, entry: Entry, study: Study, out: Path) -> list[Path]:
    """Robust against clean AP, a figure a block; and one of the published points where there are any."""
    theirs, points = published.read(entry.published), dict[tuple[str, str], list[Point]]()
    for cell in study.cells(entry):
        own = numbers_of(cell, entry, study)
        there = {part: theirs.get((cell.block, cell.row, cell.column, part)) for part in ("Clean", "Robust")}
        printed = {part: Number(each.mean) for part, each in there.items() if each and each.mean is not None}
        for found, whose in ((own, f"scale {study.scale.name}"), (printed, "published")):
            if len(found) > 1:
                points.setdefault((cell.block, whose), []).append(point_of(cell, found, len(study.seeds(cell))))
    paths = []
    for (block, whose), of_block in points.items():
        paths.append(out / f"{name}-{slug(block)}{'-published' if whose == 'published' else ''}.png")
        of = f"{block}, test data, last epoch, {whose}"
        figures.trade_off(of_block, front(of_block), of, paths[-1])
    return paths


def point_of(cell: Cell, found: Mapping[str, Number], runs: int) -> Point:
    """A cell as a point, named by what it varies."""
    word = f"λ {cell.changes['lam']:g}" if cell.changes else ""
    return Point(cell.method, word, found["Clean"].mean, found["Robust"].mean, runs)


def of_ranking(draw: Callable[..., None]) -> Drawing:
    """A figure a method, of its first task and seed, clean and under the black-box attack."""

    def drawn(name: str, entry: Entry, study: Study, out: Path) -> list[Path]:
        paths = []
        for cell in study.cells(entry):
            run = next(iter(study.of_cell(cell, entry).values()))[0]
            if MEASURES[entry.measure].shows(run) and (scores := scores_of(run)):
                label, clean, attacked = (scores[key][:, 0] for key in ("label", "clean", TRANSFER))
                paths.append(out / f"{name}-{slug(cell.method)}.png")
                title = f"{cell.method}, {run.config.data}, {run.config.positive!r}"
                draw(label, clean, attacked, TRANSFER, title, paths[-1])
        return paths

    return drawn


def scores_of(run: Run) -> Mapping[str, np.ndarray] | None:
    """Test labels and the scores of a run under each threat, None if they were taken away."""
    evaluation = read_evaluation(run.home())
    return Evaluated(evaluation, next(iter(evaluation.results["runs"]))).scores()


def sweep(name: str, entry: Entry, study: Study, out: Path) -> list[Path]:
    """AP against what is varied, with the standard deviation over seeds."""
    found = [(study.scale.scaled(c.tasks[0], c.changes), numbers_of(c, entry, study)) for c in study.cells(entry)]
    figure, axes = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
    for part in ("Robust", "Clean"):
        shown = [(next(iter(at.values())), numbers[part]) for at, numbers in found if numbers]
        x, y = [at for at, _ in shown], [number.mean for _, number in shown]
        axes.errorbar(x, y, yerr=[number.std or 0 for _, number in shown], marker="o", capsize=3, label=part.lower())
    axes.set(xlabel="batch size", ylabel="test AP", xscale="log", ylim=(0, 1.02))
    sizes = [next(iter(at.values())) for at, _ in found]
    axes.set_xticks(sizes, map(str, sizes), minor=False)
    axes.minorticks_off()
    return [saved(figure, out / f"{name}.png")]


def loss_curves(name: str, entry: Entry, study: Study, out: Path) -> list[Path]:
    """P, λR and their sum by epoch, a figure a column, with a band of one standard deviation over seeds."""
    paths = []
    for cell in study.cells(entry):
        (runs,) = study.of_cell(cell, entry).values()
        found = [curves(run) for run in runs if run.folder.finished()]
        figure, axes = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
        for part in found[0] if found else ():
            values = np.array([each[part] for each in found])
            mean, std, epochs = values.mean(axis=0), values.std(axis=0), np.arange(1, values.shape[1] + 1)
            axes.plot(epochs, mean, marker="o" if len(epochs) == 1 else None, label=part)
            axes.fill_between(epochs, mean - std, mean + std, alpha=0.2)
        axes.set(xlabel="epoch", ylabel="training loss", title=cell.column)
        paths.append(saved(figure, out / f"{name}-{slug(cell.column)}.png"))
    return paths


def learning_curves(curves: Curves, path: Path) -> Path:
    """Robust and clean validation AP by epoch, each on a scale of its own; the figure's path."""
    figure, both = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
    for part, axes in zip(("robust", "clean"), both, strict=True):
        for name, parts in curves.items():
            aps, label = parts[part], name if axes is both[0] else None
            axes.plot(range(1, len(aps) + 1), aps, marker="o" if len(aps) == 1 else None, label=label)
        axes.set(xlabel="epoch", ylabel=f"{part} validation AP")
    return saved(figure, path, digest(curves))


def digest(curves: Curves) -> str:
    """A text that follows from the numbers; the figure's file has it, so that it can be told from one of others."""
    return hashlib.sha256(json.dumps(curves).encode()).hexdigest()[:16]


def saved(figure: plt.Figure, path: Path, description: str | None = None) -> Path:
    """Writes a figure with its legend; its path."""
    save_with_legend(figure, path, description)
    return path


def slug(text: str) -> str:
    """A part of a file's name."""
    return "_".join("".join(letter if letter.isalnum() else " " for letter in text).split())


DRAWINGS: Mapping[str, Drawing] = {
    "trade_off": trade_off,
    "ranked": of_ranking(ranking_figures.ranked_list),
    "shift": of_ranking(ranking_figures.score_shift),
    "sweep": sweep,
    "curves": loss_curves,
}
"""How entries are drawn, by name."""
