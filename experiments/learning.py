"""Learning curves of some runs side by side, and from which epoch on the AdAP methods are ahead."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adap_tf.methods import METHODS
from experiments.cells import ABLATION, ALL
from experiments.orderings import listed
from experiments.store import StoreFolder
from train.errors import UsageError
from train.trade_off import check_comparable

ROWS = 10  # of the table of epochs


def read(folder: Path) -> dict[str, StoreFolder]:
    """The runs of a folder by the paper's name of their method, in the paper's order.

    Raises:
        UsageError: they cannot be compared epoch by epoch, or two have one method.
    """
    by_method: dict[str, StoreFolder] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        run = StoreFolder(path)
        if by_method.setdefault(run.config_values()["method"], run) is not run:
            raise UsageError(f"{path}: a second run of its method; leave one of them out")
    runs = {name: by_method[method] for name, method in ALL.items() if method in by_method}
    if runs:
        check_comparable(list(runs.values()))
    if len({(run.config_values()["train_examples"], len(run.history())) for run in runs.values()}) > 1:
        raise UsageError(f"{folder}: the runs have other numbers of images or epochs; they are compared by epoch")
    return runs


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


def told(curves: Mapping[str, Sequence[float]], steps: int, batch: int) -> Iterator[str]:
    """A sentence for each AdAP method and each other, and for all others together.

    Args:
        curves: robust validation AP by epoch, by the paper's names.
        steps: of an epoch.
        batch: examples in each.
    """
    others = [name for name in curves if name not in ABLATION]
    for name in (name for name in curves if name in ABLATION):
        for against in [*([other] for other in others), *([others] if len(others) > 1 else [])]:
            yield _compared(name, against, curves, steps, batch)


def _compared(name: str, against: Sequence[str], curves: Mapping[str, Sequence[float]], steps: int, batch: int) -> str:
    own, others = curves[name], [curves[other] for other in against]
    whom = listed(against)
    if (first := ahead_from(own, others)) is not None:
        scale = f"after {first * steps:,} steps, in which {first * steps * batch:,} images were drawn"
        lead = min(own[-1] - curve[-1] for curve in others)
        return f"{name} is ahead of {whom} for good from epoch {first} on, {scale}; at the end by {lead:.4f}."
    led = sum(value > max(rest) for value, *rest in zip(own, *others, strict=True))
    gap = max(curve[-1] - own[-1] for curve in others)
    return (
        f"{name} is at no point ahead of {whom} for good: it ends {gap:.4f} below, and is ahead after {led} of "
        f"{len(own)} epochs."
    )


def by_epoch(curves: Mapping[str, Sequence[float]], steps: int) -> list[list[str]]:
    """Rows of a table: some epochs, evenly, and the last."""
    epochs = len(next(iter(curves.values())))
    shown = sorted({round(epochs * k / ROWS) for k in range(1, ROWS + 1)} - {0})
    header = ["epoch", "steps", *curves]
    return [header, *([str(k), f"{k * steps:,}", *(f"{of[k - 1]:.4f}" for of in curves.values())] for k in shown)]


def about(runs: Mapping[str, StoreFolder]) -> list[list[str]]:
    """Rows of a table: what each run is and came to."""
    header = ["", "λ", "epoch selected", "validation robust", "test clean", "test PGD", "hours of training"]
    return [header, *([name, *_about(run)] for name, run in runs.items())]


def _about(run: StoreFolder) -> list[str]:
    config, results = run.config_values(), run.of_finished()
    selected, test = results["selected"], results["test"]
    lam = f"{config['lam']:g}" if "lam" in METHODS[config["method"]].hyperparameters else "–"
    aps = (selected["robust_ap"], test["clean"]["ap"], test["pgd"]["ap"])
    hours = results["timing"]["train_seconds"] / 3600
    return [lam, str(selected["epoch"]), *(f"{ap:.4f}" for ap in aps), f"{hours:.1f}"]
