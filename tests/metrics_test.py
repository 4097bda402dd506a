"""Average precision by hand, against the reference and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import reference
from adap_tf import average_precision, mean_average_precision
from adap_tf.metrics import precision_at_recall, ranking_errors, threshold_at, worst_scores


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
    assert [len(average_precision(np.zeros(shape), np.zeros(shape))) for shape in ((0,), (0, 2))] == [1, 2]
    label = np.array([[1, 0], [0, np.nan]])
    assert mean_average_precision(np.array([[1.0, 0], [0, 0]]), label) == 1.0  # over the other task alone
    assert np.isnan(mean_average_precision(np.zeros(3), np.zeros(3)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="score of example 1 is not finite"):
        average_precision(np.array([0.0, bad]), np.array([1, 0]))


@pytest.mark.parametrize("bad", [0.5, 2, -1, np.inf])
def test_labels_of_no_class_are_refused(bad):
    with pytest.raises(ValueError, match="label of example 1 is neither 0, 1 nor NaN"):
        average_precision(np.zeros(2), np.array([1, bad]))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"scores \(2, 2\) and labels \(2, 1\) must have the same shape"):
        average_precision(np.zeros((2, 2)), np.zeros((2, 1)))


@pytest.mark.parametrize("prevalence", [0.001, 0.1, 0.9])
def test_another_prevalence_is_that_of_repeated_data(rng, prevalence):
    scores, label = np.round(rng.normal(size=40), 1), (rng.uniform(size=40) < 0.3).astype(float)
    found = average_precision(scores, label, prevalence)[0]
    positives = int(label.sum())
    ratio = (1 - prevalence) / prevalence * positives / (40 - positives)  # copies of each negative to one of a positive
    copies = np.where(label == 1, 1000, np.round(1000 * ratio)).astype(int)
    wanted = average_precision_score(np.repeat(label, copies), np.repeat(scores, copies))
    assert found == pytest.approx(wanted, rel=0.01)
    assert average_precision(scores, label, positives / 40)[0] == pytest.approx(average_precision(scores, label)[0])


@pytest.mark.parametrize("bad", [0.0, 1.0, -1.0, np.nan])
def test_a_prevalence_out_of_range_is_refused(bad):
    with pytest.raises(ValueError, match="prevalence must be between"):
        average_precision(np.zeros(2), np.array([0, 1]), bad)


def test_precision_at_recall_is_the_best_of_all_thresholds(rng):
    scores, label = np.round(rng.normal(size=(50, 2)), 1), (rng.uniform(size=(50, 2)) < 0.3).astype(float)
    label[:2], label[2, 0] = [[1, 1], [0, 0]], np.nan
    recalls = (0.01, 0.5, 0.9, 1.0)
    found = precision_at_recall(scores, label, recalls)
    for task in range(2):
        s, y = (x[np.isfinite(label[:, task]), task] for x in (scores, label))
        for row, recall in enumerate(recalls):
            tries = [y[s >= t].mean() for t in s if y[s >= t].sum() >= recall * y.sum() - 1e-9]
            assert found[row, task] == pytest.approx(max(tries))
    assert np.isnan(precision_at_recall(np.zeros(2), np.zeros(2), [0.5])).all()


def test_the_worst_of_several_threats_is_the_worst_of_all_their_mixtures(rng):
    scores, label = [rng.normal(size=6) for _ in range(2)], np.array([1.0, 0, 1, 0, 0, 1])
    mixtures = (np.where(np.array(list(np.binary_repr(k, 6))) == "1", *scores) for k in range(64))
    worst = min(average_precision_score(label, mixture) for mixture in mixtures)
    assert average_precision_score(label, worst_scores(scores, label)) == pytest.approx(worst)


def test_errors_of_theorem_1_by_loops_and_their_sum(rng):
    for _ in range(50):
        clean, attacked, label = rng.normal(size=30), rng.normal(size=30), (rng.uniform(size=30) < 0.4).astype(float)
        clean, attacked = np.round(clean + label, 1), np.round(attacked, 1)
        label[:3] = 1, 0, np.nan
        positive, negative = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
        natural, boundary, robust = [], [], []
        for i in positive:
            below = any(clean[i] <= clean[j] for j in negative)
            ever = any(x <= y for j in negative for x in (clean[i], attacked[i]) for y in (clean[j], attacked[j]))
            natural.append(below)
            boundary.append(not below and ever)
            robust.append(ever)
        found = ranking_errors(clean, attacked, label)
        np.testing.assert_allclose(found, [np.mean(natural), np.mean(boundary), np.mean(robust)], atol=1e-12)
        assert found.robust == pytest.approx(found.natural + found.boundary)
    with pytest.raises(ValueError, match="need a positive and a negative"):
        ranking_errors(np.zeros(2), np.zeros(2), np.ones(2))


# Thresholds

RANKED = np.array([9.0, 8, 7, 6, 5, 4, 3, 2]), np.array([1.0, 0, 1, 1, 0, 0, 1, np.nan])


@pytest.mark.parametrize(
    ("at", "level", "wanted"),
    [
        ("precision", 1.0, 9),
        ("precision", 0.75, 6),  # 1/1, 1/2, 2/3 and 3/4: the dip before does not matter, the recall does
        ("precision", 0.6, 6),  # and from 5 on 3/5 too, with the same recall and a negative more
        ("precision", 0.5, 3),
        ("recall", 0.25, 9),
        ("recall", 0.26, 7),
        ("recall", 1.0, 3),
        ("recall", 1e-9, 9),
    ],
)
def test_threshold_by_hand(at, level, wanted):
    assert threshold_at(*RANKED, at, level) == wanted


def test_threshold_agrees_with_a_loop_over_all(rng):
    for _ in range(30):
        scores, label = np.round(rng.normal(size=25), 1), (rng.uniform(size=25) < 0.4).astype(float)
        label[:3] = 1, 0, np.nan
        level, found = rng.uniform(0.05, 1), {}
        for threshold in scores[np.isfinite(label)]:
            called = (scores >= threshold) & np.isfinite(label)
            precision, recall = label[called].mean(), label[called].sum() / np.nansum(label)
            found[threshold] = {"precision": precision, "recall": recall}
        for at in ("precision", "recall"):
            reach = [threshold for threshold, each in found.items() if each[at] >= level]
            if not reach:
                with pytest.raises(ValueError, match="highest precision of any threshold"):
                    threshold_at(scores, label, at, level)
                continue
            recall = max(found[threshold]["recall"] for threshold in reach)
            best = [each for each in reach if at == "recall" or found[each]["recall"] == recall]
            assert threshold_at(scores, label, at, level) == max(best)


def test_a_precision_that_ties_forbid_is_not_reached():
    with pytest.raises(ValueError, match=r"highest precision of any threshold is 0\.5000"):
        threshold_at(np.array([1.0, 1.0]), np.array([1.0, 0.0]), "precision", 0.51)
