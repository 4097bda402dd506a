"""Files to score, as batches: read when they are asked for, with what cannot be read left out."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from adap_tf.data import DataError, Problems, StoredImages
from adap_tf.data.columns import read_features
from adap_tf.data.files import SUFFIXES, images_below, read_file
from adap_tf.data.npz import read_images
from train.errors import UsageError, printable
from train.served import FEATURES, Served

IMAGES, ARRAYS, TABLE = "image files", "npz", "csv and parquet"
ENDS = {**dict.fromkeys(sorted(SUFFIXES), IMAGES), ".npz": ARRAYS, ".csv": TABLE, ".parquet": TABLE}
PLACES = {ARRAYS: "{}[{}]", TABLE: "{}:{}"}  # what an example is called: an array's count from 0, a table's rows from 1


class Batch(NamedTuple):
    """Some examples.

    Attributes:
        names: `[k]`, the file of each, with the row or place in it.
        ids: `[k]`, what a table calls each; None if it does not.
        examples: `[k, ...]`.
    """

    names: Sequence[str]
    ids: Sequence[str] | None
    examples: np.ndarray

    def take(self, places: np.ndarray) -> "Batch":
        """The examples at those places."""
        ids = None if self.ids is None else np.asarray(self.ids)[places].tolist()
        return Batch(np.asarray(self.names)[places].tolist(), ids, self.examples[places])


class Told(Problems):
    """Problems that are told on stderr when they are found, so that any number of them takes no memory.

    Attributes:
        count: how many.
    """

    def __init__(self) -> None:
        super().__init__(skip=True)
        self.count = 0

    def note(self, problem: str) -> None:
        """Tells one, above the progress bar."""
        self.count += 1
        tqdm.write(printable(problem), file=sys.stderr)


def check_inputs(paths: Iterable[Path], served: Served) -> None:
    """Makes sure that there is something to read at each path, of a kind that the network takes.

    Raises:
        UsageError: there is not.
    """
    taken = {IMAGES: served.form is not None, ARRAYS: True, TABLE: bool(served.columns)}
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} is missing; give files or folders")
        kind = kind_of(path)
        if kind is None:
            raise UsageError(f"{path} is of no kind that is read; files end in {', '.join(ENDS)}")
        if not taken[kind]:
            kinds = " or ".join(name for name, takes in taken.items() if takes)
            raise UsageError(f"{path}: the network takes {served.kind}, from {kinds}{_advice(kind, served)}")
        if path.is_dir() and next(images_below(path), None) is None:
            raise UsageError(f"{path} holds no image; give a folder with some in it or below it")


def _advice(kind: str, served: Served) -> str:
    nameless = kind == TABLE and len(served.shape) == 1
    return "; it knows no names of columns: export its run with train/export_run.py" if nameless else ""


def kind_of(path: Path) -> str | None:
    """What is read at a path, None if that is nothing."""
    return IMAGES if path.is_dir() else ENDS.get(path.suffix.lower())


def batches_of(paths: Sequence[Path], served: Served, size: int, problems: Problems) -> Iterator[Batch]:
    """The examples at some paths, in that order.

    Image files are read a batch at a time, across folders; an npz file or a table as a whole.

    Args:
        paths: that `check_inputs` accepts.
        served: what will take them.
        size: examples in a batch, at most.
        problems: takes what cannot be read.
    """
    for kind, group in itertools.groupby(paths, kind_of):
        if kind == IMAGES:
            yield from _of_images(group, served, size, problems)
        else:
            for path in group:
                yield from _of_file(str(kind), path, served, size, problems)


def _of_images(paths: Iterable[Path], served: Served, size: int, problems: Problems) -> Iterator[Batch]:
    """Image files, and those in folders."""
    assert served.form is not None

    def unread(error: OSError) -> None:
        problems.note(f"{error.filename} cannot be read: {error.strerror}")

    below = (images_below(path, unread) if path.is_dir() else [path] for path in paths)
    files = map(str, itertools.chain.from_iterable(below))
    while names := list(itertools.islice(files, size)):
        images, kept = StoredImages(read_file, names, served.form).all(problems, quiet=True)
        if len(kept):
            yield Batch([names[place] for place in kept], None, images)


def _of_file(kind: str, path: Path, served: Served, size: int, problems: Problems) -> Iterator[Batch]:
    """A file of many examples."""
    try:
        examples, places, ids = _read(kind, path, served, problems)
        served.check(path, examples)
    except DataError as error:
        return problems.note(str(error))
    except MemoryError:
        return problems.note(f"{path} is larger than the memory; divide it")
    for first in range(0, len(examples), size):
        part = slice(first, first + size)
        names = [PLACES[kind].format(path, place) for place in places[part].tolist()]
        yield Batch(names, None if ids is None else ids[part].tolist(), examples[part])


def _read(
    kind: str, path: Path, served: Served, problems: Problems
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The examples in a file, their places in it and their ids."""
    if kind == TABLE:
        return read_features(path, served.columns, problems)
    return *read_images(path, problems, own_units=served.kind == FEATURES), None
