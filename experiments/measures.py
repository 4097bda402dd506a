"""What is read of runs, and what has to be done to them before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from experiments.store import Run
from train.evaluated import read_evaluation
from train.trade_off import aps

TRANSFER = "transfer"
Parts = dict[str, float]


class Number(NamedTuple):
    """A mean, and the standard deviation; None of a single run."""

    mean: float
    std: float | None = None


@dataclass(frozen=True)
class Measure:
    """What a cell shows.

    Attributes:
        parts: names of its numbers.
        read: of a run that is ready, its numbers by part.
        threat: under which the run has to be evaluated, None for none.
        last: whether it is the last epoch's network that is evaluated.
        digits: of the numbers in print.
    """

    parts: tuple[str, ...]
    read: Callable[[Run], Parts]
    threat: str | None = None
    last: bool = False
    digits: int = 4

    def given_up(self, run: Run) -> str | None:
        """The run whose numbers were not finite, so that there is nothing to show of this one."""
        return run.given_up(attacked=self.threat == TRANSFER)

    def shows(self, run: Run) -> bool:
        """Whether there is something to show of a run that is over."""
        return self.given_up(run) is None and run.folder.finished() is not None

    def ready(self, run: Run) -> bool:
        """Whether a run that is over has been evaluated, if that is needed."""
        return not (self.threat and self.shows(run)) or (run.home(self.last) / "results.json").exists()


def evaluated(run: Run, last: bool = False) -> dict[str, Any]:
    """What the evaluation of a run says of it."""
    (found,) = read_evaluation(run.home(last)).results["runs"].values()
    return found


def under(threat: str, last: bool = False) -> Measure:
    """Robust and clean AP of test data."""

    def read(run: Run) -> Parts:
        threats = evaluated(run, last)["threats"]
        return {"Robust": threats[threat]["ap"], "Clean": threats["clean"]["ap"]}

    return Measure(("Robust", "Clean"), read, threat, last)


def _validation(run: Run) -> Parts:
    _, robust = aps(run.folder, "validation")
    return {"Robust": robust}


def _seconds(run: Run) -> Parts:
    return {"Seconds": (run.folder.finished() or {})["timing"]["train_seconds"]}


def _theorem1(run: Run) -> Parts:
    (errors,) = evaluated(run)["threats"]["pgd"]["theorem_1"].values()
    return {"R_nat": errors["natural"], "R_bdy": errors["boundary"], "R_rob": errors["robust"]}


def curves(run: Run) -> Mapping[str, list[float]]:
    """P, λR and their sum by epoch."""
    rows = run.folder.history()
    return {
        "P": [row["P"] for row in rows],
        "λR": [run.config.lam * row["R"] for row in rows],
        "P + λR": [row["loss"] for row in rows],
    }


def _training(run: Run) -> Parts:
    return {name: values[-1] for name, values in curves(run).items()}


MEASURES: Mapping[str, Measure] = {
    "pgd": under("pgd"),
    "apgd": under("apgd"),
    TRANSFER: under(TRANSFER),
    "last": under("pgd", last=True),
    "theorem1": Measure(("R_nat", "R_bdy", "R_rob"), _theorem1, "pgd"),
    "validation": Measure(("Robust",), _validation),
    "seconds": Measure(("Seconds",), _seconds, digits=2),
    "training": Measure(("P", "λR", "P + λR"), _training),
}
"""What entries show, by name."""


def aggregated(by_task: Mapping[str, list[Parts]]) -> dict[str, Number]:
    """The mean over tasks of the means over seeds, and of the standard deviations over seeds, as the paper has it.

    Args:
        by_task: for each task the numbers of its runs, one a seed; none of a task whose runs failed.
    """
    found = {}
    for part in next((runs[0] for runs in by_task.values() if runs), {}):
        values = [[run[part] for run in runs] for runs in by_task.values()]
        if all(values):
            mean = float(np.mean([np.mean(each) for each in values]))
            several = min(map(len, values)) > 1
            found[part] = Number(mean, float(np.mean([np.std(each) for each in values])) if several else None)
    return found
