"""What a report's page is made of: sections of tables, pictures, commands and remarks, as its template takes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from train.inline import inline

NOTHING = "–"


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what stands there.
        small: what stands below it.
        look: "number", "code", "long" (may be broken anywhere), "differs" or "unused"; else it is a few words.
    """

    text: str
    small: str = ""
    look: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Attributes:
        caption: what it shows.
        head: names of the columns.
        rows: their cells.
        folded: words to unfold it by; empty if it is open.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: str = ""
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Picture:
    """A figure with what is said below it."""

    svg: str
    caption: str
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Commands:
    """Command lines.

    Attributes:
        caption: what they do.
        lines: the words of each, quoted.
    """

    caption: str
    lines: Sequence[Sequence[str]]
    kind: ClassVar[str] = "commands"


@dataclass(frozen=True)
class Remarks:
    """Short remarks, each about a run.

    Attributes:
        rows: the run, "warning" or "note", and the text.
    """

    rows: Sequence[tuple[str, str, str]]
    kind: ClassVar[str] = "remarks"


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its anchor.
        title: its heading.
        text: a paragraph each.
        parts: what follows.
    """

    key: str
    title: str
    text: Sequence[str] = ()
    parts: Sequence[Table | Picture | Commands | Remarks] = field(default_factory=tuple)


def picture(draw: Callable[[Path], None], key: str, caption: str, alt: str) -> Picture:
    """A figure that `draw` writes to a path.

    Args:
        draw: one of the project's figures.
        key: a word for it that no other figure of the page has.
        caption: what it shows.
        alt: what can be seen in it.
    """
    return Picture(inline(draw, key, printable(alt)), caption)


def printable(text: str) -> str:
    """A text without what neither a page nor SVG can hold: control characters and bytes that are no text."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def in_legend(name: str) -> str:
    """A name as figures take it: matplotlib leaves out what begins with a line."""
    return printable(f" {name}" if name.startswith("_") else name)


def number(value: float | None, digits: int = 4) -> Cell:
    """A number, or a dash for none."""
    return Cell(NOTHING if value is None else signed(f"{value:.{digits}f}"), "", "number")


def with_interval(value: float, interval: Sequence[float]) -> Cell:
    """An AP and the ends of its interval."""
    return Cell(f"{value:.4f}", ends(interval), "number")


def ends(interval: Sequence[float], sign: str = "") -> str:
    """An interval in words."""
    low, high = interval
    return signed(f"{low:{sign}.4f} to {high:{sign}.4f}")


def signed(text: str) -> str:
    """Numbers with a minus instead of a hyphen."""
    return text.replace("-", "\N{MINUS SIGN}")


def shown(value: Any) -> str:
    """A value of an option."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
