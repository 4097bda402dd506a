"""A table with the published values beside: as text and Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from experiments.measures import Number
from experiments.published import ABSENT, Key, Published

NONE = "–"
SPECIAL = {"_": r"\_", "%": r"\%", "γ": r"$\gamma$", "λ": r"$\lambda$", "–": "--", "−": "$-$", "*": "$^*$", "&": r"\&"}


class Place(NamedTuple):
    """What stands in a cell: ours, the published value, and which tasks were run in the place of others."""

    ours: Number | str | None
    published: Published | None
    instead: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        name: of the entry.
        title: what it shows, at which scale.
        places: by block, row, column and part.
        wide: columns side by side.
        digits: of the numbers.
        notes: what has to be said with it.
        whole: the part whose numbers are whole.
    """

    name: str
    title: str
    places: Mapping[Key, Place]
    wide: int = 4
    digits: int = 4
    notes: Sequence[str] = ()
    whole: str = ""

    def text(self) -> str:
        """The table in Markdown, aligned, the published value and the difference in each cell."""
        tables = "\n\n".join("\n".join(aligned(rows)) for rows in self._tables())
        legend = f"Each cell: here [published, difference]; {NONE}: not there, * contradicts another published number."
        lines = [f"# {self.name}", self.title, tables, legend, *(f"- {note}" for note in self._all_notes())]
        return "\n\n".join(line for line in lines if line) + "\n"

    def csv(self) -> str:
        """A line a number."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = ("value", "std", "published", "published_std", "difference", "mark", "instead")
        writer.writerow(["block", "row", "column", "part", *names])
        for key, (ours, published, instead) in self.places.items():
            own = [*ours] if isinstance(ours, Number) else [ours, None]
            theirs = [published.text, published.std] if published else [None, None]
            mark = published.mark if published else None
            writer.writerow([*key, *own, *theirs, difference(ours, published), mark, instead])
        return out.getvalue()

    def latex(self) -> str:
        """The same as tabulars, with the notes as comments."""
        notes = "\n".join(f"% {note}" for note in self._all_notes())
        return "\n\n".join([*(_tabular(rows) for rows in self._tables()), *([notes] if notes else [])]) + "\n"

    def _tables(self) -> Iterator[list[list[str]]]:
        """Rows of text, header first, of each block and each `wide` columns."""
        for block in dict.fromkeys(key[0] for key in self.places):
            own = [key for key in self.places if key[0] == block]
            columns = list(dict.fromkeys((key[2], key[3]) for key in own))
            names = list(dict.fromkeys(name for name, _ in columns))
            for first in range(0, len(names), self.wide):
                shown = [each for each in columns if each[0] in names[first : first + self.wide]]
                yield self._rows(block, list(dict.fromkeys(key[1] for key in own)), shown)

    def _rows(self, block: str, rows: Sequence[str], columns: Sequence[tuple[str, str]]) -> list[list[str]]:
        header = [block or " ", *(f"{name} {part}".strip() for name, part in columns)]
        empty = Place(None, None)
        cells = [
            [self._shown(self.places.get((block, row, *column), empty), column[1]) for column in columns]
            for row in rows
        ]
        return [header, *([row, *each] for row, each in zip(rows, cells, strict=True))]

    def _shown(self, place: Place, part: str) -> str:
        digits = 0 if self.whole and part == self.whole else self.digits
        own = printed(place.ours, digits)
        if place.published is None:
            return own
        gap = difference(place.ours, place.published)
        theirs = f"{place.published}" if gap is None else f"{place.published}, {signed(gap, digits)}"
        return f"{own} [{theirs}]"

    def _all_notes(self) -> list[str]:
        contradicted = [
            f"{', '.join(part for part in key if part)}, published {place.published}: {place.published.mark}"
            for key, place in self.places.items()
            if place.published and place.published.mark not in ("", ABSENT)
        ]
        instead = dict.fromkeys(place.instead for place in self.places.values() if place.instead)
        return [*self.notes, *instead, *contradicted]


def printed(ours: Number | str | None, digits: int) -> str:
    """A number as the paper prints it."""
    if not isinstance(ours, Number):
        return ours or NONE
    return f"{ours.mean:.{digits}f}" + ("" if ours.std is None else f"({ours.std:.{digits}f})")


def difference(ours: Number | str | None, published: Published | None) -> float | None:
    """Ours less the published value, None where one is missing."""
    if not isinstance(ours, Number) or published is None or published.mean is None:
        return None
    return ours.mean - published.mean


def signed(gap: float, digits: int) -> str:
    """A difference, with its sign.

    >>> signed(-0.00125, 3), signed(0.5, 1)
    ('−0.001', '+0.5')
    """
    return f"{gap:+.{digits}f}".replace("-", "−")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, a line a row, the header first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return [lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]]


def _tabular(rows: Sequence[Sequence[str]]) -> str:
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in rows]
    columns = "l" * len(rows[0])
    return "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}"]
    )


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)
