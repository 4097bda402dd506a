"""Scores and average precision of a network under each threat."""

import itertools
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
from adap_tf.lean import at_rest
from adap_tf.metrics import average_precision, mean_average_precision
from adap_tf.noise import Noise
from adap_tf.scored import ADVERSARIAL, Scored
from adap_tf.spread import Spread
from adap_tf.terms import CrossEntropy, Term

EVALUATION_STREAM = -1  # steps of training count from 0

PGD10 = PGD(steps=10, step_size=0.007)
"""The paper's white-box evaluation: 10 steps of 0.007 in the ball of 8/255, last iterate."""

ON_LABELS = CrossEntropy(ADVERSARIAL)
"""What a threat ascends as a rule: each example's scores go against its labels, every example for itself."""

Progress = Callable[[str, int], None]
Network = Callable[..., tf.Tensor]  # images `[B, ...]`, training=False → logits `[B, C]`
Round = tuple[list[tf.Tensor], np.ndarray, np.ndarray]  # images, labels and where their noise is, a batch a replica


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

    Made in the scope of a `tf.distribute` strategy, it scores a batch on each replica at once, and finds bit for bit
    what one replica finds. Of several workers each reads the batches of its own replicas, and returns all scores.

    Args:
        network: images to logits `[B, C]`.
        threats: attack or `Threat` by name; None stands for the clean data.
        batch_size: examples that a replica scores at once.
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
        self._spread = Spread(batch_size, tf.distribute.get_strategy())
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
        n, at_once = len(examples), self._spread.replicas * self.batch_size
        for name in self.threats:
            rounds: list[list[np.ndarray]] = []
            for _, scores in self._attacked(name, examples, self._spread, progress=progress):
                rounds.append([each.numpy() for each in scores])
                progress(name, min(len(rounds) * at_once, n))
            found[name] = self._spread.joined(rounds, n)
        return found

    def rounds(self, n: int) -> int:
        """How many batches, or rounds of them on the replicas, `scores` goes through for `n` examples."""
        return len(self.threats) * len(self._spread.places(n))

    def average_precision(
        self, image: Array, label: np.ndarray, ids: np.ndarray | None = None
    ) -> dict[str, dict[str, Any]]:
        """What `summary` says of the scores."""
        return summary(self.scores(image, label, ids=ids), label)

    def attacked(
        self, threat: str, image: Array, label: np.ndarray, places: np.ndarray, ids: np.ndarray | None = None
    ) -> np.ndarray:
        """Those examples `[k, ...]` as the attack perturbs them when it goes through the data set.

        One replica does it, with nobody's help: a single worker may ask.
        """
        wanted, which = np.unique(places // self.batch_size, return_inverse=True)
        found = self._attacked(threat, Examples(image, label, ids), Spread(self.batch_size), wanted)
        return np.stack([images.numpy() for (images,), _ in found])[which, places % self.batch_size]

    def zero_gradients(self, image: Array, label: np.ndarray) -> float:
        """Share of the examples whose gradient by the image is exactly 0, so that an attack by gradient stays put.

        An example without a known label, which has nothing to be attacked against, does not count.
        """
        examples = Examples(image, label)
        places = self._spread.places(len(examples))
        rounds = [self._spread(self._flat, *each[:2]) for each in self._rounds(examples, places)]
        flat = self._spread.joined(rounds, len(examples))
        known = np.isfinite(examples.label).any(axis=1)
        return float(flat[known].mean(dtype=np.float64)) if known.any() else 0.0

    def _attacked(
        self,
        name: str,
        examples: Examples,
        spread: Spread,
        wanted: np.ndarray | None = None,
        progress: Progress = lambda *_: None,
    ) -> Iterator[tuple[list[tf.Tensor], list[tf.Tensor]]]:
        """Each replica's perturbed images and their scores, round by round; of those rounds alone if any are given."""
        threat, joint, places = self.threats[name], None, spread.places(len(examples))
        if threat is not None and threat.term.joint:
            joint = self._of_whole_set(threat, examples, spread, lambda: progress(name, 0))
        numbers = np.arange(len(places)) if wanted is None else wanted
        for number, (clean, known, noise_at) in zip(numbers, self._rounds(examples, places[numbers]), strict=True):
            if threat is None:
                yield clean, spread(self._score, clean)
                continue
            attacked = spread(self._compiled[name], clean, known, noise_at) if joint is None else list(joint[number])
            scores = spread(self._score, attacked)
            if self.strict:
                each = zip(known, attacked, scores, clean, spread(self._score, clean), strict=True)
                attacked, scores = map(list, zip(*itertools.starmap(_worse, each), strict=True))
            yield attacked, scores

    def _rounds(self, examples: Examples, places: np.ndarray) -> Iterator[Round]:
        """The examples at those places `[rounds, own, b]`, a batch for each replica at once."""
        for at, (_, image) in zip(places, read_ahead(examples.image, map(np.ravel, places)), strict=True):
            batches = image.reshape(*at.shape, *image.shape[1:])
            yield [as_unit_range(tf.constant(each)) for each in batches], examples.label[at], _noise_at(examples, at)

    def _perturbed(self, threat: Threat, image: tf.Tensor, label: tf.Tensor, noise_at: tf.Tensor) -> tf.Tensor:
        network = at_rest(threat.source or self.network)
        return perturbed(network, threat.attack, threat.term, image, label, self._noise(noise_at), reach=self.reach)

    def _of_whole_set(
        self, threat: Threat, examples: Examples, spread: Spread, looked: Callable[[], None]
    ) -> tf.Tensor:
        """This worker's images, perturbed by an attack on a joint term, `[rounds, own, b, ...]`."""
        places = spread.places(len(examples))
        at = places.ravel()
        unit = as_unit_range(tf.constant(examples.image[at]))
        graphs = Spread(self.batch_size, spread.strategy)  # no longer kept than the attack takes
        ascent = WholeSet(threat.source or self.network, threat.term, unit, examples.label, graphs, looked)
        share = self.reach.share(unit, tf.constant(examples.label[at]))
        noise = self._noise(_noise_at(examples, at))
        perturbed = threat.attack(ascent, unit, noise, *(() if share is None else (share,)))
        return tf.reshape(perturbed, [*places.shape, *unit.shape[1:]])

    def _has_no_gradient(self, image: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """1 if an example's gradient is 0 in every feature, else 0: `[B]`."""

        def ascent(scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return ON_LABELS.ascent(Scored.of({ADVERSARIAL: scores}, label))

        _, gradient = ascending(at_rest(self.network), ascent)(image)
        return tf.cast(tf.reduce_all(gradient == 0, axis=list(range(1, image.shape.rank))), tf.float32)

    def _noise(self, first: int | tf.Tensor) -> Noise:
        return Noise(tf.constant([self.seed, EVALUATION_STREAM], tf.int64), first)


def _against(scores: tf.Tensor, label: np.ndarray) -> tf.Tensor:
    """How far each example's scores are on the wrong side, `[B]`."""
    return ON_LABELS.ascent(Scored.of({ADVERSARIAL: scores}, label))[0]


def _worse(
    label: np.ndarray, image: tf.Tensor, scores: tf.Tensor, other: tf.Tensor, other_scores: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Images and their scores where those are worse for the labels, others and theirs elsewhere."""
    worse = _against(scores, label) > _against(other_scores, label)
    return chosen(worse, image, other), chosen(worse, scores, other_scores)


def _noise_at(examples: Examples, places: np.ndarray) -> np.ndarray:
    """Where the noise of batches at those places `[..., b]` begins if their ids follow each other, else all their ids.

    One draw for all is faster than one each. The copies that fill up a batch take the numbers that come next.
    """
    ids = np.asarray(examples.ids)
    in_order = (np.diff(ids[np.unique(places)]) == 1).all()
    return ids[places[..., 0] if in_order else places]


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
