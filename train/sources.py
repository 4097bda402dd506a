"""The data sets of the application by name, and their split into training, validation and test data."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from adap_tf.data import Examples, Source, digits, splits


class Splits(NamedTuple):
    """Three disjoint parts of a data set."""

    train: Examples
    validation: Examples
    test: Examples


def _digits(positive: str, seed: int) -> Splits:
    source: Source = digits.load()
    examples = source.one_vs_rest(positive)
    return Splits(*(examples.take(part) for part in splits.stratified(source.target, (0.6, 0.2, 0.2), seed)))


SOURCES: Mapping[str, Callable[[str, int], Splits]] = {"digits": _digits}
"""For each data set, a function of the positive class and the seed."""


def load_splits(data: str, positive: str, seed: int) -> Splits:
    """The splits of a data set.

    Raises:
        ValueError: no such class, or a split without positives; the message is fit for a user.
    """
    loaded = SOURCES[data](positive, seed)
    for name, part in loaded._asdict().items():
        if not sum(part.positives):
            raise ValueError(f"class {positive!r} has no example in the {name} split of {data}")
    return loaded
