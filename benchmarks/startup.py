"""Seconds from the command until training runs: `python -m benchmarks.startup`."""

import argparse
import functools
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import add_repeats, report, timed
from train import main as command
from train.monitor import TIMED, WARM_UP


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup",
        description="Starts train/main.py on digits in a fresh process, again and again, and times it until it says "
        f"how fast it is, which is after {WARM_UP + TIMED} steps; then stops it. Beside it the same with options of "
        "that command, in turn, with the ratio pair by pair.",
    )
    parser.add_argument("--versus", metavar="OPTIONS", help="options of train/main.py, in one string")
    add_repeats(parser, 8, "starts")
    given = parser.parse_args(arguments)
    options = [[]] if given.versus is None else [[], shlex.split(given.versus)]
    starts = [functools.partial(start, *words) for words in options]
    report(timed(starts, given.repeats, warm_up=1), given.json, ("start", "versus"))


def start(*options: str) -> None:
    """A run with these options until its first line, which tells the speed.

    Raises:
        RuntimeError: it printed something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(Path(command.__file__)), *options, "--out", str(Path(folder, "run"))]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
        _, errors = process.communicate()
    if "s a step" not in line:
        raise RuntimeError(f"train/main.py began with {line!r}\n{errors}")


if __name__ == "__main__":
    main()
