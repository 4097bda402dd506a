"""Pure functions of scores: each returns a value and its slope by the scores it was given.

Shapes are those of a batch of scores, `[B, C]` for `C` tasks; a pair loss is `[A, B, C]` for `A` anchors. All
are elementwise and differentiable by hand, so nothing here needs a gradient tape. Equation numbers are those of
Li, Tong and Yang, "Maximization of Average Precision for Deep Learning with Adversarial Ranking Robustness"
(NeurIPS 2023).
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf


def identity(h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The logit itself: `h` and its slope 1."""
    return h, tf.ones_like(h)


def sigmoid(h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The sigmoid `σ(h)` and its slope `σ(h)σ(-h)`, which keeps its digits where `1 - σ(h)` rounds to 0."""
    return tf.sigmoid(h), tf.sigmoid(h) * tf.sigmoid(-h)


def tanh(h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Hyperbolic tangent and its slope `4σ(2h)σ(-2h)`, which is `1 - tanh²h` without the cancellation."""
    return tf.tanh(h), 4 * tf.sigmoid(2 * h) * tf.sigmoid(-2 * h)


SCORES: Mapping[str, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]] = {
    "identity": identity,
    "sigmoid": sigmoid,
    "tanh": tanh,
}
"""What a ranking term may see of a logit, by name."""


def squared_hinge(anchor: tf.Tensor, candidate: tf.Tensor, margin: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Pair loss of the AP surrogate, `max(m - (s_a - s_j), 0)²` (below eq. 1).

    Args:
        anchor: scores of the anchors, `[A, C]`.
        candidate: scores of the candidates, `[B, C]`.
        margin: `m`, in units of the scores.

    Returns:
        The loss `[A, B, C]` and its slope by the candidate's score; by the anchor's it is the negative.
    """
    hinge = tf.nn.relu(margin - anchor[:, None, :] + candidate[None, :, :])
    return hinge * hinge, 2 * hinge


def cross_entropy(h: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Binary cross-entropy from logits; its slope by `h` does not round to 0 where `σ(h)` rounds to the label.

    Args:
        h: logits, `[B, C]`.
        label: 0 or 1, `[B, C]`.
    """
    away = 1 - 2 * label  # the direction in which the loss grows
    return tf.nn.softplus(away * h), away * tf.sigmoid(away * h)


def cross_entropy_odds(h: tf.Tensor, label: tf.Tensor, known: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`log(e^S - 1)` of each example's summed cross-entropy `S`: what an attack on several labels ascends.

    It grows with `S`, so both have the same maximum and the same direction of ascent; but where `S` and its slopes
    round to 0, because every score is far on its label's side, this one's slopes add up to at least 1. With a single
    known label it is the logit against that label, `(1 - 2y)h`.

    Args:
        h: logits, `[B, C]`.
        label: 0 or 1, `[B, C]`.
        known: 1 where the label is known, else 0, `[B, C]`.

    Returns:
        Values `[B]` and slopes `[B, C]`; 0 for an example without a known label.
    """
    far = -40.0  # below it, log(softplus(a)) and log(1 - exp(-exp(a))) are a to the last digit
    away = 1 - 2 * label
    a = tf.where(known > 0, away * h, -np.inf)
    log_each = tf.where(a < far, a, tf.math.log(tf.nn.softplus(tf.maximum(a, far))))
    log_sum = tf.reduce_logsumexp(log_each, axis=-1, keepdims=True)
    total = tf.reduce_sum(tf.nn.softplus(a), axis=-1, keepdims=True)
    log_rest = tf.where(log_sum < far, log_sum, tf.math.log(-tf.math.expm1(-tf.maximum(total, math.exp(far)))))
    value = tf.where(log_sum > -np.inf, total + log_rest, 0)[:, 0]
    return value, tf.where(known > 0, away * tf.exp(tf.math.log_sigmoid(a) - log_rest), 0)


def bernoulli_kl(h: tf.Tensor, h_adv: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`KL(Bernoulli(σ(h)) ‖ Bernoulli(σ(h')))` from logits: value, slope by `h`, slope by `h'`."""
    log_ratio = tf.math.log_sigmoid(h) - tf.math.log_sigmoid(h_adv)
    log_ratio_not = tf.math.log_sigmoid(-h) - tf.math.log_sigmoid(-h_adv)
    value = tf.sigmoid(h) * log_ratio + tf.sigmoid(-h) * log_ratio_not
    return value, tf.sigmoid(h) * tf.sigmoid(-h) * (h - h_adv), _sigmoid_difference(h_adv, h)


def _sigmoid_difference(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`σ(a) - σ(b)`, taken on the side where both are small, so that two saturated logits still differ."""
    return tf.where(a + b > 0, tf.sigmoid(-b) - tf.sigmoid(-a), tf.sigmoid(a) - tf.sigmoid(b))


def bernoulli_js(h: tf.Tensor, h_adv: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Jensen–Shannon divergence of `Bernoulli(σ(h))` and `Bernoulli(σ(h'))`: value, slope by `h`, slope by `h'`."""
    value, slopes = tf.zeros_like(h), []
    for x, other in ((h, h_adv), (h_adv, h)):
        one = log_to_mean(tf.math.log_sigmoid(x), tf.math.log_sigmoid(other))
        zero = log_to_mean(tf.math.log_sigmoid(-x), tf.math.log_sigmoid(-other))
        value += (tf.sigmoid(x) * one + tf.sigmoid(-x) * zero) / 2
        slopes.append(tf.sigmoid(x) * tf.sigmoid(-x) * (one - zero) / 2)
    return value, *slopes


def reverse_bernoulli_kl(h: tf.Tensor, h_adv: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`KL(Bernoulli(σ(h')) ‖ Bernoulli(σ(h)))`: value, slope by `h`, slope by `h'`."""
    value, slope_adv, slope = bernoulli_kl(h_adv, h)
    return value, slope, slope_adv


DIVERGENCES: Mapping[str, Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]] = {
    "kl": bernoulli_kl,
    "reverse_kl": reverse_bernoulli_kl,
    "js": bernoulli_js,
}
"""Divergences of an example's clean from its perturbed prediction, by name."""


def log_to_mean(log_p: tf.Tensor, log_q: tf.Tensor) -> tf.Tensor:
    """`log(2p / (p + q))`, from the logs."""
    return math.log(2) - tf.nn.softplus(log_q - log_p)


def to_mean(log_p: tf.Tensor) -> tf.Tensor:
    """`log(2p / (p + q))` and `log(2q / (p + q))`, from the logs of both, `[B, 2, C]`."""
    return log_to_mean(log_p, tf.reverse(log_p, [1]))


def top_one(log_weight: tf.Tensor, score: tf.Tensor, log_normaliser: tf.Tensor) -> tf.Tensor:
    """Weighted top-one probabilities `w e^s / u` (Definition 1, with the estimator `u` as normaliser)."""
    return tf.exp(log_weight + score - log_normaliser)
