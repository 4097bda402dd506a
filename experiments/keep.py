"""Copies the small files of runs, that tables are made of, to be committed: `python -m experiments.keep --help`."""

import contextlib
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import Timeout

import train  # noqa: F401  # before TensorFlow
from experiments.command import make
from experiments.store import StoreFolder
from train.command import ended
from train.errors import UsageError
from train.options import Parser
from train.run_folder import read_json, replacing_folder, write_json

EVALUATION = "evaluation/results.json"
KEPT = ("config.json", "data.json", "metrics.csv", "results.json", "stopped.json", EVALUATION, f"last/{EVALUATION}")
"""The files of a run that tables are made of: no weights, scores or figures."""

BULK = "budget"
"""The curves of an evaluation, which no table needs; the setting of that name is a number and stays."""

PRIVATE = ("data_dir", "labels")
"""Where the user's data lie; the fingerprints say which they are."""

PATH = re.compile(r"^~?/.*/|(?<![\w.)\]])~?/(?=\S)(?:\S*/)?")
"""All but the last name of an absolute path, anywhere in a text; one that begins with a path is taken for one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    return ended(lambda: kept_and_told(arguments), "each run is copied whole or not at all")


def kept_and_told(arguments: Sequence[str] | None) -> None:
    """All that the command does.

    Raises:
        UsageError: the user's mistake.
    """
    given = _parser().parse_args(arguments)
    out = Path(given.out)
    make("out", out)
    for folder in [StoreFolder(Path(path)) for path in given.runs]:
        folder.config_values()
        with contextlib.suppress(Timeout), folder.alone().acquire(timeout=0):
            if folder.finished() is not None or folder.stopped.exists():
                print(f"{'kept':<12}{keep(folder, out)}")
                if not (folder.path / EVALUATION).exists() and not folder.stopped.exists():
                    print(f"note: {folder.path.name} is not evaluated", file=sys.stderr)
                continue
        print(f"note: {folder.path.name} is not at its end and left out", file=sys.stderr)


def keep(folder: StoreFolder, out: Path) -> Path:
    """Copies the small files of a run into a folder of its name, without the paths of this machine; that folder.

    Raises:
        UsageError: one is damaged, or the copy would take the place of a run.
    """
    check_replaceable(out / folder.path.name, folder)
    with replacing_folder(out / folder.path.name) as target:
        for file in (folder.path / name for name in KEPT):
            if file.exists():
                there = target / file.relative_to(folder.path)
                there.parent.mkdir(parents=True, exist_ok=True)
                _copy(file, there)
    return out / folder.path.name


def check_replaceable(target: Path, folder: StoreFolder) -> None:
    """Makes sure that nothing but an earlier copy is lost when a copy of a run goes to a folder.

    Raises:
        UsageError: it is the run, or holds other files.
    """
    files = (path.relative_to(target).as_posix() for path in target.glob("**/*") if path.is_file())
    if target.resolve() == folder.path or not set(files) <= set(KEPT):
        raise UsageError(f"--out: a copy would take the place of {target}, which is none; give another folder")


def _copy(file: Path, there: Path) -> None:
    if file.suffix != ".json":
        shutil.copyfile(file, there)
        return
    if (content := read_json(file)) is None:
        raise UsageError(f"RUN: {file} is damaged; leave that run out")
    write_json(there, light(content))


def light(value: Any) -> Any:
    """What a JSON file holds, without curves and where data lie, and of each absolute path the last name.

    >>> light({"init_from": "/a/store/ce-seed0", "data_dir": "/data/cifar", "budget": {"8": []}})
    {'init_from': 'ce-seed0', 'data_dir': None}
    >>> light("not finite at 8/255; go on from /a/run/step-1, or ~/b/run")
    'not finite at 8/255; go on from step-1, or run'
    """
    if isinstance(value, dict):
        bulk = {name for name, each in value.items() if name == BULK and isinstance(each, dict)}
        return {name: None if name in PRIVATE else light(each) for name, each in value.items() if name not in bulk}
    if isinstance(value, list):
        return [light(each) for each in value]
    return PATH.sub("", value) if isinstance(value, str) else value


def _parser() -> Parser:
    parser = Parser(
        prog="python -m experiments.keep",
        description="Copies config, metrics, results and evaluations of runs that are at their end, finished or given "
        "up, without weights, scores and the paths of this machine. The copies are a store that `python -m experiments "
        "--store` makes the same tables of; an earlier copy of a run is replaced.",
    )
    left_out = "left out if it is not at its end, or a process is at it"
    parser.add_argument("runs", nargs="+", metavar="RUN", help=f"run folder; {left_out}")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for a folder a run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
