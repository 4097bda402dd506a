"""Which runs an entry needs, where they lie, and what the selection chooses among them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from adap_tf.methods import METHODS
from experiments.cells import ALL, ATTACKER, Cell, Entry
from experiments.measures import MEASURES
from experiments.scales import Scale, Values
from experiments.store import Run, StoreFolder, unique
from train.config import FAIR, Config
from train.errors import UsageError
from train.loop import SELECTED_BY
from train.sources import Splits, load_splits, run_name


class Study:
    """The runs of a scale.

    Args:
        scale: how much is run.
        store: folder of the runs.
        fair: whether all methods draw their batches alike.
        search_seeds: how many of the scale's seeds hyperparameters are searched with; all if None.
        still: whether nothing is going to run, so that what is there need be looked at but once.
        data_dirs: where data lie, by data set.
        download: whether to fetch what is missing.
    """

    def __init__(
        self,
        scale: Scale,
        store: Path,
        fair: bool = False,
        search_seeds: int | None = None,
        still: bool = False,
        data_dirs: Mapping[str, str] | None = None,
        download: bool = False,
    ):
        self.scale, self.store, self.fair, self._still = scale, store.resolve(), fair, still
        self._searched = scale.seeds[:search_seeds]
        self._data_dirs, self._download = dict(data_dirs or {}), download
        # Attacks come from the same networks however the others draw, so one evaluation of a run serves both.
        self._papers = Study(scale, store, False, search_seeds, still, data_dirs, download) if fair else self
        self._chosen: dict[tuple[str, str], Values] = {}
        self._data: dict[str, Splits | UsageError] = {}

    # What is there

    def splits(self, task: str, own: bool = False) -> Splits | UsageError:
        """A data set split for a task, or why it cannot be had.

        Args:
            task: one of those of the data set.
            own: whether it has to be for this one.
        """
        config = self._base(task)
        key = task if own else config.data or ""
        if key not in self._data:
            try:
                asked = config, config.seed, config.train_examples, config.validation_examples
                self._data[key] = load_splits(*asked)
            except UsageError as error:
                self._data[key] = error
        return self._data[key]

    def has(self, task: str) -> bool:
        """Whether a task's data are there."""
        return not isinstance(self.splits(task), UsageError)

    def ready(self, cell: Cell, entry: Entry) -> bool:
        """Whether all that a cell shows and is selected by lies in the store, so that no data are needed."""
        alone, measure = replace(entry, cells=(cell,)), MEASURES[entry.measure]
        over = all(run.over for runs in self.stages(alone, anyway=True) for run in runs)
        return over and all(map(measure.ready, self.shown(alone, anyway=True)))

    def runs_cell(self, cell: Cell, exact: bool) -> bool:
        """Whether the scale has a cell: its variation, and if no other class may stand in, its class."""
        tasks = [task for task in cell.tasks if self.scale.runs_class(task)]
        return self.scale.sweeps_over(cell.changes) and bool(tasks or not exact)

    def tasks(self, cell: Cell) -> list[str]:
        """The tasks that are run for a cell."""
        own = [task for task in cell.tasks if self.scale.runs_class(task)]
        return own or [self.scale.place(task) for task in cell.tasks[:1]]

    # Runs

    def points(self, method: str) -> list[Values]:
        """The hyperparameters that are searched for a method."""
        grid = self.scale.grid(method)
        return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]

    def seeds(self, cell: Cell) -> tuple[int, ...]:
        """Those that count for a cell."""
        seeds = self.scale.seeds
        return seeds if cell.seed is None else seeds[cell.seed : cell.seed + 1]

    def run(self, task: str, method: str, values: Values, seed: int) -> Run:
        """A run; the one it starts from is the selection's with the same seed."""
        base = replace(self._base(task), method=method, seed=seed)
        own = {k: v for k, v in values.items() if k in self.scale.grid(method) or v != getattr(base, k)}
        config = replace(base, **own)
        words = [method, *(f"{name}_{value:g}" for name, value in sorted(own.items()))]
        lender = None
        if first := METHODS[method].pretrained:
            start = self.selected(task, first, seed)
            config, words = replace(config, init_from=str(start.folder.path)), [*words, "from", start.words]
            lender = start.folder
        fair = replace(config, sampling=FAIR)
        if self.fair and fair.sampled_by != config.sampled_by:
            config, words = fair, [*words, FAIR]
        name = "-".join(words)
        folder = StoreFolder(self.store / run_name(config, None, name, seed))
        return Run(config, folder, name, lender)

    def selected(self, task: str, method: str, seed: int) -> Run:
        """The run with the hyperparameters that the selection finds."""
        return self.run(task, method, self.chosen(task, method), seed)

    def search(self, task: str, method: str) -> list[list[Run]]:
        """For each point of a method's grid the runs, one a seed."""
        return [[self.run(task, method, x, seed) for seed in self._searched] for x in self.points(method)]

    def chosen(self, task: str, method: str) -> Values:
        """The hyperparameters of highest mean validation AP, by which the method selects; the first if none is there.

        A point whose runs are not all finished does not count.
        """
        if (task, method) in self._chosen:
            return self._chosen[task, method]
        points, runs = self.points(method), self.search(task, method)
        by = SELECTED_BY[METHODS[method].selection]
        aps = [[finished["selected"][by] for run in each if (finished := run.folder.finished())] for each in runs]
        means = [np.mean(each) if len(each) == len(self._searched) else -1 for each in aps]
        best = points[int(np.argmax(means))]
        if self._still or self.is_searched(task, method):
            self._chosen[task, method] = best
        return best

    def is_searched(self, task: str, method: str) -> bool:
        """Whether all runs of a search are over, so that what is chosen is the selection's."""
        return all(run.over for each in self.search(task, method) for run in each)

    def of_cell(self, cell: Cell, entry: Entry) -> dict[str, list[Run]]:
        """The runs of a cell, those of each task."""
        return {
            task: [self._of_seed(cell, task, seed, entry) for seed in self.seeds(cell)] for task in self.tasks(cell)
        }

    def shown(self, entry: Entry, anyway: bool = False) -> list[Run]:
        """The runs whose numbers an entry shows."""
        cells = self.cells(entry, anyway)
        return unique(run for cell in cells for runs in self.of_cell(cell, entry).values() for run in runs)

    def stages(self, entry: Entry, anyway: bool = False) -> Iterator[list[Run]]:
        """The runs of an entry, those first from which it is known which the next are.

        Args:
            entry: the table or figure.
            anyway: whether to count those too whose data are missing.
        """
        cells = self.cells(entry, anyway)
        pairs = list(dict.fromkeys((task, ALL[cell.method]) for cell in cells for task in self.tasks(cell)))
        lent = [(self, task, lender) for task, method in pairs if (lender := METHODS[method].pretrained)]
        attackers = [(self._papers, task, ALL[ATTACKER]) for task, _ in pairs] if entry.attacked else []
        before = list(dict.fromkeys([*lent, *attackers]))
        yield unique(run for whose, task, name in before for each in whose.search(task, name) for run in each)
        yield unique(whose.selected(task, name, seed) for whose, task, name in before for seed in self.scale.seeds)
        if entry.tuned:
            yield unique(run for pair in pairs for each in self.search(*pair) for run in each)
        yield self.shown(entry, anyway)

    def cells(self, entry: Entry, anyway: bool = False) -> list[Cell]:
        """The cells that the scale has, and that are done or whose data are there, unless they are wanted anyway."""
        own = [cell for cell in entry.cells if self.runs_cell(cell, entry.exact)]
        return [cell for cell in own if anyway or self.ready(cell, entry) or all(map(self.has, self.tasks(cell)))]

    def _of_seed(self, cell: Cell, task: str, seed: int, entry: Entry) -> Run:
        method, base = ALL[cell.method], self._base(task)
        defaults = {name: getattr(base, name) for name in self.scale.grid(method)}
        values: dict[str, Any] = self.chosen(task, method) if entry.tuned else defaults
        found = self.run(task, method, {**values, **self.scale.scaled(task, cell.changes)}, seed)
        if not entry.attacked:
            return found
        return replace(found, attacker=self._papers.selected(task, ALL[ATTACKER], seed).folder)

    def _base(self, task: str) -> Config:
        config = self.scale.config(task)
        return replace(config, data_dir=self._data_dirs.get(config.data or ""), download=self._download)
