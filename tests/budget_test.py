"""The budget curve against brute force with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from adap_tf.budget import budget_curve


def by_brute_force(clean, attacked, labels, budget):
    """Tries every example at every step."""
    scores, left = clean.copy(), [i for i in range(len(clean)) if np.isfinite(labels[i])]
    known = np.isfinite(labels)

    def ap(s):
        return average_precision_score(labels[known], s[known])

    aps = [ap(scores)]
    for _ in range(budget):
        tries = {i: ap(np.where(np.arange(len(scores)) == i, attacked, scores)) for i in left}
        best = min(tries, key=tries.get)
        if tries[best] >= aps[-1] - 1e-14:
            break
        scores[best] = attacked[best]
        left.remove(best)
        aps.append(tries[best])
    return np.array(aps)


@pytest.mark.parametrize("seed", range(8))
def test_each_point_is_the_best_single_choice(seed):
    rng = np.random.default_rng(seed)
    n = 40
    labels = (rng.uniform(size=n) < 0.3).astype(float)
    labels[:3] = 1, 0, np.nan
    clean, attacked = rng.normal(size=n) + labels, rng.normal(size=n)
    if seed % 2:  # with ties
        clean, attacked = np.round(clean), np.round(attacked)
    clean, attacked = np.nan_to_num(clean), np.nan_to_num(attacked)
    found = budget_curve(clean, attacked, labels, 25)
    np.testing.assert_allclose(found.ap, by_brute_force(clean, attacked, labels, 25), rtol=0, atol=1e-12)
    scores = clean.copy()
    known = np.isfinite(labels)
    for ap, example in zip(found.ap[1:], found.examples, strict=True):  # the named examples give these numbers
        scores[example] = attacked[example]
        assert ap == pytest.approx(average_precision_score(labels[known], scores[known]), abs=1e-12)


def test_the_end_is_ap_with_all_harmful_attacks(rng):
    labels = (rng.uniform(size=60) < 0.2).astype(float)
    clean = rng.normal(size=60)
    attacked = clean + np.where(labels == 1, -1, 1) * rng.uniform(0, 2, 60)
    assert budget_curve(clean, attacked, labels).ap[-1] == pytest.approx(average_precision_score(labels, attacked))


def test_an_attack_that_does_nothing_leaves_a_point(rng):
    labels, clean = np.array([1.0, 0, 1]), rng.normal(size=3)
    found = budget_curve(clean, clean, labels)
    assert len(found.ap) == 1
    assert not len(found.examples)
    assert len(budget_curve(clean, clean[::-1], labels, budget=0).ap) == 1


def test_a_curve_without_positives_is_refused():
    with pytest.raises(ValueError, match="needs a positive"):
        budget_curve(np.zeros(2), np.zeros(2), np.array([0.0, np.nan]))
