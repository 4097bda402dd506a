"""What a data source gives: examples, each with a label for every task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adap_tf.data.examples import Examples
from adap_tf.data.images import Array, taken
from adap_tf.data.problems import DataError


@dataclass(frozen=True)
class Features:
    """The columns of a table: their names, the values that they lie between, and which an adversary can change.

    Attributes:
        names: of the columns.
        low: `[F]`, what becomes 0.
        high: `[F]`, what becomes 1.
        changeable: `[F]`, 1 for what an adversary can change, else 0.
    """

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    changeable: np.ndarray

    @classmethod
    def of(cls, by_name: Mapping[str, Mapping[str, Any]]) -> "Features":
        """The columns that `by_name` has told of."""
        parts = (np.array([each[part] for each in by_name.values()], float) for part in ("low", "high", "changeable"))
        return cls(tuple(by_name), *parts)

    def shares(self, values: Any) -> Any:
        """How far values `[n, F]`, float64, lie from `low` to `high`: 0 and 1 there. Takes tensors too."""
        span = self.high / 2 - self.low / 2  # halves, since the whole of the largest numbers is infinite
        return (values / 2 - self.low / 2) / np.where(span > 0, span, 1)

    def by_name(self) -> dict[str, dict[str, float | bool]]:
        """For each column its bounds and whether it can be changed, as JSON has it."""
        columns = zip(self.names, self.low.tolist(), self.high.tolist(), self.changeable.tolist(), strict=True)
        return {name: {"low": low, "high": high, "changeable": bool(free)} for name, low, high, free in columns}


@dataclass(frozen=True)
class Source:
    """A data set, or a part of one that its makers split.

    Attributes:
        image: `[n, ...]`, an array (float in [0, 1] or uint8), or images that stay on disk.
        label: `[n, T]`, 1 positive, 0 negative, NaN unknown.
        tasks: names of the `T` tasks.
        kind: `[n]`, by whose values the examples are split in equal shares; None for the labels of the tasks that are
            asked for.
        features: of a table, its columns.
    """

    image: Array
    label: np.ndarray
    tasks: tuple[str, ...]
    kind: np.ndarray | None = None
    features: Features | None = None

    @classmethod
    def of_classes(cls, image: Array, target: np.ndarray, classes: Sequence[str]) -> "Source":
        """A data set whose examples belong to one class each; a class against the rest is a task.

        Args:
            image: `[n, ...]`.
            target: `[n]`, the number of each example's class.
            classes: their names.
        """
        label = (np.asarray(target)[:, None] == np.arange(len(classes))).astype(np.float32)
        return cls(image, label, tuple(classes), np.asarray(target))

    def __len__(self) -> int:
        return len(self.label)

    def take(self, places: np.ndarray) -> "Source":
        """The examples at those places."""
        kind = None if self.kind is None else self.kind[places]
        return replace(self, image=taken(self.image, places), label=self.label[places], kind=kind)

    def of_tasks(self, tasks: Sequence[str]) -> "Source":
        """The same examples, with the labels of those tasks.

        Raises:
            ValueError: there is no such task; the message lists the names.
        """
        if unknown := [name for name in tasks if name not in self.tasks]:
            raise ValueError(f"unknown class {unknown[0]!r}; classes: {', '.join(self.tasks)}")
        return replace(self, label=self.label[:, [self.tasks.index(name) for name in tasks]], tasks=tuple(tasks))

    @property
    def strata(self) -> np.ndarray:
        """`[n]`, the group of each example, of which every part of a split gets its share."""
        if self.kind is not None:
            return self.kind
        return np.unique(np.nan_to_num(self.label, nan=2), axis=0, return_inverse=True)[1].ravel()

    @property
    def examples(self) -> Examples:
        """What a training takes."""
        return Examples(self.image, self.label)


Parts = Mapping[str, Source]
"""A data set as its makers split it: "train", and perhaps "validation" and "test"."""


def with_both_values(path: Path, parts: Parts) -> Parts:
    """The same parts, whose examples taken together have a positive and a negative of every task.

    Raises:
        DataError: they have not; the message names file and task.
    """
    label = np.concatenate([part.label for part in parts.values()])
    for task, column in zip(parts["train"].tasks, label.T, strict=True):
        for value, what in ((1, "positive (1)"), (0, "negative (0)")):
            if not (column == value).any():
                raise DataError(f"{path}: task {task!r} has no {what}; add some, or drop the task")
    return parts
