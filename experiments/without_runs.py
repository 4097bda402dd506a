"""The tables that need no run: what the methods are, and what the data hold."""

from collections.abc import Callable, Mapping

from adap_tf.methods import METHODS, Method
from adap_tf.scored import ADVERSARIAL
from experiments import published
from experiments.cells import ADAP, ALL, GROUPS, Entry
from experiments.gather import standing_in, titled
from experiments.measures import Number
from experiments.published import Key
from experiments.sheet import Place, Sheet
from experiments.study import Study
from train.errors import UsageError

REGULARISERS = {"R": "Listwise", "L": "Pointwise"}
NAMES = {"CIFAR-10 (average)": "CIFAR-10", "CIFAR-100 (average)": "CIFAR-100"}


def methods(name: str, entry: Entry, study: Study) -> Sheet:
    """Table 1, from the rows of `adap_tf.methods`."""
    theirs = published.read(entry.published)
    places = {
        (key := ("", row, column, "")): Place(value, theirs.get(key))
        for row in ADAP
        for column, value in described(METHODS[ALL[row]]).items()
    }
    return Sheet(name, entry.title, places, entry.wide)


def described(method: Method) -> dict[str, str]:
    """A method in Table 1's words."""

    def yes(holds: bool) -> str:
        return "Yes" if holds else "No"

    regularised, attack = bool(method.regularisers), method.attack
    assert attack is not None
    return {
        "Objective": "AP Loss + Reg." if regularised else "MiniMax AP Loss",
        "Regularization": " + ".join(REGULARISERS[term.name] for term in method.regularisers) or "No",
        "Optimization": "Zero-sum Game" if attack in method.terms else "Non-zero-sum Game",
        "Ranking Robustness": yes(any(term.joint and ADVERSARIAL in term.views for term in method.terms)),
        "Trade-off": yes(regularised),
        "Consistent Attack": yes(not attack.joint),
    }


def data(name: str, entry: Entry, study: Study) -> Sheet:
    """Table 6, from the data."""
    theirs, places, notes = published.read(entry.published), {}, {}
    for group, tasks in GROUPS.items():
        row = NAMES.get(group, group)
        found = study.splits(study.scale.place(tasks[0]), own=True)
        if isinstance(found, UsageError):
            notes[tasks[0].partition("/")[0]] = str(found)
        for split in ("train", "validation", "test"):
            numbers: Mapping[str, Number] = {}
            if not isinstance(found, UsageError):
                part = found.parts[split]
                share = 100 * sum(part.positives) / len(part)
                numbers = {"Examples": Number(len(part)), "Positives %": Number(share)}
            for what in ("Examples", "Positives %"):
                key: Key = ("", row, split.capitalize(), what)
                places[key] = Place(numbers.get(what), theirs.get(key))
    told = [*standing_in(study)]
    told += [f"{data} is missing: {problem}; docs/data.md says how to get it" for data, problem in notes.items()]
    return Sheet(name, titled(entry, study), places, entry.wide, 2, told, "Examples")


SHEETS: Mapping[str, Callable[[str, Entry, Study], Sheet]] = {"methods": methods, "data": data}
"""How the tables without runs are made, by name."""
