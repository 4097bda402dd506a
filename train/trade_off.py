"""Robust against clean AP of several runs, and which of them no other beats in both."""

from collections.abc import Sequence
from dataclasses import dataclass

from train.run_folder import RunFolder


@dataclass(frozen=True)
class Point:
    """A run, or several of one kind: its clean and its robust AP."""

    method: str
    name: str
    clean: float
    robust: float
    runs: int = 1


def front(points: Sequence[Point]) -> list[bool]:
    """For each point whether no other is at least as good in both and better in one."""
    return [
        not any(
            other.clean >= point.clean
            and other.robust >= point.robust
            and (other.clean, other.robust) != (point.clean, point.robust)
            for other in points
        )
        for point in points
    ]


def points_of(folders: Sequence[RunFolder], source: str = "test") -> list[Point]:
    """A point a finished run."""
    found = []
    for folder in folders:
        results = folder.finished()
        assert results is not None
        aps = results[source]
        found.append(Point(results["method"], folder.path.name, aps["clean"]["ap"], aps["pgd"]["ap"]))
    return found
