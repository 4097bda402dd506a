"""A run on disk: `config.json`, `metrics.csv`, `checkpoints/`, `best/`, `results.json` and what is drawn from them."""

import contextlib
import csv
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from train.config import Config
from train.errors import UsageError
from train.fields import flag
from train.identity import changed

Row = dict[str, float]


class RunFolder:
    """The files of one run. What a run goes on from, and its results, are written whole or not at all.

    Args:
        path: the folder; need not exist.
    """

    def __init__(self, path: Path):
        self.path = path.resolve()
        self.config = self.path / "config.json"
        self.data = self.path / "data.json"
        self.features = self.path / "features.json"
        self.metrics = self.path / "metrics.csv"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best" / "network.keras"
        self.tensorboard = self.path / "tensorboard"
        self.figures = self.path / "figures"
        self.perturbations = self.figures / "perturbations.png"
        self.pr_curves = self.figures / "pr_curves.png"
        self.training_curves = self.figures / "training.png"
        self.scores = self.path / "scores.npz"
        self.results = self.path / "results.json"
        self.stopped = self.path / "stopped.json"
        self.export = self.path / "export"

    def alone(self) -> FileLock:
        """Context in which no other process that asks for it is at the run; one that counts as lost may be yet."""
        return FileLock(self.path.with_name(f".{self.path.name}.lock"))

    def check(self, config: Config) -> None:
        """Makes sure that a run can go here: the folder is new or empty, or holds this very run.

        Raises:
            UsageError: it holds another run or something else.
        """
        if self.config.exists():
            if name := config.differing(self._read_json(self.config)):
                raise UsageError(
                    f"{flag(name)}: {self.path} holds a run with another value; "
                    "give that value, another --out, or remove the folder"
                )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(f"--out: {self.path} exists and is not a run folder; give a new or an empty one")

    def open(self, config: Config, data: Mapping[str, str]) -> None:
        """Makes the folder and writes the config, unless that is done.

        Args:
            config: the run's.
            data: the fingerprints of its data.

        Raises:
            UsageError: as `check`, or the data are not those of the run that is here, or the folder cannot be written.
        """
        self.check(config)
        if name := changed(self.fingerprints(), data):
            raise UsageError(
                f"--data-dir: the {name} data are not those that {self.path} began with; give those, another --out, "
                "or remove the folder"
            )
        try:
            for folder in (self.best.parent, self.figures):
                folder.mkdir(parents=True, exist_ok=True)
            if not self.config.exists():
                write_json(self.data, dict(data))
                write_json(self.config, config.resolved())
        except OSError as error:
            raise UsageError(f"--out: cannot write {self.path}: {error.strerror or error}") from None

    def config_values(self) -> dict[str, Any]:
        """The config of the run that is here.

        Raises:
            UsageError: there is none, or it is damaged.
        """
        if not self.config.exists():
            raise UsageError(f"{self.path}: no run is there; give the folder that a run was written to")
        return self._read_json(self.config)

    def fingerprints(self) -> dict[str, str]:
        """Those of the data that the run began with; empty before it has, or if an earlier version did not keep them.

        Raises:
            UsageError: they are damaged.
        """
        return self._read_json(self.data) if self.config.exists() and self.data.exists() else {}

    def finished(self) -> dict[str, Any] | None:
        """The results, if the run is at its end.

        Raises:
            UsageError: they are damaged.
        """
        return self._read_json(self.results) if self.results.exists() and self.scores.exists() else None

    def of_finished(self) -> dict[str, Any]:
        """The results of a run that has to be at its end.

        Raises:
            UsageError: it is not, or they are damaged.
        """
        if (results := self.finished()) is None:
            raise UsageError(f"{self.path}: the run is not finished; start its command again, and it goes on")
        return results

    def _read_json(self, path: Path) -> dict[str, Any]:
        if (found := read_json(path)) is None:
            raise self._damaged(path)
        return found

    def _damaged(self, path: Path) -> UsageError:
        return UsageError(f"--out: {path} is damaged; remove {self.path} or give another --out")

    def history(self) -> list[Row]:
        """The rows of `metrics.csv`, one an epoch; empty before the first.

        Raises:
            UsageError: they are damaged.
        """
        if not self.metrics.exists():
            return []
        with contextlib.suppress(KeyError, TypeError, ValueError), self.metrics.open(newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
            if [row["epoch"] for row in rows] == list(range(1, len(rows) + 1)):
                return rows
        raise self._damaged(self.metrics)

    def write_history(self, rows: Sequence[Row]) -> None:
        """Replaces `metrics.csv`; every digit is kept, since a run that goes on selects by these numbers."""
        lines = [
            ",".join(rows[0]),
            *(",".join(repr(value).removesuffix(".0") for value in row.values()) for row in rows),
        ]
        write_text(self.metrics, "\n".join(lines) + "\n")

    def write_scores(self, label: np.ndarray, scores: dict[str, np.ndarray]) -> None:
        """Keeps the test scores, for figures and further analysis."""
        with replacing(self.scores) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, label=label, **scores)

    def read_scores(self) -> dict[str, np.ndarray]:
        """The test labels and the scores under each threat."""
        with np.load(self.scores) as stored:
            return dict(stored)


class replacing:
    """Context that gives a path to write and moves it onto `path` at the end, so that no reader sees half a file."""

    def __init__(self, path: Path):
        self.path, self.part = path, path.with_name(f".part-{path.name}")

    def __enter__(self) -> Path:
        return self.part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            os.replace(self.part, self.path)
        else:
            self.part.unlink(missing_ok=True)


class replacing_folder(replacing):
    """The same for a folder. An earlier one is moved aside, and back if the new one does not take its place."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.earlier = path.with_name(f".earlier-{path.name}")

    def __enter__(self) -> Path:
        self._tidy()
        self.part.mkdir(parents=True)
        return self.part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                if self.path.exists():
                    self.path.rename(self.earlier)
                self.part.rename(self.path)
        finally:
            self._tidy()

    def _tidy(self) -> None:
        if self.earlier.exists() and not self.path.exists():
            self.earlier.rename(self.path)
        for rest in (self.part, self.earlier):
            shutil.rmtree(rest, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """An object by name from a JSON file, None if it is damaged."""
    with contextlib.suppress(ValueError):
        if isinstance(found := json.loads(path.read_text()), dict):
            return found
    return None


def write_json(path: Path, content: Any) -> None:
    """Writes JSON for people and programs, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")
