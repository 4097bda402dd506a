"""Files of finished runs as a report reads them: what is missing, damaged or somebody else's is one line."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from train.config import Config
from train.errors import UsageError
from train.run_folder import Row, RunFolder

ANY = ""  # in a shape: all keys there are
NUMBER = (int, float)
KEPT = ("clean", "pgd")  # threats under which a run is tested
RESULTS = {
    "method": str,
    "tasks": lambda value: bool(value) and fits(value, [str]),
    "seed": int,
    "splits": {"test": {"examples": lambda value: fits(value, int) and value > 0, "positives": int}},
    "selected": {"epoch": int},
    "test": {threat: {"ap": NUMBER} for threat in KEPT},
    "versions": {ANY: str},
}
"""What a report reads of a run's `results.json`."""

COLUMNS = {"epoch", "loss", "clean_ap", "robust_ap"}  # and of `metrics.csv`


def fits(value: Any, shape: Any) -> bool:
    """Whether a value read from JSON has a shape: a type, several, a test, a list of one shape, or a dict of shapes.

    >>> fits({"a": [1, 2.5], "more": None}, {"a": [NUMBER]}), fits({"a": [1, "b"]}, {ANY: [NUMBER]})
    (True, False)
    """
    if isinstance(shape, dict):
        wanted = dict.fromkeys(value, shape[ANY]) if ANY in shape and isinstance(value, dict) else shape
        return isinstance(value, dict) and all(key in value and fits(value[key], each) for key, each in wanted.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(each, shape[0]) for each in value)
    return isinstance(value, shape) if isinstance(shape, type | tuple) else shape(value)


def damaged(path: Path) -> UsageError:
    """What to say of a file that cannot be used."""
    return UsageError(f"{path} is damaged or missing; restore it, or leave that run out")


def read_json(path: Path, shape: Any) -> dict[str, Any]:
    """The content of a file.

    Raises:
        UsageError: it cannot be read, or has another shape.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise damaged(path) from None
    if not fits(found, shape):
        raise damaged(path)
    return found


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, `label` and for each threat the scores, all `[n, C]`.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = dict(stored)
    except Exception as error:  # of many types, for a file that is cut off or no archive
        if isinstance(error, OSError) and error.errno:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
        raise damaged(path) from None
    shapes = {name: getattr(each, "shape", None) for name, each in found.items()}  # what is no array comes as bytes
    if len(shapes.get("label") or ()) != 2 or len(set(shapes.values())) > 1:
        raise damaged(path)
    return found


def _is_of(kind: type, value: Any) -> bool:
    """Whether a field of a config can have a value; only what is no flag may be missing."""
    if value is None:
        return kind is not bool
    return isinstance(value, NUMBER if kind is float else kind)


class StoredRun(RunFolder):
    """A run folder to be read.

    Args:
        given: its path, as the user wrote it.

    Raises:
        UsageError: it is none.
    """

    def __init__(self, given: str):
        super().__init__(Path(given))
        if not os.path.isdir(self.path):  # unlike Path's, it does not fail where a name is too long
            raise UsageError(f"{given}: no such folder; give run folders, as train/main.py writes them")
        if not self.config.exists():
            raise UsageError(f"{given}: no run folder, it holds no config.json; give folders that train/main.py wrote")

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.path.name

    def read_config(self) -> Config:
        """The run's config; fields that are younger than it have their defaults.

        Raises:
            UsageError: it is damaged, or another program's.
        """
        kinds = {spec.name: spec.metadata["kind"] for spec in fields(Config)}
        content = read_json(self.config, dict)
        if wrong := [name for name, value in content.items() if not _is_of(kinds.get(name, object), value)]:
            raise UsageError(f"{self.config} is no config of train/main.py: {wrong[0]} has a value of another kind")
        try:
            return Config(**content)
        except (TypeError, UsageError) as error:
            reason = error if isinstance(error, UsageError) else "its fields are others"
            raise UsageError(f"{self.config} is no config of train/main.py: {reason}") from None

    def fingerprints(self) -> dict[str, str]:
        """Those of the data, empty if an earlier version did not keep them.

        Raises:
            UsageError: they are damaged.
        """
        return read_json(self.data, {ANY: str}) if self.data.exists() else {}

    def history(self) -> list[Row]:
        """The rows of `metrics.csv`, empty before the first.

        Raises:
            UsageError: they are damaged, or missing though the run has results.
        """
        try:
            rows = super().history()
        except (UsageError, OSError):
            raise damaged(self.metrics) from None
        if (rows and not set(rows[0]) >= COLUMNS) or (not rows and self.results.exists()):
            raise damaged(self.metrics)
        return rows

    def finished(self) -> dict[str, Any] | None:
        """The results; None of a run that is not at its end.

        Raises:
            UsageError: they are damaged, or the scores are missing.
        """
        if not self.results.exists():
            return None
        if not self.scores.exists():
            raise UsageError(f"{self.scores} is missing, and the run has results; restore it, or leave that run out")
        return read_json(self.results, RESULTS)

    def read_scores(self) -> dict[str, np.ndarray]:
        """The test labels and the scores under each threat, `[n, C]`.

        Raises:
            UsageError: they are missing or damaged.
        """
        found = read_arrays(self.scores)
        if not set(found).issuperset(KEPT):
            raise damaged(self.scores)
        return found
