"""Figures of a run and of the baseline beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib

matplotlib.use("Agg")  # no screen is needed

import numpy as np
import tensorflow as tf
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from sklearn.metrics import precision_recall_curve

from adap_tf import Evaluator
from adap_tf.data.examples import as_unit_range
from adap_tf.data.images import Array
from adap_tf.metrics import mean_average_precision

DASHES = ((6, 1, 1, 1, 1, 1), (1, 3), (8, 3), (3, 1, 1, 1), (10, 2, 2, 2))  # beyond those that have a name
STYLES = ("-", "--", ":", "-.", *((0, dash) for dash in DASHES))
ROWS = 6  # in the figure of examples
SHOWN = 5  # images of each class in the figure of perturbations
ROOM = 4  # inches beside a legend
LINE = 0.19  # inches of a line in a legend
Scores = Mapping[str, np.ndarray]


def precision_recall(runs: Mapping[str, Scores], path: Path, threats: Sequence[str] = ("clean", "pgd")) -> None:
    """Precision against recall, clean and attacked.

    Args:
        runs: for each run, `label` and the scores under each threat, `[n, C]`; of several tasks, the mean precision
            at each recall is drawn.
        path: PNG file to write.
        threats: those to draw.
    """
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for number, (run, scores) in enumerate(runs.items()):
        for order, threat in enumerate(threats):
            recall, precision = _curve(scores["label"], scores[threat])
            ap = mean_average_precision(scores[threat], scores["label"])
            text = f"{run}, {threat}: AP {ap:.3f}"
            axes.plot(recall, precision, **look(len(runs), number, order), label=text)
    label = next(iter(runs.values()))["label"]
    prevalence, tasks = float(np.nanmean(label)), label.shape[1]
    axes.axhline(prevalence, color="grey", linewidth=0.8, label=f"chance: {prevalence:.3f}")
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    axes.set_title("Test data" if tasks == 1 else f"Test data, mean over {tasks} tasks")
    save_with_legend(figure, path)


def look(runs: int, number: int, order: int) -> dict[str, Any]:
    """How the line of a run and a threat is drawn: a colour a run and a style a threat, of one run a colour a threat.

    Args:
        runs: how many there are.
        number: of the run.
        order: number of the threat.
    """
    colour, style = (number, order) if runs > 1 else (order, 0)
    return {"color": f"C{colour}", "linestyle": STYLES[style % len(STYLES)]}


def save_with_legend(figure: plt.Figure, path: Path | BinaryIO, description: str | None = None) -> None:
    """Writes a figure with its legend beside it, the lines long enough to show their dashes, and closes it.

    A legend that is longer than the figure makes it higher, and one that would leave it no room makes it wider. The
    file's metadata take the description.
    """
    legend = figure.legend(fontsize="small", loc="outside right upper", handlelength=4)
    figure.set_figwidth(max(figure.get_figwidth(), legend.get_window_extent().width / figure.dpi + ROOM))
    figure.set_figheight(max(figure.get_figheight(), LINE * (len(legend.get_texts()) + 1)))
    save(figure, path, description)


def _curve(label: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, of several tasks the mean precision of those with positives."""
    curves = []
    for y, s in zip(label.T, scores.T, strict=True):
        known = np.isfinite(y)
        if y[known].any():
            precision, recall, _ = precision_recall_curve(y[known], s[known])
            curves.append((recall[::-1], precision[::-1]))
    if len(curves) == 1:
        return curves[0]
    grid = np.linspace(0, 1, 201)
    return grid, np.mean([np.interp(grid, *curve) for curve in curves], axis=0)


def training_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Validation AP, clean and attacked, and the training objective in the colour of its method, by epoch."""
    figure, (ap_axes, loss_axes) = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
    for number, (method, rows) in enumerate(histories.items()):
        epochs = [row["epoch"] for row in rows]
        marker = "o" if len(rows) == 1 else None  # a line of one point cannot be seen
        for name, style in (("clean_ap", "-"), ("robust_ap", "--")):
            label = f"{method}, {name.removesuffix('_ap')}"
            ap_axes.plot(epochs, [row[name] for row in rows], style, marker=marker, color=f"C{number}", label=label)
        loss_axes.plot(epochs, [row["loss"] for row in rows], marker=marker, color=f"C{number}")
    ap_axes.set(xlabel="epoch", ylabel="validation AP", ylim=(0, 1.02))
    loss_axes.set(xlabel="epoch", ylabel="training objective (each its own)")
    for axes in (ap_axes, loss_axes):
        axes.xaxis.get_major_locator().set_params(integer=True)
    save_with_legend(figure, path)


def trade_off(points: Sequence[Any], front: Sequence[bool], of: str, path: Path | BinaryIO) -> None:
    """Robust against clean AP (the paper's Figure 2), a colour a method, the Pareto front marked.

    Args:
        points: `train.trade_off.Point`s.
        front: which of them are on the front.
        of: what the APs are of.
        path: file to write.
    """
    figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    for number, method in enumerate(dict.fromkeys(point.method for point in points)):
        of_method = [point for point in points if point.method == method]
        clean, robust = [point.clean for point in of_method], [point.robust for point in of_method]
        axes.plot(clean, robust, "o", color=f"C{number}", label=method)
        for point in of_method:
            place = {"xytext": (6, 4), "textcoords": "offset points", "fontsize": "x-small"}
            axes.annotate(point.name, (point.clean, point.robust), color=f"C{number}", **place)
    best = sorted((point.clean, point.robust) for point, is_best in zip(points, front, strict=True) if is_best)
    axes.plot(*zip(*best, strict=True), "--", color="grey", linewidth=1, zorder=1, label="Pareto front")
    axes.plot(*zip(*best, strict=True), "o", color="grey", markersize=12, fillstyle="none")
    axes.margins(0.12)
    axes.set(xlabel="clean AP", ylabel="robust AP")
    axes.set_title(of[0].upper() + of[1:], fontsize="medium")
    save_with_legend(figure, path)


def perturbed_examples(
    evaluator: Evaluator,
    threat: str,
    image: Array,
    label: np.ndarray,
    scores: Scores,
    eps: float,
    task: str,
    path: Path | BinaryIO,
) -> None:
    """`perturbations` of the first positives and others of the first task, attacked against all tasks' labels.

    Args:
        evaluator: has the threat.
        threat: its name.
        image: `[n, ...]` of the data set that the evaluator went through.
        label: `[n, C]`.
        scores: its logits `[n, C]`, "clean" and under the threat.
        eps: largest change of any feature.
        task: the first task's name.
        path: PNG file to write.
    """
    positive = label[:, 0] == 1
    shown = np.concatenate([np.flatnonzero(positive)[:SHOWN], np.flatnonzero(~positive)[:SHOWN]])
    attacked = evaluator.attacked(threat, image, label, shown)
    before, after = (scores[name][shown, 0] for name in ("clean", threat))
    perturbations(image[shown], attacked, before, after, eps, task, path)


def perturbations(
    clean: np.ndarray,
    adversarial: np.ndarray,
    scores: np.ndarray,
    scores_adv: np.ndarray,
    eps: float | None,
    task: str,
    path: Path | BinaryIO,
) -> None:
    """A column an example: the image, the perturbation (grey is 0, black and white are ∓ε), the perturbed image.

    Args:
        clean: images `[k, ...]`, float in [0, 1] or uint8 in 0…255.
        adversarial: the same in [0, 1], perturbed.
        scores: their logits, `[k]`, of one task.
        scores_adv: logits of the perturbed ones, `[k]`.
        eps: largest change of any feature; if None, as in a ball that does not say, the largest that there is.
        task: the task's name.
        path: PNG file to write.
    """
    figure, grid = plt.subplots(3, len(clean), figsize=(1.1 * len(clean), 3.8), layout="constrained", squeeze=False)
    clean = as_unit_range(tf.constant(clean)).numpy()
    moved = adversarial - clean
    widest = (np.abs(moved).max() if eps is None else eps) or 1.0  # where nothing moves, all is grey
    rows = (clean, 0.5 + moved / (2 * widest), adversarial)
    for name, row, axes in zip(("clean", "perturbation", "attacked"), rows, grid, strict=True):
        axes[0].set_ylabel(name)
        for image, cell in zip(row, axes, strict=True):
            _show(cell, image)
    for cell, score in zip(grid[0], scores, strict=True):
        cell.set_title(f"{score:+.1f}", fontsize="small")
    for cell, score in zip(grid[2], scores_adv, strict=True):
        cell.set_title(f"{score:+.1f}", fontsize="small")
    figure.suptitle(f"Scores of {task!r} above the images; its positives first", fontsize="small")
    save(figure, path)


def examples(rows: Mapping[str, np.ndarray], path: Path) -> None:
    """A row of examples for each name.

    Args:
        rows: images `[k, ...]`, uint8 or float in [0, 1], by name.
        path: PNG file to write.
    """
    columns = max(map(len, rows.values()))
    size = (1.2 * columns + 1, 1.3 * len(rows))
    figure, grid = plt.subplots(len(rows), columns, figsize=size, layout="constrained", squeeze=False)
    for (name, images), cells in zip(rows.items(), grid, strict=True):
        for cell in cells:
            cell.set_axis_off()
        for cell, image in zip(cells, images / 255 if images.dtype == np.uint8 else images, strict=False):
            cell.set_axis_on()
            _show(cell, image)
        cells[0].set_ylabel(name)
    save(figure, path)


def _show(cell: Axes, image: np.ndarray) -> None:
    """An image of one or three channels, without ticks; anything else as a row of numbers."""
    cell.set(xticks=[], yticks=[])
    shown = image if image.ndim == 3 and image.shape[-1] in (1, 3) else image.reshape(1, -1, 1)
    cell.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1)


def save(figure: plt.Figure, path: Path | BinaryIO, description: str | None = None) -> None:
    """Writes a figure, a PNG if no suffix says otherwise, and closes it; the same figure is the same file."""
    dated = isinstance(path, Path) and path.suffix == ".svg"
    figure.savefig(path, dpi=120, metadata={"Date" if dated else "Software": None, "Description": description})
    plt.close(figure)
