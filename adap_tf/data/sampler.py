"""Which examples stand in which batch: a pure function of (seed, step).

There is no iterator to save: any step can be computed again, so a resumed or re-sharded run sees the same batches.
"""

import math

import numpy as np
import tensorflow as tf

ALL, POSITIVES, NEGATIVES = 0, 1, 2  # streams of random numbers


class Sampler:
    """Draws batches of indices.

    With `positives_per_batch` a batch holds that many positives and fills up with negatives; each of the two pools
    is gone through in cycles, in a new order every cycle, so that no example stands twice in a batch and all are
    drawn in a cycle. Without it, all examples form one pool.

    Args:
        label: `[n]` or `[n, C]`; a positive is an example with a 1 in any task.
        batch_size: `B`, from 1 to `n`.
        positives_per_batch: positives asked for in each batch, from 1 to `B`; None takes them as they come. What a
            batch can really hold is in the attribute of that name: no more than there are, and at least as many
            as are needed where the negatives are too few.
        seed: any integer.

    Raises:
        ValueError: the batch is larger than the data, positives are asked for and there are none, or a number
            is out of range.
    """

    def __init__(self, label: np.ndarray, batch_size: int, positives_per_batch: int | None = None, seed: int = 0):
        label = np.reshape(label, (len(label), -1))
        if not 1 <= batch_size <= len(label):
            raise ValueError(f"batch_size must be from 1 to the number of examples, {len(label)}, not {batch_size}")
        self.batch_size, self.seed = batch_size, seed
        self.positives_per_batch = positives_per_batch
        self.steps_per_epoch = len(label) // batch_size
        self._pools = {ALL: (np.arange(len(label)), batch_size)}
        if positives_per_batch is not None:
            self._split(label, positives_per_batch)
        self._order = _spread([count for _, count in self._pools.values()])

    def _split(self, label: np.ndarray, asked: int) -> None:
        """Two pools in place of one, and how many of a batch each gives; what has no known label is in neither."""
        positive = (label == 1).any(axis=1)
        negative = (label == 0).any(axis=1) & ~positive
        there, others = int(positive.sum()), int(negative.sum())
        if not there:
            raise ValueError("there is no positive example to draw")
        if there + others < self.batch_size:
            raise ValueError(f"only {there + others} examples have a known label, fewer than a batch holds")
        if not 1 <= asked <= self.batch_size:
            raise ValueError(f"positives_per_batch must be from 1 to the batch size, {self.batch_size}, not {asked}")
        self.positives_per_batch = min(max(asked, self.batch_size - others), there)
        self._pools = {
            POSITIVES: (np.flatnonzero(positive), self.positives_per_batch),
            NEGATIVES: (np.flatnonzero(negative), self.batch_size - self.positives_per_batch),
        }

    def indices(self, step: int | tf.Tensor) -> tf.Tensor:
        """The `[B]` int64 indices of a step; every contiguous part holds its share of positives."""
        step = tf.cast(step, tf.int64)
        drawn = [self._draw(stream, pool, count, step) for stream, (pool, count) in self._pools.items() if count]
        return tf.gather(tf.concat(drawn, 0), self._order)

    def _draw(self, stream: int, pool: np.ndarray, count: int, step: tf.Tensor) -> tf.Tensor:
        cycle_length = math.ceil(len(pool) / count)
        cycle, turn = step // cycle_length, step % cycle_length
        place = (turn * count + tf.range(count, dtype=tf.int64)) % len(pool)
        key = tf.stack([tf.constant(self.seed, tf.int64), 3 * cycle + stream])
        shuffled = tf.random.experimental.index_shuffle(place, key, tf.constant(len(pool) - 1, tf.int64))
        return tf.gather(tf.constant(pool, tf.int64), shuffled)


def _spread(counts: list[int]) -> np.ndarray:
    """An order of `sum(counts)` places in which each group's members stand at even distances."""
    position = np.concatenate([(np.arange(count) + 0.5) / max(count, 1) for count in counts])
    return np.argsort(position, kind="stable")
