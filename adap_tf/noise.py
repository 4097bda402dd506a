"""Random numbers that belong to an example, whoever draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True, eq=False)
class Noise:
    """An endless supply of noise for the examples of a stream.

    An example's numbers follow from the key, its place in the stream, the shape that is asked for and the number of
    the draw; not from the batch that it is in.

    Attributes:
        key: seed of the stream, two integers `[2]`.
        first: place of the first example in the stream, the others following it; or the places of all of them, `[B]`.
    """

    key: tf.Tensor
    first: int | tf.Tensor = 0

    def normal(self, shape: Sequence[int], dtype: tf.DType = tf.float32, draw: int | tf.Tensor = 0) -> tf.Tensor:
        """Standard normal numbers.

        The generator (Philox) counts blocks of four numbers, and each example has a whole number of blocks of its own.

        Args:
            shape: `[B, ...]`, examples first.
            dtype: the numbers are float32, cast to this type.
            draw: number of the draw; other numbers give other noise.
        """
        key = (
            self.key
            if isinstance(draw, int) and draw == 0
            else tf.random.experimental.stateless_fold_in(self.key, draw)
        )
        size = math.prod(shape[1:])
        blocks, first = -(-size // 4), tf.cast(self.first, tf.int64)
        one_after_another = first.shape.rank == 0
        noise = _from_place(key, first, shape[0], blocks) if one_after_another else _at_places(key, first, blocks)
        return tf.cast(tf.reshape(noise[:, :size], shape), dtype)

    def uniform(self, shape: Sequence[int], dtype: tf.DType = tf.float32, draw: int | tf.Tensor = 0) -> tf.Tensor:
        """Numbers from 0 to 1, all as likely; the same arguments."""
        return (1 + tf.math.erf(self.normal(shape, dtype, draw) / np.sqrt(2))) / 2


@tf.function(reduce_retracing=True)  # outside of a graph a look at each place would take milliseconds
def _at_places(key: tf.Tensor, places: tf.Tensor, blocks: int) -> tf.Tensor:
    """The numbers of the examples at those places, `[B, 4 blocks]`."""
    return tf.map_fn(lambda place: _from_place(key, place, 1, blocks)[0], places, fn_output_signature=tf.float32)


def _from_place(key: tf.Tensor, place: tf.Tensor, examples: int, blocks: int) -> tf.Tensor:
    """The numbers of so many examples from a place on, `[examples, 4 blocks]`."""
    philox_key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=key)
    counter += tf.stack([tf.cast(place * blocks, tf.uint64), tf.zeros([], tf.uint64)])
    return tf.raw_ops.StatelessRandomNormalV2(
        shape=[examples, 4 * blocks], key=philox_key, counter=counter, alg=1, dtype=tf.float32
    )
