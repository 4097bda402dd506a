"""Values and slopes against hand-computed numbers, the reference and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

import reference
from adap_tf import losses

LOGITS = np.array([[-1e4], [-50.0], [-3.0], [-0.2], [0.0], [0.7], [4.0], [60.0], [1e4]])


def constant(x):
    return tf.constant(x, tf.float64)


def test_squared_hinge_by_hand():
    # anchor 0.5 against candidates 0.5, 0.2 and -1: hinges 0.6, 0.3 and 0
    value, slope = losses.squared_hinge(constant([[0.5]]), constant([[0.5], [0.2], [-1.0]]), 0.6)
    np.testing.assert_allclose(value[0, :, 0], [0.36, 0.09, 0.0], atol=1e-15)
    np.testing.assert_allclose(slope[0, :, 0], [1.2, 0.6, 0.0], atol=1e-15)


@pytest.mark.parametrize("name", losses.SCORES)
def test_scores_and_slopes_match_the_reference(name):
    value, slope = losses.SCORES[name](constant(LOGITS))
    expected_value, expected_slope = reference.score_function(name)
    np.testing.assert_allclose(value, expected_value(LOGITS), rtol=1e-12)
    np.testing.assert_allclose(slope, expected_slope(LOGITS), rtol=1e-10)


def test_cross_entropy_by_hand_and_in_the_tails():
    value, slope = losses.cross_entropy(constant([[0.0], [0.0]]), constant([[1.0], [0.0]]))
    np.testing.assert_allclose(value, [[np.log(2)], [np.log(2)]])
    np.testing.assert_allclose(slope, [[-0.5], [0.5]])
    # float32: 1 - σ(30) rounds to 0, and the slope must not
    _, slope = losses.cross_entropy(tf.constant([[30.0], [-30.0]]), tf.constant([[1.0], [0.0]]))
    np.testing.assert_allclose(slope, [[-np.exp(-30.0)], [np.exp(-30.0)]], rtol=1e-5)


def test_bernoulli_kl_matches_the_reference_for_all_pairs_of_logits():
    h, h_adv = (x.reshape(-1, 1) for x in np.meshgrid(LOGITS, LOGITS + 0.01))
    expected = reference.pointwise_divergence(h, h_adv, "kl")
    for found, wanted in zip(losses.bernoulli_kl(constant(h), constant(h_adv)), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_bernoulli_kl_of_saturated_float32_logits_still_pulls():
    _, _, slope = losses.bernoulli_kl(tf.constant([[40.0]]), tf.constant([[41.0]]))
    np.testing.assert_allclose(slope, [[np.exp(-40.0) - np.exp(-41.0)]], rtol=1e-5)
