"""The table of methods."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from adap_tf.methods import METHODS, Method, find_method
from adap_tf.scored import Scored
from adap_tf.terms import (
    AveragePrecision,
    CrossEntropy,
    Listwise,
    MisclassificationWeightedKL,
    PointwiseDivergence,
)
from adap_tf.weights import Population

P, P_ADV, R, L = AveragePrecision(), AveragePrecision("adversarial"), Listwise(), PointwiseDivergence()
CE, CE_ADV, MART = CrossEntropy(), CrossEntropy("adversarial"), MisclassificationWeightedKL()


def test_rows_are_the_papers():
    slots = {name: (method.attack, (method.loss, *method.regularisers)) for name, method in METHODS.items()}
    assert slots == {
        "ce": (None, (CE,)),
        "ap": (None, (P,)),
        "pgd": (CE_ADV, (CE_ADV,)),
        "trades": (L, (CE, L)),
        "mart": (CE_ADV, (CE_ADV, MART)),
        "adap_mm": (P_ADV, (P_ADV,)),
        "adap_pz": (L, (P, L)),
        "adap_lz": (R, (P, R)),
        "adap_ln": (CE_ADV, (P, R)),
        "adap_lpn": (CE_ADV, (P, R, L)),
    }
    assert {name for name, method in METHODS.items() if method.selection == "clean"} == {"ce", "ap"}
    shuffled = {name for name, method in METHODS.items() if method.sampling == "shuffle"}
    assert shuffled == {"ce", "pgd", "trades", "mart"}
    assert {name: method.pretrained for name, method in METHODS.items() if method.pretrained} == {"ap": "ce"}
    assert not any(method.peek for method in METHODS.values())


def test_grids_are_the_papers_and_fit_their_methods():
    usual, large = (0.1, 0.4, 0.8, 1, 4, 8, 10), (1, 4, 8, 10, 40, 80, 100)
    lam = {name: dict(method.grids).get("lam") for name, method in METHODS.items()}
    weighing = {"trades": large, "mart": usual, "adap_pz": large, "adap_lz": usual, "adap_ln": usual, "adap_lpn": usual}
    assert lam == {**dict.fromkeys(METHODS), **weighing}
    for method in METHODS.values():
        searched = dict(method.grids)
        assert set(searched) == method.hyperparameters & {"lam", "gamma1", "gamma2"}
        assert {name: values for name, values in searched.items() if name != "lam"} == {
            name: (0.1, 0.9) for name in searched if name != "lam"
        }


def test_tuned_reaches_the_terms_and_leaves_the_row_alone():
    method = METHODS["adap_lpn"].tuned(lam=4.0, gamma1=0.9, gamma2=0.2, margin=1.0)
    assert (method.lam, method.loss.gamma1, method.loss.margin) == (4.0, 0.9, 1.0)
    assert method.regularisers[0].gamma2 == 0.2
    assert METHODS["adap_lpn"].loss.gamma1 == AveragePrecision().gamma1
    zero = METHODS["adap_lz"].tuned(divergence="js", peek=True, start="zero")
    assert zero.attack == zero.regularisers[0] == Listwise(divergence="js", start="zero")
    assert (zero.peek, zero.loss.start) == (True, "zero")
    assert METHODS["ce"].tuned(gamma1=0.5) == METHODS["ce"]


def test_bad_methods_are_refused():
    with pytest.raises(ValueError, match=r"unknown method 'sgd'; known: ce, ap, pgd, trades"):
        find_method("sgd")
    with pytest.raises(ValueError, match="unknown hyperparameter 'gama1'"):
        METHODS["ce"].tuned(gama1=1)
    with pytest.raises(ValueError, match="lam must be"):
        METHODS["adap_ln"].tuned(lam=-1.0)
    with pytest.raises(ValueError, match="needs an attack"):
        Method("mine", loss=AveragePrecision("adversarial"))
    with pytest.raises(ValueError, match="sampling must be one of positives, separate, shuffle, not 'half'"):
        Method("mine", loss=CrossEntropy(), sampling="half")
    with pytest.raises(ValueError, match="selection must be one of clean, adversarial, not 'last'"):
        Method("mine", loss=CrossEntropy(), selection="last")
    with pytest.raises(ValueError, match="must ascend a term on perturbed data"):
        Method("mine", loss=AveragePrecision(), attack=CrossEntropy())


def test_a_term_used_twice_is_weighed_by_its_place_and_named_by_its_view():
    term = CrossEntropy()
    batch = Scored.of({"clean": tf.zeros([2, 1])}, tf.constant([[1.0], [0.0]]), -tf.ones([2, 1], tf.int64))
    signals, gradients = Method("mine", loss=term, regularisers=(term,), lam=0.5).objective(batch, {})
    assert float(signals["loss"]) == pytest.approx(1.5 * math.log(2))
    np.testing.assert_allclose(gradients["clean"], [[-0.375], [0.375]])
    both = Method("both", loss=term, regularisers=(CrossEntropy("adversarial"),), attack=CrossEntropy("adversarial"))
    assert both.signals == ("CE_clean", "CE_adversarial")
    assert METHODS["adap_lpn"].signals == ("P", "R", "L")


def test_terms_that_would_share_an_estimator_must_be_equal():
    with pytest.raises(ValueError, match="would share an estimator"):
        Method(
            "mine",
            loss=Listwise(),
            regularisers=(Listwise(temperature=2.0),),
            attack=CrossEntropy("adversarial"),
        )
    with pytest.raises(ValueError, match="would share an estimator"):
        Method("mine", loss=AveragePrecision(), regularisers=(Listwise(),), attack=Listwise(temperature=2.0))


def test_an_attack_may_have_an_estimator_of_its_own():
    method = Method("mine", loss=AveragePrecision(), attack=Listwise())
    assert set(method.estimators(Population((3,)), "float32")) == {"P_clean", "R_clean_adversarial"}
    assert set(METHODS["adap_lz"].estimators(Population((3,)), "float32")) == {"P_clean", "R_clean_adversarial"}


def test_hyperparameters_are_those_that_make_a_difference():
    assert METHODS["ce"].hyperparameters == set()
    assert METHODS["adap_ln"].hyperparameters == {
        "lam",
        "gamma1",
        "margin",
        "ap_score",
        "gamma2",
        "list_score",
        "temperature",
        "divergence",
        "start",
        "prevalence",
    }
    assert METHODS["adap_mm"].hyperparameters == {"gamma1", "margin", "ap_score", "start", "prevalence", "peek"}
    assert METHODS["mart"].hyperparameters == {"lam"}
    assert METHODS["trades"].hyperparameters == {"lam", "divergence"}


def test_rows_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        METHODS["ce"].lam = 2.0
