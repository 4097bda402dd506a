"""Learning curves of some runs side by side, and from which epoch on the AdAP methods are ahead."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adap_tf.methods import METHODS
from experiments.cells import ADAP, ALL, PAPERS
from experiments.checks import check_alike, check_finite
from experiments.orderings import DIGITS, listed
from experiments.sheet import signed
from experiments.store import StoreFolder
from train.errors import UsageError
from train.evaluated import read_evaluation
from train.parts import ends

ROWS = 10  # of the table of epochs


def folders(folder: Path) -> list[StoreFolder]:
    """The runs that lie in a folder."""
    return [StoreFolder(path.parent) for path in sorted(folder.glob("*/config.json"))]


def read(folder: Path) -> dict[str, StoreFolder]:
    """The finished runs of a folder by the paper's name of their method, in the paper's order.

    Raises:
        UsageError: they cannot be compared epoch by epoch, two have one method, or an AP is not finite.
    """
    by_method: dict[str, StoreFolder] = {}
    for run in folders(folder):
        if run.finished() and by_method.setdefault(run.config_values()["method"], run) is not run:
            raise UsageError(f"{run.path}: a second run of its method; leave one of them out")
    runs = {name: by_method[method] for name, method in ALL.items() if method in by_method}
    check_alike(list(runs.values()))
    check_finite(list(runs.values()))
    return runs


def absent(folder: Path) -> Iterator[str]:
    """A sentence for each run of a folder that is not finished."""
    for run in folders(folder):
        if run.finished() is None:
            yield f"{run.path.name} is not here: {'given up' if run.stopped.exists() else 'not finished'}."


def curves(runs: Mapping[str, StoreFolder]) -> dict[str, dict[str, list[float]]]:
    """Robust and clean validation AP of each run, by epoch."""
    parts = ("robust", "clean")
    return {name: {part: [row[f"{part}_ap"] for row in run.history()] for part in parts} for name, run in runs.items()}


def epoch(run: StoreFolder) -> tuple[int, int]:
    """The steps of an epoch, and the examples in each."""
    batch = run.config_values()["batch_size"]
    return run.of_finished()["splits"]["train"]["examples"] // batch, batch


def ahead_from(own: Sequence[float], others: Sequence[Sequence[float]]) -> int | None:
    """The first epoch from which on a curve is above all others to the end; None if it ends at or below one.

    >>> ahead_from([1, 3, 1, 3, 4], [[2, 2, 2, 2, 2], [0, 0, 0, 0, 3]]), ahead_from([3, 2], [[2, 2]])
    (4, None)
    """
    rows = zip(own, *others, strict=True)
    first = 1 + max((epoch for epoch, (value, *rest) in enumerate(rows, 1) if value <= max(rest)), default=0)
    return first if first <= len(own) else None


def told(robust: Mapping[str, Sequence[float]], steps: int, batch: int) -> Iterator[str]:
    """A sentence for each AdAP method and each other, and for all others together.

    Args:
        robust: validation AP by epoch, by the paper's names.
        steps: of an epoch.
        batch: examples in each.
    """
    printed = {name: [round(ap, DIGITS) for ap in aps] for name, aps in robust.items()}
    others = [name for name in printed if name not in ADAP]
    for name in (name for name in printed if name in ADAP):
        for against in [*([other] for other in others), *([others] if len(others) > 1 else [])]:
            yield _compared(name, against, printed, steps, batch)


def _compared(name: str, against: Sequence[str], curves: Mapping[str, Sequence[float]], steps: int, batch: int) -> str:
    own, others = curves[name], [curves[other] for other in against]
    whom, best = listed(against), max(against, key=lambda other: curves[other][-1])
    gap = curves[best][-1] - own[-1]
    if (first := ahead_from(own, others)) is not None:
        scale = f"after {first * steps:,} steps, in which {first * steps * batch:,} images were drawn"
        scale += ", where it was first measured" if first == 1 else ""
        lasted = f"that is in {len(own) - first + 1} of {len(own)} epochs, at the end by {-gap:.4f}"
        return f"{name} is ahead of {whom} for good from epoch {first} on, {scale}; {lasted}."
    led = sum(value > max(rest) for value, *rest in zip(own, *others, strict=True))
    ends = f"{gap:.4f} below" if gap else "level with"
    return (
        f"{name} is at no point ahead of {whom} for good: it ends {ends} {best}, and is ahead after {led} of "
        f"{len(own)} epochs."
    )


def clean_ends(clean: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """A sentence for each AdAP method on where its clean validation AP ends, by the paper's names."""
    last = {name: round(aps[-1], DIGITS) for name, aps in clean.items()}
    for name in (name for name in last if name in ADAP):
        gaps = {other: last[name] - ap for other, ap in last.items() if other not in ADAP}
        if parts := [f"{_lead(gap)} {other}" for other, gap in gaps.items()]:
            yield f"Clean AP: {name} ends {listed(parts)}."


def _lead(gap: float) -> str:
    return f"{abs(gap):.4f} {'ahead of' if gap > 0 else 'behind'}" if gap else "level with"


def chance(run: StoreFolder) -> str:
    """What the curves of runs with this one's data and seed rest on."""
    positives = run.of_finished()["splits"]["validation"]["positives"]
    return (
        f"One seed was run, and a validation AP is that of {positives:,} positives: with another seed, a lead that is "
        "small or lasts for few epochs may be none, and begin elsewhere."
    )


def falling(run: StoreFolder) -> Iterator[str]:
    """That a curve is not the beginning of a longer run's, if the learning rate falls."""
    rates = [row["learning_rate"] for row in run.history()]
    if rates[-1] < rates[0]:
        fall = f"from {rates[0]:g} to {rates[-1]:g}"
        yield f"The learning rate falls {fall}, so the curve of a run with fewer epochs is another one."


def by_epoch(curves: Mapping[str, Sequence[float]], steps: int) -> list[list[str]]:
    """Rows of a table: some epochs, evenly, and the last."""
    epochs = len(next(iter(curves.values())))
    shown = sorted({round(epochs * k / ROWS) for k in range(1, ROWS + 1)} - {0})
    header = ["epoch", "steps", *curves]
    return [header, *([str(k), f"{k * steps:,}", *(f"{of[k - 1]:.4f}" for of in curves.values())] for k in shown)]


def about(runs: Mapping[str, StoreFolder]) -> list[list[str]]:
    """Rows of a table: what each run is and came to."""
    header = ["", "λ", "epoch selected", "validation robust", "test clean", "test PGD", "hours since its last start"]
    return [header, *([name, *_about(run)] for name, run in runs.items())]


def _about(run: StoreFolder) -> list[str]:
    config, results = run.config_values(), run.of_finished()
    selected, test = results["selected"], results["test"]
    lam = f"{config['lam']:g}" if "lam" in METHODS[config["method"]].hyperparameters else "–"
    aps = (selected["robust_ap"], test["clean"]["ap"], test["pgd"]["ap"])
    hours = results["timing"]["train_seconds"] / 3600
    return [lam, str(selected["epoch"]), *(f"{ap:.4f}" for ap in aps), f"{hours:.1f}"]


def attacked(runs: Mapping[str, StoreFolder]) -> Iterator[tuple[str, list[list[str]]]]:
    """A sentence and a table for each evaluation that lies with a run: AP with intervals, and how far apart two are."""
    for folder in (run.path / "evaluation" for run in runs.values()):
        if folder.exists():
            yield _attacked(read_evaluation(folder).results)


def _attacked(found: Mapping[str, Any]) -> tuple[str, list[list[str]]]:
    names = {key: PAPERS.get(entry.get("method"), key) for key, entry in found["runs"].items()}
    rows: dict[str, dict[str, str]] = {}
    for key, entry in found["runs"].items():
        rows[names[key]] = {
            threat: f"{each['ap']:.4f} ({ends(each['interval'])})" for threat, each in entry["threats"].items()
        }
    for each in found["differences"]:
        row = rows.setdefault(" − ".join(names[key] for key in each["runs"]), {})
        row[each["threat"]] = f"{signed(each['difference'], DIGITS)} ({ends(each['interval'], '+')})"
    threats = list(dict.fromkeys(threat for row in rows.values() for threat in row))
    confidence = f"{100 * found['settings']['confidence']:g}% intervals"
    table = [["", *threats], *([name, *(row.get(threat, "–") for threat in threats)] for name, row in rows.items())]
    return f"AP of the test data, with {confidence} over resampled images:", table
