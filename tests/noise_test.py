"""Noise that is keyed by place: the same for an example in whatever batch."""

import numpy as np
import pytest
import tensorflow as tf

from adap_tf.noise import Noise


def draw(key, first, shape, **options):
    return Noise(tf.constant(key, tf.int64), first).normal(shape, **options)


@pytest.mark.parametrize("shape", [(8, 3), (8, 4), (8, 5, 5, 3)])
@pytest.mark.parametrize("number", [0, 2])
def test_noise_of_a_part_is_the_part_of_the_noise(shape, number):
    whole = draw([1, 2], 0, shape, draw=number).numpy()
    np.testing.assert_array_equal(draw([1, 2], tf.constant(3), (4, *shape[1:]), draw=number), whole[3:7])
    assert len(np.unique(whole)) == whole.size
    graph = tf.function(lambda first, number: draw([1, 2], first, (4, *shape[1:]), draw=number))
    if number:
        np.testing.assert_array_equal(graph(tf.constant(3, tf.int64), tf.constant(number)), whole[3:7])


def test_noise_has_the_type_asked_for():
    assert draw([0, 0], 0, (2, 3), dtype=tf.float64).dtype == tf.float64
    assert draw([0, 0], 0, (0, 3)).shape == (0, 3)


def test_noise_is_standard_normal_and_follows_its_key_and_its_draw():
    draws = [
        draw(key, 0, (100, 1000), draw=k).numpy() for key, k in (([0, 0], 0), ([0, 1], 0), ([1, 0], 0), ([0, 0], 1))
    ]
    for noise in draws:
        assert abs(noise.mean()) < 0.02
        assert abs(noise.std() - 1) < 0.02
        assert abs(np.abs(noise).mean() - np.sqrt(2 / np.pi)) < 0.02
    for one in range(4):
        for other in range(one):
            assert abs((draws[one] * draws[other]).mean()) < 0.02


def test_uniform_numbers_are_uniform():
    found = np.sort(Noise(tf.constant([0, 5], tf.int64)).uniform((100, 1000)).numpy().ravel())
    np.testing.assert_allclose(found, (np.arange(1e5) + 0.5) / 1e5, atol=0.01)
    assert found[0] >= 0
    assert found[-1] <= 1


@pytest.mark.parametrize("shape", [(4, 3), (4, 5, 5, 3)])
@pytest.mark.parametrize("number", [0, 2])
def test_noise_of_places_is_what_the_slice_has_there(shape, number):
    whole, places = draw([1, 2], 0, (8, *shape[1:]), draw=number).numpy(), np.array([6, 0, 3, 3])
    np.testing.assert_array_equal(draw([1, 2], tf.constant(places), shape, draw=number), whole[places])
    graph = tf.function(lambda places: draw([1, 2], places, shape, draw=number))
    np.testing.assert_array_equal(graph(tf.constant(places)), whole[places])
