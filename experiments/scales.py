"""The paper's tasks, and how much of them is run: its own setting, a night on two CPU cores, or minutes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from adap_tf.data import bdd100k, cifar100
from adap_tf.methods import METHODS
from train.config import Config
from train.presets import PRESETS
from tuning.space import Range, paper

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The classes in the order of their labels: "class_0" is the first."""

TASKS: Mapping[str, Config] = {
    **{f"cifar10/{k}": replace(PRESETS["cifar10"], positive=name) for k, name in enumerate(CIFAR10)},
    **{f"cifar100/{k}": replace(PRESETS["cifar100"], positive=name) for k, name in enumerate(cifar100.PAPER_TASKS)},
    **{f"celeba/{name}": PRESETS[f"celeba-{name.replace('_', '-')}"] for name in ("gray_hair", "mustache")},
    **{f"bdd100k/{name}": PRESETS[f"bdd100k-{name}"] for name in bdd100k.PAPER_TASKS},
}
"""Every task of the paper with its recipe."""

IN_PROPORTION = ("epochs", "batch_size")
"""Fields that stand to a recipe's as the paper's values do to the paper's recipe."""

Values = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        name: of the scale.
        seeds: of the runs whose mean a cell is.
        classes: those of CIFAR's ten classes that are run.
        grids: values that are searched, of those of the paper's grids; all of a field that is not named.
        sweeps: the same of what a table or figure varies.
        changes: fields that every recipe has otherwise.
        stand_in: the recipe that is run in the place of every task.
    """

    name: str
    seeds: tuple[int, ...]
    classes: tuple[int, ...] = tuple(range(10))
    grids: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    sweeps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    stand_in: str | None = None

    def config(self, task: str) -> Config:
        """The recipe of a task."""
        return replace(PRESETS[self.stand_in] if self.stand_in else TASKS[task], **self.changes)

    def runs_class(self, task: str) -> bool:
        """Whether a task is run: one of CIFAR's classes may not be."""
        _, _, name = task.partition("/")
        return not name.isdigit() or int(name) in self.classes

    def place(self, task: str) -> str:
        """The task that is run for one: itself, or the first class that is run."""
        data, _, _ = task.partition("/")
        return task if self.runs_class(task) else f"{data}/{self.classes[0]}"

    def grid(self, method: str) -> dict[str, tuple[float, ...]]:
        """What is searched of a method's hyperparameters."""
        space = paper(METHODS[method])
        values = {name: found for name, found in space.items() if not isinstance(found, Range)}
        return {name: tuple(x for x in found if x in self.grids.get(name, found)) for name, found in values.items()}

    def sweeps_over(self, changes: Mapping[str, Any]) -> bool:
        """Whether it runs such a variation."""
        return all(value in self.sweeps.get(name, (value,)) for name, value in changes.items())

    def scaled(self, task: str, changes: Mapping[str, Any]) -> Values:
        """The paper's variation of a run as it is at this scale."""
        own, papers = self.config(task), TASKS[task]
        return {
            name: max(1, round(value * getattr(own, name) / getattr(papers, name))) if name in IN_PROPORTION else value
            for name, value in changes.items()
        }


_MINI = PRESETS["cifar10-mini"]
_SMALLER = ("train_examples", "validation_examples", "split_seed", "epochs", "backbone")
_ONE_RATE = {"gamma1": (0.1,), "gamma2": (0.9,), "learning_rate": (1e-3,)}

SCALES: Mapping[str, Scale] = {
    scale.name: scale
    for scale in (
        Scale("paper", seeds=(0, 1, 2)),
        Scale(
            "mini",
            seeds=(0,),
            classes=(1,),
            grids={"lam": (0.4, 1.0, 4.0, 40.0), **_ONE_RATE},  # three of either of the paper's grids
            sweeps={
                "lam": (0.01, 0.4, 1.0, 4.0, 10.0),
                "gamma1": (0.1, 0.5, 0.9),
                "gamma2": (0.1, 0.5, 0.9),
                "batch_size": (64, 128, 256),
            },
            changes={name: getattr(_MINI, name) for name in _SMALLER},
        ),
        Scale(
            "smoke",
            seeds=(0,),
            classes=(1,),
            grids={"lam": (1.0, 100.0), **_ONE_RATE},  # two for TRADES and AdAP_PZ, one for the others
            sweeps={"lam": (1.0,), "gamma1": (0.1,), "gamma2": (0.1, 0.9), "batch_size": (64, 128)},
            changes={"epochs": 1, "backbone": "mlp"},
            stand_in="digits",
        ),
    )
}
"""The scales by name."""
