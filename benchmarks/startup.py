"""Seconds from the command until training runs: `python -m benchmarks.startup`."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import report, timed
from train import main as command
from train.monitor import TIMED, WARM_UP


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup",
        description="Starts train/main.py on digits in a fresh process, again and again, and times it until it says "
        f"how fast it is, which is after {WARM_UP + TIMED} steps; then stops it.",
    )
    parser.add_argument("--repeats", type=int, default=8, help="starts (%(default)s)")
    parser.add_argument("--json", action="store_true", help="the last line is JSON")
    given = parser.parse_args(arguments)
    report(timed([start], given.repeats, warm_up=1), given.json)


def start() -> None:
    """A run until its first line, which tells the speed.

    Raises:
        RuntimeError: it printed something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(Path(command.__file__)), "--out", str(Path(folder, "run"))]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
        process.communicate()
    if "s a step" not in line:
        raise RuntimeError(f"train/main.py began with {line!r}")


if __name__ == "__main__":
    main()
