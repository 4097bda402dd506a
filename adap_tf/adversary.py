"""What an attack does to a network: images perturbed so that a term of the scores rises."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from adap_tf.attacks import Attack, ascending, traced_once, without_loops
from adap_tf.noise import Noise
from adap_tf.scored import ADVERSARIAL, CLEAN, Scored
from adap_tf.terms import Term

SCOPE = "attack"
"""Names in the graph what belongs to an attack."""


@dataclass(frozen=True, eq=False)
class Reach:
    """Which examples and which of their features an adversary can change, and how far, as shares of an attack's ε.

    Attributes:
        positives: share of ε for examples that are a positive of any task, from 0 to 1.
        negatives: share for all other examples.
        features: share for each feature, of the image's shape `[...]` or broadcastable to it; None for 1 everywhere.

    Raises:
        ValueError: a share is not from 0 to 1.

    >>> only_negatives = Reach(positives=0.0)
    >>> only_negatives.share(tf.zeros([2, 4]), tf.constant([[1.0], [0.0]])).numpy().tolist()
    [[0.0], [1.0]]
    """

    positives: float = 1.0
    negatives: float = 1.0
    features: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("positives", "negatives", "features"):
            value = getattr(self, name)
            if value is not None and not (np.greater_equal(value, 0) & np.less_equal(value, 1)).all():
                raise ValueError(f"{name}: shares of ε are from 0 to 1")

    def share(self, image: tf.Tensor, label: tf.Tensor) -> tf.Tensor | None:
        """The share of every feature of every example, broadcastable to the images; None if it is 1 everywhere."""
        if self.positives == self.negatives == 1 and self.features is None:
            return None
        positive = tf.reduce_any(label == 1, axis=-1)
        of_class = tf.where(positive, tf.constant(self.positives, image.dtype), self.negatives)
        share = tf.reshape(of_class, [-1] + [1] * (image.shape.rank - 1))
        return share if self.features is None else share * tf.constant(self.features, image.dtype)


EVERYTHING = Reach()
"""No limit but the attack's own."""


def perturbed(
    network: Callable[[tf.Tensor], tf.Tensor],
    attack: Attack,
    term: Term,
    image: tf.Tensor,
    label: tf.Tensor,
    noise: Noise,
    *,
    batch: Scored | None = None,
    estimator: Any = None,
    peek: bool = False,
    reach: Reach = EVERYTHING,
) -> tf.Tensor:
    """Images as the attack leaves them, `[b, ...]`.

    Where the term is pointwise, every example is attacked for itself. The estimator of a joint term moves with every
    look at the scores, unless it only peeks.

    Args:
        network: images to logits `[b, C]`, in inference mode, such as `at_rest` gives.
        attack: how to ascend.
        term: what to ascend.
        image: `[b, ...]` in [0, 1].
        label: `[b, C]`, 0, 1 or NaN for unknown.
        noise: draws the attack's random numbers.
        batch: the whole batch, of all replicas, as a joint term sees it; these images alone if not given.
        estimator: the term's state.
        peek: whether the estimator stays as it is.
        reach: what the adversary can change.
    """
    still = batch if term.joint and batch is not None else Scored.of({}, label)
    if CLEAN in term.views:
        still = still.with_scores({CLEAN: network(image)})  # once, for all steps

    def ascent(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return term.ascent(still.with_scores({ADVERSARIAL: scores}), estimator, peek)

    share = reach.share(image, label)
    limits = () if share is None else (share,)
    with without_loops(still.replicas.count > 1), tf.name_scope(SCOPE):
        # Pointwise terms are a few operations, hardly more than a call.
        ascended = ascending(network, traced_once(ascent) if term.joint else ascent)
        return tf.stop_gradient(attack(ascended, image, noise, *limits))
