"""The user's own table: a csv or parquet file whose columns are features and labels."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from adap_tf.data.columns import (
    ID,
    Bounds,
    Faults,
    as_float,
    feature_faults,
    is_numeric,
    numbers,
    read_table,
    text,
    usable_rows,
)
from adap_tf.data.problems import DataError, Problems
from adap_tf.data.sources import Features, Parts, Source, with_both_values

LABELS = ("label", "target", "class", "y")
SPLIT = "split"
INDEX = "__index_level_0__"  # what pandas calls the numbers of rows in a parquet file: no feature
PARTS = ("train", "validation", "test")
VALUES = "write 0 for a negative, not -1, 1 for a positive and nothing for unknown"


def load(
    path: str | Path,
    labels: Sequence[str],
    changeable: Sequence[str] | None = None,
    bounds: str | Path | None = None,
    problems: Problems | None = None,
) -> Parts:
    """The examples in the rows of a csv or parquet file.

    Label columns hold 0, 1 and nothing (unknown), and are tasks; or one holds names of classes. A column `split` of
    "train", "validation" and "test" tells the parts, a column `id` has another value in each row. All other columns are
    features, `[n, F]` float32: `(x - low) / (high - low)`, or 0 where all values are the same.

    Args:
        path: of the file, which ends in .csv or .parquet.
        labels: the label columns; if there is none, the one column that is called label, target, class or y.
        changeable: the columns that an adversary can change, all if None.
        bounds: JSON file of `{"column": [low, high]}`; of columns that it does not name, and of all if None, these are
            the least and the largest value of the whole table.
        problems: takes rows with features that are missing, NaN, infinite or out of bounds, with no class, with an
            unknown split, and with the id of an earlier row. Rows count from 1, without the header.

    Raises:
        DataError: the file is missing or damaged, there is no such column, or columns will not do.
    """
    path, problems = Path(path), problems or Problems()
    table = read_table(path)
    labels = _label_columns(path, table, labels)
    names = _feature_columns(path, table, labels)
    able = np.isin(names, _known(path, "--changeable", names if changeable is None else changeable, names))
    given = {} if bounds is None else _bounds(Path(bounds), path, names)
    values = np.stack([numbers(path, table, name) for name in names], axis=1)
    faults = {
        **feature_faults(names, values, given),
        **_class_faults(path, table, labels),
        **_split_faults(path, table, labels),
        **_id_faults(table, labels),
    }
    rows = usable_rows(path, len(values), faults, problems)
    table, values = table.take(rows), values[rows]
    low, high = _limits(names, values, given)
    features = Features(names, low, high, able.astype(np.float64))
    source = replace(_labelled(path, table, labels, _scaled(values, features)), features=features)
    return with_both_values(path, _parts(path, table, labels, source))


def _known(path: Path, option: str, names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The same names, all of them columns."""
    for name in names:
        if name not in columns:
            raise DataError(f"{path}: {option} names {name!r}; there are {', '.join(columns)}")
    return list(names)


def _label_columns(path: Path, table: pa.Table, labels: Sequence[str]) -> tuple[str, ...]:
    """The names of the label columns."""
    columns = table.column_names
    if labels:
        return tuple(dict.fromkeys(_known(path, "--labels", labels, columns)))
    found = [name for name in columns if name.lower() in LABELS]
    if len(found) != 1:
        what = "several columns could be the label" if found else "no column is called label"
        raise DataError(f"{path}: {what}; name those that are with --labels, of {', '.join(columns)}")
    return tuple(found)


def _special(table: pa.Table, labels: Sequence[str], name: str) -> list[str]:
    """The columns that are called `id` or `split`, in whatever case, and are no labels."""
    return [column for column in table.column_names if column.lower() == name and column not in labels]


def _feature_columns(path: Path, table: pa.Table, labels: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns that are features."""
    others = {*labels, INDEX}
    names = tuple(name for name in table.column_names if name not in others and name.lower() not in (ID, SPLIT))
    if not names:
        raise DataError(f"{path} has no column of features beside {', '.join(table.column_names)}; add one")
    return names


def _bounds(file: Path, path: Path, names: Sequence[str]) -> Bounds:
    """The least and the largest value of columns, from a JSON file."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{file} is missing; --bounds names a JSON file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}; --bounds names a JSON file") from None
    if not isinstance(found, dict):
        raise DataError(f'{file} must hold {{"column": [low, high]}}')
    _known(path, str(file), list(found), names)
    return {name: _pair(file, name, pair) for name, pair in found.items()}


def _pair(file: Path, name: str, pair: object) -> tuple[float, float]:
    """Two numbers, the first not above the second."""
    if isinstance(pair, list) and len(pair) == 2 and all(type(value) in (int, float) for value in pair):
        low, high = map(float, pair)
        if math.isfinite(low) and math.isfinite(high) and low <= high:
            return low, high
    raise DataError(f"{file}: {name!r} must have two numbers [low, high], not {json.dumps(pair)}")


def _id_faults(table: pa.Table, labels: Sequence[str]) -> Faults:
    """Rows with the id of an earlier one; what is missing is no id."""
    found = {}
    for name in _special(table, labels, ID):
        number = table[name].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
        first = np.unique(number, return_index=True)[1]
        for row in np.setdiff1d(np.flatnonzero(number >= 0), first).tolist():
            found[row] = f"column {name!r} has the {table[name][row]} of an earlier row"
    return found


def _split_faults(path: Path, table: pa.Table, labels: Sequence[str]) -> Faults:
    """Rows of a part that there is not."""
    found = {}
    for name in _special(table, labels, SPLIT):
        part = text(path, table, name)
        for row in np.flatnonzero(~np.isin(part.astype(str), PARTS)).tolist():
            found[row] = f"column {name!r} has {part[row]!r}; write {', '.join(PARTS)}"
    return found


def _class_faults(path: Path, table: pa.Table, labels: Sequence[str]) -> Faults:
    """Rows without a class, if a column of classes is the label."""
    if _are_tasks(path, table, labels):
        return {}
    empty = np.flatnonzero(text(path, table, labels[0]) == "")
    return dict.fromkeys(empty.tolist(), f"column {labels[0]!r} has no class")


def _are_tasks(path: Path, table: pa.Table, labels: Sequence[str]) -> bool:
    """Whether label columns are tasks; else there is one, of classes.

    Raises:
        DataError: there are several, some with other values than 0 and 1, or the one has numbers that are no classes.
    """
    others = {name: other for name in labels if (other := _not_binary(table[name])) is not None}
    for name, other in others.items():
        if len(labels) > 1 or (isinstance(other, float) and not (other > 1 and other.is_integer())):
            raise DataError(f"{path}: label column {name!r} has the value {other!r}; {VALUES}")
    return not others


def _not_binary(column: pa.ChunkedArray) -> str | float | None:
    """A value that is neither 0, 1 nor missing, of numbers one that is no class if there is any; else None."""
    if pa.types.is_null(column.type):
        return None
    if not is_numeric(column):
        return str(column.drop_null()[0])
    value = as_float(column)
    value = value[~np.isnan(value) & (value != 0) & (value != 1)]
    broken = value[(value < 0) | (value != np.floor(value)) | np.isinf(value)]
    return next(map(float, (*broken[:1], *value[:1])), None)


def _limits(names: Sequence[str], values: np.ndarray, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """What becomes 0, and what becomes 1, of each column `[F]`."""
    found = zip(names, values.min(axis=0), values.max(axis=0), strict=True)
    low, high = np.array([bounds.get(name, (low, high)) for name, low, high in found]).T
    return low, high


def _scaled(values: np.ndarray, features: Features) -> np.ndarray:
    """Features in [0, 1], float32 `[n, F]`."""
    return np.clip(features.shares(values), 0, 1).astype(np.float32)


def _labelled(path: Path, table: pa.Table, labels: Sequence[str], image: np.ndarray) -> Source:
    """The examples with their labels."""
    if _are_tasks(path, table, labels):
        label = np.stack([as_float(table[name]) for name in labels], axis=1)
        return Source(image, label.astype(np.float32), tuple(labels))
    classes, target = np.unique(text(path, table, labels[0]).astype(str), return_inverse=True)
    return Source.of_classes(image, target, tuple(classes.tolist()))


def _parts(path: Path, table: pa.Table, labels: Sequence[str], source: Source) -> Parts:
    """The parts that the table tells, else all examples for training."""
    for name in _special(table, labels, SPLIT):
        part = text(path, table, name)
        if "train" not in part:
            raise DataError(f"{path}: no row that can be used has {name} train; write it for some")
        return {each: source.take(np.flatnonzero(part == each)) for each in PARTS if each in part}
    return {"train": source}
