"""Writes docs/results.md of the runs that are committed beside it: `python -m experiments.results --help`."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import train  # noqa: F401  # before TensorFlow
from experiments import learning, orderings, published, recorded
from experiments.cells import ADAP, Entry
from experiments.checks import check_entry, check_finite
from experiments.drawings import learning_curves
from experiments.entries import ENTRIES
from experiments.gather import numbers_of, sheet_of
from experiments.measures import MEASURES
from experiments.orderings import Ordering
from experiments.scales import SCALES
from experiments.sheet import aligned
from experiments.study import Study
from experiments.work import check_same
from train.command import ended
from train.evaluated import read_evaluation
from train.options import Parser
from train.run_folder import RunFolder, write_text

SCALE, SHOWN = "mini", ("table2", "table10")
FIGURE = "figures/results-learning.png"
HEAD = """\
# Results

What was run here: made by `python -m experiments.results` of the files in `docs/results/`, which
`python -m experiments.keep` copied from the runs. The numbers and the sentences are computed; nothing on this page is
written by hand.
"""
LEARNING = """\
## Learning curves

From how many steps and images on AdAP is ahead in robust AP: {names}, validation data after each epoch.

![Robust and clean validation AP of {names}, by epoch]({figure})
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    return ended(lambda: write(arguments), "each file is written whole or not at all")


def write(arguments: Sequence[str] | None) -> None:
    """All that the command does.

    Raises:
        UsageError: a file is missing or damaged.
    """
    docs = Path(_parser().parse_args(arguments).docs)
    paths = [docs / "results.md"]
    write_text(paths[0], page(docs / "results"))
    if runs := learning.read(docs / "results" / "long"):
        (docs / FIGURE).parent.mkdir(exist_ok=True)
        paths.append(learning_curves(learning.curves(runs), docs / FIGURE))
    for path in paths:
        print(f"{'written':<12}{path}")


def page(folder: Path) -> str:
    """The text of the page.

    Args:
        folder: that of the kept runs, a store of each scale and the long runs.

    Raises:
        UsageError: a file is missing or damaged, or a run is not what its place says.
    """
    study = Study(SCALES[SCALE], folder / SCALE, still=True)
    entries = {name: done(ENTRIES[name], study) for name in SHOWN}
    found = recorded.searches(study, [cell for name in SHOWN for cell in study.cells(ENTRIES[name], anyway=True)])
    for entry in entries.values():
        check_entry(study, entry)
    check_same([run for *_, run in found])
    check_finite(run.folder for *_, run in found)
    parts = [HEAD, *tables(entries, study), *searched(found, study), *curves(folder / "long")]
    return "\n".join(parts).rstrip("\n") + "\n"


def tables(entries: Mapping[str, Entry], study: Study) -> Iterator[str]:
    """The tables for which there are runs, and which of the paper's orderings hold in them."""
    for name, entry in entries.items():
        if entry.cells:
            found = list(ordered(name, entry, study))
            yield f"#{sheet_of(name, entry, study).text()}"
            yield "From this table:\n"
            yield from bullets([*(each for one in found for each in orderings.told(one, ADAP)), *chance(entry, study)])
            if broken := orderings.rows(found):
                yield "What is not here as it is in the paper:\n"
                yield table([orderings.BROKEN, *broken])


def done(entry: Entry, study: Study) -> Entry:
    """An entry with those of its cells that are finished."""
    return replace(entry, cells=tuple(c for c in study.cells(entry, anyway=True) if study.ready(c, entry)))


def ordered(name: str, entry: Entry, study: Study) -> Iterator[Ordering]:
    """How the methods of an entry that is done are ordered, by column and part."""
    theirs = published.read(name)
    numbers = {(cell.column, cell.row): numbers_of(cell, entry, study) for cell in entry.cells}
    for column in dict.fromkeys(column for column, _ in numbers):
        own = {cell.row: numbers.get((column, cell.row)) for cell in ENTRIES[name].cells if cell.column == column}
        absent = {row: "not finished" if found is None else "given up" for row, found in own.items() if not found}
        for part in MEASURES[entry.measure].parts:
            printed = {row: theirs["", row, column, part].mean for row in own}
            aps = {row: (mean, found[part].mean) for row, mean in printed.items() if mean and (found := own[row])}
            yield Ordering(f"{column}, {part.lower()}", orderings.pairs(aps), absent)


def chance(entry: Entry, study: Study) -> Iterator[str]:
    """How far the robust APs may be off by the chance of the test images, if there are any."""
    measure = MEASURES[entry.measure]
    found = [read_evaluation(run.home()).results for run in study.shown(entry) if measure.shows(run)]
    threats = [run["threats"][measure.threat] for each in found for run in each["runs"].values()]
    if threats:
        furthest = max(abs(bound - each["ap"]) for each in threats for bound in each["interval"])
        yield (
            f"{100 * found[0]['settings']['confidence']:g}% intervals of robust AP, over resampled test images, reach "
            f"up to {furthest:.4f} to either side. What another seed would change is not in them: "
            f"{len(study.scale.seeds)} seed(s) were run."
        )


def searched(found: Sequence[recorded.Searched], study: Study) -> Iterator[str]:
    """What was searched and found, and how it came about."""
    if found:
        yield "## What was searched\n"
        yield table(recorded.rows(study, found))
        yield from bullets(came_about([run.folder for *_, run in found]))


def curves(folder: Path) -> Iterator[str]:
    """The learning curves of the long runs, if there are any."""
    if not (runs := learning.read(folder)):
        return
    both = learning.curves(runs)
    robust, clean = ({name: each[part] for name, each in both.items()} for part in ("robust", "clean"))
    first, *_ = runs.values()
    steps, batch = learning.epoch(first)
    yield LEARNING.format(names=orderings.listed(list(runs)), figure=FIGURE)
    yield from bullets([*learning.told(robust, steps, batch), *learning.clean_ends(clean)])
    yield from bullets([learning.chance(first), *learning.falling(first), *learning.absent(folder)])
    yield table(learning.by_epoch(robust, steps))
    yield table(learning.about(runs))
    for sentence, rows in learning.attacked(runs):
        yield sentence + "\n"
        yield table(rows)
    yield from bullets(came_about(list(runs.values())))


def came_about(folders: Sequence[RunFolder]) -> list[str]:
    """How runs came about, in sentences."""
    return [*recorded.settings(folders), recorded.hours(folders), recorded.versions(folders)]


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, header first."""
    return "\n".join(aligned(rows)) + "\n"


def bullets(sentences: Iterable[str]) -> Iterator[str]:
    """A list in Markdown."""
    yield "".join(f"- {sentence}\n" for sentence in sentences)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m experiments.results",
        description="Writes results.md, and the figure in it, of the runs that are kept in results/: the tables of the "
        "scale mini, which of the paper's orderings hold, and the learning curves of the runs in results/long.",
    )
    parser.add_argument("--docs", default="docs", metavar="DIR", help="folder of the page (docs)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
