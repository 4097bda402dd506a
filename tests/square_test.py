"""Square against loops in NumPy that follow the paper, on the same random numbers."""

import numpy as np
import pytest
import tensorflow as tf

from adap_tf.attacks import Square
from adap_tf.noise import Noise

NOISE = Noise(tf.constant([5, 6], tf.int64))
SHAPE = (3, 9, 9, 2)
EPS = 0.3


def draws(number):
    """A query's places, coin and signs for each example."""
    return NOISE.uniform([SHAPE[0], 5 + SHAPE[3]], tf.float64, number).numpy()


def all_signs(height, width):
    return np.sign(NOISE.normal([SHAPE[0], height, width, SHAPE[3]], tf.float64, 0).numpy())


def corner(share, length, side):
    return min(int(share * (length - side + 1)), length - side)


def side_of(query, queries, area, norm):
    """The published schedule, for 10,000 queries and in proportion for fewer."""
    done, halvings = query / queries * 10_000, 0
    for end in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        halvings += done > end
    side = max(round(np.sqrt(area / 2**halvings * SHAPE[1] * SHAPE[2])), 1 if norm == "linf" else 3)
    if norm == "l2" and side % 2 == 0:
        side += 1
    return min(side, SHAPE[1])


def hill(height, width):
    """Rectangles laid upon each other from the middle outwards, the k-th worth 1/k²."""
    total = np.zeros((height, width))
    for k in range(1, max(height // 2, width // 2) + 2):
        for row in range(height):
            for column in range(width):
                if max(abs(row - height // 2), abs(column - width // 2)) < k:
                    total[row, column] += 1 / k**2
    return total / max(np.linalg.norm(total), 1e-300)


def two_hills(height, width, beside):
    if beside:
        return two_hills(width, height, False).T
    found = np.concatenate([hill(height // 2, width), -hill(height - height // 2, width)])
    return found / np.linalg.norm(found)


def start(norm):
    if norm == "linf":
        return EPS * np.broadcast_to(all_signs(1, SHAPE[2]), SHAPE)
    side = SHAPE[1] // 5
    found, signs = np.zeros(SHAPE), all_signs(-(-SHAPE[1] // side), -(-SHAPE[2] // side))
    for i, u in enumerate(draws(0)):
        tile = two_hills(side, side, u[4] > 0.5)
        for row in range(SHAPE[1]):
            for column in range(SHAPE[2]):
                found[i, row, column] = tile[row % side, column % side] * signs[i, row // side, column // side]
        found[i] *= EPS / np.linalg.norm(found[i])
    return found


def proposal(delta, u, side, norm):
    """What one example's perturbation becomes if the query is accepted."""
    top, left, top2, left2 = (corner(u[k], SHAPE[1 + k % 2], side) for k in range(4))
    signs, new = np.where(u[5:] > 0.5, 1.0, -1.0), delta.copy()
    window = slice(top, top + side), slice(left, left + side)
    if norm == "linf":
        new[window] = EPS * signs
        return new
    other = slice(top2, top2 + side), slice(left2, left2 + side)
    either = np.zeros(SHAPE[1:3], bool)
    either[window] = either[other] = True
    unused = max(EPS**2 - np.sum(delta**2), 0)
    for c in range(SHAPE[3]):
        before = delta[..., c][window]
        bump = signs[c] * two_hills(side, side, u[4] > 0.5) + before / max(np.linalg.norm(before), 1e-300)
        length = np.sqrt(np.sum(delta[..., c][either] ** 2) + unused / SHAPE[3])
        new[..., c][other] = 0
        new[..., c][window] = bump / np.linalg.norm(bump) * length
    return new * EPS / np.linalg.norm(new)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_follows_the_paper(rng, norm):
    queries, clean = 40, rng.uniform(0.1, 0.9, SHAPE)
    weight, frequency = rng.normal(size=SHAPE[1:]), rng.uniform(2, 9, SHAPE[1:])

    def value(x):
        return np.sum(weight * np.sin(frequency * x), axis=(-3, -2, -1))

    wanted = np.clip(clean + start(norm), 0, 1)
    accepted = 0
    for query in range(queries):
        side = side_of(query, queries, 0.8, norm)
        for i, u in enumerate(draws(query + 1)):
            new = np.clip(clean[i] + proposal(wanted[i] - clean[i], u, side, norm), 0, 1)
            if value(new) > value(wanted[i]):
                wanted[i] = new
                accepted += 1

    def value_and_grad(x):
        value = tf.reduce_sum(tf.constant(weight) * tf.sin(tf.constant(frequency) * x), (1, 2, 3))
        return value, tf.fill(x.shape, tf.constant(np.nan, x.dtype))  # the gradient is not looked at

    found = tf.function(Square(EPS, queries, norm=norm))(value_and_grad, tf.constant(clean), NOISE)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7)  # windows are equal; the noise is float32
    assert accepted > 10


def test_sides_of_the_squares_are_the_published_ones():
    sizes = Square(queries=10_000).sizes(32, 32)
    assert [tuple(sizes[query]) for query in (0, 10, 11, 51, 201, 501, 1001, 8001)] == [
        (side, side) for side in (29, 29, 20, 14, 10, 7, 5, 1)
    ]
    assert tuple(Square(queries=10, norm="l2").sizes(32, 32)[-1]) == (3, 3)
    assert tuple(Square(queries=10).sizes(1, 20)[0]) == (1, 16)  # features: a run of them


def test_more_queries_are_never_worse(rng):
    clean, weight = tf.constant(rng.uniform(size=(4, 6))), tf.constant(rng.normal(size=6))

    def value_and_grad(x):
        return tf.linalg.matvec(x, weight), tf.zeros_like(x)

    with_fewer = Square(0.2, 1)(value_and_grad, clean, NOISE)
    assert (
        (value_and_grad(Square(0.2, 50)(value_and_grad, clean, NOISE))[0] > value_and_grad(with_fewer)[0]).numpy().all()
    )
