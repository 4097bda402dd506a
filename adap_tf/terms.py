"""Terms of an objective: frozen specs that turn a batch of scores into a value and a gradient by the scores.

A term sees the network only through its scores. The value is for the log; the gradient by the scores is all that
training needs, and for the terms with a moving average the two do not belong to one function that a tape could
differentiate (eq. 3 and 12 hold the estimators constant).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from adap_tf import losses
from adap_tf.estimators import ListwiseState, RowTable
from adap_tf.replicas import ALONE, Replicas

CLEAN, ADVERSARIAL = "clean", "adversarial"
Gradients = dict[str, Any]  # a tensor of slopes by view


@dataclass(frozen=True)
class Scored:
    """A global batch as the terms see it.

    Attributes:
        scores: logits `[B, C]` by view, "clean" or "adversarial".
        label: `[B, C]`, 1 positive, 0 negative or unknown.
        known: `[B, C]`, 1 where the label is known, else 0.
        row: `[B, C]` int64, the place of an anchor among its task's positives, -1 for all other examples.
        replicas: the replicas that hold the batch.
    """

    scores: Mapping[str, tf.Tensor]
    label: tf.Tensor
    known: tf.Tensor
    row: tf.Tensor
    replicas: Replicas = ALONE

    @classmethod
    def of(
        cls, scores: Mapping[str, tf.Tensor], label: tf.Tensor, row: tf.Tensor, replicas: Replicas = ALONE
    ) -> "Scored":
        """From one replica's part of the batch, whose labels are 0, 1 or NaN for unknown; gathers the rest."""
        scores = {view: replicas.gather(h) for view, h in scores.items()}
        label = replicas.gather(tf.cast(label, next(iter(scores.values())).dtype))
        known = tf.cast(tf.math.is_finite(label), label.dtype)
        label = tf.where(known > 0, label, tf.zeros_like(label))
        return cls(scores, label, known, replicas.gather(row), replicas)

    def mean(self, value: tf.Tensor) -> tf.Tensor:
        """Mean within each task over its known labels, then over the tasks that have any: `[B, C]` to a scalar."""
        return tf.reduce_sum(value * task_mean_weights(self.known))


def task_mean_weights(mask: tf.Tensor) -> tf.Tensor:
    """Weights `[B, C]` of the mean within a task over `mask` (0 or 1), then over the tasks that have any.

    They sum to 1, or to 0 where the mask is empty.
    """
    within = normalised(mask)
    return tf.math.divide_no_nan(within, tf.reduce_sum(within))


def normalised(mask: tf.Tensor) -> tf.Tensor:
    """The mask `[B, C]` divided by its sum over the batch; a task without any entry keeps zeros."""
    return tf.math.divide_no_nan(mask, tf.reduce_sum(mask, axis=0))


class Term(Protocol):
    """What the step asks of a term.

    Attributes:
        name: short name of the value in logs.
        views: the views of the scores it reads.
        needs_rows: whether it keeps a row for every positive.
    """

    needs_rows: bool

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def views(self) -> Sequence[str]: ...  # noqa: D102

    def estimator(self, positives: Sequence[int], examples: int | None, dtype: str) -> keras.layers.Layer | None:
        """The state this term needs, None for a term without."""

    def __call__(self, batch: Scored, estimator: Any) -> tuple[tf.Tensor, Gradients]:
        """Moves the estimator; the value, and its gradient by the scores of each view."""


class Pointwise:
    """Base of the terms that are a mean over examples and so need no estimator."""

    needs_rows = False

    def estimator(self, positives: Sequence[int], examples: int | None, dtype: str) -> None:
        """None: the mean over a batch is unbiased as it is."""


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

    def __call__(self, batch: Scored, estimator: None = None) -> tuple[tf.Tensor, Gradients]:
        """Mean cross-entropy and its gradient."""
        value, slope = losses.cross_entropy(batch.scores[self.view], batch.label)
        return batch.mean(value), {self.view: slope * task_mean_weights(batch.known)}

    def ascent(self, batch: Scored) -> tuple[tf.Tensor, tf.Tensor]:
        """What an attack on each example ascends: values `[B]` and slopes by the scores `[B, C]`.

        An example's cross-entropy, summed over its known labels and put on a scale on which slopes do not vanish;
        no example depends on its neighbours' labels.
        """
        h = batch.scores[self.view]
        if h.shape[-1] > 1:
            return losses.cross_entropy_odds(h, batch.label, batch.known)
        against = (1 - 2 * batch.label) * batch.known  # the same for one task, without the detour
        return (against * h)[:, 0], against


@dataclass(frozen=True)
class PointwiseDivergence(Pointwise):
    """`L`: the mean over examples of `KL(Bernoulli(σ(h)) ‖ Bernoulli(σ(h')))`, gradient through both sides (eq. 5)."""

    name = "L"
    views = (CLEAN, ADVERSARIAL)

    def __call__(self, batch: Scored, estimator: None = None) -> tuple[tf.Tensor, Gradients]:
        """Mean divergence and its gradient by the scores of both views."""
        value, slope, slope_adv = losses.bernoulli_kl(batch.scores[CLEAN], batch.scores[ADVERSARIAL])
        weight = task_mean_weights(batch.known)
        return batch.mean(value), {CLEAN: slope * weight, ADVERSARIAL: slope_adv * weight}


@dataclass(frozen=True)
class AveragePrecision:
    """`P`, the AP surrogate with a moving average for every positive (eq. 1 to 3).

    Attributes:
        view: "clean" or "adversarial".
        gamma1: moving-average rate in (0, 1].
        margin: `m` of the pair loss, above 0.
        ap_score: what it sees of a logit, a name in `losses.SCORES`.
    """

    view: str = CLEAN
    gamma1: float = 0.1
    margin: float = 0.6
    ap_score: str = "sigmoid"
    name = "P"
    needs_rows = True

    def __post_init__(self) -> None:
        _check_rate("gamma1", self.gamma1)
        _check_score("ap_score", self.ap_score)
        if not 0 < self.margin < np.inf:
            raise ValueError(f"margin must be a positive number, not {self.margin}")

    @property
    def views(self) -> tuple[str, ...]:
        """The one view it reads."""
        return (self.view,)

    def estimator(self, positives: Sequence[int], examples: int | None, dtype: str) -> RowTable:
        """The table of `u1` and `u2`, kept at or above the self-pair's share `m²/n` of `n` examples."""
        share = 1 / examples if examples else np.finfo(np.float32).eps
        return RowTable(positives, self.gamma1, self.margin**2 * float(share), dtype, name=f"{self.name}_{self.view}")

    def __call__(self, batch: Scored, estimator: RowTable) -> tuple[tf.Tensor, Gradients]:
        """Minus the mean `u1/u2` over the anchors, and the gradient of eq. 3.

        Each replica pairs its own anchors with all candidates; the estimates are gathered to move every copy of
        the table alike, and the gradients add up over the replicas.
        """
        replicas = batch.replicas
        s, slope = losses.SCORES[self.ap_score](batch.scores[self.view])
        pair, pair_slope = losses.squared_hinge(replicas.own(s), s, self.margin)
        weight = normalised(batch.known)
        estimate = tf.stack([tf.reduce_sum(weight * batch.label * pair, 1), tf.reduce_sum(weight * pair, 1)], -1)
        u1, u2 = tf.unstack(estimator.update(batch.row, replicas.gather(estimate)), axis=-1)
        anchor_weight = task_mean_weights(tf.cast(batch.row >= 0, s.dtype))
        by_positive, by_all = (replicas.own(anchor_weight * x)[:, None] for x in (1 / u2, u1 / u2**2))
        carrier = weight * (by_all - by_positive * batch.label) * pair_slope
        gradient = tf.reduce_sum(carrier, 0) - replicas.place(tf.reduce_sum(carrier, 1))
        return -tf.reduce_sum(anchor_weight * u1 / u2), {self.view: replicas.sum(gradient) * slope}


@dataclass(frozen=True)
class Listwise:
    """`R`: KL divergence between the top-one probabilities of clean and perturbed data (eq. 8, 11 and 12).

    Attributes:
        gamma2: moving-average rate in (0, 1].
        list_score: what it sees of a logit, a name in `losses.SCORES`.
        temperature: the scores are divided by it; above 0.
    """

    gamma2: float = 0.9
    list_score: str = "tanh"
    temperature: float = 1.0
    name = "R"
    needs_rows = False
    views = (CLEAN, ADVERSARIAL)

    def __post_init__(self) -> None:
        _check_rate("gamma2", self.gamma2)
        _check_score("list_score", self.list_score)
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature must be a positive number, not {self.temperature}")

    def estimator(self, positives: Sequence[int], examples: int | None, dtype: str) -> ListwiseState:
        """The three numbers of eq. 11 for each task."""
        return ListwiseState(len(positives), self.gamma2, dtype, name=self.name)

    def __call__(self, batch: Scored, estimator: ListwiseState) -> tuple[tf.Tensor, Gradients]:
        """Value from the estimators after their update, and the gradient of eq. 12."""
        (s, slope), (s_adv, slope_adv) = (self._scores(batch.scores[view]) for view in self.views)
        log_weight = tf.math.log(normalised(batch.known))
        log_u2, log_u3, r = estimator.update(log_weight, s, s_adv)
        p, q = losses.top_one(log_weight, s, log_u2), losses.top_one(log_weight, s_adv, log_u3)
        any_known = tf.reduce_max(batch.known, axis=0)
        task = tf.math.divide_no_nan(any_known, tf.reduce_sum(any_known))
        value = tf.reduce_sum(tf.math.multiply_no_nan(r - log_u2 + log_u3, task))
        return value, {
            CLEAN: tf.math.multiply_no_nan(p * (s - s_adv - r) * slope, task),
            ADVERSARIAL: tf.math.multiply_no_nan((q - p) * slope_adv, task),
        }

    def _scores(self, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The scores this term sees and their slope by the logits."""
        s, slope = losses.SCORES[self.list_score](h)
        return s / self.temperature, slope / self.temperature


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


def _check_score(name: str, value: str) -> None:
    if value not in losses.SCORES:
        raise ValueError(f"{name} must be one of {', '.join(losses.SCORES)}, not {value!r}")
