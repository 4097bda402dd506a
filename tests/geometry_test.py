"""Balls: nearest points, steepest steps, and what may not change."""

import numpy as np
import pytest
import tensorflow as tf

from adap_tf.geometry import NORMS, Ball


def test_projection_is_the_nearest_point_of_ball_and_box():
    clean = tf.constant([[0.5, 0.5, 0.05, 0.95, 0.5]])
    moved = tf.constant([[0.9, 0.1, -0.4, 1.4, 0.45]])
    np.testing.assert_allclose(Ball(clean, 0.1).project(moved), [[0.6, 0.4, 0.0, 1.0, 0.45]], rtol=1e-6)
    np.testing.assert_array_equal(Ball(clean, 0.0).project(moved), clean)


def test_l2_shortens_what_is_too_long_and_nothing_else():
    clean = tf.constant([[0.5, 0.5], [0.5, 0.5]])
    found = Ball(clean, 0.5, "l2").project(tf.constant([[0.8, 0.9], [1.1, 0.5 - 0.8]]))
    np.testing.assert_allclose(found, [[0.8, 0.9], [0.8, 0.1]], rtol=1e-6)
    near = tf.constant([[0.6, 0.5], [0.5, 0.4]])
    np.testing.assert_allclose(Ball(clean, 0.5, "l2").project(near), near, rtol=1e-6)
    np.testing.assert_array_equal(Ball(clean, 0.0, "l2").project(tf.constant([[1.0, 0.0], [0.3, 0.5]])), clean)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_of_many_is_inside_and_the_nearest_of_the_ball(rng, norm):
    clean, moved = rng.uniform(0.4, 0.6, (200, 4)), rng.normal(0.5, 0.2, (200, 4))
    ball = Ball(tf.constant(clean), 0.1, norm)
    found = ball.project(tf.constant(moved)).numpy()
    order = np.inf if norm == "linf" else 2
    assert (np.linalg.norm(found - clean, order, axis=1) <= 0.1 + 1e-12).all()
    for other in rng.normal(size=(50, 200, 4)):  # no other point of the ball is nearer
        other = other / np.linalg.norm(other, order, axis=1, keepdims=True) * 0.1 * rng.uniform(size=(200, 1))
        assert (np.linalg.norm(clean + other - moved, axis=1) >= np.linalg.norm(found - moved, axis=1) - 1e-9).all()


def test_a_step_has_one_length_whatever_the_slope():
    ball = Ball(tf.zeros([1, 4]), 1.0)
    np.testing.assert_array_equal(
        ball.step(tf.constant([[-1e30, -1e-30, 0.0, 5.0]]), 0.25), [[-0.25, -0.25, 0.0, 0.25]]
    )
    ball = Ball(tf.zeros([3, 2]), 1.0, "l2")
    found = ball.step(tf.constant([[3e30, 4e30], [0.0, -1e-30], [0.0, 0.0]]), 0.5)
    np.testing.assert_allclose(found, [[0.3, 0.4], [0.0, -0.5], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_share_of_one_changes_nothing(rng, norm):
    clean, moved = (tf.constant(rng.uniform(0, 1, (5, 4))) for _ in range(2))
    whole, shared = Ball(clean, 0.2, norm), Ball(clean, 0.2, norm, tf.ones([5, 1], tf.float64))
    np.testing.assert_allclose(shared.project(moved), whole.project(moved), rtol=0, atol=1e-15)
    np.testing.assert_allclose(shared.step(moved - 0.5, 0.1), whole.step(moved - 0.5, 0.1), rtol=0, atol=1e-15)
