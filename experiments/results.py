"""Writes docs/results.md of the runs that are committed beside it: `python -m experiments.results --help`."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import train  # noqa: F401  # before TensorFlow
from experiments import learning, orderings, published, recorded
from experiments.cells import ABLATION, Entry
from experiments.drawings import learning_curves
from experiments.entries import ENTRIES
from experiments.gather import numbers_of, sheet_of
from experiments.measures import MEASURES, evaluated
from experiments.scales import SCALES
from experiments.sheet import aligned
from experiments.study import Study
from train.command import ended
from train.options import Parser
from train.run_folder import write_text

SCALE, SHOWN = "mini", ("table2", "table10")
FIGURE = "figures/results-learning.png"
HEAD = """\
# Results

What was run here: made by `python -m experiments.results` of the files in `docs/results/`, which
`python -m experiments.keep` copied from the runs. The numbers and the sentences are computed; nothing on this page is
written by hand.
"""
CURVES = """\
## Learning curves

From how many steps and images on the paper's ordering shows: {names}, validation data after each epoch. The
learning rate falls to a tenth after half of all steps and again after three quarters, so the curve of a run that ends
earlier is another one.

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
        paths.append(learning_curves({name: run.history() for name, run in runs.items()}, docs / FIGURE))
    for path in paths:
        print(f"{'written':<12}{path}")


def page(folder: Path) -> str:
    """The text of the page.

    Args:
        folder: that of the kept runs, a store of each scale and the long runs.

    Raises:
        UsageError: a file is missing or damaged.
    """
    study = Study(SCALES[SCALE], folder / SCALE, still=True)
    parts = [HEAD, *tables(study), *searched(study), *curves(folder / "long")]
    return "\n".join(parts).rstrip("\n") + "\n"


def tables(study: Study) -> Iterator[str]:
    """The tables for which there are runs, and which of the paper's orderings hold in them."""
    for name in SHOWN:
        entry = done(ENTRIES[name], study)
        if entry.cells:
            yield f"#{sheet_of(name, entry, study).text()}"
            yield from bullets([*ordered(name, entry, study), chance(entry, study)])


def done(entry: Entry, study: Study) -> Entry:
    """An entry with those of its cells that are finished."""
    return replace(entry, cells=tuple(c for c in study.cells(entry, anyway=True) if study.ready(c, entry)))


def ordered(name: str, entry: Entry, study: Study) -> Iterator[str]:
    """For each column and part, which of the paper's orderings hold."""
    theirs = published.read(name)
    for column in dict.fromkeys(cell.column for cell in entry.cells):
        own = {cell.row: numbers_of(cell, entry, study) for cell in entry.cells if cell.column == column}
        for part in MEASURES[entry.measure].parts:
            printed = {row: theirs["", row, column, part].mean for row in own}
            aps = {row: (mean, own[row][part].mean) for row, mean in printed.items() if mean and own[row]}
            yield from orderings.told(f"{column}, {part.lower()}", orderings.pairs(aps), ABLATION)


def chance(entry: Entry, study: Study) -> str:
    """How far the robust APs may be off by the chance of the test images."""
    measure = MEASURES[entry.measure]
    found = [evaluated(run)["threats"][measure.threat] for run in study.shown(entry) if measure.shows(run)]
    furthest = max((abs(bound - each["ap"]) for each in found for bound in each["interval"]), default=0)
    return (
        f"95% intervals of robust AP, over resampled test images, reach up to {furthest:.4f} to either side. What "
        f"another seed would change is not in them: {len(study.scale.seeds)} seed(s) were run."
    )


def searched(study: Study) -> Iterator[str]:
    """What was searched and found, and how it came about."""
    cells = [cell for name in SHOWN for cell in study.cells(ENTRIES[name], anyway=True)]
    if found := recorded.searches(study, cells):
        folders = [run.folder for *_, run in found]
        yield "## What was searched\n"
        yield "\n".join(aligned(recorded.rows(study, found))) + "\n"
        yield from bullets([*recorded.settings(folders), recorded.hours(folders), recorded.versions(folders)])


def curves(folder: Path) -> Iterator[str]:
    """The learning curves of the long runs, if there are any."""
    if not (runs := learning.read(folder)):
        return
    robust = {name: [row["robust_ap"] for row in run.history()] for name, run in runs.items()}
    folders, (steps, batch) = list(runs.values()), learning.epoch(next(iter(runs.values())))
    yield CURVES.format(names=orderings.listed(list(runs)), figure=FIGURE)
    yield from bullets(learning.told(robust, steps, batch))
    for rows in (learning.by_epoch(robust, steps), learning.about(runs)):
        yield "\n".join(aligned(rows)) + "\n"
    yield from bullets([*recorded.settings(folders), recorded.hours(folders), recorded.versions(folders)])


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
