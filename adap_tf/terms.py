"""Terms of an objective: frozen specs that turn a batch of scores into a value and a gradient by the scores.

A term sees the network only through its scores. The value is for the log; the gradient by the scores is all that
training needs, and for the terms with a moving average the two do not belong to one function that a tape could
differentiate (eq. 3 and 12 hold the estimators constant).

A term can be minimised, or ascended by an attack: `Pointwise` terms by each example for itself, `Joint` terms, in
which an example counts by its rank among the others, by the whole batch together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from adap_tf import losses
from adap_tf.estimators import STARTS, ListwiseState, RowTable, Start
from adap_tf.scored import ADVERSARIAL, CLEAN, Scored
from adap_tf.weights import PREVALENCES, Population, Prevalence, list_weights, pair_weights, task_mean_weights

Gradients = dict[str, Any]  # a tensor of slopes by view


class Term(Protocol):
    """What the step asks of a term.

    Attributes:
        name: short name of the value in logs.
        views: the views of the scores it reads.
        needs_rows: whether it keeps a row for every positive.
        joint: whether its attack sees the whole batch, rather than each example for itself.
    """

    needs_rows: bool
    joint: bool

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def views(self) -> Sequence[str]: ...  # noqa: D102

    def estimator(self, population: Population, dtype: str) -> keras.layers.Layer | None:
        """The state this term needs, None for a term without.

        Raises:
            ValueError: it needs to know of the population what nobody said.
        """

    def __call__(self, batch: Scored, estimator: Any, peek: bool = False) -> tuple[tf.Tensor, Gradients]:
        """Moves the estimator, or only looks where it would move to; the value and its gradient by each view."""

    def ascent(self, batch: Scored, estimator: Any, peek: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """What an attack ascends: values `[b]` of this replica's examples, slopes by their perturbed scores `[b, C]`.

        Only a slope's direction counts, for each example: any positive factor of an example's own may be left out.
        """


class Pointwise:
    """Base of the terms that are a mean over examples and so need no estimator."""

    needs_rows = False
    joint = False

    def estimator(self, population: Population, dtype: str) -> None:
        """None: the mean over a batch is unbiased as it is."""


class Joint:
    """Base of the terms in which examples are compared with each other: an attack ascends the term as it is."""

    joint = True

    def ascent(self, batch: Scored, estimator: Any, peek: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """The term's value, the same for every example, and its gradient by their perturbed scores.

        Every replica computes it for the whole batch: an attack asks often, and so only scores travel.
        """
        value, gradients = self(batch.alone(), estimator, peek)  # type: ignore[operator]
        slope = batch.replicas.own(gradients[ADVERSARIAL])
        return tf.fill(slope.shape[:1], value), slope


@dataclass(frozen=True)
class CrossEntropy(Pointwise):
    """Binary cross-entropy of one view, from logits.

    Attributes:
        view: "clean" or "adversarial".
    """

    view: str = CLEAN
    name = "CE"

    @property
    def views(self) -> tuple[str, ...]:
        """The one view it reads."""
        return (self.view,)

    def __call__(self, batch: Scored, estimator: None = None, peek: bool = False) -> tuple[tf.Tensor, Gradients]:
        """Mean cross-entropy and its gradient."""
        value, slope = losses.cross_entropy(batch.scores[self.view], batch.label)
        return batch.mean(value), {self.view: slope * task_mean_weights(batch.candidate)}

    def ascent(self, batch: Scored, estimator: None = None, peek: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """An example's cross-entropy, summed over its known labels and put on a scale on which slopes do not vanish.

        No example depends on its neighbours' labels.
        """
        h = batch.scores[self.view]
        if h.shape[-1] > 1:
            return losses.cross_entropy_odds(h, batch.label, batch.known)
        against = (1 - 2 * batch.label) * batch.known  # the same for one task, without the detour
        return (against * h)[:, 0], against


class OfBothViews(Pointwise):
    """Base of the terms that compare an example's clean with its perturbed prediction."""

    views = (CLEAN, ADVERSARIAL)

    def each(self, batch: Scored) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Its value for each logit `[B, C]`, and the slopes by the clean and the perturbed logit."""
        raise NotImplementedError

    def __call__(self, batch: Scored, estimator: None = None, peek: bool = False) -> tuple[tf.Tensor, Gradients]:
        """Mean and its gradient by the scores of both views."""
        value, slope, slope_adv = self.each(batch)
        weight = task_mean_weights(batch.candidate)
        return batch.mean(value), {CLEAN: slope * weight, ADVERSARIAL: slope_adv * weight}

    def ascent(self, batch: Scored, estimator: None = None, peek: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """The sum over an example's known labels; of one label the direction alone, which never vanishes."""
        value, _, slope = self.each(batch)
        if slope.shape[-1] == 1:
            slope = tf.sign(batch.scores[ADVERSARIAL] - batch.scores[CLEAN])
        return tf.reduce_sum(value * batch.known, axis=-1), slope * batch.known


@dataclass(frozen=True)
class PointwiseDivergence(OfBothViews):
    """`L`: the mean of `KL(Bernoulli(σ(h)) ‖ Bernoulli(σ(h')))` or another divergence, gradient through both (eq. 5).

    Attributes:
        divergence: "kl", "reverse_kl" or "js".
    """

    divergence: str = "kl"
    name = "L"

    def __post_init__(self) -> None:
        _check_name("divergence", self.divergence, losses.DIVERGENCES)

    def each(self, batch: Scored) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The divergence of each prediction."""
        return losses.DIVERGENCES[self.divergence](batch.scores[CLEAN], batch.scores[ADVERSARIAL])


@dataclass(frozen=True)
class MisclassificationWeightedKL(OfBothViews):
    """MART's regulariser: the mean of `|y - σ(h)| KL(Bernoulli(σ(h)) ‖ Bernoulli(σ(h')))` (Wang et al., 2020)."""

    name = "MART"

    def each(self, batch: Scored) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The weighted divergence of each prediction, its slope through the weight too."""
        h, away = batch.scores[CLEAN], 1 - 2 * batch.label
        kl, slope, slope_adv = losses.bernoulli_kl(h, batch.scores[ADVERSARIAL])
        wrong = tf.sigmoid(away * h)
        return wrong * kl, away * wrong * tf.sigmoid(-away * h) * kl + wrong * slope, wrong * slope_adv


@dataclass(frozen=True)
class AveragePrecision(Joint):
    """`P`, the AP surrogate with a moving average for every positive (eq. 1 to 3).

    Attributes:
        view: "clean" or "adversarial".
        gamma1: moving-average rate in (0, 1].
        margin: `m` of the pair loss, above 0.
        ap_score: what it sees of a logit, a name in `losses.SCORES`.
        start: where a row begins: "first_visit", at the batch's estimate, or "zero" as in the authors' code.
        prevalence: whose share of positives it aims at: "batch" or "dataset".
    """

    view: str = CLEAN
    gamma1: float = 0.1
    margin: float = 0.6
    ap_score: str = "sigmoid"
    start: Start = "first_visit"
    prevalence: Prevalence = "batch"
    name = "P"
    needs_rows = True

    def __post_init__(self) -> None:
        _check_rate("gamma1", self.gamma1)
        _check_positive("margin", self.margin)
        _check_name("ap_score", self.ap_score, losses.SCORES)
        _check_name("start", self.start, STARTS)
        _check_name("prevalence", self.prevalence, PREVALENCES)

    @property
    def views(self) -> tuple[str, ...]:
        """The one view it reads."""
        return (self.view,)

    def estimator(self, population: Population, dtype: str) -> RowTable:
        """The table of `u1` and `u2`."""
        _check_population(self.prevalence, population)
        name = f"{self.name}_{self.view}"
        return RowTable(population, self.gamma1, self.margin**2, self.start, dtype, name=name)

    def __call__(self, batch: Scored, estimator: RowTable, peek: bool = False) -> tuple[tf.Tensor, Gradients]:
        """Minus the mean `u1/u2` over the anchors, and the gradient of eq. 3.

        Each replica pairs its own anchors with all candidates; the estimates are gathered to move every copy of
        the table alike, and the gradients add up over the replicas.
        """
        replicas = batch.replicas
        s, slope = losses.SCORES[self.ap_score](batch.scores[self.view])
        pair, pair_slope = losses.squared_hinge(replicas.own(s), s, self.margin)
        same = replicas.own(tf.eye(s.shape[0], dtype=s.dtype))
        weight = pair_weights(batch.label, batch.candidate, same, self.prevalence, estimator.population)
        # An anchor that meets no candidate of its task learns nothing of its row.
        row = tf.where(tf.reduce_max(batch.candidate, axis=0) > 0, batch.row, tf.constant(-1, tf.int64))
        estimate = tf.stack([tf.reduce_sum(weight * batch.label * pair, 1), tf.reduce_sum(weight * pair, 1)], -1)
        u1, u2 = tf.unstack(estimator.update(row, replicas.gather(estimate), peek), axis=-1)
        anchor_weight = task_mean_weights(tf.cast(row >= 0, s.dtype))
        by_positive, by_all = (replicas.own(anchor_weight * x)[:, None] for x in (1 / u2, u1 / u2**2))
        carrier = weight * (by_all - by_positive * batch.label) * pair_slope
        gradient = tf.reduce_sum(carrier, 0) - replicas.place(tf.reduce_sum(carrier, 1))
        return -tf.reduce_sum(anchor_weight * u1 / u2), {self.view: replicas.sum(gradient) * slope}


@dataclass(frozen=True)
class Listwise(Joint):
    """`R`: divergence between the top-one probabilities of clean and of perturbed data (eq. 8, 11 and 12).

    Attributes:
        gamma2: moving-average rate in (0, 1].
        list_score: what it sees of a logit, a name in `losses.SCORES`.
        temperature: the scores are divided by it; above 0.
        divergence: "kl", "reverse_kl" or "js".
        start: where the averages begin: "first_visit", at the batch's estimates, or "zero" as in the authors' code.
        prevalence: whose share of positives it aims at: "batch" or "dataset".
    """

    gamma2: float = 0.9
    list_score: str = "tanh"
    temperature: float = 1.0
    divergence: str = "kl"
    start: Start = "first_visit"
    prevalence: Prevalence = "batch"
    name = "R"
    needs_rows = False
    views = (CLEAN, ADVERSARIAL)

    def __post_init__(self) -> None:
        _check_rate("gamma2", self.gamma2)
        _check_positive("temperature", self.temperature)
        _check_name("list_score", self.list_score, losses.SCORES)
        _check_name("divergence", self.divergence, losses.DIVERGENCES)
        _check_name("start", self.start, STARTS)
        _check_name("prevalence", self.prevalence, PREVALENCES)

    def estimator(self, population: Population, dtype: str) -> ListwiseState:
        """The averages of eq. 11 for each task."""
        _check_population(self.prevalence, population)
        return ListwiseState(population, self.gamma2, self.start, dtype, name=self.name)

    def __call__(self, batch: Scored, estimator: ListwiseState, peek: bool = False) -> tuple[tf.Tensor, Gradients]:
        """Value from the estimators after their update, and the gradient of eq. 12."""
        # The reverse KL is the KL with each view in the other's place.
        views = self.views[::-1] if self.divergence == "reverse_kl" else self.views
        scores, slope = losses.SCORES[self.list_score](tf.stack([batch.scores[view] for view in views], axis=1))
        scores, slope = scores / self.temperature, slope / self.temperature
        weight = list_weights(batch.label, batch.candidate, self.prevalence, estimator.population)
        log_weight = tf.math.log(weight)[:, None]
        log_u, r, k = estimator.update(log_weight, scores, peek)
        top_one = losses.top_one(log_weight, scores, log_u)
        if self.divergence == "js":
            # The weight would be in both logs, and cancels.
            value, by_scores = tf.reduce_sum(k, axis=0) / 2, top_one * (losses.to_mean(scores - log_u) - k) / 2
        else:
            (s, t), (p, q), (log_u2, log_u3) = (tf.unstack(x, axis=-2) for x in (scores, top_one, log_u))
            value, by_scores = r - log_u2 + log_u3, tf.stack([p * (s - t - r), q - p], axis=1)
        any_known = tf.reduce_max(batch.candidate, axis=0)
        task = tf.math.divide_no_nan(any_known, tf.reduce_sum(any_known))
        slopes = tf.unstack(tf.math.multiply_no_nan(by_scores * slope, task), axis=1)
        return tf.reduce_sum(tf.math.multiply_no_nan(value, task)), dict(zip(views, slopes, strict=True))


def fields_of(term: Any) -> frozenset[str]:
    """The hyperparameters of a term: its fields but for the view."""
    return frozenset(getattr(term, "__dataclass_fields__", {})) - {"view"}


def tuned(term: Any, **hyperparameters: object) -> Term:
    """The term with those of its fields replaced that are given; a frozen spec, so the old one stays as it is."""
    own = {name: value for name, value in hyperparameters.items() if name in fields_of(term)}
    return replace(term, **own) if own else term


def _check_rate(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be in (0, 1], not {value}")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < np.inf:
        raise ValueError(f"{name} must be a positive number, not {value}")


def _check_name(name: str, value: str, names: Iterable[str]) -> None:
    if value not in names:
        raise ValueError(f"{name} must be one of {', '.join(names)}, not {value!r}")


def _check_population(prevalence: str, population: Population) -> None:
    if prevalence == "dataset" and (population.examples is None or not any(population.positives)):
        raise ValueError('prevalence="dataset" weighs by the data\'s share of positives: give positives= and examples=')
