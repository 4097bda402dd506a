"""The training methods: what the attack ascends, which loss is minimised, which regularisers are added.

    loss + λ · (sum of the regularisers)

Nothing outside this file branches on a method's name. A method of your own is one more `Method`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
import tensorflow as tf

from adap_tf.data import SAMPLINGS
from adap_tf.scored import ADVERSARIAL, CLEAN, Scored
from adap_tf.terms import (
    AveragePrecision,
    CrossEntropy,
    Gradients,
    Listwise,
    MisclassificationWeightedKL,
    PointwiseDivergence,
    Term,
    fields_of,
    tuned,
)
from adap_tf.weights import Population

LAMBDAS, LARGE_LAMBDAS = (0.1, 0.4, 0.8, 1.0, 4.0, 8.0, 10.0), (1.0, 4.0, 8.0, 10.0, 40.0, 80.0, 100.0)
RATES = (0.1, 0.9)
Grids = tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Method:
    """One way to train.

    Attributes:
        name: what it is called in configs and results.
        loss: the term that is minimised.
        regularisers: terms added with weight `lam`.
        attack: the term that the training attack ascends; None trains on clean data alone.
        lam: `λ`, weight of the regularisers, at least 0.
        peek: whether an attack on a joint term looks where its estimator would move to, and leaves it there, as in
            the authors' code; else it moves with every step of the attack (Algorithms 2 and 5).
        sampling: a name in `adap_tf.data.SAMPLINGS`: "positives" draws a fixed number of positives into every batch
            and compares all with all, "separate" draws anchors and candidates apart (`B₊` and `B`), "shuffle" takes
            what comes.
        pretrained: the method whose network lends its trunk to the start; None starts from scratch.
        selection: the view whose validation AP chooses the epoch that is kept.
        grids: values that the paper searches, by hyperparameter.

    A method of your own, for `AdversarialModel(network, mine, …)`:

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

    name: str
    loss: Term
    regularisers: tuple[Term, ...] = ()
    attack: Term | None = None
    lam: float = 1.0
    peek: bool = False
    sampling: Literal["positives", "separate", "shuffle"] = "positives"
    pretrained: str | None = None
    selection: str = ADVERSARIAL
    grids: Grids = ()

    def __post_init__(self) -> None:
        if not 0 <= self.lam < float("inf"):
            raise ValueError(f"lam must be a number of at least 0, not {self.lam}")
        for name, accepted in (("sampling", SAMPLINGS), ("selection", (CLEAN, ADVERSARIAL))):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(accepted)}, not {getattr(self, name)!r}")
        if ADVERSARIAL in self.views and self.attack is None:
            raise ValueError(f"method {self.name!r} has a term on perturbed data and so needs an attack")
        if self.attack is not None and ADVERSARIAL not in self.attack.views:
            raise ValueError(f"the attack of method {self.name!r} must ascend a term on perturbed data")
        by_key = {estimator_key(term): term for term in self.used}
        if any(by_key[estimator_key(term)] != term for term in self.used):
            raise ValueError(f"method {self.name!r} has two terms that differ and would share an estimator")

    @property
    def terms(self) -> tuple[Term, ...]:
        """The loss and the regularisers."""
        return (self.loss, *self.regularisers)

    @property
    def used(self) -> tuple[Term, ...]:
        """Its terms, and what its attack ascends."""
        return self.terms if self.attack is None else (*self.terms, self.attack)

    @property
    def needs_rows(self) -> bool:
        """Whether it keeps a row for every positive."""
        return any(term.needs_rows for term in self.used)

    @property
    def views(self) -> tuple[str, ...]:
        """The views that its terms read, clean first."""
        return tuple(view for view in (CLEAN, ADVERSARIAL) if any(view in term.views for term in self.terms))

    @property
    def signals(self) -> tuple[str, ...]:
        """What the terms are called in logs, in their order; with the view too where a name comes twice."""
        names = [term.name for term in self.terms]
        return tuple(
            name if names.count(name) == 1 else estimator_key(term)
            for name, term in zip(names, self.terms, strict=True)
        )

    @property
    def hyperparameters(self) -> frozenset[str]:
        """The hyperparameters that make a difference to it, among fields of its terms, `lam` and `peek`."""
        own = {name for term in self.used for name in fields_of(term)}
        weighs = {"lam"} if self.regularisers else set()
        looks = {"peek"} if self.attack is not None and self.attack.joint else set()
        return frozenset(own | weighs | looks)

    def tuned(self, **hyperparameters: Any) -> "Method":
        """This method with other hyperparameters: `lam`, `peek`, or a field of its terms such as `gamma1` or `margin`.

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
            attack=self.attack and tuned(self.attack, **hyperparameters),
            lam=hyperparameters.get("lam", self.lam),
            peek=hyperparameters.get("peek", self.peek),
        )

    def estimators(self, population: Population, dtype: str) -> dict[str, keras.layers.Layer]:
        """The state of its terms, one estimator for each (term, view) that has any, whether minimised or ascended."""
        made = {estimator_key(term): term.estimator(population, dtype) for term in self.used}
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
    "all", loss=AveragePrecision(), regularisers=(Listwise(), PointwiseDivergence()), attack=Listwise()
).hyperparameters
"""Names that every method's `tuned` takes."""

_CE = CrossEntropy(ADVERSARIAL)  # what most attacks ascend
_GRIDS: Grids = (("lam", LAMBDAS), ("gamma1", RATES), ("gamma2", RATES))

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("ce", loss=CrossEntropy(), sampling="shuffle", selection=CLEAN),
        Method("ap", loss=AveragePrecision(), pretrained="ce", selection=CLEAN, grids=(("gamma1", RATES),)),
        Method("pgd", loss=CrossEntropy(ADVERSARIAL), attack=_CE, sampling="shuffle"),
        Method(
            "trades",
            loss=CrossEntropy(),
            regularisers=(PointwiseDivergence(),),
            attack=PointwiseDivergence(),
            sampling="shuffle",
            grids=(("lam", LARGE_LAMBDAS),),
        ),
        Method(
            "mart",
            loss=CrossEntropy(ADVERSARIAL),
            regularisers=(MisclassificationWeightedKL(),),
            attack=_CE,
            sampling="shuffle",
            grids=(("lam", LAMBDAS),),
        ),
        Method(
            "adap_mm",
            loss=AveragePrecision(ADVERSARIAL),
            attack=AveragePrecision(ADVERSARIAL),
            grids=(("gamma1", RATES),),
        ),
        Method(
            "adap_pz",
            loss=AveragePrecision(),
            regularisers=(PointwiseDivergence(),),
            attack=PointwiseDivergence(),
            grids=(("lam", LARGE_LAMBDAS), ("gamma1", RATES)),
        ),
        Method("adap_lz", loss=AveragePrecision(), regularisers=(Listwise(),), attack=Listwise(), grids=_GRIDS),
        Method("adap_ln", loss=AveragePrecision(), regularisers=(Listwise(),), attack=_CE, grids=_GRIDS),
        Method(
            "adap_lpn",
            loss=AveragePrecision(),
            regularisers=(Listwise(), PointwiseDivergence()),
            attack=_CE,
            grids=_GRIDS,
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
