"""The table of methods."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from adap_tf.methods import METHODS, Method, find_method
from adap_tf.terms import AveragePrecision, CrossEntropy, Listwise, PointwiseDivergence, Scored


def test_rows_are_the_papers():
    slots = {name: (method.attack, (method.loss, *method.regularisers)) for name, method in METHODS.items()}
    attack = CrossEntropy("adversarial")
    assert slots == {
        "ce": (None, (CrossEntropy("clean"),)),
        "adap_ln": (attack, (AveragePrecision("clean"), Listwise())),
        "adap_lpn": (attack, (AveragePrecision("clean"), Listwise(), PointwiseDivergence())),
    }
    assert {name for name, method in METHODS.items() if method.selection == "clean"} == {"ce"}
    assert {name for name, method in METHODS.items() if method.sampling == "shuffle"} == {"ce"}


def test_tuned_reaches_the_terms_and_leaves_the_row_alone():
    method = METHODS["adap_lpn"].tuned(lam=4.0, gamma1=0.9, gamma2=0.2, margin=1.0)
    assert (method.lam, method.loss.gamma1, method.loss.margin) == (4.0, 0.9, 1.0)
    assert method.regularisers[0].gamma2 == 0.2
    assert METHODS["adap_lpn"].loss.gamma1 == AveragePrecision().gamma1
    assert METHODS["ce"].tuned(gamma1=0.5) == METHODS["ce"]


def test_bad_methods_are_refused():
    with pytest.raises(ValueError, match=r"unknown method 'sgd'; known: ce, adap_ln"):
        find_method("sgd")
    with pytest.raises(ValueError, match="unknown hyperparameter 'gama1'"):
        METHODS["ce"].tuned(gama1=1)
    with pytest.raises(ValueError, match="lam must be"):
        METHODS["adap_ln"].tuned(lam=-1.0)
    with pytest.raises(ValueError, match="needs an attack"):
        Method("mine", loss=AveragePrecision("adversarial"))


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
    }


def test_rows_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        METHODS["ce"].lam = 2.0
