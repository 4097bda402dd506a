"""Data: where from, which tasks, and the split into training, validation and test data."""

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adap_tf.adversary import EVERYTHING, Reach
from adap_tf.data import (
    DataError,
    Examples,
    Features,
    Parts,
    Problems,
    Source,
    any_tfds,
    bdd100k,
    celeba,
    cifar10,
    cifar100,
    digits,
    folder,
    npz,
    splits,
    table,
)
from train.errors import UsageError
from train.fields import WHOLE, Check, flag, option

TFDS = "tfds:"
OWN = {"folder": "images", "npz": "images", "csv": "table", "parquet": "table"}
"""The kinds of the user's own data, and the recipe for each."""

LONGEST = 60  # characters of the tasks in the name of a folder
SIZE = re.compile(r"(\d+)(?:x(\d+))?")


def _is_data(name: str) -> bool:
    return name in SOURCES or (name.startswith(TFDS) and len(name) > len(TFDS))


def _is_size(text: str) -> bool:
    found = SIZE.fullmatch(text)
    return found is not None and all(0 < int(part) < 10_000 for part in found.groups() if part)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which data, and what of them. Every field is an option of the same name."""

    data: str | None = option(
        "data set, or what your own data are",
        Check(
            lambda name: _is_data(name),
            "one of digits, cifar10, cifar100, celeba, bdd100k, folder (of images), npz, "
            "csv, parquet (tables of features), tfds:NAME",
        ),
        default=None,
    )
    data_dir: str | None = option(
        "folder or file of the data, if they do not come with a package; of a TensorFlow Datasets' TFDS_DATA_DIR or "
        "~/tensorflow_datasets if not given",
        result=False,
        default=None,
    )
    download: bool = option(
        "fetch a data set of TensorFlow Datasets where it is missing", kind=bool, result=False, default=False
    )
    labels: str | None = option(
        "folder: CSV file of paths and labels; csv, parquet: names of the label columns, with commas between them",
        default=None,
    )
    image_size: str | None = option(
        "images are resized to it; as they are if not given, 64 if they differ, 224 for bdd100k",
        Check(_is_size, "pixels, as 64 or HEIGHTxWIDTH"),
        default=None,
    )
    changeable: str | None = option(
        "columns of a table that an adversary can change, with commas between them; all if not given", default=None
    )
    bounds: str | None = option(
        'JSON file with the least and largest value of columns of a table, {"column": [0, 10]}; what they have in the '
        "table if not given",
        default=None,
    )
    skip_bad_examples: bool = option(
        "leave out examples that cannot be used, and say how many, instead of stopping at the first",
        kind=bool,
        default=False,
    )
    split_seed: int | None = option("of the split and of what is kept; --seed if not given", WHOLE, int, default=None)
    positive: str | None = option(
        "the class or label to find, all others being negatives; a,b,c or all for several tasks at once; the rarest if "
        "not given",
        default=None,
    )

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that images are resized to."""
        found = SIZE.fullmatch(self.image_size or "")
        return None if found is None else (int(found[1]), int(found[2] or found[1]))

    @property
    def path(self) -> str:
        """Where the user's own data are.

        Raises:
            UsageError: nobody says.
        """
        if self.data_dir is None:
            raise UsageError(f"--data-dir: {self.data} needs it: the file or folder of the data")
        return self.data_dir


TAKEN = {
    "folder": {"labels", "image_size"},
    "bdd100k": {"image_size"},
    "csv": {"labels", "changeable", "bounds"},
    "parquet": {"labels", "changeable", "bounds"},
}
"""The options about the form of data that a kind takes; what is read by `tfds:NAME` takes the size of images."""

Loader = Callable[[DataOptions, Problems], Parts]
SOURCES: Mapping[str, Loader] = {
    "digits": lambda asked, problems: digits.load(),
    "cifar10": lambda asked, problems: cifar10.load(asked.data_dir, asked.download),
    "cifar100": lambda asked, problems: cifar100.load(asked.data_dir, asked.download),
    "celeba": lambda asked, problems: celeba.load(asked.data_dir, asked.download, problems),
    "bdd100k": lambda asked, problems: bdd100k.load(asked.path, asked.size or bdd100k.SIZE, problems),
    "folder": lambda asked, problems: folder.load(asked.path, asked.labels, asked.size, problems),
    "npz": lambda asked, problems: npz.load(asked.path, problems),
    "csv": lambda asked, problems: _table(asked, problems),
    "parquet": lambda asked, problems: _table(asked, problems),
}
"""The data sets and kinds of data by name, each a function of the options; `tfds:NAME` besides."""


def _table(asked: DataOptions, problems: Problems) -> Parts:
    return table.load(asked.path, _names(asked.labels) or (), _names(asked.changeable), asked.bounds, problems)


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(","))


class Splits(NamedTuple):
    """Three disjoint parts of a data set, with the same tasks."""

    train: Examples
    validation: Examples
    test: Examples
    tasks: tuple[str, ...]
    features: Features | None = None
    skipped: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, Examples]:
        """The three by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def reach(self) -> Reach:
        """What of an example an adversary can change: everything, but for a table's columns that are fixed."""
        if self.features is None or self.features.changeable.all():
            return EVERYTHING
        return Reach(features=self.features.changeable.astype(np.float32))


def load_splits(
    asked: DataOptions, seed: int, train_examples: int | None = None, validation_examples: int | None = None
) -> Splits:
    """The splits of a data set, one class against the rest, or several, each a task.

    Args:
        asked: what data.
        seed: of the split, unless `asked` has one, and of the choice of examples where fewer are asked for.
        train_examples: how many to keep of the training split, of each class its share; None keeps all.
        validation_examples: the same of the validation split.

    Raises:
        UsageError: the data are missing or bad, there is no such class, a split has no positive or no negative of one,
            or too many are asked for.
    """
    seed = seed if asked.split_seed is None else asked.split_seed
    problems = Problems(asked.skip_bad_examples)
    whole = _loaded(asked, problems)
    tasks = _tasks(asked.positive, whole["train"])
    try:
        parts = dict(splits.in_three({name: part.of_tasks(tasks) for name, part in whole.items()}, seed))
    except ValueError as error:
        raise UsageError(f"--positive: {error}") from None
    parts["train"] = _cut("--train-examples", parts["train"], train_examples, seed)
    parts["validation"] = _cut("--validation-examples", parts["validation"], validation_examples, seed)
    for name, part in parts.items():
        _check(name, part, asked.data)
    return Splits(
        train=parts["train"].examples,
        validation=parts["validation"].examples,
        test=parts["test"].examples,
        tasks=tasks,
        features=parts["train"].features,
        skipped=tuple(problems.found),
    )


def _loaded(asked: DataOptions, problems: Problems) -> Parts:
    """The data as their makers split them.

    Raises:
        UsageError: they are missing or bad.
    """
    assert asked.data is not None
    _check_taken(asked, {"image_size"} if asked.data.startswith(TFDS) else TAKEN.get(asked.data, set()))
    try:
        if asked.data.startswith(TFDS):
            name = asked.data.removeprefix(TFDS)
            return any_tfds.load(name, asked.data_dir, asked.download, asked.size, problems)
        return SOURCES[asked.data](asked, problems)
    except (FileNotFoundError, DataError) as error:
        raise UsageError(f"--data-dir: {error}") from None


def _check_taken(asked: DataOptions, taken: set[str]) -> None:
    """Makes sure that no option would be ignored, which could pass for one that was heeded.

    Raises:
        UsageError: one would.
    """
    for name in ("labels", "image_size", "changeable", "bounds"):
        if getattr(asked, name) is not None and name not in taken:
            raise UsageError(f"{flag(name)}: {asked.data} does not take it; leave it out")


def _tasks(positive: str | None, source: Source) -> tuple[str, ...]:
    """The names of the tasks asked for; of the rarest if none is.

    Raises:
        UsageError: one is named twice.
    """
    if positive is None:
        counts = np.nansum(source.label == 1, axis=0)
        return (source.tasks[int(np.argmin(np.where(counts > 0, counts, len(source) + 1)))],)
    if positive in source.tasks:  # also if there is a comma in its name
        return (positive,)
    tasks = source.tasks if positive == "all" else tuple(name.strip() for name in positive.split(","))
    if len(set(tasks)) < len(tasks):
        raise UsageError(f"--positive: {positive!r} names a class twice")
    return tasks


def _check(name: str, part: Source, data: str | None) -> None:
    """Makes sure that a part has positives and negatives of every task.

    Raises:
        UsageError: it has not.
    """
    if not len(part):
        raise UsageError(f"--data: the {name} split of {data} is empty; give more examples")
    for task, column in zip(part.tasks, part.label.T, strict=True):
        for value, what in ((1, "example"), (0, "example of another")):
            if not (column == value).any():
                raise UsageError(f"--positive: class {task!r} has no {what} in the {name} split of {data}; give more")


def _cut(option: str, source: Source, count: int | None, seed: int) -> Source:
    """So many examples, of each class its share."""
    if count is None:
        return source
    if count > len(source):
        raise UsageError(f"{option}: {count} asked for, and the split has {len(source)}")
    return source.take(splits.stratified(source.strata, (count / len(source),), seed)[0])


def absolute(given: dict[str, Any]) -> dict[str, Any]:
    """Options with whole paths in the place of relative ones, so that a run's config holds for any working folder."""
    found = dict(given)
    for name in ("data_dir", "bounds", "labels"):
        # labels may be names of columns, or a file in the data's folder
        if given.get(name) and (name != "labels" or Path(given[name]).is_file()):
            found[name] = str(Path(given[name]).expanduser().resolve())
    return found


def run_name(asked: DataOptions, preset: str | None, method: str, seed: int) -> str:
    """What a run's folder is called if nobody says: after its preset or its data, the task, the method and the seed."""
    what = preset or (Path(asked.data_dir).name if asked.data in OWN and asked.data_dir else asked.data or "")
    task = asked.positive or ""
    if len(task) > LONGEST:
        task = f"{task[:LONGEST]}-{zlib.crc32(task.encode()):08x}"
    parts = (part for part in (what, task, method, f"seed{seed}") if part)
    return re.sub(r"[^\w.,+-]+", "_", "-".join(parts))
