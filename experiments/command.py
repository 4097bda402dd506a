"""The command: what is asked for, done, and written."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cells import Entry
from experiments.drawings import DRAWINGS
from experiments.entries import ENTRIES
from experiments.estimate import REFERENCE, UNTIMED, measured, plans, table, told
from experiments.gather import missing, sheet_of
from experiments.scales import SCALES, TASKS
from experiments.sheet import Sheet
from experiments.study import Study
from experiments.without_runs import SHEETS
from experiments.work import complete, helpers
from train.command import ended
from train.config import FAIR
from train.errors import UsageError
from train.fields import COUNT, POSITIVE, check_value, flag
from train.options import RUNS, Parser
from train.run_folder import write_text

PROTOCOLS = ("paper", FAIR)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    return ended(lambda: asked_and_answered(arguments), "the same command goes on from here")


def asked_and_answered(arguments: Sequence[str] | None) -> None:
    """All that the command does.

    Raises:
        UsageError: the user's mistake.
    """
    given = _parser().parse_args(arguments)
    check(given)
    home = RUNS / "experiments" / given.scale
    out = Path(given.out or home / "results")
    study = Study(
        SCALES[given.scale],
        Path(given.store or home / "runs"),
        given.protocol == FAIR,
        given.search_seeds,
        given.dry_run,
        data_dirs(given.data_dir),
        given.download,
    )
    if given.dry_run:
        return dry_run(given, study)
    for name, folder in (("store", study.store), ("out", out)):
        make(name, folder)
    own = sys.argv[1:] if arguments is None else arguments
    with helpers(0 if given.helper else given.workers - 1, own, study.store):
        for name in dict.fromkeys(given.names):
            answer(name, study, out, given.helper)


def answer(name: str, study: Study, out: Path, helper: bool) -> None:
    """Does what an entry lacks; prints and writes its table, and draws it. A helper leaves that to others."""
    entry = ENTRIES[name]
    for data, problem in missing(entry, study).items():
        print(f"note: {name} goes without {data}: {problem}; docs/data.md says how to get it", file=sys.stderr)
    if entry.cells:
        complete(study, entry)
    if helper:
        return
    sheet = SHEETS[entry.measure](name, entry, study) if entry.measure in SHEETS else sheet_of(name, entry, study)
    paths = [*written(sheet, out, f"{name}-{FAIR}" if study.fair else name, entry, study)]
    print(f"\n{sheet.text()}")
    for path in paths:
        print(f"{'written':<12}{path}")


def written(sheet: Sheet, out: Path, name: str, entry: Entry, study: Study) -> list[Path]:
    """Writes a table in three forms, and its figures; their paths."""
    texts = {"md": sheet.text(), "csv": sheet.csv(), "tex": sheet.latex()}
    paths = {out / f"{name}.{suffix}": text for suffix, text in texts.items()}
    for path, text in paths.items():
        write_text(path, text)
    return [*paths, *(DRAWINGS[entry.drawing](name, entry, study, out) if entry.drawing else ())]


def dry_run(given: argparse.Namespace, study: Study) -> None:
    """Prints what would run, and how long it would take."""
    seconds = given.seconds_per_step or measured(study.scale.config(next(iter(TASKS))))
    names = list(dict.fromkeys(given.names))
    for name in names:
        print("\n".join(told(name, ENTRIES[name], study, seconds)))
    if len(names) > 1:
        print("\nall of them together, a run that several need once")
        print("\n".join(table(plans(study, *(ENTRIES[name] for name in names)), seconds)))
    print(
        f"\n{seconds:.3g} s a step here of {REFERENCE}, 32×32 pixels, a batch of 128; GPU-hours by Table 7, "
        f"with the paper's ResNet-18. Both grow with pixels and batch; methods that Table 7 lacks count as {UNTIMED}. "
        "Evaluations come on top."
    )


def make(name: str, folder: Path) -> None:
    """Makes the folder of an option.

    Raises:
        UsageError: it is a file, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"{flag(name)}: {folder} is a file; give a folder") from None
    except OSError as error:
        raise UsageError(f"{flag(name)}: cannot make {folder}: {error.strerror or error}") from None


def data_dirs(texts: Sequence[str]) -> dict[str, str]:
    """Where data lie, by data set.

    Raises:
        UsageError: something else is given.
    """
    names = sorted({config.data or "" for config in TASKS.values()})
    found = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or not folder or name not in names:
            raise UsageError(f"--data-dir: {text!r} is not understood; it takes NAME=DIR of {', '.join(names)}")
        found[name] = str(Path(folder).expanduser().resolve())
    return found


def check(given: argparse.Namespace) -> None:
    """Refuses numbers that are out of range.

    Raises:
        UsageError: one is.
    """
    for name, accepted in (("workers", COUNT), ("search_seeds", COUNT), ("seconds_per_step", POSITIVE)):
        check_value(name, getattr(given, name), accepted)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m experiments",
        description="Reproduces tables and figures of the paper: does the runs that are missing, and prints the "
        "published values beside ours. The same command again goes on, and repeats no finished run.",
    )
    parser.add_argument("names", nargs="+", choices=ENTRIES, metavar="NAME", help=", ".join(ENTRIES))
    scales = "paper: its own setting; mini: a night on two CPU cores; smoke: minutes, on digits"
    parser.add_argument("--scale", required=True, choices=SCALES, help=scales)
    parser.add_argument("--store", metavar="DIR", help="folder of the runs (runs/experiments/SCALE/runs)")
    parser.add_argument("--out", metavar="DIR", help="folder of tables and figures (runs/experiments/SCALE/results)")
    parser.add_argument(
        "--protocol", default="paper", choices=PROTOCOLS, help="fair: all methods draw their batches alike (paper)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes side by side (1)")
    parser.add_argument(
        "--search-seeds",
        type=int,
        metavar="N",
        help="seeds with which hyperparameters are searched (all of the scale's)",
    )
    parser.add_argument("--dry-run", action="store_true", help="run nothing: say what would, and how long it takes")
    parser.add_argument("--seconds-per-step", type=float, metavar="S", help="for --dry-run; measured if not given")
    parser.add_argument(
        "--data-dir", action="append", default=[], metavar="NAME=DIR", help="where a data set lies; may be repeated"
    )
    parser.add_argument("--download", action="store_true", help="fetch what TensorFlow Datasets can fetch")
    parser.add_argument("--helper", action="store_true", help=argparse.SUPPRESS)
    return parser
