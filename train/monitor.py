"""What one sees of a run while it trains: a progress bar, a line an epoch, TensorBoard."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm


class Monitor:
    """Progress on a terminal, plain lines in a file or pipe, and scalars in TensorBoard.

    Args:
        title: name of the run.
        steps: all steps of the run.
        done: steps that an earlier call has taken.
        logdir: TensorBoard's folder.
    """

    def __init__(self, title: str, steps: int, done: int, logdir: Path):
        self._bar = tqdm(
            desc=title, total=steps, initial=done, unit="step", leave=False, dynamic_ncols=True, disable=None
        )
        self._writer = tf.summary.create_file_writer(str(logdir))

    @classmethod
    @contextlib.contextmanager
    def watching(cls, title: str, steps: int, done: int, logdir: Path) -> Iterator["Monitor"]:
        """A monitor that is closed whatever happens."""
        monitor = cls(title, steps, done, logdir)
        try:
            yield monitor
        finally:
            monitor._bar.close()
            monitor._writer.close()

    def step(self) -> None:
        """One more step is done."""
        self._bar.update()

    def epoch(self, row: Mapping[str, float], step: int, last: int) -> None:
        """Shows an epoch's row of metrics, and writes it for TensorBoard.

        Args:
            row: metrics by name, with the number of the `epoch`.
            step: steps taken so far.
            last: number of the last epoch.
        """
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        tqdm.write(f"epoch {int(row['epoch'])}/{last}  {numbers}", file=sys.stdout)
        with self._writer.as_default(step=step):
            for name, value in row.items():
                tf.summary.scalar(f"validation/{name}" if name.endswith("ap") else f"train/{name}", value)
        self._writer.flush()
