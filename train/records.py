"""Runs side by side: their configs, histories and numbers, where the numbers come from, and the runs in pairs."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from adap_tf.resampling import bootstrap
from train.config import Config
from train.errors import UsageError
from train.evaluated import Evaluated, Stored, choose, names_in, read_evaluation
from train.fields import flag
from train.measures import differences, measured
from train.run_folder import Row
from train.settings import Settings
from train.sources import OWN, DataOptions
from train.stored import KEPT, StoredRun, damaged

OWN_SETTINGS = Settings()  # of intervals for runs that were not evaluated
CLEAN, PGD = KEPT
SAME = 1e-4  # how far an AP of `results.json` may be from that of its scores: versions round otherwise
FREE = ("split_seed", "skip_bad_examples")  # with other values the data are still the same, split or cut otherwise


@dataclass(frozen=True, eq=False)
class Record:
    """A run.

    Attributes:
        name: what it is called among the others.
        folder: where it lies.
        config: its config.
        history: a row an epoch.
        results: its `results.json`, None if it is not finished.
        evaluated: what an evaluation says of it, None if there is none.
    """

    name: str
    folder: StoredRun
    config: Config
    history: list[Row]
    results: dict[str, Any] | None
    evaluated: Evaluated | None

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """Its own test scores, clean and under PGD, and the labels.

        Raises:
            UsageError: they are damaged, or do not give the AP of the results.
        """
        assert self.results is not None
        return self.folder.read_scores()

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, as far as they are known."""
        if self.results is not None:
            return self.results["tasks"]
        return self.evaluated.entry["tasks"] if self.evaluated else []

    @cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """Bootstrapped AP of its own scores, on the same resamples for all runs with the same labels."""
        scores = {threat: self.scores[threat] for threat in KEPT}
        return bootstrap(scores, self.scores["label"], OWN_SETTINGS.bootstrap)

    @cached_property
    def own_measures(self) -> dict[str, Any]:
        """What its own scores say, as an evaluation would.

        Raises:
            UsageError: they are not those of its results.
        """
        assert self.results is not None
        scores = {threat: self.scores[threat] for threat in KEPT}
        if self.scores["label"].shape[1] != len(self.tasks):
            raise damaged(self.folder.scores)
        found = measured(scores, self.scores["label"], self.tasks, self.samples, OWN_SETTINGS)
        for threat, numbers in found.items():
            if abs(numbers["ap"] - self.results["test"][threat]["ap"]) > SAME:
                raise UsageError(
                    f"{self.folder.scores} gives another AP under {threat} than {self.folder.results.name}: they are "
                    "of different runs; restore them, or leave that run out"
                )
        return found

    @property
    def measures(self) -> dict[str, Any]:
        """By threat, what an evaluation has measured, else what its own scores say; empty if there is neither."""
        if self.evaluated is not None:
            return self.evaluated.entry["threats"]
        return {} if self.results is None else self.own_measures

    @property
    def source(self) -> str:
        """Where its measures come from, in words."""
        if self.evaluated is not None:
            return source_of(self.evaluated)
        return "" if self.results is None else OWN_SCORES

    @property
    def confidence(self) -> float:
        """Of its intervals."""
        return self.evaluated.settings["confidence"] if self.evaluated else OWN_SETTINGS.confidence


OWN_SCORES = f"the run's scores.npz, {OWN_SETTINGS.bootstrap} resamples"


def source_of(evaluated: Evaluated) -> str:
    """An evaluation, and on what it was done."""
    folder, settings = evaluated.evaluation.folder, evaluated.settings
    count = settings.get("examples")
    examples = f"{count} examples of the" if count else "the"
    other = [f"{flag(name)} {settings[name]}" for name in ("data", "positive") if settings.get(name)]
    return ", ".join([f"{folder.parent.name}/{folder.name}, {examples} {settings['split']} split", *other])


def read(given: Sequence[str], evaluations: Sequence[str] = ()) -> list[Record]:
    """The runs, each with the evaluation that speaks of most of them.

    Args:
        given: paths of run folders.
        evaluations: folders of evaluations besides those that lie in the run folders.

    Raises:
        UsageError: one is no run folder, is damaged, stands there twice, or is of other data than the first; or an
            evaluation is damaged or of other runs.
    """
    folders = [StoredRun(path) for path in given]
    for number, folder in enumerate(folders):
        if folder.path in [earlier.path for earlier in folders[:number]]:
            raise UsageError(f"{given[number]} is given twice; give each run once")
    configs = [folder.read_config() for folder in folders]
    for folder, config in zip(folders[1:], configs[1:], strict=True):
        check_same_data((folders[0], configs[0]), (folder, config))
    paths = [folder.path for folder in folders]
    stored = [read_evaluation(Path(path).resolve()) for path in evaluations]
    for path, evaluation in zip(evaluations, stored, strict=True):
        if not names_in(evaluation, paths):
            raise UsageError(f"--evaluation: {path} speaks of none of the runs; give one that does, or none")
    beside = [path / "evaluation" for path in paths]
    stored += [read_evaluation(path) for path in beside if (path / "results.json").exists()]
    chosen = choose(stored, paths)
    return [
        Record(name, folder, config, folder.history(), folder.finished(), chosen.get(folder.path))
        for name, folder, config in zip(names(folders), folders, configs, strict=True)
    ]


def names(folders: Sequence[StoredRun]) -> list[str]:
    """What the runs are called: their folders' names, those of the folders around them too if that is not enough."""
    found = [folder.name for folder in folders]
    depth = max(len(folder.path.parts) for folder in folders)
    for taken in range(2, depth + 1):
        if len(set(found)) == len(found):
            break
        found = ["/".join(folder.path.parts[-taken:]) for folder in folders]
    return found


def check_same_data(first: tuple[StoredRun, Config], other: tuple[StoredRun, Config]) -> None:
    """Makes sure that two runs are of the same data and tasks, so that their AP can stand side by side.

    Raises:
        UsageError: they are not.
    """
    (folder, config), (other_folder, other_config) = first, other
    known = folder.fingerprints()
    moved = bool(known) and known == other_folder.fingerprints()  # the user's own data, at another place
    for spec in fields(DataOptions):
        decisive = spec.metadata["result"] or (spec.name == "data_dir" and config.data in OWN and not moved)
        one, another = getattr(config, spec.name), getattr(other_config, spec.name)
        if decisive and spec.name not in FREE and one != another:
            raise UsageError(
                f"{other_folder.path}: a run of other data than {folder.path}, {flag(spec.name)} {another} and not "
                f"{one}; give runs of the same data, and the others a report of their own"
            )


def same_test(one: Record, other: Record) -> bool:
    """Whether two finished runs were tested on the same examples."""
    prints = [record.folder.fingerprints().get("test") for record in (one, other)]
    alike = np.array_equal(one.scores["label"], other.scores["label"], equal_nan=True)
    return alike and (None in prints or prints[0] == prints[1])


def pairs(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Differences of AP with intervals from paired resamples: those of the evaluations, else from the runs' scores.

    Returns:
        For each pair of `runs` and `threat` the `difference`, its `interval`, and the `source` in words.
    """
    found = list(itertools.chain.from_iterable(_evaluated_pairs(records)))
    covered = {frozenset(pair["runs"]) for pair in found}
    finished = [record for record in records if record.results is not None]
    for other in finished[1:]:
        if frozenset((finished[0].name, other.name)) not in covered and same_test(finished[0], other):
            found += _own_pairs(finished[0], other)
    return found


def _evaluated_pairs(records: Sequence[Record]) -> list[list[dict[str, Any]]]:
    """The differences that each evaluation has of the runs that are reported from it."""
    of: dict[Stored, dict[str, Record]] = {}
    for record in records:
        if record.evaluated is not None:
            of.setdefault(record.evaluated.evaluation, {})[record.evaluated.name] = record
    return [
        [
            {**pair, "runs": [names[name].name for name in pair["runs"]], "source": names[pair["runs"][0]].source}
            for pair in stored.results["differences"]
            if set(pair["runs"]) <= set(names)
        ]
        for stored, names in of.items()
    ]


def _own_pairs(first: Record, other: Record) -> list[dict[str, Any]]:
    """The differences from the scores that the runs themselves kept; attacked ones if the attack was the same."""
    alike = {CLEAN, PGD} if first.config.threat == other.config.threat else {CLEAN}
    found = differences(
        [first.name, other.name],
        [first.own_measures, other.own_measures],
        [first.samples, other.samples],
        [alike, alike],
        OWN_SETTINGS,
    )
    return [{**pair, "source": OWN_SCORES} for pair in found]
