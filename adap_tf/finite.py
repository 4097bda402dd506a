"""Numbers that are not finite: seen by every replica alike, and a step with one refused before it moves a weight."""

import re
from collections.abc import Mapping, Sequence

import tensorflow as tf

from adap_tf.replicas import Replicas

SCOPE = "finite"
"""Names in the graph what replicas tell each other of it."""

NOT_FINITE = "not finite at step"
"""How the error of a step begins that was refused; the step and the names of what was not finite follow."""


def all_finite(numbers: Mapping[str, Sequence[tf.Tensor]], replicas: Replicas) -> dict[str, tf.Tensor]:
    """Whether the numbers of each name are finite on all replicas, a bool by name; one small sum over the replicas."""
    own = [tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in each]) for each in numbers.values()]
    with tf.name_scope(SCOPE):
        everywhere = replicas.sum(tf.cast(own, tf.float32)) == replicas.count
    return dict(zip(numbers, tf.unstack(everywhere), strict=True))


def refuse_unless(finite: Mapping[str, tf.Tensor], step: tf.Tensor) -> tf.Operation:
    """Ends the step with an error that names what was not finite.

    Raises:
        tf.errors.InvalidArgumentError: when the step runs, if something was not.
    """
    told = [part for name, fine in finite.items() for part in (f"{name}:", fine)]
    return tf.debugging.Assert(tf.reduce_all([*finite.values()]), [NOT_FINITE, step, *told])


def refused(error: tf.errors.InvalidArgumentError) -> tuple[int, list[str]] | None:
    """The step that was refused and the names of what was not finite; None for any other error."""
    found = re.search(rf"{NOT_FINITE}\W+(\d+)(.*)", error.message, re.DOTALL)
    return None if found is None else (int(found[1]), re.findall(r"(\w[\w ]*):\W+(?:0|False)\b", found[2]))
