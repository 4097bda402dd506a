"""Seeded splits that keep every class's share."""

from collections.abc import Sequence

import numpy as np


def stratified(target: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Splits every class by the same shares.

    Args:
        target: `[n]`, class of each example.
        shares: fraction of each part, each above 0, together at most 1; what they leave over is in no part.
        seed: of the order in which a class's examples are dealt out.

    Returns:
        Sorted indices of each part: disjoint, of `n` times its share in all, and within one of that in each class.

    >>> [part.tolist() for part in stratified(np.array([0, 0, 1, 1]), (0.5, 0.5), seed=0)]
    [[0, 2], [1, 3]]
    """
    random = np.random.default_rng(seed)
    position = np.empty(len(target))
    for value in np.unique(target):
        members = random.permutation(np.flatnonzero(target == value))
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    dealt = np.argsort(position, kind="stable")
    ends = np.round(np.cumsum(shares) * len(target)).astype(int)
    return [np.sort(part) for part in np.split(dealt, ends)[: len(shares)]]
