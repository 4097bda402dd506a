"""What ends a command without a traceback."""

import errno
import os
import re

import tensorflow as tf

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UsageError(Exception):
    """A mistake that the user can mend; its text is the one line that they see."""


class LostError(UsageError):
    """A process that this one depended on is gone; the same command again may succeed."""


class NonFiniteError(UsageError):
    """Training gave a number that is not finite."""


def printable(text: str) -> str:
    """The same text in one line: a file's name may hold line breaks, and what a terminal takes for commands."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def reason(error: Exception) -> str:
    """The last part of a message, which in TensorFlow's comes after the names of operation and file."""
    line = (getattr(error, "message", "") or str(error) or type(error).__name__).splitlines()[0]
    return line.partition(" [Op:")[0].rpartition("; ")[2]


def out_of_room(error: Exception) -> str | None:
    """What to do about a full disk or memory, None for any other error."""
    if (isinstance(error, OSError) and error.errno in NO_ROOM) or "No space left" in str(error):
        return f"{reason(error)}; make room and start the same command again; a training goes on where it was"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return f"out of memory: {reason(error)}; a smaller --batch-size needs less"
    return None


def lost_worker(error: tf.errors.OpError) -> str | None:
    """What to do if another worker has ended, None for any other error."""
    text = str(error)
    kinds = (
        tf.errors.UnavailableError,
        tf.errors.CancelledError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
    )
    if not isinstance(error, kinds) or not os.environ.get("TF_CONFIG"):
        return None
    lost = sorted(set(re.findall(r"(?:remote target|reported from) /job:(\w+)(?:/replica:\d+)?/task:(\d+)", text)))
    who = ", ".join(f"{kind} {number}" for kind, number in lost) or "another worker"
    return (
        f"{who} has ended or cannot be reached; its own messages say why. Start the same command on every worker "
        "again, and the run goes on from its last checkpoint"
    )


def bad_data(error: Exception) -> str | None:
    """What was wrong with data that a batch asked for, None for any other error; TensorFlow has it in its own words."""
    found = re.search(r"DataError: (.*)", f"{type(error).__name__}: {error}")
    return f"--data-dir: {found[1]}; mend it, or leave such examples out with --skip-bad-examples" if found else None
