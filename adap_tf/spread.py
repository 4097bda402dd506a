"""A data set in batches, as many at once as there are replicas."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from adap_tf.replicas import Replicas


class Spread:
    """Spreads a data set over the replicas of a strategy: in round k, replica r of R looks at batch k·R + r.

    The batches are those of a single replica: of one size, consecutive, the last one filled up with copies of the
    last example. In the last round the replicas that have nothing left repeat the last batch. A worker knows the
    batches of its own replicas alone, `own` of them a round.

    Args:
        batch_size: examples on a replica at once.
        strategy: of `tf.distribute`. If it has one replica or is not given, nothing is distributed.
    """

    def __init__(self, batch_size: int, strategy: Any = None):
        self.batch_size, self.strategy = batch_size, strategy
        self.replicas, self.own = 1, [0]
        if strategy is not None and strategy.num_replicas_in_sync > 1:
            self.replicas = strategy.num_replicas_in_sync
            numbers = strategy.experimental_distribute_values_from_function(lambda at: at.replica_id_in_sync_group)
            self.own = list(strategy.experimental_local_results(numbers))
        self._everywhere = functools.cache(self._graph)

    def places(self, n: int) -> np.ndarray:
        """Which of `n` examples this worker's replicas look at, `[rounds, own, b]`."""
        size = min(self.batch_size, n)
        batches = -(-n // size)
        numbers = np.minimum(np.arange(0, batches, self.replicas)[:, None] + self.own, batches - 1)
        return np.minimum(size * numbers[..., None] + np.arange(size), n - 1)

    def __call__(self, function: Any, *parts: Iterable[Any]) -> list[tf.Tensor]:
        """What a `tf.function` finds on each of this worker's replicas.

        Args:
            function: of tensors, to a tensor.
            *parts: for each of its arguments, what each replica gets, `[own, ...]`.
        """
        each = [tuple(map(tf.convert_to_tensor, arguments)) for arguments in zip(*parts, strict=True)]
        if self.replicas == 1:
            return [function(*each[0])]
        values = self.strategy.experimental_distribute_values_from_function(
            lambda at: each[at.replica_id_in_sync_group - self.own[0]]
        )
        return list(self.strategy.experimental_local_results(self._everywhere(function)(values)))

    def joined(self, rounds: Sequence[Sequence[Any]], n: int) -> np.ndarray:
        """What all replicas found, `[n, ...]` in the order of the examples, on every worker.

        Args:
            rounds: what each of this worker's replicas found in each round, `[rounds, own, b, ...]`.
            n: number of examples.
        """
        found = np.stack([np.stack(parts) for parts in rounds], axis=1)
        shape = found.shape[2:]
        if len(self.own) < self.replicas:
            found = self(_gathered, found)[0].numpy()
        by_round = found.reshape(self.replicas, len(rounds), *shape).swapaxes(0, 1)
        return by_round.reshape(-1, *shape[1:])[:n]

    def _graph(self, function: Any) -> Any:
        """A `tf.function` as one graph of all of this worker's replicas, of a tuple of its arguments."""
        return tf.function(functools.partial(self.strategy.run, function.python_function))


@tf.function
def _gathered(x: tf.Tensor) -> tf.Tensor:
    """The `x` of every replica, one after another."""
    return Replicas.current().gather(x)
