"""Scores and average precision of a network under each threat."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from adap_tf.adversary import perturbed
from adap_tf.attacks import PGD, Attack, keyed_noise
from adap_tf.data.examples import Examples, as_unit_range
from adap_tf.metrics import average_precision, mean_average_precision
from adap_tf.scored import ADVERSARIAL
from adap_tf.terms import CrossEntropy

Threats = Mapping[str, Attack | None]
EVALUATION_STREAM = -1  # steps of training count from 0

PGD10 = PGD(steps=10, step_size=0.007)
"""The paper's white-box evaluation: 10 steps of 0.007 in the ball of 8/255, last iterate."""


ON_LABELS = CrossEntropy(ADVERSARIAL)
"""What a threat ascends: each example's scores go against its labels, every example for itself."""


class Evaluator:
    """Scores a network on a data set, clean and under attack, in compiled batches of one size.

    The result for an example depends on its place in the data set and on `seed`, not on the batch it falls in: the
    attack's noise is keyed by the place, and the last batch is filled up rather than cut short.

    Args:
        network: images to logits `[B, C]`.
        threats: attack by name; None stands for the clean data.
        batch_size: examples scored at once.
        seed: of the attacks' starts.
    """

    def __init__(self, network: keras.Model, threats: Threats, batch_size: int = 256, seed: int = 0):
        self.network, self.threats, self.batch_size, self.seed = network, dict(threats), batch_size, seed
        self._compiled = tf.function(self._score)

    def scores(self, image: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
        """Logits `[n, C]` under each threat.

        Args:
            image: `[n, ...]`, float in [0, 1] or uint8 in 0…255.
            label: `[n, C]` or `[n]`, 0, 1 or NaN for unknown.
        """
        label = np.reshape(label, (len(label), -1))
        parts = [self._batch(image, label, first) for first in range(0, len(image), self.batch_size)]
        return {threat: np.concatenate([part[threat] for part in parts])[: len(image)] for threat in self.threats}

    def average_precision(self, image: np.ndarray, label: np.ndarray) -> dict[str, dict[str, Any]]:
        """What `summary` says of the scores."""
        return summary(self.scores(image, label), label)

    def attacked(self, threat: str, image: np.ndarray, label: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Those examples `[k, ...]` as the attack perturbs them when it goes through the data set."""
        attack = self.threats[threat]
        unit = as_unit_range(tf.constant(image[places]))
        if attack is None:
            return unit.numpy()
        noise = tf.concat([self._noise(place, unit[:1]) for place in places], axis=0)
        known = tf.constant(label[places], tf.float32)
        return perturbed(self.network, attack, ON_LABELS, unit, known, noise).numpy()

    def _batch(self, image: np.ndarray, label: np.ndarray, first: int) -> dict[str, np.ndarray]:
        places = np.minimum(np.arange(first, first + min(self.batch_size, len(image))), len(image) - 1)
        batch = as_unit_range(tf.constant(image[places])), tf.constant(label[places], tf.float32)
        return {
            threat: scores.numpy() for threat, scores in self._compiled(*batch, tf.constant(first, tf.int64)).items()
        }

    def _score(self, image: tf.Tensor, label: tf.Tensor, first: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = {}
        for threat, attack in self.threats.items():
            attacked = image
            if attack is not None:
                noise = self._noise(first, image)
                attacked = perturbed(self.network, attack, ON_LABELS, image, label, noise)
            scores[threat] = self.network(attacked, training=False)
        return scores

    def _noise(self, first: int | tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        return keyed_noise(tf.constant([self.seed, EVALUATION_STREAM], tf.int64), first, image)


def summary(
    scores: Mapping[str, np.ndarray], label: np.ndarray, tasks: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """For each threat its `ap` (the mean over tasks), and the numbers of `examples` and `positives`.

    Args:
        scores: logits `[n, C]` by threat.
        label: `[n, C]`, 0, 1 or NaN for unknown.
        tasks: the tasks' names; if there are several, `ap_by_task` has the AP of each.
    """
    counts = {"examples": len(label), "positives": int(np.nansum(label))}
    found: dict[str, dict[str, Any]] = {}
    for threat, logits in scores.items():
        found[threat] = {"ap": mean_average_precision(logits, label), **counts}
        if len(tasks) > 1:
            by_task = average_precision(logits, label)
            found[threat]["ap_by_task"] = dict(zip(tasks, by_task.tolist(), strict=True))
    return found


def arrays_of(x: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, ...]` and labels `[n, C]` as arrays, from arrays or from a data set of batches.

    Args:
        x: images, or batches that are dicts with "image" and "label" or tuples (image, label).
        y: labels, `[n]` or `[n, C]`, where `x` is an array.

    Raises:
        ValueError: labels are missing, or `Examples` refuses what is given.
    """
    if y is None:
        if hasattr(x, "shape") or not isinstance(x, Iterable):
            raise ValueError("labels are missing: give y beside x, or a data set of batches that hold both")
        pairs = [(b["image"], b["label"]) if isinstance(b, Mapping) else b[:2] for b in x]
        if not pairs:
            raise ValueError("the data set is empty")
        x, y = (np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*pairs, strict=True))
    examples = Examples(x, y)
    return examples.image, examples.label
