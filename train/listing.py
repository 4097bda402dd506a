"""Scores as people and programs read them: a ranked table, or csv and jsonl line by line."""

import contextlib
import csv
import heapq
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from train.errors import UsageError, printable
from train.inputs import Batch
from train.run_folder import replacing
from train.served import Threshold

PIPE = 141  # exit status of a program whose reader has gone: 128 and the signal's number

Row = tuple[Any, ...]


class Layout:
    """The columns of what is written, and the rows of a batch.

    Args:
        tasks: names.
        thresholds: least scores of positives, for the tasks that have one.
        with_ids: whether rows have an id.

    Attributes:
        names: of the columns.
    """

    def __init__(self, tasks: Sequence[str], thresholds: Sequence[Threshold], with_ids: bool):
        self.tasks, self.with_ids = tasks, with_ids
        self.thresholds: Mapping[str, float] = {each.task: each.score for each in thresholds}
        self.names = ["input", *["id"] * with_ids]
        for task in tasks:
            kinds = ["score", "probability", *["positive"] * (task in self.thresholds)]
            self.names += kinds if len(tasks) == 1 else [f"{kind} {task}" for kind in kinds]

    def place_of_score(self, task: str) -> int:
        """Where a task's score stands among the columns."""
        return self.names.index("score" if len(self.tasks) == 1 else f"score {task}")

    def rows(self, batch: Batch, score: np.ndarray, probability: np.ndarray) -> Iterator[Row]:
        """A row for each example: text and numbers."""
        columns: list[Sequence[Any]] = [batch.names]
        if self.with_ids:
            columns.append(batch.ids or [""] * len(batch.names))
        for task, logit, share in zip(self.tasks, score.T, probability.T, strict=True):
            columns += [short(logit), short(share)]
            if task in self.thresholds:
                # in float64: the least score is one of those that it was chosen from, to the last digit
                positive = logit.astype(np.float64) >= self.thresholds[task]
                columns.append(np.where(positive, "yes", "no").tolist())
        return zip(*columns, strict=True)


def short(numbers: np.ndarray) -> list[float]:
    """Floats that Python writes with no more digits than tell a float32 from its neighbours."""
    return [float(f"{number:.9g}") for number in numbers.tolist()]


class Listing(Protocol):
    """What becomes of rows."""

    def add(self, rows: Iterable[Row]) -> None:
        """Takes those of a batch."""

    def end(self) -> None:
        """Writes what is left."""


class Csv:
    """A header, and rows as they come."""

    def __init__(self, names: Sequence[str], stream: TextIO):
        self.stream, self.writer = stream, csv.writer(stream, lineterminator="\n")
        self.writer.writerow(names)

    def add(self, rows: Iterable[Row]) -> None:
        """Writes the rows of a batch."""
        self.writer.writerows(rows)
        self.stream.flush()

    def end(self) -> None:
        """All is written."""


class JsonLines:
    """Rows as they come, each an object by the names of the columns."""

    def __init__(self, names: Sequence[str], stream: TextIO):
        self.names, self.stream = names, stream

    def add(self, rows: Iterable[Row]) -> None:
        """Writes the rows of a batch."""
        self.stream.writelines(json.dumps(dict(zip(self.names, row, strict=True))) + "\n" for row in rows)
        self.stream.flush()

    def end(self) -> None:
        """All is written."""


class Table:
    """Rows by score, the highest first, in columns for people; of those with the same score the earlier one first.

    Args:
        names: of the columns.
        stream: where it is written at the end.
        by: place of the score that ranks.
        top: how many rows are kept; all if None.
    """

    def __init__(self, names: Sequence[str], stream: TextIO, by: int, top: int | None):
        self.names, self.stream, self.by, self.top = names, stream, by, top
        self.kept: list[Row] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Keeps the rows of a batch, or what is among the highest of them."""
        self.kept += rows
        if self.top is not None:
            self.kept = heapq.nlargest(self.top, self.kept, key=lambda row: row[self.by])

    def end(self) -> None:
        """Writes the table."""
        ranked = sorted(self.kept, key=lambda row: row[self.by], reverse=True)
        cells = [["rank", *self.names], *([str(rank), *map(cell, row)] for rank, row in enumerate(ranked, 1))]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        left = [False, *(name in ("input", "id") for name in self.names)]
        for line in cells:
            padded = zip(line, widths, left, strict=True)
            text = "  ".join(each.ljust(width) if to_left else each.rjust(width) for each, width, to_left in padded)
            self.stream.write(text.rstrip() + "\n")


def cell(value: Any) -> str:
    """A value in a table."""
    return f"{value:.4f}" if isinstance(value, float) else printable(str(value))


STREAMED: Mapping[str, Callable[[Sequence[str], TextIO], Listing]] = {"csv": Csv, "jsonl": JsonLines}
FORMATS = ("table", *STREAMED)


def check_out(out: Path, inputs: Iterable[Path]) -> None:
    """Makes sure that a file can be written, and holds nothing that is read.

    Raises:
        UsageError: it cannot, or it does.
    """
    if not out.parent.is_dir():
        raise UsageError(f"--out: there is no folder {out.parent}; make it first")
    if out.exists() and not out.is_file():
        raise UsageError(f"--out: {out} is no file; give a file, new or to be replaced")
    if out.exists() and any(out.samefile(path) for path in inputs):
        raise UsageError(f"--out: {out} is what is read; give another file")


@contextlib.contextmanager
def opened(out: Path | None, whole: bool) -> Iterator[TextIO]:
    """A file to write, or stdout.

    Args:
        out: the file; stdout if None.
        whole: whether it is written whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        if out is None:
            yield stack.enter_context(_stdout())
            return
        path = stack.enter_context(replacing(out)) if whole else out
        try:
            stream = path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise UsageError(f"--out: cannot write {out}: {error.strerror}") from None
        yield stack.enter_context(stream)


@contextlib.contextmanager
def _stdout() -> Iterator[TextIO]:
    """Standard output, which can end before we do, as with `| head`, and may not know every letter of a name."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        raise SystemExit(PIPE) from None
