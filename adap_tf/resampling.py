"""How far an AP can be trusted: stratified bootstrap, the same resamples for all that is compared."""

from collections.abc import Mapping

import numpy as np

from adap_tf.metrics import columns

AT_ONCE = 2**22  # numbers in memory


class Ranked:
    """Scores of one task in order, for the AP of many weightings of its examples.

    Args:
        scores: `[n]`.
        labels: `[n]`, 1, 0 or NaN (left out).
    """

    def __init__(self, scores: np.ndarray, labels: np.ndarray):
        known = np.flatnonzero(np.isfinite(labels))
        self.order = known[np.argsort(-scores[known], kind="stable")]
        ordered = scores[self.order]
        self.positive = labels[self.order] == 1
        # equal scores share a threshold, the last of them
        self.ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """AP `[k]` of weights `[k, n]`; NaN where the positives weigh nothing."""
        ordered = weights[:, self.order]
        found = np.cumsum(ordered * self.positive, axis=1)[:, self.ends]
        seen = np.cumsum(ordered, axis=1)[:, self.ends]
        precision = np.divide(found, seen, out=np.zeros_like(seen), where=seen > 0)
        gained = np.diff(found, axis=1, prepend=0)
        with np.errstate(invalid="ignore"):
            return (precision * gained).sum(axis=1) / found[:, -1]


def bootstrap(
    scores: Mapping[str, np.ndarray], labels: np.ndarray, samples: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """AP (the mean over tasks) of resampled data; all sets of scores on the same resamples, so that they can be paired.

    Examples are drawn with replacement, as many as there are, those with a positive label and those without apart.

    Args:
        scores: `[n, C]` or `[n]` by name.
        labels: the same shape, 1, 0 or NaN for unknown.
        samples: number of resamples.
        seed: of the resamples.

    Returns:
        `[samples]` by name.

    >>> labels, scores = np.arange(40) < 5, np.arange(40.0)
    >>> samples = bootstrap({"right": -scores, "reversed": scores}, labels, samples=200)
    >>> samples["right"].min().item(), (samples["right"] > samples["reversed"]).all().item()
    (1.0, True)
    """
    rng = np.random.default_rng(seed)
    ranked = {}
    for name, each in scores.items():
        pairs = zip(*(x.T for x in columns(each, labels)), strict=True)
        ranked[name] = [Ranked(s, y) for s, y in pairs if (y == 1).any()]
    positive = (np.reshape(labels, (len(labels), -1)) == 1).any(axis=1)
    size = max(AT_ONCE // len(labels), 1)
    found: dict[str, list[np.ndarray]] = {name: [] for name in scores}
    for first in range(0, samples, size):
        weights = _counts(rng, positive, min(size, samples - first))
        for name, tasks in ranked.items():
            found[name].append(np.nanmean([task.average_precision(weights) for task in tasks], axis=0))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def interval(samples: np.ndarray, estimate: float, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval that holds that share of the samples, moved so that their mean is the estimate.

    A resample holds some positives twice, one right below the other, which raises its AP a little.

    Args:
        samples: of an AP, or of a difference of two.
        estimate: from the data as they are.
        confidence: share of the samples, in (0, 1).
    """
    low, high = np.nanquantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2]) - np.nanmean(samples) + estimate
    return float(low), float(high)


def _counts(rng: np.random.Generator, positive: np.ndarray, samples: int) -> np.ndarray:
    """How often each example is drawn in each resample, `[samples, n]`."""
    counts = np.zeros((samples, len(positive)))
    for group in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        if len(group):
            drawn = rng.integers(len(group), size=(samples, len(group)))
            flat = (drawn + len(group) * np.arange(samples)[:, None]).ravel()
            counts[:, group] = np.bincount(flat, minlength=samples * len(group)).reshape(samples, -1)
    return counts
