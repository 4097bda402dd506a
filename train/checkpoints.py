"""The newest states of a run on disk."""

import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from train.errors import UsageError, reason

KEPT = 2


class Checkpoints:
    """Checkpoints of a run, each a folder `step-N` that appears whole or not at all.

    They hold values in the order of the variables, so that nothing depends on how Keras tracks its objects.

    Args:
        folder: where they lie; need not exist.
        variables: all state of the run.
        minutes: time after which the next one is `due`.
    """

    def __init__(self, folder: Path, variables: Sequence[Any], minutes: float = math.inf):
        self.folder, self.minutes = folder, minutes
        self._saved = time.monotonic()
        self._state = tf.train.Checkpoint(variables=list(variables))

    def __str__(self) -> str:
        """The newest one's path, for messages."""
        steps = self._steps()
        return str(self._path(steps[-1])) if steps else "none"

    @property
    def due(self) -> bool:
        """Whether the last one is old enough for another."""
        return time.monotonic() - self._saved > 60 * self.minutes

    def save(self, step: int) -> None:
        """Writes the state after so many steps, and drops all but the newest.

        Raises:
            UsageError: there is no room, or the folder cannot be written; the earlier ones are as they were.
        """
        target, part = self._path(step), self.folder / ".part"
        if target.exists():
            return
        shutil.rmtree(part, ignore_errors=True)
        try:
            self.folder.mkdir(exist_ok=True)
            self._state.write(str(part / "state"))
            part.rename(target)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise UsageError(f"cannot write {target}: {reason(error)}; last good checkpoint: {self}") from None
        self._saved = time.monotonic()
        for old in self._steps()[:-KEPT]:
            shutil.rmtree(self._path(old))

    def restore(self, report: Callable[[str], None] = lambda line: print(line, file=sys.stderr)) -> int:
        """Takes the newest readable state; the number of steps it stands for, 0 if there is none.

        Args:
            report: told of every checkpoint that is damaged; such a one is removed.

        Raises:
            UsageError: it holds other variables, as another version of the program had them.
        """
        for step in reversed(self._steps()):
            path = self._path(step)
            problem = _damage(path / "state")
            if problem is None:
                try:
                    self._state.read(str(path / "state")).assert_consumed()
                except (AssertionError, ValueError):
                    raise UsageError(
                        f"--out: {path} is another version's; remove {self.folder.parent} or give another --out"
                    ) from None
                return step
            report(f"warning: {path} is damaged ({problem}); going on from the checkpoint before it")
            shutil.rmtree(path)
        return 0

    def _steps(self) -> list[int]:
        return sorted(int(path.name.removeprefix("step-")) for path in self.folder.glob("step-*"))

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}"


def _damage(prefix: Path) -> str | None:
    """What is wrong with a checkpoint, None if all of it can be read; TensorFlow compares checksums as it reads."""
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        for name in reader.get_variable_to_shape_map():
            np.asarray(reader.get_tensor(name))
    except Exception as error:  # of many types, whatever stops the reading
        return reason(error)
    return None
