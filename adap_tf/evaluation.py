"""Scores and average precision of a network under each threat."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from adap_tf.adversary import EVERYTHING, Reach, perturbed
from adap_tf.attacks import PGD, Attack, ascending, chosen
from adap_tf.data.examples import Examples, as_unit_range
from adap_tf.data.images import Array, read_ahead
from adap_tf.exact import WholeSet
from adap_tf.metrics import average_precision, mean_average_precision
from adap_tf.noise import Noise
from adap_tf.scored import ADVERSARIAL, Scored
from adap_tf.terms import CrossEntropy, Term

EVALUATION_STREAM = -1  # steps of training count from 0

PGD10 = PGD(steps=10, step_size=0.007)
"""The paper's white-box evaluation: 10 steps of 0.007 in the ball of 8/255, last iterate."""

ON_LABELS = CrossEntropy(ADVERSARIAL)
"""What a threat ascends as a rule: each example's scores go against its labels, every example for itself."""

Progress = Callable[[str, int], None]
Network = Callable[..., tf.Tensor]  # images `[B, ...]`, training=False → logits `[B, C]`
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor, np.ndarray]  # images, labels, where their noise is, places


@dataclass(frozen=True)
class Threat:
    """An attack, what it ascends, and on whose scores.

    Attributes:
        attack: how the images are perturbed.
        term: what is ascended; a joint term is, over the whole data set at once, which has to fit in memory.
        source: the network that the attack looks at, if it is not the one that is evaluated: images to logits.
    """

    attack: Attack
    term: Term = ON_LABELS
    source: Network | None = None


Threats = Mapping[str, Attack | Threat | None]


class Evaluator:
    """Scores a network on a data set, clean and under attack, in compiled batches of one size.

    Every example is attacked, also one that is already ranked wrong. The result for an example depends on its id
    (its place in the data set if none is given) and on `seed`, not on the batch it falls in: the attack's noise is
    keyed by the id, and the last batch is filled up rather than cut short.

    Args:
        network: images to logits `[B, C]`.
        threats: attack or `Threat` by name; None stands for the clean data.
        batch_size: examples scored at once.
        seed: of the attacks' starts.
        reach: what the adversary can change.
        strict: whether an example stays clean where that is worse for its labels than the attacked image.
    """

    def __init__(
        self,
        network: Network,
        threats: Threats,
        batch_size: int = 256,
        seed: int = 0,
        *,
        reach: Reach = EVERYTHING,
        strict: bool = False,
    ):
        self.network, self.batch_size, self.seed, self.reach, self.strict = network, batch_size, seed, reach, strict
        self.threats = {
            name: threat if threat is None or isinstance(threat, Threat) else Threat(threat)
            for name, threat in threats.items()
        }
        self._compiled = {
            name: tf.function(partial(self._perturbed, threat))
            for name, threat in self.threats.items()
            if threat is not None and not threat.term.joint
        }
        # As partials: TensorFlow counts tracings by code, and would warn of one a network, however few each has.
        self._score = tf.function(partial(network, training=False))
        self._flat = tf.function(partial(self._has_no_gradient))

    def scores(
        self,
        image: Array,
        label: np.ndarray,
        progress: Progress = lambda *_: None,
        ids: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Logits `[n, C]` under each threat.

        Args:
            image: `[n, ...]`, float in [0, 1] or uint8 in 0…255; an array, or `Images` that stay on disk.
            label: `[n, C]` or `[n]`, 0, 1 or NaN for unknown.
            progress: called with a threat's name whenever a batch of it is done, and the number of examples done; and
                with 0 whenever a threat on the ranking has looked at all examples.
            ids: `[n]` int, at least 0, to which an example's noise belongs wherever it stands; its place if not given.
        """
        examples, found = Examples(image, label, ids), {}
        for name in self.threats:
            parts: list[np.ndarray] = []
            for _, scores in self._attacked(name, examples, progress=progress):
                parts.append(scores.numpy())
                progress(name, min(sum(map(len, parts)), len(image)))
            found[name] = np.concatenate(parts)[: len(image)]
        return found

    def average_precision(
        self, image: Array, label: np.ndarray, ids: np.ndarray | None = None
    ) -> dict[str, dict[str, Any]]:
        """What `summary` says of the scores."""
        return summary(self.scores(image, label, ids=ids), label)

    def attacked(
        self, threat: str, image: Array, label: np.ndarray, places: np.ndarray, ids: np.ndarray | None = None
    ) -> np.ndarray:
        """Those examples `[k, ...]` as the attack perturbs them when it goes through the data set."""
        wanted = {int(place) // self.batch_size for place in places}
        batches = zip(sorted(wanted), self._attacked(threat, Examples(image, label, ids), wanted), strict=True)
        found = {number: images.numpy() for number, (images, _) in batches}
        return np.stack([found[place // self.batch_size][place % self.batch_size] for place in places])

    def zero_gradients(self, image: Array, label: np.ndarray) -> float:
        """Share of the examples whose gradient by the image is exactly 0, so that an attack by gradient stays put.

        An example without a known label, which has nothing to be attacked against, does not count.
        """
        examples = Examples(image, label)
        flat = [self._flat(*batch[:2]).numpy() for batch in self._batches(examples)]
        known = np.isfinite(examples.label).any(axis=1)
        return float(np.concatenate(flat)[: len(known)][known].mean()) if known.any() else 0.0

    def _attacked(
        self,
        name: str,
        examples: Examples,
        wanted: Iterable[int] | None = None,
        progress: Progress = lambda *_: None,
    ) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Perturbed images and their scores, batch by batch; of those numbers alone if any are given."""
        threat, joint = self.threats[name], None
        if threat is not None and threat.term.joint:
            joint = self._of_whole_set(threat, examples, lambda: progress(name, 0))
        for clean, known, noise_at, places in self._batches(examples, wanted):
            scores = self._score(clean)
            if threat is None:
                yield clean, scores
                continue
            attacked = self._compiled[name](clean, known, noise_at) if joint is None else tf.gather(joint, places)
            scores_adv = self._score(attacked)
            if self.strict:
                worse = _against(scores_adv, known) > _against(scores, known)
                attacked, scores_adv = chosen(worse, attacked, clean), chosen(worse, scores_adv, scores)
            yield attacked, scores_adv

    def _batches(self, examples: Examples, wanted: Iterable[int] | None = None) -> Iterator[Batch]:
        """Batches of one size, the last one filled up with copies of the last example."""
        n = len(examples)
        numbers = range(-(-n // self.batch_size)) if wanted is None else sorted(wanted)
        batch = np.arange(min(self.batch_size, n))
        all_places = (np.minimum(number * self.batch_size + batch, n - 1) for number in numbers)
        for places, image in read_ahead(examples.image, all_places):
            unit = as_unit_range(tf.constant(image))
            yield unit, tf.constant(examples.label[places]), _noise_at(examples, places), places

    def _perturbed(self, threat: Threat, image: tf.Tensor, label: tf.Tensor, noise_at: tf.Tensor) -> tf.Tensor:
        network = threat.source or self.network
        return perturbed(network, threat.attack, threat.term, image, label, self._noise(noise_at), reach=self.reach)

    def _of_whole_set(self, threat: Threat, examples: Examples, looked: Callable[[], None]) -> tf.Tensor:
        """All images, perturbed by an attack on a joint term."""
        unit = as_unit_range(tf.constant(examples.image[np.arange(len(examples))]))
        ascent = WholeSet(threat.source or self.network, threat.term, unit, examples.label, self.batch_size, looked)
        share = self.reach.share(unit, tf.constant(examples.label))
        noise = self._noise(_noise_at(examples, np.arange(len(examples))))
        return threat.attack(ascent, unit, noise, *(() if share is None else (share,)))

    def _has_no_gradient(self, image: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Whether an example's gradient is 0 in every feature, `[B]`."""

        def ascent(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return ON_LABELS.ascent(Scored.of({ADVERSARIAL: scores}, label))

        _, gradient = ascending(self.network, ascent)(image)
        return tf.reduce_all(gradient == 0, axis=list(range(1, image.shape.rank)))

    def _noise(self, first: int | tf.Tensor) -> Noise:
        return Noise(tf.constant([self.seed, EVALUATION_STREAM], tf.int64), first)


def _against(scores: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """How far each example's scores are on the wrong side, `[B]`."""
    return ON_LABELS.ascent(Scored.of({ADVERSARIAL: scores}, label))[0]


def _noise_at(examples: Examples, places: np.ndarray) -> tf.Tensor:
    """Where the noise of the examples at those places begins if their ids follow each other, else the ids `[B]`.

    One draw for all is faster than one each. The copies that fill up a batch take the numbers that come next.
    """
    ids = np.asarray(examples.ids)
    own = ids[np.unique(places)]
    return tf.constant(own[0] if (np.diff(own) == 1).all() else ids[places], tf.int64)


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


def arrays_of(x: Any, y: Any = None) -> tuple[Array, np.ndarray]:
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
