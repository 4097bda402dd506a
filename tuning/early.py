"""Stops hopeless trials: the median stopping rule of Golovin et al., "Google Vizier" (KDD 2017), Section 3.2.1."""

from collections.abc import Callable, Sequence

import numpy as np

from train.run_folder import Row

LEAST = 3  # trials that a median is taken of
GRACE = 4  # of so many parts of a run's epochs the first is not judged

Best = Callable[[Sequence[Row]], float]


class Hopeless(Exception):
    """A trial is stopped.

    Args:
        epoch: after which.
        best: its best value by then.
        median: that of the others by then.
    """

    def __init__(self, epoch: int, best: float, median: float):
        super().__init__(f"stopped after epoch {epoch}: {best:.4f}, and the median of the others is {median:.4f}")
        self.epoch, self.best, self.median = epoch, best, median


def check_hope(rows: Sequence[Row], epochs: int, others: Sequence[Sequence[Row]], best: Best) -> None:
    """Stops a run whose best value is below the median of what the others had at the same epoch.

    Vizier takes the others' mean over their epochs; here it is their best, since a run's best epoch is what it gives.

    Args:
        rows: of the run's epochs by now.
        epochs: that it would have.
        others: the rows of finished runs of other trials.
        best: the value that epochs give, the higher the better.

    Raises:
        Hopeless: it is.
    """
    epoch = len(rows)
    if epoch < max(1, epochs // GRACE) or len(others) < LEAST:
        return
    own, median = best(rows), float(np.median([best(other[:epoch]) for other in others]))
    if own < median:
        raise Hopeless(epoch, own, median)
