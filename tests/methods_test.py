"""The table of methods."""

import dataclasses

import pytest

from adap_tf.methods import METHODS, Method, find_method
from adap_tf.terms import AveragePrecision, CrossEntropy, Listwise, PointwiseDivergence


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


def test_rows_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        METHODS["ce"].lam = 2.0
