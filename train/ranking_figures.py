"""Figures of what an attack does to a ranking."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from scipy.special import expit
from sklearn.metrics import average_precision_score

from adap_tf.budget import budget_curve
from train.figures import look, save, save_with_legend

POSITIVE, NEGATIVE = "tab:red", "tab:blue"
LISTED = 60  # examples in the figure of a ranked list


def score_shift(
    label: np.ndarray, clean: np.ndarray, attacked: np.ndarray, threat: str, title: str, path: Path
) -> None:
    """Where an attack moves the scores of positives and of negatives (the paper's Figure 3).

    Args:
        label: `[n]`, 0, 1 or NaN.
        clean: logits `[n]`.
        attacked: logits `[n]` under the threat.
        threat: its name.
        title: whose scores these are.
        path: PNG file to write.
    """
    figure, (scatter, histogram) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    bins = np.linspace(min(clean.min(), attacked.min()), max(clean.max(), attacked.max()) + 1e-9, 50)
    for value, name, colour in ((0, "negatives", NEGATIVE), (1, "positives", POSITIVE)):
        these = label == value
        scatter.scatter(clean[these], attacked[these], s=6, alpha=0.5, color=colour, label=name)
        for scores, filled in ((clean, True), (attacked, False)):
            histogram.hist(
                scores[these],
                bins,
                density=True,
                histtype="stepfilled" if filled else "step",
                color=colour,
                alpha=0.35 if filled else 1,
                label=f"{name}, {'clean' if filled else threat}",
            )
    scatter.axline((0, 0), slope=1, color="grey", linewidth=0.8)
    scatter.set(xlabel="clean score (logit)", ylabel=f"score under {threat}")
    histogram.set(xlabel="score (logit)", ylabel="density")
    scatter.legend(fontsize="small")
    histogram.legend(fontsize="small")
    figure.suptitle(title, fontsize="medium")
    save(figure, path)


def ranked_list(
    label: np.ndarray, clean: np.ndarray, attacked: np.ndarray, threat: str, title: str, path: Path
) -> None:
    """A ranked list before and after the one example is attacked that hurts AP most (the paper's Figure 1).

    Of larger data it shows the share of positives and negatives that makes 60 examples, at least 5 positives.

    Args:
        label: `[n]`, 0, 1 or NaN.
        clean: logits `[n]`.
        attacked: logits `[n]` under the threat.
        threat: its name.
        title: whose list this is.
        path: PNG file to write.
    """
    shown = _sample(label)
    y, before, other = label[shown], clean[shown], attacked[shown]
    curve = budget_curve(before, other, y, 1)
    after = before.copy()
    after[curve.examples] = other[curve.examples]
    figure, axes = plt.subplots(2, 1, figsize=(9, 4.6), layout="constrained", sharex=True)
    for cell, scores, what in ((axes[0], before, "clean"), (axes[1], after, f"one example under {threat}")):
        _bars(cell, y, scores, curve.examples)
        accuracy = ((scores > 0) == (y == 1)).mean()
        cell.set_title(
            f"{what}: AP {average_precision_score(y, scores):.3f}, accuracy {accuracy:.3f}", fontsize="medium"
        )
    figure.suptitle(title, fontsize="medium")
    axes[1].set_xlabel(f"rank among {len(shown)} examples; positives red, negatives blue, the attacked one framed")
    save(figure, path)


def _bars(cell: Axes, label: np.ndarray, scores: np.ndarray, attacked: np.ndarray) -> None:
    """The probabilities of a list in its order, and the decision boundary."""
    order = np.argsort(-scores, kind="stable")
    colours = [POSITIVE if label[place] == 1 else NEGATIVE for place in order]
    frames = [1.8 if place in attacked else 0 for place in order]
    cell.bar(np.arange(1, len(order) + 1), expit(scores[order]), color=colours, edgecolor="black", linewidth=frames)
    cell.axhline(0.5, color="black", linestyle="--", linewidth=0.8)
    cell.set(ylabel="probability", ylim=(0, 1.05))


def _sample(label: np.ndarray) -> np.ndarray:
    """Places spread evenly over the positives and over the negatives, in their proportion."""
    positive, negative = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    known = len(positive) + len(negative)
    if known <= LISTED:
        return np.sort(np.concatenate([positive, negative]))
    kept = min(max(round(LISTED * len(positive) / known), 5), len(positive))
    parts = (_spread(positive, kept), _spread(negative, LISTED - kept))
    return np.sort(np.concatenate(parts))


def _spread(places: np.ndarray, count: int) -> np.ndarray:
    return places[np.linspace(0, len(places) - 1, min(count, len(places))).astype(int)]


def budget_curves(curves: Mapping[str, Mapping[str, np.ndarray]], task: str, path: Path) -> None:
    """AP against the number of attacked examples.

    Args:
        curves: AP `[k + 1]` by threat, by run.
        task: whose AP it is.
        path: PNG file to write.
    """
    figure, axes = plt.subplots(figsize=(8.5, 4), layout="constrained")
    longest = max(len(ap) for of_run in curves.values() for ap in of_run.values())
    for number, (run, of_run) in enumerate(curves.items()):
        for order, (threat, ap) in enumerate(of_run.items()):
            whole = np.append(ap, np.full(longest - len(ap), ap[-1]))  # no further example would lower it
            axes.plot(range(longest), whole, **look(len(curves), number, order), label=f"{run}, {threat}")
    axes.set(xlabel="attacked examples, the most damaging first", ylabel="AP", ylim=(0, 1.02))
    axes.set_title(f"Task {task!r}", fontsize="medium")
    save_with_legend(figure, path)


def intervals(runs: Mapping[str, Mapping[str, tuple[float, float, float]]], path: Path) -> None:
    """AP under each threat with its interval, a row a threat and a colour a run.

    Args:
        runs: AP and the ends of its interval by threat, by run.
        path: file to write.
    """
    threats = list(dict.fromkeys(threat for of_run in runs.values() for threat in of_run))
    height = 1.2 + len(threats) * (0.3 + 0.13 * len(runs))
    figure, axes = plt.subplots(figsize=(8.5, height), layout="constrained")
    for number, (run, of_run) in enumerate(runs.items()):
        ap, low, high = np.transpose(list(of_run.values()))
        rows = np.array([threats.index(threat) for threat in of_run]) + 0.6 * ((number + 0.5) / len(runs) - 0.5)
        lengths = np.maximum((ap - low, high - ap), 0)  # of few resamples the estimate may lie outside
        axes.errorbar(ap, rows, xerr=lengths, fmt="o", markersize=4, capsize=3, color=f"C{number}", label=run)
    axes.set(xlabel="AP", xlim=(0, 1.02), yticks=range(len(threats)), yticklabels=threats)
    axes.grid(axis="x", linewidth=0.4, alpha=0.6)
    axes.set_ylim(len(threats) - 0.5, -0.5)  # the first on top
    save_with_legend(figure, path)
