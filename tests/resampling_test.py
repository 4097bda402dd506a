"""Resampled AP against scikit-learn, and intervals against what repeated data show."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from adap_tf import resampling as module
from adap_tf.resampling import Ranked, bootstrap, interval


def data(rng, n=60, rounded=False):
    labels = (rng.uniform(size=n) < 0.3).astype(float)
    scores = rng.normal(size=n) + labels
    return np.round(scores) if rounded else scores, labels


@pytest.mark.parametrize("rounded", [False, True])
def test_weighted_ap_is_scikit_learns(rng, rounded):
    scores, labels = data(rng, rounded=rounded)
    weights = rng.integers(0, 4, (20, 60)).astype(float)
    wanted = [average_precision_score(labels, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(Ranked(scores, labels).average_precision(weights), wanted, rtol=1e-12)


def test_unknown_labels_are_left_out(rng):
    scores, labels = data(rng)
    hidden = np.where(np.arange(60) % 5 == 0, np.nan, labels)
    weights = np.ones((1, 60))
    wanted = average_precision_score(labels[np.isfinite(hidden)], scores[np.isfinite(hidden)])
    assert Ranked(scores, hidden).average_precision(weights)[0] == pytest.approx(wanted)


def test_a_resample_has_as_many_of_each_kind(rng):
    positive = np.arange(50) % 4 == 0
    counts = module._counts(rng, positive, 300)
    assert (counts[:, positive].sum(1) == positive.sum()).all()
    assert (counts[:, ~positive].sum(1) == (~positive).sum()).all()
    assert abs(counts.mean(0) - 1).max() < 0.3
    assert counts.var(0).mean() == pytest.approx(1, abs=0.1)  # drawn with replacement


def test_the_samples_are_those_of_a_loop(rng, monkeypatch):
    scores, labels = data(rng)
    found = bootstrap({"a": scores, "b": scores[::-1]}, labels, samples=7, seed=3)
    counts = module._counts(np.random.default_rng(3), labels == 1, 7)
    wanted = [average_precision_score(labels, scores, sample_weight=w) for w in counts]
    np.testing.assert_allclose(found["a"], wanted, rtol=1e-12)
    assert len(found["b"]) == 7
    monkeypatch.setattr(module, "AT_ONCE", 60 * 7)
    np.testing.assert_array_equal(bootstrap({"a": scores}, labels, samples=7, seed=3)["a"], found["a"])


def test_the_mean_over_tasks_is_resampled_together(rng):
    scores, labels = (np.stack(x, 1) for x in zip(data(rng), data(rng), strict=True))
    labels[:, 1] = np.where(labels[:, 1] == 1, 0, labels[:, 1])  # a task without positives is left out
    labels[0, 1] = np.nan
    both, alone = (bootstrap({"x": s}, y, 5)["x"] for s, y in ((scores, labels), (scores[:, :1], labels[:, :1])))
    np.testing.assert_allclose(both, alone)


def test_pairs_tell_runs_apart_that_single_intervals_do_not(rng):
    scores, labels = data(rng, 400)
    better = scores + 0.1 * labels
    found = bootstrap({"one": scores, "other": better}, labels, 400)
    apart, paired = interval(found["one"], 0.5), interval(found["other"] - found["one"], 0.05)
    assert paired[0] > 0
    assert interval(np.arange(101.0), 10.0, 0.9) == (-35.0, 55.0)
    assert paired[1] - paired[0] < (apart[1] - apart[0]) / 3


def test_the_interval_covers_as_often_as_it_says(rng):
    truth = np.mean([average_precision_score(y, s) for s, y in (data(rng, 2000) for _ in range(50))])
    hits = 0
    for _ in range(100):
        scores, labels = data(rng, 300)
        samples = bootstrap({"x": scores}, labels, 200, seed=int(rng.integers(1e6)))["x"]
        low, high = interval(samples, average_precision_score(labels, scores), 0.9)
        hits += low <= truth <= high
    assert 80 <= hits <= 98
