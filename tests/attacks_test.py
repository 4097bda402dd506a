"""The geometry of the ball, PGD against its closed form on a linear scorer, and noise that is keyed by place."""

import numpy as np
import pytest
import tensorflow as tf

import reference
from adap_tf import geometry
from adap_tf.attacks import PGD, ascending, keyed_noise


def test_projection_is_the_nearest_point_of_ball_and_box():
    clean = tf.constant([[0.5, 0.5, 0.05, 0.95, 0.5]])
    moved = tf.constant([[0.9, 0.1, -0.4, 1.4, 0.45]])
    found = geometry.linf_project(moved, clean, 0.1)
    np.testing.assert_allclose(found, [[0.6, 0.4, 0.0, 1.0, 0.45]], rtol=1e-6)
    np.testing.assert_array_equal(geometry.linf_project(moved, clean, 0.0), clean)


def test_a_step_has_one_length_whatever_the_slope():
    found = geometry.linf_step(tf.constant([-1e30, -1e-30, 0.0, 5.0]), 0.25)
    np.testing.assert_array_equal(found, [-0.25, -0.25, 0.0, 0.25])


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


def test_the_start_is_as_drawn_and_the_end_inside(linear, rng):
    image, _, _ = linear
    noise, seen = rng.normal(size=image.shape), []

    def watched(x):
        seen.append(x.numpy())
        return tf.zeros(len(x), x.dtype), tf.constant(rng.normal(size=image.shape))

    end = PGD(eps=0.1, step_size=0.03, steps=3, start=1.0)(watched, tf.constant(image), tf.constant(noise)).numpy()
    np.testing.assert_array_equal(seen[0], image + noise)  # far outside: projected after a step, not before
    assert len(seen) == 3
    for x in (*seen[1:], end):
        assert np.abs(x - image).max() <= 0.1 + 1e-15
        assert x.min() >= 0
        assert x.max() <= 1


def test_a_feature_without_slope_keeps_its_start(linear, rng):
    image, _, _ = linear
    noise = rng.normal(size=image.shape)
    found = run(PGD(eps=0.1, step_size=0.03, steps=5, start=0.01), linear, noise)
    np.testing.assert_allclose(found[1:, 3], np.clip(image + 0.01 * noise, 0, 1)[1:, 3], rtol=1e-12)


def test_a_ball_of_radius_zero_is_the_image(linear, rng):
    np.testing.assert_array_equal(run(PGD(eps=0.0), linear, rng.normal(size=linear[0].shape)), linear[0])


@pytest.mark.parametrize("shape", [(8, 3), (8, 4), (8, 5, 5, 3)])
def test_noise_of_a_part_is_the_part_of_the_noise(shape):
    whole = keyed_noise(tf.constant([1, 2], tf.int64), 0, tf.zeros(shape)).numpy()
    part = keyed_noise(tf.constant([1, 2], tf.int64), tf.constant(3), tf.zeros((4, *shape[1:])))
    np.testing.assert_array_equal(part, whole[3:7])
    assert len(np.unique(whole)) == whole.size
    graph = tf.function(lambda first: keyed_noise(tf.constant([1, 2], tf.int64), first, tf.zeros((4, *shape[1:]))))
    np.testing.assert_array_equal(graph(tf.constant(3, tf.int64)), part)


def test_noise_has_the_images_type():
    assert keyed_noise(tf.constant([0, 0], tf.int64), 0, tf.zeros((2, 3), tf.float64)).dtype == tf.float64
    assert keyed_noise(tf.constant([0, 0], tf.int64), 0, tf.zeros((0, 3))).shape == (0, 3)


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
    "bad",
    [
        {"eps": -1},
        {"eps": float("nan")},
        {"eps": float("inf")},
        {"step_size": 0},
        {"step_size": float("nan")},
        {"step_size": float("inf")},
        {"steps": 0},
        {"steps": 1.5},
        {"start": -0.1},
        {"start": float("nan")},
    ],
)
def test_bad_attacks_are_refused(bad):
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} must be"):
        PGD(**bad)
