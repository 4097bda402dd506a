"""Average precision by hand, against the reference and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import reference
from adap_tf import average_precision, mean_average_precision


@pytest.mark.parametrize(
    ("scores", "label", "wanted"),
    [
        ([3, 2, 1], [1, 0, 1], (1 + 2 / 3) / 2),
        ([1, 2, 3], [1, 0, 0], 1 / 3),
        ([1, 2], [0, 1], 1),
        ([5, 5, 5, 5], [1, 0, 0, 0], 1 / 4),  # all tied
        ([2, 1, 1, 0], [1, 1, 0, 0], 1 / 2 + 1 / 2 * 2 / 3),  # a tie counts against the positive
        ([3, 2, 1], [np.nan, 0, 1], 1 / 2),
        ([1e30, -1e30], [1, 0], 1),
        ([7], [1], 1),
    ],
)
def test_by_hand(scores, label, wanted):
    np.testing.assert_allclose(average_precision(np.array(scores), np.array(label)), [wanted], rtol=1e-12)


def test_tasks_are_apart_and_agree_with_the_references(rng):
    for _ in range(20):
        scores, label = np.round(rng.normal(size=(30, 2)), 1), (rng.uniform(size=(30, 2)) < 0.3).astype(float)
        label[0], label[5, 1] = 1, np.nan
        wanted = [reference.average_precision(s, y) for s, y in zip(scores.T, label.T, strict=True)]
        np.testing.assert_allclose(average_precision(scores, label), wanted, rtol=1e-12)
        np.testing.assert_allclose(wanted[0], average_precision_score(label[:, 0], scores[:, 0]))
        np.testing.assert_allclose(mean_average_precision(scores, label), np.mean(wanted), rtol=1e-12)


def test_scores_that_float32_would_tie():
    assert average_precision(np.array([1 + 1e-12, 1]), np.array([1, 0])) == [1.0]


def test_a_task_without_positives_has_no_average_precision():
    assert np.isnan(average_precision(np.zeros(3), np.zeros(3))).all()
    assert np.isnan(average_precision(np.zeros(2), np.full(2, np.nan))).all()
    label = np.array([[1, 0], [0, np.nan]])
    assert mean_average_precision(np.array([[1.0, 0], [0, 0]]), label) == 1.0  # over the other task alone
    assert np.isnan(mean_average_precision(np.zeros(3), np.zeros(3)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="score of example 1 is not finite"):
        average_precision(np.array([0.0, bad]), np.array([1, 0]))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"scores \(2, 2\) and labels \(2, 1\) must have the same shape"):
        average_precision(np.zeros((2, 2)), np.zeros((2, 1)))
