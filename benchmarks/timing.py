"""Timing in turn, since the machines are noisy: what is compared runs one after the other, again and again."""

import json
import statistics
import time
from collections.abc import Callable, Sequence

WARM_UP = 3


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


def report(seconds: Sequence[Sequence[float]], as_json: bool, names: Sequence[str] = ("step", "versus")) -> None:
    """Medians and spread, and the ratio of the first variant to the second."""
    summary: dict[str, float] = {"seconds": statistics.median(seconds[0]), "repeats": len(seconds[0])}
    for name, found in zip(names, seconds, strict=False):
        show(name, found, "s")
    if len(seconds) == 2:
        ratios = [one / other for one, other in zip(*seconds, strict=True)]
        summary |= {"versus_seconds": statistics.median(seconds[1]), "ratio": statistics.median(ratios)}
        show("ratio", ratios)
    if as_json:
        print(json.dumps(summary))


def show(name: str, found: Sequence[float], unit: str = "") -> None:
    """A line of the median and the spread."""
    print(
        f"{name:<16} median {statistics.median(found):.4g}{unit and f' {unit}'}, {min(found):.4g} to {max(found):.4g}"
    )
