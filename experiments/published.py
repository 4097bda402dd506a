"""What the paper prints: numbers by table, those that our copy lacks or that contradict others marked."""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "published"
ABSENT = "absent"
"""The mark of a number that our copy of the paper does not have."""

Key = tuple[str, str, str, str]
"""Block, row, column and part of a cell: `("", "PGD", "class_0", "Robust")`."""


class Published(NamedTuple):
    """A number as it is printed.

    Attributes:
        text: it, empty if it is absent.
        std: the standard deviation, None if none is printed.
        mark: what contradicts it, "absent", or empty.
    """

    text: str
    std: float | None
    mark: str

    @property
    def mean(self) -> float | None:
        """The number; None where it is absent or a word."""
        try:
            return float(self.text)
        except ValueError:
            return None

    def __str__(self) -> str:
        """As the paper prints it, an asterisk behind what contradicts other numbers."""
        if self.mark == ABSENT:
            return ABSENT
        std = "" if self.std is None else f"({self.std:.4f})"
        return f"{self.text}{std}{'*' if self.mark else ''}"


@functools.cache
def read(name: str) -> dict[Key, Published]:
    """The numbers of a table, such as "table2", in its order; empty for what has none."""
    path = FOLDER / f"{name}.csv"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["block"], row["row"], row["column"], row["part"]): Published(
                row["mean"], float(row["std"]) if row["std"] else None, row["mark"]
            )
            for row in csv.DictReader(file)
        }


def seconds() -> dict[str, float]:
    """Seconds that a run takes on the paper's GPUs, by the paper's name of its method (Table 7)."""
    found = {row: number.mean for (_, row, column, _), number in read("table7").items() if column == "Average"}
    return {row: mean for row, mean in found.items() if mean is not None}
