"""From the runs of an entry to its table."""

from collections.abc import Iterator

from experiments import published
from experiments.cells import Cell, Entry
from experiments.measures import MEASURES, Measure, Number, aggregated
from experiments.published import Key
from experiments.sheet import Place, Sheet
from experiments.study import Study
from train.errors import UsageError


def sheet_of(name: str, entry: Entry, study: Study) -> Sheet:
    """The table of an entry whose runs are over.

    Raises:
        UsageError: a file of a run is damaged.
    """
    measure = MEASURES[entry.measure]
    numbers = {id(cell): numbers_of(cell, entry, study) for cell in study.cells(entry)}
    theirs = published.read(entry.published or name)
    places: dict[Key, Place] = {}
    for cell in (cell for cell in entry.cells if study.runs_cell(cell, entry.exact)):
        own, instead = numbers.get(id(cell), {}), instead_of(cell, study)
        for part in measure.parts:
            key = (cell.block, cell.row, cell.column, part)
            places[key] = Place(own.get(part), theirs.get(key), instead)
    return Sheet(name, titled(entry, study), places, entry.wide, measure.digits, [*notes(entry, study)])


def numbers_of(cell: Cell, entry: Entry, study: Study) -> dict[str, Number]:
    """What a cell shows; nothing if all runs of one of its tasks were given up."""
    measure: Measure = MEASURES[entry.measure]
    runs = study.of_cell(cell, entry)
    return aggregated({task: [measure.read(run) for run in each if measure.shows(run)] for task, each in runs.items()})


def titled(entry: Entry, study: Study) -> str:
    """What a table shows, and how much of it was run."""
    batches = "; all methods draw batches alike" if study.fair else ""
    return f"{entry.title}; scale {study.scale.name}, {len(study.scale.seeds)} seed(s){batches}"


def instead_of(cell: Cell, study: Study) -> str:
    """Which tasks were run for a cell, where they are not its own; empty if they are."""
    ran = study.tasks(cell)
    if study.scale.stand_in or tuple(ran) == cell.tasks:
        return ""
    where = " ".join(part for part in (cell.block, cell.column) if part)
    return f"{where}: {', '.join(ran)} was run in the place of {', '.join(cell.tasks)}"


def notes(entry: Entry, study: Study) -> Iterator[str]:
    """What has to be said with a table."""
    if entry.note:
        yield entry.note
    yield from standing_in(study)
    yield from given_up(entry, study)
    for data, problem in missing(entry, study).items():
        yield f"{data} is missing: {problem}; docs/data.md says how to get it"


def given_up(entry: Entry, study: Study) -> Iterator[str]:
    """Which runs have no numbers, and why."""
    lost: dict[str, list[str]] = {}
    for run in study.shown(entry):
        if cause := MEASURES[entry.measure].given_up(run):
            lost.setdefault(cause, []).append(run.folder.path.name)
    if own := [cause for cause, names in lost.items() if cause in names]:
        yield f"given up, numbers not finite: {', '.join(own)}"
    for cause, names in lost.items():
        if others := [name for name in names if name != cause]:
            yield f"given up, since {cause} was, whose network is needed: {', '.join(others)}"


def standing_in(study: Study) -> Iterator[str]:
    """What to say where other data are run in the place of all."""
    if study.scale.stand_in:
        yield f"{study.scale.stand_in} stand in for all data: the differences mean nothing"


def missing(entry: Entry, study: Study) -> dict[str, str]:
    """Why data sets that an entry still asks for cannot be had, by name."""
    cells = [c for c in entry.cells if study.runs_cell(c, entry.exact) and not study.ready(c, entry)]
    tasks = [task for cell in cells for task in study.tasks(cell)]
    problems = {task.partition("/")[0]: study.splits(task) for task in tasks}
    return {data: str(problem) for data, problem in problems.items() if isinstance(problem, UsageError)}
