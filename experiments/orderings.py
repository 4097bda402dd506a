"""Which of two methods is ahead: what the paper's table says, and what ours does."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

DIGITS = 4
"""Of APs in print, and so in comparisons: nobody is ahead by what is not printed."""

BROKEN = ["AP", "method", "against", "in the paper", "here"]


class Pair(NamedTuple):
    """Two methods, the one that the paper has ahead first.

    Attributes:
        ahead: the name of the first.
        behind: that of the second.
        published: by how much the first is ahead in the paper.
        here: by how much it is ahead here; negative if it is behind.
    """

    ahead: str
    behind: str
    published: float
    here: float

    @property
    def holds(self) -> bool:
        """Whether the first is ahead here too."""
        return self.here > 0


class Ordering(NamedTuple):
    """How methods are ordered by one AP.

    Attributes:
        ap: of what it is, such as "class_1, robust".
        pairs: of the methods that are here.
        absent: why the others are not, by name.
    """

    ap: str
    pairs: Sequence[Pair]
    absent: Mapping[str, str]

    @property
    def broken(self) -> list[Pair]:
        """The pairs that are not here as they are in the paper."""
        return [pair for pair in self.pairs if not pair.holds]


def pairs(aps: Mapping[str, tuple[float, float]]) -> list[Pair]:
    """All pairs of methods that the paper does not have equal.

    Args:
        aps: by method, the published AP and the one here.
    """
    found, printed = [], {name: [round(ap, DIGITS) for ap in both] for name, both in aps.items()}
    for one, other in combinations(printed, 2):
        published, here = (a - b for a, b in zip(printed[one], printed[other], strict=True))
        if published:
            found.append(Pair(one, other, published, here) if published > 0 else Pair(other, one, -published, -here))
    return found


def told(ordering: Ordering, ours: Sequence[str]) -> Iterator[str]:
    """What holds, in sentences; nothing if there is nothing to compare.

    Args:
        ordering: the methods.
        ours: those whose place among the others is what the paper claims.
    """
    ap, found, absent = ordering
    if not found:
        return
    held = f"{len(found) - len(ordering.broken)} of the {len(found)} orderings among the methods that are here hold"
    others = f"; not here: {', '.join(f'{name} ({why})' for name, why in absent.items())}" if absent else ""
    yield f"{ap} AP: the paper's ordering {_verdict(ordering)} here; {held}{others}."
    for name in ours:
        claimed = [pair for pair in found if pair.ahead == name and pair.behind not in ours]
        if claimed:
            yield f"{ap} AP: {_placed(name, claimed)}"


def rows(orderings: Sequence[Ordering]) -> list[list[str]]:
    """A row a pair that is not here as it is in the paper."""
    return [_row(ordering.ap, pair) for ordering in orderings for pair in ordering.broken]


def _row(ap: str, pair: Pair) -> list[str]:
    here = f"{-pair.here:.4f} behind" if pair.here else "level with it"
    return [ap, pair.ahead, pair.behind, f"{pair.published:.4f} ahead", here]


def _verdict(ordering: Ordering) -> str:
    if broken := len(ordering.broken):
        return "does not show" if broken == len(ordering.pairs) else "does not show in full"
    return "cannot be seen in full" if ordering.absent else "shows"


def _placed(name: str, claimed: Sequence[Pair]) -> str:
    held = [pair.behind for pair in claimed if pair.holds]
    broken = [pair.behind for pair in claimed if not pair.holds]
    said = f"{name}, in the paper ahead of {listed([pair.behind for pair in claimed])}, is ahead "
    if not broken:
        return f"{said}of {'it' if len(claimed) == 1 else 'all of them'} here."
    return f"{said}of {listed(held)} here and not of {listed(broken)}." if held else f"{said}of none here."


def listed(names: Sequence[str]) -> str:
    """Names with commas between them, and "and" before the last.

    >>> listed(["PGD"]), listed(["PGD", "MART", "TRADES"])
    ('PGD', 'PGD, MART and TRADES')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
