"""What one sees of a run while it trains: a progress bar, and a line an epoch."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from train.run_folder import RunFolder
from train.summaries import GROUPS

WARM_UP, TIMED = 3, 10  # steps that do not count for the speed, and steps that do
UNSEEN = ("epoch", *(name for name, group in GROUPS.items() if group in ("optimizer", "estimators")))


class Monitor:
    """Progress on a terminal, plain lines in a file or pipe.

    Args:
        folder: the run's.
        done: steps that an earlier call has taken.
        epoch_steps: steps of an epoch.
        epochs: epochs of the run.
        batch_size: examples of a step.
        silent: whether it shows nothing, because another worker does.
    """

    def __init__(
        self, folder: RunFolder, done: int, epoch_steps: int, epochs: int, batch_size: int, silent: bool = False
    ):
        self._silent = silent
        self._epoch_steps, self._epochs, self._batch_size = epoch_steps, epochs, batch_size
        self._taken, self._started = 0, 0.0
        self._bar = tqdm(
            desc=folder.path.name,
            total=epochs * epoch_steps,
            initial=done,
            unit="step",
            leave=False,
            dynamic_ncols=True,
            disable=silent or None,
        )

    @classmethod
    @contextlib.contextmanager
    def watching(cls, *arguments: Any, **options: Any) -> Iterator["Monitor"]:
        """A monitor that is closed whatever happens."""
        monitor = cls(*arguments, **options)
        try:
            yield monitor
        finally:
            monitor._bar.close()

    def step(self, signals: Mapping[str, tf.Tensor]) -> None:
        """One more step is done; after the first few, says how long the run will take.

        Args:
            signals: what the step gave; a number of it is read where the clock has to wait for the device.
        """
        self._bar.update()
        self._taken += 1
        if self._taken == WARM_UP:
            float(signals["loss"])
            self._started = time.perf_counter()
        elif self._taken == WARM_UP + TIMED:
            float(signals["loss"])
            self._say_speed((time.perf_counter() - self._started) / TIMED)

    def _say_speed(self, seconds: float) -> None:
        whole = seconds * self._epochs * self._epoch_steps
        duration = f"{whole / 3600:.1f} hours" if whole > 3600 else f"{whole / 60:.1f} minutes"
        self._say(
            f"{seconds:.3g} s a step, {self._batch_size / seconds:.0f} images/s; {self._epochs} epochs of "
            f"{self._epoch_steps} steps take {duration} here, without validation"
        )

    def _say(self, line: str) -> None:
        if self._silent:
            return
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def epoch(self, row: Mapping[str, float]) -> None:
        """Shows an epoch: the objective, its terms and the APs; and skipped steps, if there are any.

        Args:
            row: metrics by name, with the number of the `epoch`.
        """
        shown = {name: value for name, value in row.items() if name not in UNSEEN}
        if row.get("steps_skipped"):
            shown["steps_skipped"] = row["steps_skipped"]
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        self._say(f"epoch {int(row['epoch'])}/{self._epochs}  {numbers}")
