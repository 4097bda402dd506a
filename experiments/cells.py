"""What tables and figures are made of: cells, each a method on some tasks, and ways to lay them out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.scales import CIFAR10

ALL = {
    "CE Min.": "ce",
    "AP Max.": "ap",
    "PGD": "pgd",
    "TRADES": "trades",
    "MART": "mart",
    "AdAP_MM": "adap_mm",
    "AdAP_PZ": "adap_pz",
    "AdAP_LZ": "adap_lz",
    "AdAP_LN": "adap_ln",
    "AdAP_LPN": "adap_lpn",
}
"""The methods by the paper's names."""

PAPERS = {method: name for name, method in ALL.items()}
"""The paper's names by the methods."""

ATTACKER = "CE Min."
"""The method whose networks lend black-box attacks their gradient."""

COMPARED = ("CE Min.", "AP Max.", "PGD", "TRADES", "MART", "AdAP_LN", "AdAP_LPN")
ADAP = ("AdAP_MM", "AdAP_PZ", "AdAP_LZ", "AdAP_LN", "AdAP_LPN")
REGULARISED = ("TRADES", "MART", "AdAP_LN", "AdAP_LPN")
POINTS = ("CE Min.", "AP Max.", "PGD")  # in a trade-off, without a weight

TRADE_OFF = "last epoch, test data; γ1, γ2 and the learning rate are those selected for the method"
LAMBDAS = (0.01, 0.4, 0.8, 1.0, 4.0, 8.0, 10.0)
RATES = (0.1, 0.3, 0.5, 0.7, 0.9)


Columns = Mapping[str, tuple[str, ...]]


def classes(data: str) -> tuple[str, ...]:
    """A data set's ten tasks."""
    return tuple(f"{data}/{k}" for k in range(len(CIFAR10)))


GROUPS: Columns = {
    "CIFAR-10 (average)": classes("cifar10"),
    "CIFAR-100 (average)": classes("cifar100"),
    "CelebA(gray_hair)": ("celeba/gray_hair",),
    "CelebA(mustache)": ("celeba/mustache",),
    "BDD100K(tunnel)": ("bdd100k/tunnel",),
    "BDD100K(residential)": ("bdd100k/residential",),
    "BDD100K(rainy)": ("bdd100k/rainy",),
    "BDD100K(cloudy)": ("bdd100k/cloudy",),
}
IN_ABLATION = {
    name: GROUPS[name] for name in ("CIFAR-10 (average)", "CIFAR-100 (average)", "BDD100K(tunnel)", "BDD100K(rainy)")
}
TRADED = {
    "CIFAR10(cls_1)": "cifar10/1",
    "CIFAR100(cls_2)": "cifar100/2",
    "BDD100K(cloudy)": "bdd100k/cloudy",
    "CelebA(gray_hair)": "celeba/gray_hair",
}


@dataclass(frozen=True)
class Cell:
    """A place in a table: the mean over seeds, and over tasks, of runs of one method.

    Attributes:
        row: its name.
        column: its name.
        tasks: keys in `experiments.scales.TASKS`.
        method: the paper's name.
        block: of tables that are several, whose.
        changes: fields that differ from what the selection found, in the paper's values.
        seed: number of the one seed that counts; all if None.
    """

    row: str
    column: str
    tasks: tuple[str, ...]
    method: str
    block: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True)
class Entry:
    """A table or figure.

    Attributes:
        title: what it shows.
        cells: in their order.
        measure: what is read of the runs, a name in `experiments.measures.MEASURES`; of an entry without runs, a name
            in `experiments.without_runs.SHEETS`.
        wide: columns side by side.
        published: whose numbers stand beside.
        tuned: whether hyperparameters are those that the selection finds; else they are the recipe's.
        attacked: whether a CE network's black-box attack belongs to the evaluation.
        exact: whether a class that a scale does not run is left out; else another one stands in.
        drawing: how it is drawn, a name in `experiments.drawings.DRAWINGS`.
        note: what has to be said with it.
    """

    title: str
    cells: tuple[Cell, ...]
    measure: str
    wide: int = 4
    published: str = ""
    tuned: bool = True
    attacked: bool = False
    exact: bool = False
    drawing: str = ""
    note: str = ""


def compared(methods: Sequence[str], columns: Columns) -> tuple[Cell, ...]:
    """A row a method, a column for some tasks."""
    return tuple(Cell(method, column, tasks, method) for column, tasks in columns.items() for method in methods)


def by_class(methods: Sequence[str], data: str) -> tuple[Cell, ...]:
    """A row a method, a column a class."""
    return compared(methods, {f"class_{k}": (task,) for k, task in enumerate(classes(data))})


def traded(tasks: Mapping[str, str], points: Sequence[str] = ()) -> tuple[Cell, ...]:
    """A block a task: a row a method and a column a λ; methods without one in a column of their own."""
    varied = [
        Cell(method, f"λ = {lam:g}", (task,), method, block, {"lam": lam})
        for block, task in tasks.items()
        for lam in LAMBDAS
        for method in REGULARISED
    ]
    return (*varied, *(Cell(m, "no λ", (task,), m, block) for block, task in tasks.items() for m in points))


def rates(tasks: Columns) -> tuple[Cell, ...]:
    """A block for some tasks: a row a γ1 and a column a γ2."""
    return tuple(
        Cell(f"γ1 = {one}", f"γ2 = {two}", of, "AdAP_LN", block, {"gamma1": one, "gamma2": two})
        for block, of in tasks.items()
        for one in RATES
        for two in RATES
    )


def trade_offs(tasks: Mapping[str, str], exact: bool = False) -> Entry:
    """A figure of robust against clean AP for each task, Table 9's numbers beside where it has them."""
    cells = traded(tasks, POINTS)
    return Entry(
        "Robust against clean AP", cells, "last", 8, "table9", exact=exact, drawing="trade_off", note=TRADE_OFF
    )


def timed(methods: Sequence[str]) -> tuple[Cell, ...]:
    """A row a method, a column a run, and their mean."""
    columns = [*((f"Run {k + 1}", k) for k in range(3)), ("Average", None)]
    return tuple(
        Cell(method, column, ("cifar10/0",), method, seed=seed) for column, seed in columns for method in methods
    )


def all_of(data: str) -> dict[str, str]:
    """The tasks of a data set by what they are called in figures."""
    return {column: tasks[0] for column, tasks in GROUPS.items() if tasks[0].startswith(f"{data}/")}


def all_classes(data: str) -> dict[str, str]:
    """The ten tasks of a data set by what they are called in figures."""
    return {f"{data.upper()}(cls_{k})": task for k, task in enumerate(classes(data))}
