"""The data sets of the application by name, and their split into training, validation and test data."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from adap_tf.data import Examples, Source, cifar10, digits, splits
from train.errors import UsageError


class Splits(NamedTuple):
    """Three disjoint parts of a data set, with the same tasks."""

    train: Examples
    validation: Examples
    test: Examples
    tasks: tuple[str, ...]

    @property
    def parts(self) -> dict[str, Examples]:
        """The three by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


Parts = tuple[Source, Source, Source]


def _digits(data_dir: str | None, download: bool, seed: int) -> Parts:
    """60% to train, 20% to validate, 20% to test, by class."""
    source = digits.load()
    train, validation, test = (source.take(p) for p in splits.stratified(source.target, (0.6, 0.2, 0.2), seed))
    return train, validation, test


def _cifar10(data_dir: str | None, download: bool, seed: int) -> Parts:
    """The paper's split: 80% of the official training images to train, 20% to validate, by class; the official test."""
    official, test = cifar10.load(data_dir, download)
    train, validation = (official.take(p) for p in splits.stratified(official.target, (0.8, 0.2), seed))
    return train, validation, test


SOURCES: Mapping[str, Callable[[str | None, bool, int], Parts]] = {"digits": _digits, "cifar10": _cifar10}
"""For each data set, a function of its folder (None: the usual one), whether to download it, and the split's seed."""


def load_splits(
    data: str,
    positive: str,
    seed: int,
    data_dir: str | None = None,
    download: bool = False,
    train_examples: int | None = None,
    validation_examples: int | None = None,
) -> Splits:
    """The splits of a data set, one class against the rest, or several, each a task.

    Args:
        data: name in `SOURCES`.
        positive: name of the class to find; several with commas between them, or "all".
        seed: of the split, and of the choice of examples where fewer are asked for.
        data_dir: where the data lie.
        download: whether to fetch missing data.
        train_examples: how many to keep of the training split, of each class its share; None keeps all.
        validation_examples: the same of the validation split.

    Raises:
        UsageError: the data are missing, there is no such class, a split has no positive of one, or too many are asked
            for.
    """
    try:
        train, validation, test = SOURCES[data](data_dir, download, seed)
    except FileNotFoundError as error:
        raise UsageError(f"--data-dir: {error}") from None
    train = _cut("--train-examples", train, train_examples, seed)
    validation = _cut("--validation-examples", validation, validation_examples, seed)
    tasks = train.classes if positive == "all" else tuple(positive.split(","))
    if len(set(tasks)) < len(tasks):
        raise UsageError(f"--positive: {positive!r} names a class twice")
    try:
        loaded = Splits(
            train.one_vs_rest(*tasks), validation.one_vs_rest(*tasks), test.one_vs_rest(*tasks), tuple(tasks)
        )
    except ValueError as error:
        raise UsageError(f"--positive: {error}") from None
    for name, part in loaded.parts.items():
        for task, count in zip(tasks, part.positives, strict=True):
            if not count:
                raise UsageError(f"--positive: class {task!r} has no example in the {name} split of {data}")
    return loaded


def _cut(option: str, source: Source, count: int | None, seed: int) -> Source:
    """So many examples, of each class its share."""
    if count is None:
        return source
    if count > len(source):
        raise UsageError(f"{option}: {count} asked for, and the split has {len(source)}")
    return source.take(splits.stratified(source.target, (count / len(source),), seed)[0])
