"""What the commands have in common: how they end, and what they set in the process."""

import importlib.metadata
import os
import platform
import signal
import sys
import warnings
from collections.abc import Callable

import tensorflow as tf
from PIL import Image

from adap_tf.data import DataError
from train.errors import LostError, UsageError, bad_data, lost_worker, out_of_room, printable

PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "scikit-learn")
MISTAKE, LOST, INTERRUPTED, TERMINATED = 2, 75, 130, 143
"""Exit statuses: 75 is the convention for "try again", the last two are 128 and the signal's number."""


def ended(command: Callable[[], None], after_interrupt: str) -> int:
    """Runs a command; its exit status. A mistake, a full disk or memory, and Ctrl-C are one line and no traceback.

    Args:
        command: what to run.
        after_interrupt: what to say to someone who interrupts it.
    """
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # what is too large is an error already
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of damage beside the pixels
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        command()
    except UsageError as error:
        return _failed(str(error), LOST if isinstance(error, LostError) else MISTAKE)
    except (DataError, tf.errors.InvalidArgumentError) as error:
        if (advice := bad_data(error)) is None:
            raise
        return _failed(advice)
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        if (advice := out_of_room(error)) is None:
            raise
        return _failed(advice)
    except tf.errors.OpError as error:
        if (advice := lost_worker(error)) is None:
            raise
        _failed(advice, LOST)
        sys.stdout.flush()
        os._exit(LOST)  # TensorFlow's own end would wait for the worker that is lost
    except KeyboardInterrupt:
        print(f"interrupted; {after_interrupt}", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _failed(problem: str, status: int = MISTAKE) -> int:
    print(f"error: {printable(problem)}", file=sys.stderr)
    return status


def make_deterministic() -> None:
    """Makes TensorFlow repeat itself bit for bit, on one machine and number of replicas.

    Its graph optimiser joins sums into one `AddN` of many terms, which begins with whichever term's buffer happens to
    be free, so the last digit of a gradient depends on timing; without that rewriting, it does not.
    """
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on, those that are there."""
    found = {dist.name.replace("_", "-"): dist.version for dist in importlib.metadata.distributions()}
    return {"python": platform.python_version(), **{name: found[name] for name in PACKAGES if name in found}}
