"""What an attack does to a network: images perturbed so that a term of the scores rises."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from adap_tf.attacks import Attack, ascending
from adap_tf.replicas import ALONE, Replicas
from adap_tf.scored import ADVERSARIAL, CLEAN, Scored
from adap_tf.terms import Term


def perturbed(
    network: Callable[..., tf.Tensor],
    attack: Attack,
    term: Term,
    image: tf.Tensor,
    label: tf.Tensor,
    noise: tf.Tensor,
    *,
    row: tf.Tensor | None = None,
    candidate: tf.Tensor | None = None,
    estimator: Any = None,
    peek: bool = False,
    replicas: Replicas = ALONE,
) -> tf.Tensor:
    """Images as the attack leaves them, `[b, ...]`.

    Where the term is pointwise, every example is attacked for itself. The network is in inference mode, and moves
    nothing; the estimator of a joint term moves with every look at the scores, unless it only peeks.

    Args:
        network: images to logits `[b, C]`.
        attack: how to ascend.
        term: what to ascend.
        image: `[b, ...]` in [0, 1].
        label: `[b, C]`, 0, 1 or NaN for unknown.
        noise: standard normal, of the image's shape.
        row: `[b, C]` int64, as the batch has it; for terms with a row for every positive.
        candidate: `[b]` bool, as the batch has it.
        estimator: the term's state.
        peek: whether the estimator stays as it is.
        replicas: the replicas that hold the batch, of which a joint term sees the whole.
    """
    holders = replicas if term.joint else ALONE
    still = {CLEAN: network(image, training=False)} if CLEAN in term.views else {}  # once, for all steps

    def ascent(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return term.ascent(Scored.of({**still, ADVERSARIAL: scores}, label, row, candidate, holders), estimator, peek)

    return tf.stop_gradient(attack(ascending(network, ascent), image, noise))
