"""The training methods: what the attack ascends, which loss is minimised, which regularisers are added.

    loss + λ · (sum of the regularisers)

Nothing outside this file branches on a method's name. A method of your own is one more `Method`:

>>> mine = Method(
...     "mine",
...     loss=AveragePrecision("adversarial"),
...     regularisers=(Listwise(),),
...     attack=CrossEntropy("adversarial"),
... )
>>> mine.views
('clean', 'adversarial')
>>> mine.tuned(lam=0.4, gamma1=0.9).loss.gamma1
0.9
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
import tensorflow as tf

from adap_tf.terms import (
    ADVERSARIAL,
    CLEAN,
    AveragePrecision,
    CrossEntropy,
    Gradients,
    Listwise,
    PointwiseDivergence,
    Scored,
    Term,
    fields_of,
    tuned,
)

LAMBDAS = (0.1, 0.4, 0.8, 1.0, 4.0, 8.0, 10.0)
RATES = (0.1, 0.9)


@dataclass(frozen=True)
class Method:
    """One way to train.

    Attributes:
        name: what it is called in configs and results.
        loss: the term that is minimised.
        regularisers: terms added with weight `lam`.
        attack: the term that the training attack ascends on every example; None trains on clean data alone.
        lam: `λ`, weight of the regularisers, at least 0.
        sampling: "positives" draws a fixed number of positives into every batch, "shuffle" takes what comes.
        selection: the view whose validation AP chooses the epoch that is kept.
        grids: values that the paper searches, by hyperparameter.
    """

    name: str
    loss: Term
    regularisers: tuple[Term, ...] = ()
    attack: CrossEntropy | None = None
    lam: float = 1.0
    sampling: Literal["positives", "shuffle"] = "positives"
    selection: str = ADVERSARIAL
    grids: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.lam < float("inf"):
            raise ValueError(f"lam must be a number of at least 0, not {self.lam}")
        if ADVERSARIAL in self.views and self.attack is None:
            raise ValueError(f"method {self.name!r} has a term on perturbed data and so needs an attack")
        by_key = {estimator_key(term): term for term in self.terms}
        if any(by_key[estimator_key(term)] != term for term in self.terms):
            raise ValueError(f"method {self.name!r} has two terms that differ and would share an estimator")

    @property
    def terms(self) -> tuple[Term, ...]:
        """The loss and the regularisers."""
        return (self.loss, *self.regularisers)

    @property
    def views(self) -> tuple[str, ...]:
        """The views that its terms read, clean first."""
        return tuple(view for view in (CLEAN, ADVERSARIAL) if any(view in term.views for term in self.terms))

    @property
    def signals(self) -> tuple[str, ...]:
        """What the terms are called in logs, in their order: by name, and by view too where a name comes twice."""
        names = [term.name for term in self.terms]
        return tuple(
            name if names.count(name) == 1 else estimator_key(term)
            for name, term in zip(names, self.terms, strict=True)
        )

    @property
    def hyperparameters(self) -> frozenset[str]:
        """The hyperparameters that make a difference to it: the fields of its terms, and `lam` if it weighs any."""
        own = {name for term in self.terms for name in fields_of(term)}
        return frozenset(own | {"lam"} if self.regularisers else own)

    def tuned(self, **hyperparameters: Any) -> "Method":
        """This method with other hyperparameters: `lam`, or a field of its terms such as `gamma1` or `margin`.

        A field of another method's terms is accepted and changes nothing, so that one set of hyperparameters can
        serve several methods.

        Raises:
            ValueError: a hyperparameter that no term knows, or a value out of range.
        """
        known = HYPERPARAMETERS | self.hyperparameters
        if unknown := set(hyperparameters) - known:
            raise ValueError(f"unknown hyperparameter {sorted(unknown)[0]!r}; known: {', '.join(sorted(known))}")
        return replace(
            self,
            loss=tuned(self.loss, **hyperparameters),
            regularisers=tuple(tuned(term, **hyperparameters) for term in self.regularisers),
            lam=hyperparameters.get("lam", self.lam),
        )

    def estimators(self, positives: tuple[int, ...], examples: int | None, dtype: str) -> dict[str, keras.layers.Layer]:
        """The state of its terms, one estimator for each (term, view) that has any."""
        made = {estimator_key(term): term.estimator(positives, examples, dtype) for term in self.terms}
        return {key: estimator for key, estimator in made.items() if estimator is not None}

    def objective(
        self, batch: Scored, estimators: Mapping[str, keras.layers.Layer]
    ) -> tuple[dict[str, tf.Tensor], Gradients]:
        """Moves the estimators; the value of the objective and of each term, and the gradient by the scores.

        Args:
            batch: the global batch, with the scores of all `views`.
            estimators: what `estimators()` made.

        Returns:
            Scalars by name ("loss", "P", "R", …) and gradients `[B, C]` by view.
        """
        signals = {"loss": tf.zeros([], batch.label.dtype)}
        gradients = {view: tf.zeros_like(batch.label) for view in self.views}
        weights = (1.0, *(self.lam for _ in self.regularisers))
        for name, term, weight in zip(self.signals, self.terms, weights, strict=True):
            value, slopes = term(batch, estimators.get(estimator_key(term)))
            signals[name] = value
            signals["loss"] += weight * value
            gradients |= {view: gradients[view] + weight * slope for view, slope in slopes.items()}
        return signals, gradients


def estimator_key(term: Term) -> str:
    """Name of the estimator that all uses of a term on the same views share."""
    return "_".join((term.name, *term.views))


HYPERPARAMETERS = Method(
    "all", loss=AveragePrecision(), regularisers=(Listwise(),), attack=CrossEntropy()
).hyperparameters
"""Names that every method's `tuned` takes."""

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("ce", loss=CrossEntropy(), sampling="shuffle", selection=CLEAN),
        Method(
            "adap_ln",
            loss=AveragePrecision(),
            regularisers=(Listwise(),),
            attack=CrossEntropy(ADVERSARIAL),
            grids=(("lam", LAMBDAS), ("gamma1", RATES), ("gamma2", RATES)),
        ),
        Method(
            "adap_lpn",
            loss=AveragePrecision(),
            regularisers=(Listwise(), PointwiseDivergence()),
            attack=CrossEntropy(ADVERSARIAL),
            grids=(("lam", LAMBDAS), ("gamma1", RATES), ("gamma2", RATES)),
        ),
    )
}
"""The methods by name, as the paper defines them (Table 1 and Section 5.1)."""


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
