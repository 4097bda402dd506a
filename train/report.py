"""One page of HTML about runs, finished or not: `python train/report.py --help`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: its folder is on the path, and the project's has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import train  # noqa: F401, I001  # before TensorFlow

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2

from train import origins, pictures, tables
from train.command import ended
from train.errors import UsageError
from train.options import Parser
from train.parts import Section, printable
from train.records import Record, read
from train.run_folder import write_text

TEMPLATE = Path(__file__).with_name("report.html.j2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    return ended(lambda: reported(arguments), "nothing was written")


def reported(arguments: Sequence[str] | None) -> None:
    """All that the command does.

    Raises:
        UsageError: the user's mistake.
    """
    given = _parser().parse_args(arguments)
    out = Path(given.out).expanduser().resolve()
    with writing(out):
        check_out(out)
    text = page(read(given.runs, given.evaluation))
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    print(f"{'report':<12}{out}")


def _parser() -> Parser:
    parser = Parser(
        prog="train/report.py",
        description="One page of HTML about one or several runs of the same data: numbers with intervals, figures, "
        "configs, and the commands that give the runs again. It needs neither a network nor other files.",
        epilog="What train/evaluate.py has written into a run's folder is reported with it; of runs that were not "
        "evaluated, the intervals come from the scores that they kept themselves.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, as train/main.py writes it")
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write; an earlier page there is replaced")
    parser.add_argument(
        "--evaluation",
        action="append",
        default=[],
        metavar="DIR",
        help="folder of an evaluation, if train/evaluate.py had an --out; several times for several",
    )
    return parser


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system says of a path into words for the user.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"--out: cannot write {path}: {error.strerror or error}") from None


def check_out(path: Path) -> None:
    """Makes sure, before the work, that a file can go there.

    Raises:
        UsageError: it cannot.
        OSError: the path cannot be looked at.
    """
    if path.is_dir():
        raise UsageError(f"--out: {path} is a folder; give a file, as {path / 'report.html'}")
    if path.is_file() and not is_page(path):
        raise UsageError(f"--out: {path} exists and is no page; give a new file, or a report to replace")
    parent = next(folder for folder in path.parents if folder.exists())
    if not parent.is_dir():
        raise UsageError(f"--out: {parent} is no folder; give a file in a folder")


def is_page(path: Path) -> bool:
    """Whether a file begins as a page of HTML does."""
    start = b"<!doctype html"
    with path.open("rb") as file:
        return file.read(len(start)).lower() == start


def page(records: Sequence[Record]) -> str:
    """The page: the same text for the same runs.

    Raises:
        UsageError: a run's files are damaged.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_finalized
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title(records), facts=facts(records), sections=sections(records)) + "\n"


def _finalized(value: Any) -> Any:
    """What the template writes of a value; what it calls safe is markup and stays."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else printable(value)


def sections(records: Sequence[Record]) -> list[Section]:
    """What the page holds, from the summary to the commands; without what there is nothing to say of."""
    measured = any(record.measures for record in records)
    found = [
        tables.summary(records),
        tables.remarks(records) if measured else None,
        pictures.trade_off(records),
        under_threats(records) if measured else None,
        tables.compared(records),
        pictures.precision_recall(records),
        pictures.budgets(records),
        pictures.learning_curves(records),
        origins.configs(records),
        origins.reproduction(records),
    ]
    return [section for section in found if section is not None]


def under_threats(records: Sequence[Record]) -> Section:
    """AP under each threat, drawn and in numbers."""
    drawn, *rest = pictures.with_intervals(records), *tables.under_threats(records)
    return Section("threats", "Under each threat", (), [drawn, *rest])


def title(records: Sequence[Record]) -> str:
    """What the page is about."""
    config = records[0].config
    tasks = next((record.tasks for record in records if record.tasks), [])
    one = f"“{tasks[0] if tasks else config.positive or 'the rarest class'}”"
    what = f"{len(tasks)} tasks" if len(tasks) > 1 else one
    return f"Average precision under attack: {what} in {config.data}"


def facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """What all runs have in common, by name."""
    found = [("runs", str(len(records))), ("data", str(records[0].config.data))]
    results = next((record.results for record in records if record.results is not None), None)
    if results is not None:
        test, tasks = results["splits"]["test"], results["tasks"]
        found += [
            ("tasks" if len(tasks) > 1 else "task", ", ".join(tasks)),
            ("test data", f"{test['examples']} examples, {test['positives']} positives"),
            ("AP of constant scores", f"{test['positives'] / test['examples'] / len(tasks):.4f}"),
        ]
    return found


if __name__ == "__main__":
    sys.exit(main())
