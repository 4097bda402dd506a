"""PGD against its closed form on a linear scorer, and noise that does not depend on who draws it."""

import numpy as np
import pytest
import tensorflow as tf

import reference
from adap_tf.attacks import PGD, ascending, keyed_noise


@pytest.fixture
def linear(rng):
    """Images, labels and a weight with a dead feature."""
    image, weight = rng.uniform(0, 1, (6, 4)), rng.normal(size=4)
    image[0] = [0.0, 1.0, 0.02, 0.98]  # the box binds before the ball
    weight[3] = 0.0
    return image, weight, np.array([1.0, 0, 1, 0, 1, 0])


def run(attack, linear, noise=None):
    image, weight, label = linear

    def network(x, training):
        assert training is False
        return tf.linalg.matvec(x, tf.constant(weight))[:, None]

    away = tf.constant(1 - 2 * label)[:, None]
    ascent = ascending(network, lambda scores: (tf.reduce_sum(away * scores, 1), away))
    return attack(ascent, tf.constant(image), tf.constant(np.zeros_like(image) if noise is None else noise)).numpy()


def test_one_step_by_hand():
    linear = np.array([[0.5, 0.95]]), np.array([2.0, -1.0]), np.array([1.0])
    np.testing.assert_allclose(run(PGD(eps=0.1, step_size=0.07, steps=1), linear), [[0.43, 1.0]])


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_pgd_of_a_linear_scorer_matches_the_reference(linear, rng, steps):
    noise = rng.normal(size=linear[0].shape)
    found = run(PGD(eps=0.1, step_size=0.03, steps=steps, start=0.05), linear, noise)
    wanted = reference.pgd_linear(*linear, 0.1, 0.03, steps, 0.05 * noise)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


def test_pgd_ends_in_the_closed_form(linear):
    found = run(PGD(eps=0.1, step_size=0.03, steps=4), linear)
    np.testing.assert_allclose(found, reference.pgd_linear_corner(*linear, 0.1), rtol=0, atol=1e-14)


def test_a_ball_of_radius_zero_is_the_image(linear, rng):
    np.testing.assert_array_equal(run(PGD(eps=0.0), linear, rng.normal(size=linear[0].shape)), linear[0])


@pytest.mark.parametrize("shape", [(8, 3), (8, 4), (8, 5, 5, 3)])
def test_noise_of_a_part_is_the_part_of_the_noise(shape):
    whole = keyed_noise(tf.constant([1, 2], tf.int64), 0, tf.zeros(shape)).numpy()
    part = keyed_noise(tf.constant([1, 2], tf.int64), tf.constant(3), tf.zeros((4, *shape[1:])))
    np.testing.assert_array_equal(part, whole[3:7])
    assert len(np.unique(whole)) == whole.size


def test_noise_is_standard_normal_and_follows_its_key():
    draws = [
        keyed_noise(tf.constant(key, tf.int64), 0, tf.zeros((100, 1000))).numpy() for key in ([0, 0], [0, 1], [1, 0])
    ]
    for noise in draws:
        assert abs(noise.mean()) < 0.02
        assert abs(noise.std() - 1) < 0.02
        assert abs(np.abs(noise).mean() - np.sqrt(2 / np.pi)) < 0.02
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs((draws[one] * draws[other]).mean()) < 0.02


@pytest.mark.parametrize(
    "bad", [{"eps": -1}, {"eps": float("nan")}, {"step_size": 0}, {"steps": 0}, {"steps": 1.5}, {"start": -0.1}]
)
def test_bad_attacks_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        PGD(**bad)
