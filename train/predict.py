"""Scores of files by an exported network: `python train/predict.py --help`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: its folder is on the path, and the project's has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import train  # noqa: F401, I001  # before TensorFlow

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

import numpy as np
from tqdm import tqdm

from adap_tf.data import Problems
from adap_tf.data.images import ahead
from train.command import ended
from train.errors import UsageError
from train.fields import COUNT, check_fields, one_of, option
from train.inputs import ENDS, Batch, Told, batches_of, check_inputs
from train.listing import FORMATS, STREAMED, Layout, Listing, Table, check_out, opened
from train.options import Parser, add_options
from train.served import Served, Threshold, load_served

UNREAD = 1  # exit status if something could not be scored


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What becomes of scores. Every field is an option of the same name.

    Raises:
        UsageError: a value is not accepted, or options contradict each other; the message names the option.
    """

    format: str = option(
        "table: ranked, for people; csv, jsonl: line by line in input order", one_of(FORMATS), default="table"
    )
    out: str | None = option("file to write; stdout if not given", default=None)
    top: int | None = option("rows of the table, the highest scores; all if not given", COUNT, int, default=None)
    task: str | None = option("whose scores rank the table; the first if not given", default=None)
    at: str | None = option(
        "precision=0.9 or another of the card's thresholds, for a column 'positive'; the one there is for each task if "
        "not given",
        default=None,
    )
    batch_size: int = option("examples in the network at once", COUNT, int, default=256)

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("top", "task"):
            if self.format in STREAMED and getattr(self, name) is not None:
                raise UsageError(f"--{name}: {self.format} is not ranked; leave it out, or ask for --format table")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    problems = Told()
    status = ended(lambda: scored_and_listed(arguments, problems), "what csv and jsonl have so far stays")
    return status or (UNREAD if problems.count else 0)


def scored_and_listed(arguments: Sequence[str] | None, problems: Told) -> None:
    """All that the command does.

    Raises:
        UsageError: the user's mistake.
    """
    wishes, export, paths = parse(arguments)
    served = load_served(export)
    check_inputs(paths, served)
    out = None if wishes.out is None else Path(wishes.out)
    if out is not None:
        check_out(out, paths)
    thresholds, by = served.thresholds_at(wishes.at), ranking_task(wishes, served.tasks)
    layout = Layout(served.tasks, thresholds, bool(served.columns))
    tell(thresholds, wishes, by, served.tasks)
    streamed = wishes.format in STREAMED
    silent = True if streamed and out is None and sys.stdout.isatty() else None  # rows are on the screen themselves
    with opened(out, not streamed) as stream, tqdm(desc="scoring", unit="example", leave=False, disable=silent) as bar:
        listing = listing_of(wishes, layout, stream, by)
        for batch, *scores in scored(served, batches_of(paths, served, wishes.batch_size, problems), problems):
            listing.add(layout.rows(batch, *scores))
            bar.update(len(batch.names))
        listing.end()
    if out is not None:
        print(f"{'scores':<12}{out.resolve()}")


def parse(arguments: Sequence[str] | None = None) -> tuple[Wishes, str, list[Path]]:
    """Reads the command line: wishes, the export's path, and those of what to score.

    Raises:
        UsageError: an option or a value is not accepted.
    """
    given = vars(_parser().parse_args(arguments))
    export, paths = given.pop("export"), [Path(path) for path in given.pop("inputs")]
    return Wishes(**given), export, paths


def ranking_task(wishes: Wishes, tasks: Sequence[str]) -> str:
    """The task whose scores rank.

    Raises:
        UsageError: there is no such task.
    """
    if wishes.task not in (None, *tasks):
        raise UsageError(f"--task: there is no task {wishes.task!r}; the network has {', '.join(tasks)}")
    return wishes.task or tasks[0]


def tell(thresholds: Sequence[Threshold], wishes: Wishes, by: str, tasks: Sequence[str]) -> None:
    """Says on stderr what was chosen for the user."""
    for each in thresholds:
        print(f"positive: {each.task} with a score of at least {each.score:.6g} ({each.goal})", file=sys.stderr)
    if len(tasks) > 1 and wishes.task is None and wishes.format not in STREAMED:
        print(f"ranked by {by}; --task names another of {', '.join(tasks)}", file=sys.stderr)


def listing_of(wishes: Wishes, layout: Layout, stream: TextIO, by: str) -> Listing:
    """What takes the rows."""
    if wishes.format in STREAMED:
        return STREAMED[wishes.format](layout.names, stream)
    return Table(layout.names, stream, layout.place_of_score(by), wishes.top)


def scored(
    served: Served, batches: Iterator[Batch], problems: Problems
) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
    """Batches with their logits and probabilities `[k, C]`; one is read while the network has the one before.

    Args:
        served: the network.
        batches: what it takes.
        problems: takes examples whose scores are not finite.
    """
    for batch in ahead(batches):
        score, probability = served(batch.examples)
        finite = np.isfinite(score).all(axis=1)
        if not finite.all():
            for place in np.flatnonzero(~finite).tolist():
                problems.note(f"{batch.names[place]} has a score that is not finite")
            batch, score, probability = batch.take(np.flatnonzero(finite)), score[finite], probability[finite]
        yield batch, score, probability


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="train/predict.py",
        description="Scores files with an exported network, and ranks them. What cannot be read is told on stderr and "
        "left out; the exit status is then 1.",
        epilog="A SavedModel is a program: load one only from someone you trust.",
    )
    parser.add_argument("export", metavar="EXPORT", help="folder of a SavedModel, or a run folder that has one")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help=f"folder of images at any depth, or file that ends in {', '.join(ENDS)}",
    )
    add_options(parser, Wishes)
    return parser


if __name__ == "__main__":
    sys.exit(main())
