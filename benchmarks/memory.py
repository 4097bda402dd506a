"""Memory of a few training steps, a process each: `python -m benchmarks.memory adap_ln adap_lpn`."""

import argparse
import json
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from adap_tf import METHODS
from benchmarks.input import peak_memory
from benchmarks.step import add_options, stepper
from benchmarks.timing import add_repeats, changed, ratios, show


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory",
        description="The most memory that a process holds which builds a model and takes a few steps; of several "
        "methods and of another one, in turn, with the ratios pair by pair.",
    )
    parser.add_argument("methods", nargs="+", choices=list(METHODS))
    add_options(parser)
    parser.set_defaults(method="pgd")
    parser.add_argument("--steps", type=int, default=3, help="(%(default)s)")
    add_repeats(parser, 8, "processes of each method")
    given = parser.parse_args(arguments)
    names = [given.method, *given.methods]
    peaks = [[peak_of(name, given) for name in names] for _ in range(given.repeats)]
    base, *others = ([each / 2**20 for each in found] for found in zip(*peaks, strict=True))
    show(given.method, base, "MiB")
    to_base = {name: ratios(found, base) for name, found in zip(names[1:], others, strict=True)}
    for name, found in to_base.items():
        show(f"{name} ratio", found)
    if given.json:
        print(json.dumps({name: statistics.median(found) for name, found in to_base.items()}))


def peak_of(method: str, given: argparse.Namespace) -> int:
    """Bytes that a process of its own holds at the most."""
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        return alone.submit(peak, changed(given, method=method)).result()


def peak(given: argparse.Namespace) -> int:
    """Bytes that this process has held once it has taken the steps."""
    step = stepper(given)
    for _ in range(given.steps):
        step()
    return peak_memory()


if __name__ == "__main__":
    main()
