"""Copies the small files of runs, that tables are made of, to be committed: `python -m experiments.keep --help`."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

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

CURVES = "budget"
"""The bulk of an evaluation, which no table needs; the setting of that name is a number and stays."""


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
        if folder.finished() is None and not folder.stopped.exists():
            print(f"note: {folder.path.name} is not at its end and left out", file=sys.stderr)
            continue
        keep(folder, out)
        print(f"{'kept':<12}{out / folder.path.name}")


def keep(folder: StoreFolder, out: Path) -> None:
    """Copies the small files of a run into a folder of its name, without the paths of this machine.

    Raises:
        UsageError: one is damaged.
    """
    with replacing_folder(out / folder.path.name) as target:
        for file in (folder.path / name for name in KEPT):
            if file.exists():
                there = target / file.relative_to(folder.path)
                there.parent.mkdir(parents=True, exist_ok=True)
                _copy(file, there, folder.path.parent)


def _copy(file: Path, there: Path, store: Path) -> None:
    if file.suffix != ".json":
        shutil.copyfile(file, there)
        return
    if (content := read_json(file)) is None:
        raise UsageError(f"RUN: {file} is damaged; leave that run out")
    write_json(there, light(content, store))


def light(value: Any, store: Path) -> Any:
    """What a JSON file holds, without curves, with paths in the store as they are from there, the last name of others.

    >>> light({"init_from": "/a/store/ce-seed0", "data_dir": "/data/cifar", "budget": {"8": []}}, Path("/a/store"))
    {'init_from': 'ce-seed0', 'data_dir': 'cifar'}
    """
    if isinstance(value, dict):
        bulk = {name for name, each in value.items() if name == CURVES and isinstance(each, dict)}
        return {name: light(each, store) for name, each in value.items() if name not in bulk}
    if isinstance(value, list):
        return [light(each, store) for each in value]
    if not isinstance(value, str):
        return value
    inner = value.replace(f"{store}/", "")
    return PurePath(inner).name if PurePath(inner).is_absolute() else inner


def _parser() -> Parser:
    parser = Parser(
        prog="python -m experiments.keep",
        description="Copies config, metrics, results and evaluations of finished runs, without weights, scores and the "
        "paths of this machine. The copies are a store that `python -m experiments --store` makes the same tables of.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder; one that is not at its end is left out")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for a folder a run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
