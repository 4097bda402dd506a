"""What attacks are made of: something to ascend, a loop of steps, and the choice of the better point."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import tensorflow as tf

ValueAndGrad = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Of images `[B, ...]`, the values `[B]` that an attack raises and their gradient by the images."""

OfScores = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""What is ascended: of scores `[B, C]`, the values `[B]` and their gradient by the scores `[B, C]`."""

_all_unrolled: ContextVar[bool] = ContextVar("all_unrolled", default=False)

UNROLLED = 10  # more steps than these are a loop in the graph: 10% slower on a CPU, but traced once


def ascending(network: Callable[[tf.Tensor], tf.Tensor], ascent: OfScores) -> ValueAndGrad:
    """`value_and_grad` of an ascent on the scores of a network in inference mode.

    An example's slopes are put on a scale on which the largest is 1: a direction is all that an attack asks for, and
    small slopes would round to 0 on their way through a network of low precision.

    Args:
        network: images `[B, ...]` to scores `[B, C]`, in inference mode.
        ascent: what rises, by the scores.
    """

    def value_and_grad(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            scores = network(image)
        values, slopes = ascent(scores)
        return values, tape.gradient(scores, image, output_gradients=as_direction(slopes), unconnected_gradients="zero")

    return value_and_grad


def as_direction(slopes: tf.Tensor) -> tf.Tensor:
    """Each example's slopes `[B, C]` on a scale on which the largest is 1."""
    return tf.math.divide_no_nan(slopes, tf.reduce_max(tf.abs(slopes), axis=-1, keepdims=True))


def repeated(
    count: int, body: Callable[..., tuple[tf.Tensor, ...]], state: tuple[tf.Tensor, ...], unrolled: int = UNROLLED
) -> tuple[tf.Tensor, ...]:
    """`state = body(number, *state)` so many times: in Python up to `unrolled`, else as a loop in the graph."""
    if count <= unrolled or _all_unrolled.get():
        for number in range(count):
            state = body(number, *state)
        return state
    looped = tf.while_loop(
        lambda number, *_: number < count, lambda number, *state: (number + 1, *body(number, *state)), (0, *state)
    )
    return tuple(looped[1:])


def traced_once(ascent: OfScores) -> OfScores:
    """The same ascent as a function of the graph: however many steps ask for it, its operations are there once.

    The listwise term has a hundred, and in each of six steps they took a percent of a training's memory. Under a
    `tf.distribute` strategy it stays as it is: such a function can hold no collectives.
    """
    if tf.distribute.has_strategy() or tf.executing_eagerly():
        return ascent
    return tf.function(ascent, autograph=False, experimental_attributes={"_noinline": True})


@contextlib.contextmanager
def without_loops(needed: bool) -> Iterator[None]:
    """If that is needed, all that is `repeated` here is unrolled: what holds collectives cannot stand in a loop."""
    before = _all_unrolled.set(needed)
    try:
        yield
    finally:
        _all_unrolled.reset(before)


def chosen(which: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    """The examples of `yes` where `which` `[B]` holds, those of `no` elsewhere."""
    return tf.where(tf.reshape(which, [-1] + [1] * (no.shape.rank - 1)), yes, no)


def better(new: tuple[tf.Tensor, tf.Tensor], old: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Of two (images, values), for each example that with the higher value; the old one if they are equal."""
    higher = new[1] > old[1]
    return chosen(higher, new[0], old[0]), tf.where(higher, new[1], old[1])
