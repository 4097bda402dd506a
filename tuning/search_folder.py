"""A search on disk: what it is, its trials' runs, and what came of them."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from keras_tuner.engine.trial import Trial

from adap_tf.methods import METHODS
from train.config import Config
from train.errors import LostError, UsageError
from train.fields import flag
from train.run_folder import RunFolder, read_json, write_json


class SearchFolder:
    """The files of a search.

    Args:
        path: the folder; need not exist.
        base: the run of which hyperparameters are searched.
        seeds: runs of a trial, which differ in their seed alone.
    """

    def __init__(self, path: Path, base: Config, seeds: int):
        self.path, self.base = path.resolve(), base
        self.method = METHODS[base.method]
        self.seeds = range(base.seed, base.seed + seeds)
        self.settings = self.path / "search.json"
        self.runs = self.path / "runs"
        self.tuner = self.path / "tuner"
        self.trade_off = self.path / "trade_off"
        self.table = self.path / "trials.csv"
        self.best = self.path / "best.json"

    def open(self, settings: dict[str, Any]) -> None:
        """Makes the folder and writes what the search is, unless that is done.

        Args:
            settings: by option.

        Raises:
            UsageError: another search or something else is there, or it cannot be written.
        """
        if self.settings.exists():
            self._check(settings)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(f"--out: {self.path} exists and is no search's folder; give a new or an empty one")
        try:
            for folder in (self.runs, self.tuner):
                folder.mkdir(parents=True, exist_ok=True)
            if not self.settings.exists():
                write_json(self.settings, {**settings, "config": self.base.resolved()})
        except OSError as error:
            raise UsageError(f"--out: cannot write {self.path}: {error.strerror or error}") from None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Context in which no other process leads this search.

        Raises:
            UsageError: one does.
        """
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout:
            raise UsageError(
                f"--out: another process is at the search in {self.path}; several work together as docs/tuning.md says"
            ) from None

    def join(self, settings: dict[str, Any], seconds: float) -> None:
        """Waits until the chief has made the folder.

        Args:
            settings: by option.
            seconds: to wait at most.

        Raises:
            LostError: it has not.
            UsageError: the chief's search is another one.
        """
        until = time.monotonic() + seconds
        while not self.settings.exists():
            if time.monotonic() > until:
                raise LostError(f"the chief has not made {self.settings} within {seconds:.0f} s; start it first")
            time.sleep(0.2)
        self._check(settings)

    def _check(self, settings: dict[str, Any]) -> None:
        """Makes sure that the search that is here is this one.

        Raises:
            UsageError: it is not.
        """
        stored = read_json(self.settings) or {}
        if not isinstance(stored.get("config"), dict):
            raise UsageError(f"--out: {self.settings} is damaged; remove {self.path} or give another --out")
        changed = self.base.differing(stored["config"])
        if name := next((name for name in settings if settings[name] != stored.get(name)), changed):
            raise UsageError(
                f"{flag(name)}: {self.path} holds a search with another value; "
                "give that value, another --out, or remove the folder"
            )

    def lender(self, seed: int) -> tuple[Config, RunFolder] | None:
        """The run whose network others of that seed start from: if the method needs one and none was named."""
        if not self.method.pretrained or self.base.init_from:
            return None
        return replace(self.base, method=self.method.pretrained, seed=seed), RunFolder(self.runs / f"start-seed{seed}")

    def config(self, values: Mapping[str, Any], seed: int) -> Config:
        """A run of a trial.

        Args:
            values: of the hyperparameters.
            seed: the run's.
        """
        lender = self.lender(seed)
        return replace(self.base, **values, seed=seed, init_from=str(lender[1].path) if lender else self.base.init_from)

    def run_folders(self, trial: Trial) -> list[RunFolder]:
        """Where a trial's runs go, one a seed."""
        values = "-".join(f"{name}_{value:.4g}" for name, value in trial.hyperparameters.values.items())
        return [RunFolder(self.runs / f"{trial.trial_id}-{values}-seed{seed}") for seed in self.seeds]

    def others(self, run: RunFolder, seed: int) -> list[RunFolder]:
        """The finished runs of other trials with the same seed."""
        folders = [RunFolder(path) for path in sorted(self.runs.glob(f"[0-9]*-seed{seed}")) if path != run.path]
        return [folder for folder in folders if folder.results.exists()]
