"""Seeded splits that keep every class's share."""

from collections.abc import Sequence

import numpy as np


def stratified(target: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Splits every class by the same shares.

    Args:
        target: `[n]`, class of each example.
        shares: fraction of each part, each above 0, together 1.
        seed: of the order in which a class's examples are dealt out.

    Returns:
        Sorted indices of each part; together they are all indices, each once.

    >>> [part.tolist() for part in stratified(np.array([0, 0, 1, 1]), (0.5, 0.5), seed=0)]
    [[0, 2], [1, 3]]
    """
    random = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for value in np.unique(target):
        members = random.permutation(np.flatnonzero(target == value))
        ends = np.round(np.cumsum(shares) * len(members)).astype(int)
        for part, piece in zip(parts, np.split(members, ends[:-1]), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
