"""Which examples stand in which batch: a pure function of (seed, step).

There is no iterator to save: any step can be computed again, so a resumed or re-sharded run sees the same batches.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

SAMPLINGS = ("positives", "separate", "shuffle")
"""Ways to fill a batch: positives and others, all compared with all; anchors apart from candidates; as they come."""


class Sampler:
    """Draws batches of indices.

    With `positives_per_batch` a batch holds that many positives, an equal number of each task where there are
    several, and fills up with negatives. Without it, all examples form one pool. A pool is gone through in cycles, in
    a new order every cycle, so that no example stands twice in a batch and all are drawn in a cycle. An example that
    is drawn for two tasks stands once, and another one takes the place.

    Args:
        label: `[n]` or `[n, C]`, 0, 1 or NaN for unknown.
        batch_size: `B`, from 1 to `n`.
        positives_per_batch: positives asked for in each batch, from 1 to `B`; None takes them as they come. What a
            batch can really hold is in the attribute of that name: no more than there are, at least as many as are
            needed where the others are too few, and the same number of each task. (Of a task with fewer positives than
            its share all are drawn, and others take the places that are left.)
        seed: any integer.
        separate: whether the positives are there as anchors alone (`B₊`), and the rest of the batch, drawn from all
            examples, as candidates alone (`B`); an example may stand in both.

    Raises:
        ValueError: the batch is larger than the data, positives are asked for and there are none, or a number
            is out of range.

    >>> sampler = Sampler(np.array([1, 1, 0, 0, 0, 0]), batch_size=3, positives_per_batch=1)
    >>> drawn = [sampler.indices(step).numpy() for step in range(2)]
    >>> [int((batch < 2).sum()) for batch in drawn]  # a positive each,
    [1, 1]
    >>> len(set(np.concatenate(drawn).tolist()))  # and nobody twice
    6
    """

    def __init__(
        self,
        label: np.ndarray,
        batch_size: int,
        positives_per_batch: int | None = None,
        seed: int = 0,
        separate: bool = False,
    ):
        label = np.reshape(label, (len(label), -1))
        if not 1 <= batch_size <= len(label):
            raise ValueError(f"batch_size must be from 1 to the number of examples, {len(label)}, not {batch_size}")
        self.examples, self.batch_size, self.seed, self.separate = len(label), batch_size, seed, separate
        self.positives_per_batch = positives_per_batch
        self.steps_per_epoch = len(label) // batch_size
        if positives_per_batch is not None:
            self._draw_positives(label, positives_per_batch)
        elif separate:
            raise ValueError("separate draws anchors apart from candidates: give positives_per_batch")
        else:
            everything = _Pools([np.arange(len(label))], batch_size, seed, 0)
            self._groups = [([everything], batch_size)]
            self.cycle_steps, self._order = everything.cycle_steps, np.arange(batch_size)

    def _draw_positives(self, label: np.ndarray, asked: int) -> None:
        """Sets up the groups that make a batch; what has no known label is in none of them."""
        size, seed = self.batch_size, self.seed
        label = label[:, (label == 1).any(axis=0)]
        known = np.flatnonzero(np.isfinite(label).any(axis=1))
        of_task = [np.flatnonzero(column == 1) for column in label.T]
        others = np.flatnonzero((label == 0).any(axis=1))  # negatives of some task that has positives
        if not of_task:
            raise ValueError("there is no positive example to draw")
        if len(known) < size:
            raise ValueError(f"only {len(known)} examples are labelled for a task with positives, too few for a batch")
        if not 1 <= asked <= size - self.separate:
            most = f"the batch size less one, {size - 1}" if self.separate else f"the batch size, {size}"
            raise ValueError(f"positives_per_batch must be from 1 to {most}, not {asked}")

        shared = len(of_task) > 1  # an example can be drawn twice, and then others have to take the places
        if self.separate:
            positives = np.unique(np.concatenate(of_task))
            anchors = _Pools(of_task, min(asked, len(positives)), seed, 1)
            spare = [_Pools([positives], anchors.count, seed, 2)] if shared else []
            rest = size - anchors.count
            self._groups = [([anchors, *spare], anchors.count), ([_Pools([known], rest, seed, 0)], rest)]
        else:
            anchors = _Pools(of_task, max(asked, size - len(others)), seed, 1)
            rest = min(size - anchors.count, len(others))
            filling = [_Pools([others], rest, seed, 2)] if rest else []
            spare = [_Pools([known], size, seed, 0)] if shared else []
            self._groups = [([anchors, *filling, *spare], size)]
        self.positives_per_batch, self.cycle_steps = anchors.count, anchors.cycle_steps
        self._order = _spread([anchors.count, size - anchors.count])

    @property
    def candidate(self) -> np.ndarray:
        """`[B]` bool: whether the example at a place of the batch is a candidate; all are, unless `separate`."""
        return self._order >= (self.positives_per_batch or 0) if self.separate else np.ones(self.batch_size, bool)

    def indices(self, step: int | tf.Tensor) -> tf.Tensor:
        """The `[B]` int64 indices of a step; every contiguous part holds its share of positives."""
        step = tf.cast(step, tf.int64)
        drawn = [_distinct([pools.draw(step) for pools in group], count) for group, count in self._groups]
        return tf.gather(tf.concat(drawn, 0), self._order)

    def last_drawn(self, step: int) -> np.ndarray:
        """The last step before this one that drew each example, as an anchor if `separate`: `[n]`, -1 for none.

        Looks back over two cycles of the positives, in which each of them is drawn.
        """
        last = np.full(self.examples, -1)
        places = np.flatnonzero(~self.candidate) if self.separate else np.arange(self.batch_size)
        for first in range(max(step - 2 * self.cycle_steps, 0), step, 256):
            steps = range(first, min(first + 256, step))
            for number, drawn in zip(steps, self._of_steps(tf.constant(steps, tf.int64)).numpy(), strict=True):
                last[drawn[places]] = number
        return last

    @functools.cached_property
    def _of_steps(self) -> tf.types.experimental.PolymorphicFunction:
        """The indices of several steps `[T]`, `[T, B]`."""
        signature = [tf.TensorSpec([None], tf.int64)]
        return tf.function(lambda steps: tf.map_fn(self.indices, steps), input_signature=signature)


class _Pools:
    """Pools that are gone through in cycles, an equal number from each in a step, or by turns if they are too many.

    Args:
        pools: the indices in each, at least one.
        asked: how many to draw in a step, from 1 on.
        seed: of the order.
        stream: number of the stream of random numbers, below 3.
    """

    STREAMS = 3
    ROUNDS, SALT = 4, 498247692  # those of `tf.random.experimental.index_shuffle`, which takes no key for each index

    def __init__(self, pools: Sequence[np.ndarray], asked: int, seed: int, stream: int):
        sizes = [len(pool) for pool in pools]
        with tf.device("CPU"):  # and not in the graph, which holds at most 2 GiB
            self._members = tf.constant(np.concatenate(pools), tf.int64)
        self._sizes = np.array(sizes)
        self._first = np.cumsum([0, *sizes[:-1]])
        self._each = min(max(asked // len(pools), 1), max(sizes))
        self.count = min(self._each * len(pools), asked)
        self._seed, self._stream = seed, stream
        self.cycle_steps = math.ceil(math.ceil(max(sizes) / self._each) * self._each * len(pools) / self.count)

    def draw(self, step: tf.Tensor) -> tf.Tensor:
        """The `[count]` indices of a step: no member of a pool twice, unless the pool is smaller than its share."""
        pools = len(self._sizes)
        place = step * self.count + tf.range(self.count, dtype=tf.int64)
        pool, visit = place % pools, place // pools
        turn, place = visit // self._each, visit % self._each
        size = tf.gather(tf.constant(self._sizes, tf.int64), pool)
        cycle_length = (size + self._each - 1) // self._each
        place = (turn % cycle_length * self._each + place) % size
        stream = self.STREAMS * (turn // cycle_length * pools + pool) + self._stream
        key = tf.stack([tf.fill([self.count], tf.constant(x, tf.int64)) for x in (self.SALT, self._seed)] + [stream], 1)
        shuffled = tf.raw_ops.RandomIndexShuffle(index=place, seed=key, max_index=size - 1, rounds=self.ROUNDS)
        return tf.gather(self._members, tf.gather(self._first, pool) + shuffled)


def _distinct(drawn: Sequence[tf.Tensor], count: int) -> tf.Tensor:
    """The first `count` different indices, in their order; there are so many."""
    index = tf.concat(drawn, 0)
    if index.shape[0] == count:
        return index
    order = tf.argsort(index, stable=True)
    ordered = tf.gather(index, order)
    repeats = tf.concat([[0], tf.cast(ordered[1:] == ordered[:-1], tf.int32)], 0)
    back = tf.argsort(tf.gather(repeats, tf.argsort(order)), stable=True)
    return tf.gather(index, back[:count])


def _spread(counts: list[int]) -> np.ndarray:
    """An order of `sum(counts)` places in which each group's members stand at even distances."""
    position = np.concatenate([(np.arange(count) + 0.5) / max(count, 1) for count in counts])
    return np.argsort(position, kind="stable")
