"""Which of two methods is ahead: what the paper's table says, and what ours does."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple


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


def pairs(aps: Mapping[str, tuple[float, float]]) -> list[Pair]:
    """All pairs of methods that the paper does not have equal.

    Args:
        aps: by method, the published AP and the one here.
    """
    found = []
    for one, other in combinations(aps, 2):
        published, here = (a - b for a, b in zip(aps[one], aps[other], strict=True))
        if published:
            found.append(Pair(one, other, published, here) if published > 0 else Pair(other, one, -published, -here))
    return found


def told(part: str, found: Sequence[Pair], ours: Sequence[str]) -> Iterator[str]:
    """What holds and what does not, in sentences.

    Args:
        part: what the AP is, such as "robust".
        found: all pairs.
        ours: the methods whose place among the others is what the paper claims.
    """
    broken = [pair for pair in found if not pair.holds]
    shows = "does not show in full" if broken else "shows"
    held = f"{len(found) - len(broken)} of the {len(found)} orderings of two methods in its table hold"
    yield f"{part} AP: the paper's ordering {shows} here; {held}."
    if broken:
        yield f"These do not: {'; '.join(map(_broken, broken))}."
    for name in ours:
        claimed = [pair for pair in found if pair.ahead == name and pair.behind not in ours]
        if claimed:
            yield _placed(name, claimed)


def _broken(pair: Pair) -> str:
    where = f"{-pair.here:.4f} behind" if pair.here else "level with"
    return f"{pair.ahead} is {where} {pair.behind} (in the paper {pair.published:.4f} ahead)"


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
