"""Columns of a csv or parquet file: what both training and prediction read of a table."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from adap_tf.data.problems import DataError, Problems

ID = "id"

Bounds = Mapping[str, tuple[float, float]]
Faults = dict[int, str]
"""What is wrong with rows that cannot be used, by their places."""


def read_features(
    path: Path, names: Sequence[str], problems: Problems
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The features in a file whose labels do not matter, in the columns' own units.

    Args:
        path: of the file, which ends in .csv or .parquet; columns that are not named are left alone.
        names: the features.
        problems: takes rows with a feature that is missing, NaN or infinite.

    Returns:
        Features `[k, F]` float32, their rows `[k]`, which count from 1 without the header, and the text of the column
        `id` `[k]`, in whatever case, if there is one.

    Raises:
        DataError: the file is missing or damaged, lacks a column, or has one that will not do.
    """
    table = read_table(path)
    if missing := [name for name in names if name not in table.column_names]:
        raise DataError(f"{path} lacks {', '.join(map(repr, missing))}; there are {', '.join(table.column_names)}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and a fault
        values = np.stack([numbers(path, table, name, needed=True) for name in names], axis=1).astype(np.float32)
    rows = usable_rows(path, len(values), feature_faults(names, values, {}), problems)
    ids = [text(path, table, name)[rows] for name in table.column_names if name.lower() == ID and name not in names]
    return values[rows], rows + 1, ids[0] if ids else None


def read_table(path: Path) -> pa.Table:
    """The table, with a name for every column and at least one row.

    Raises:
        DataError: it is missing, damaged or empty.
    """
    readers = {".csv": _read_csv, ".parquet": pa_parquet.read_table}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path} is no table that can be read; name a file that ends in .csv or .parquet")
    if not path.is_file():
        raise DataError(f"{path} is missing, or no file; name a file")
    try:
        table = readers[path.suffix.lower()](path)
        names = table.column_names
    except UnicodeDecodeError:
        raise DataError(f"{path} names columns in letters that are not UTF-8; save it as UTF-8") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}; mend the file") from None
    _check_names(path, names)
    if not table.num_rows:
        raise DataError(f"{path} has no rows; add some")
    return table


def _read_csv(path: Path) -> pa.Table:
    """A csv file, in which an empty cell of a text column is a missing one, as it is in all others."""
    return pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(strings_can_be_null=True))


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Makes sure that every column has a name of its own."""
    for place, name in enumerate(names):
        if not name.strip():
            raise DataError(f"{path}: column {place + 1} has no name; name it, or drop it if it counts the rows")
        if name in names[:place]:
            raise DataError(f"{path} has two columns {name!r}; rename one of them")


def is_numeric(column: pa.ChunkedArray) -> bool:
    """Whether a column holds numbers, or true and false."""
    kinds = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(kind(column.type) for kind in kinds)


def as_float(column: pa.ChunkedArray) -> np.ndarray:
    """`[n]` float64, NaN for what is missing."""
    return column.cast(pa.float64(), safe=False).to_numpy()


def numbers(path: Path, table: pa.Table, name: str, needed: bool = False) -> np.ndarray:
    """A feature of all rows.

    Args:
        path: of the table, for errors.
        table: has the column.
        name: the column's.
        needed: whether the feature cannot be dropped, or made a label.

    Raises:
        DataError: the column is empty, or of something else.
    """
    column = table[name]
    if column.null_count == len(column):
        raise DataError(f"{path}: column {name!r} is empty; {'fill' if needed else 'drop'} it")
    if not is_numeric(column):
        what = "text" if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type) else column.type
        otherwise = "" if needed else ", drop it, or name it in --labels"
        raise DataError(f"{path}: column {name!r} is {what}; encode it as numbers{otherwise}")
    return as_float(column)


def text(path: Path, table: pa.Table, name: str) -> np.ndarray:
    """`[n]` of text, empty for what is missing.

    Raises:
        DataError: the column cannot be written as text.
    """
    try:
        return table[name].cast(pa.string()).fill_null("").to_numpy()
    except (pa.ArrowException, UnicodeDecodeError):
        raise DataError(f"{path}: column {name!r} is {table[name].type}; write it as UTF-8 text or numbers") from None


def feature_faults(names: Sequence[str], values: np.ndarray, bounds: Bounds) -> Faults:
    """Rows with a feature that is no number, or out of its bounds; of each the first such column."""
    low, high = np.array([bounds.get(name, (-math.inf, math.inf)) for name in names]).T
    bad = ~np.isfinite(values) | (values < low) | (values > high)
    found = {}
    for row in np.flatnonzero(bad.any(axis=1)).tolist():
        place = int(bad[row].argmax())
        what = f"{values[row, place]:g}, out of its bounds [{low[place]:g}, {high[place]:g}]"
        what = what if np.isfinite(values[row, place]) else "missing, NaN or infinite"
        found[row] = f"column {names[place]!r} is {what}"
    return found


def usable_rows(path: Path, count: int, faults: Faults, problems: Problems) -> np.ndarray:
    """The places of the rows that can be used `[k]`.

    Raises:
        DataError: there is none, or the others are not to be left out.
    """
    for row in sorted(faults):
        problems.note(f"{path}: row {row + 1}, {faults[row]}")
    if len(faults) == count:
        raise DataError(f"{path} has no row that can be used")
    return np.setdiff1d(np.arange(count), list(faults))
