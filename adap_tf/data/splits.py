"""Seeded splits that keep every class's share."""

from collections.abc import Sequence

import numpy as np

from adap_tf.data.sources import Parts

HELD_OUT = ("validation", "test")
SHARE = 0.2  # of the training part, for each of the others that a data set's makers did not set apart


def in_three(parts: Parts, seed: int) -> Parts:
    """Training, validation and test data: as a data set's makers split it, and what they did not by strata.

    What is missing is a fifth of the training part, so a data set without a split gives 60%, 20% and 20%, and one with
    test data 80% and 20% of the rest, as in the paper.

    Args:
        parts: "train", and perhaps "validation" and "test".
        seed: of the split.
    """
    missing = [name for name in HELD_OUT if name not in parts]
    whole = parts["train"]
    places = stratified(whole.strata, (1 - SHARE * len(missing), *[SHARE] * len(missing)), seed) if missing else []
    cut = {name: whole.take(part) for name, part in zip(("train", *missing), places, strict=False)}
    return {name: {**parts, **cut}[name] for name in ("train", *HELD_OUT)}


def stratified(target: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Splits every class by the same shares.

    Args:
        target: `[n]`, class of each example. Classes with fewer members than there are parts are taken together.
        shares: fraction of each part, each above 0, together at most 1; what they leave over is in no part.
        seed: of the order in which a class's examples are dealt out.

    Returns:
        Sorted indices of each part: disjoint, of `n` times its share in all, and within one of that in each class.

    >>> [part.tolist() for part in stratified(np.array([0, 0, 1, 1]), (0.5, 0.5), seed=0)]
    [[0, 2], [1, 3]]
    """
    random = np.random.default_rng(seed)
    position = np.empty(len(target))
    _, group, sizes = np.unique(target, return_inverse=True, return_counts=True)
    group = np.where(sizes[group] < len(shares), len(sizes), group)
    for value in np.unique(group):
        members = random.permutation(np.flatnonzero(group == value))
        position[members] = _positions(len(members), np.asarray(shares))
    dealt = np.argsort(position, kind="stable")
    ends = np.round(np.cumsum(shares) * len(target)).astype(int)
    return [np.sort(part) for part in np.split(dealt, ends)[: len(shares)]]


def _positions(members: int, shares: np.ndarray) -> np.ndarray:
    """Where the members of a class stand between 0 and 1: at even distances, unless a part would then have none."""
    even, ends = (np.arange(members) + 0.5) / members, np.cumsum(shares)
    parts = np.searchsorted(ends, even, side="right")
    leaves_over = ends[-1] < 1 - 1e-9  # a choice of some examples, which keeps to the shares
    if leaves_over or members < len(shares) or set(range(len(shares))) <= set(parts.tolist()):
        return even
    rest = members - len(shares)
    return np.concatenate([ends - shares / 2, (np.arange(rest) + 0.5) / max(rest, 1)])
