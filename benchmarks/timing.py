"""Timing in turn, since the machines are noisy: what is compared runs one after the other, again and again."""

import argparse
import json
import shlex
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

WARM_UP = 3


def add_json(parser: argparse.ArgumentParser) -> None:
    """Whether a program reads the result."""
    parser.add_argument("--json", action="store_true", help="the last line is JSON")


def add_repeats(parser: argparse.ArgumentParser, default: int, what: str = "timed runs of each") -> None:
    """How often all is timed, and whether a program reads the result."""
    parser.add_argument("--repeats", type=int, default=default, help=f"{what} (%(default)s)")
    add_json(parser)


def add_versus(parser: Any) -> None:
    """What it is compared with; to a parser, or to a group of its options."""
    parser.add_argument("--versus", metavar="OPTIONS", help="the same with these options changed, in one string")


def variants(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[argparse.Namespace]:
    """The options as they are given, and, if there is something to compare with, as `--versus` changes them."""
    if given.versus is None:
        return [given]
    return [given, parser.parse_args(shlex.split(given.versus), changed(given))]


def changed(given: argparse.Namespace, **options: Any) -> argparse.Namespace:
    """The same options but for these."""
    return argparse.Namespace(**{**vars(given), **options})


def timed(steps: Sequence[Callable[[], object]], repeats: int, warm_up: int = WARM_UP) -> list[list[float]]:
    """Seconds of each variant's steps, taken in turn."""
    for _ in range(warm_up):
        for step in steps:
            step()
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        for step, found in zip(steps, seconds, strict=True):
            started = time.perf_counter()
            step()
            found.append(time.perf_counter() - started)
    return seconds


def report(
    seconds: Sequence[Sequence[float]],
    as_json: bool,
    names: Sequence[str] = ("step", "versus"),
    limits: Sequence[Sequence[float]] = (),
    more: Mapping[str, float] | None = None,
) -> None:
    """Medians and spread, and the ratio of the first variant to the second.

    Args:
        seconds: of each variant, turn by turn.
        as_json: whether the last line is JSON, with the first variant's numbers.
        names: of the variants.
        limits: the least seconds of the first variants at the rate that was measured in the same turn.
        more: what else was found, by name.
    """
    summary: dict[str, float] = {"seconds": statistics.median(seconds[0]), "repeats": len(seconds[0])}
    for name, found in zip(names, seconds, strict=False):
        show(name, found, "s")
    if len(seconds) == 2:
        of_pairs = ratios(*seconds)
        summary |= {"versus_seconds": statistics.median(seconds[1]), "ratio": statistics.median(of_pairs)}
        show("ratio", of_pairs)
    times = [ratios(found, limit) for found, limit in zip(seconds, limits, strict=False)]
    for name, limit, longer in zip(names, limits, times, strict=False):
        of_turns = f"{statistics.median(longer):.4g} times as long, {min(longer):.4g} to {max(longer):.4g}"
        print(f"{'limit':<16} {statistics.median(limit):.4g} s, {name} takes {of_turns}")
    if limits:
        summary |= {"limit_seconds": statistics.median(limits[0]), "times_limit": statistics.median(times[0])}
    for name, value in (more or {}).items():
        print(f"{name:<24}{value:.4g}")
    if as_json:
        print(json.dumps({**summary, **(more or {})}))


def ratios(found: Sequence[float], others: Sequence[float]) -> list[float]:
    """Of the first to the second, turn by turn."""
    return [one / other for one, other in zip(found, others, strict=True)]


def show(name: str, found: Sequence[float], unit: str = "") -> None:
    """A line of the median and the spread."""
    print(
        f"{name:<16} median {statistics.median(found):.4g}{unit and f' {unit}'}, {min(found):.4g} to {max(found):.4g}"
    )
