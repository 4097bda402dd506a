"""The budget curve: how low AP falls when an adversary may attack k examples, and which it would choose."""

from dataclasses import dataclass

import numpy as np

from adap_tf.metrics import columns


@dataclass(frozen=True, eq=False)
class BudgetCurve:
    """AP against the number of attacked examples.

    Attributes:
        ap: `[k + 1]`, the AP with 0, 1, …, k examples attacked, in the order of `examples`.
        examples: `[k]`, places of the examples, the most damaging first.
    """

    ap: np.ndarray
    examples: np.ndarray


def budget_curve(clean: np.ndarray, attacked: np.ndarray, labels: np.ndarray, budget: int | None = None) -> BudgetCurve:
    """AP when the examples whose attack hurts most are attacked, chosen one by one.

    Greedy, so an upper bound of the worst AP that k attacked examples can give. A point costs O(n log n): the
    change that each single example would make follows from running sums over the positives. The curve ends
    early where no further example would lower AP.

    Args:
        clean: scores `[n]` of one task.
        attacked: scores `[n]`, each with its own example attacked.
        labels: `[n]`, 1, 0 or NaN (left out).
        budget: largest number of attacked examples; all if None.

    Raises:
        ValueError: there is no positive, or shapes differ.

    >>> curve = budget_curve(np.array([3.0, 2.0, 1.0]), np.array([3.0, 2.0, 4.0]), np.array([1.0, 1.0, 0.0]))
    >>> curve.ap.round(4).tolist(), curve.examples.tolist()
    ([1.0, 0.5833], [2])
    """
    (clean, y), (attacked, _) = columns(clean, labels), columns(attacked, labels)
    known = np.flatnonzero(np.isfinite(y[:, 0]))
    if not (y == 1).any():
        raise ValueError("a budget curve needs a positive")
    state = _Standing(clean[known, 0], attacked[known, 0], y[known, 0] == 1)
    aps, examples = [state.ap], []
    for _ in range(len(known) if budget is None else min(budget, len(known))):
        changes = state.changes()
        chosen = int(np.argmin(changes))
        if changes[chosen] > -1e-14:  # sums of changes that cancel
            break
        state.attack(chosen)
        aps.append(state.ap)
        examples.append(known[chosen])
    return BudgetCurve(np.array(aps), np.array(examples, np.int64))


class _Standing:
    """Where every example stands, some of them attacked."""

    def __init__(self, clean: np.ndarray, attacked: np.ndarray, positive: np.ndarray):
        self.score, self.attacked, self.positive = clean.copy(), attacked, positive
        self.done = np.zeros(len(clean), bool)
        self._order()

    def attack(self, example: int) -> None:
        """Moves an example to the score that its attack gives it."""
        self.score[example], self.done[example] = self.attacked[example], True
        self._order()

    def _order(self) -> None:
        """The scores of positives and of negatives, ascending; for each positive, those at or above it."""
        self.own, self.others = np.sort(self.score[self.positive]), np.sort(self.score[~self.positive])
        self.found, self.false = _at_or_above(self.own, self.own), _at_or_above(self.others, self.own)

    @property
    def ap(self) -> float:
        """The mean over positives of the precision at each."""
        return float((self.found / (self.found + self.false)).mean())

    def changes(self) -> np.ndarray:
        """By how much AP would change if each example were attacked; 0 for those that have been."""
        here = self.found / (self.found + self.false)
        one_more_negative = self.found / (self.found + self.false + 1) - here
        one_positive_less = (self.found - 1) / np.maximum(self.found - 1 + self.false, 1) - here
        change = np.zeros(len(self.score))

        # a negative passes the positives between its two scores
        up = ~self.positive & ~self.done & (self.attacked > self.score)
        change[up] = self._sum(one_more_negative, self.score[up], self.attacked[up])
        # a positive falls below others, and is itself found later
        down = self.positive & ~self.done & (self.attacked < self.score)
        before, after = self.score[down], self.attacked[down]
        place = np.searchsorted(self.own, before)
        rank = _at_or_above(self.own, after)  # itself among them, since it comes from above
        precision = rank / (rank + _at_or_above(self.others, after))
        passed = self._sum(one_positive_less, after, before) - one_positive_less[place]
        change[down] = passed + precision - here[place]
        return change / len(self.own)

    def _sum(self, each: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The sum of a quantity of positives over those above `low` and up to `high`."""
        sums = np.concatenate([[0.0], np.cumsum(each)])
        return sums[np.searchsorted(self.own, high, side="right")] - sums[np.searchsorted(self.own, low, side="right")]


def _at_or_above(ordered: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How many of an ascending array are at or above each score."""
    return len(ordered) - np.searchsorted(ordered, scores)
