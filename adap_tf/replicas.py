"""What one replica does to see the whole batch: gather, add up, and find its own part again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

SCOPE = "examples"
"""Names in the graph what travels for examples, apart from gradients of weights and BatchNorm's sums."""


@dataclass(frozen=True)
class Replicas:
    """The replicas of the running step, and which of them this one is.

    Replica `index` of `count` holds the rows `index·b … (index + 1)·b - 1` of a global batch of `count·b` rows.
    With one replica every method gives its argument back, and no collective is built into the graph.

    Attributes:
        count: number of replicas in sync.
        index: this replica's number, a Python integer or a scalar tensor.
    """

    count: int = 1
    index: int | tf.Tensor = 0

    @classmethod
    def current(cls) -> "Replicas":
        """The replicas of the surrounding `tf.distribute` context, a single one outside any strategy."""
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return cls()
        return cls(context.num_replicas_in_sync, context.replica_id_in_sync_group)

    def gather(self, x: tf.Tensor) -> tf.Tensor:
        """The global `[B, ...]` of every replica's `[b, ...]`, without gradient."""
        if self.count == 1:
            return tf.stop_gradient(x)
        with tf.name_scope(SCOPE):
            gathered = tf.distribute.get_replica_context().all_gather(tf.identity(x), axis=0)
        return tf.ensure_shape(tf.stop_gradient(gathered), [self.count * x.shape[0], *x.shape[1:]])

    def sum(self, x: tf.Tensor) -> tf.Tensor:
        """The sum of `x` over the replicas."""
        if self.count == 1:
            return x
        with tf.name_scope(SCOPE):
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)

    def either(self, condition: tf.Tensor, then: Callable[[], object], otherwise: Callable[[], object]) -> tf.Tensor:
        """Does one of two things on this replica, collectives included; gives the condition when it is done.

        Args:
            condition: scalar bool, the same on every replica.
            then: what to do where it holds.
            otherwise: what to do where it does not.
        """
        if not tf.distribute.has_strategy():
            return _either(condition, then, otherwise)

        # A branch of `tf.cond` can only hold collectives if all replicas enter it together, be it a single one.
        def together(strategy: tf.distribute.Strategy, condition: Any, then: Any, otherwise: Any) -> tf.Tensor:
            def do(what: Callable[[], object]) -> None:
                what()

            def each(what: Any) -> Callable[[], object]:
                return lambda: strategy.extended.call_for_each_replica(do, args=(what,))

            return _either(strategy.experimental_local_results(condition)[0], each(then), each(otherwise))

        return tf.distribute.get_replica_context().merge_call(together, args=(condition, then, otherwise))

    def own(self, x: tf.Tensor) -> tf.Tensor:
        """This replica's rows `[b, ...]` of a global `[B, ...]`."""
        size = x.shape[0] // self.count
        return x if self.count == 1 else x[self.index * size : (self.index + 1) * size]

    def place(self, x: tf.Tensor) -> tf.Tensor:
        """The global `[B, C]` that holds this replica's `[b, C]` in its rows and 0 in all others."""
        if self.count == 1:
            return x
        size = x.shape[0]
        padded = tf.pad(x, [[self.index * size, (self.count - 1 - self.index) * size], [0, 0]])
        return tf.ensure_shape(padded, [self.count * size, *x.shape[1:]])


def _either(condition: tf.Tensor, then: Callable[[], object], otherwise: Callable[[], object]) -> tf.Tensor:
    def done(what: Callable[[], object]) -> Callable[[], tf.Tensor]:
        def do() -> tf.Tensor:
            what()
            return tf.identity(condition)

        return do

    return tf.cond(condition, done(then), done(otherwise))


class StepMean(keras.metrics.Metric):
    """Mean over steps of a number that all replicas have alike.

    Each replica keeps it for itself: Keras' own `Mean` adds the replicas' up whenever it is read, and so could not be
    read by one worker alone.
    """

    def __init__(self, name: str):
        super().__init__(name=name)
        self.total, self.count = (
            keras.Variable(0.0, trainable=False, aggregation="none", name=part) for part in ("total", "count")
        )

    def update_state(self, value: tf.Tensor, counts: tf.Tensor | bool = True) -> None:
        """Takes one more number in, unless it does not count."""
        self.total.assign_add(tf.where(counts, tf.cast(value, self.total.dtype), 0))
        self.count.assign_add(tf.cast(counts, self.count.dtype))

    def result(self) -> tf.Tensor:
        """The mean, 0 if no number counts."""
        return tf.math.divide_no_nan(self.total.value, self.count.value)


ALONE = Replicas()
"""A single replica: for what depends on no other example of the batch."""
