"""Who is hopeless: the median of the others at the same epoch."""

import pytest

from tuning.early import Hopeless, check_hope


def rows(*values):
    return [{"robust_ap": value} for value in values]


def best(rows):
    return max(row["robust_ap"] for row in rows)


OTHERS = [rows(0.1, 0.5, 0.9), rows(0.2, 0.4, 0.4), rows(0.3, 0.3, 0.3)]


def test_below_the_median_of_the_best_by_then():
    with pytest.raises(Hopeless) as found:
        check_hope(rows(0.39, 0.1), 3, OTHERS, best)
    assert str(found.value) == "stopped after epoch 2: 0.3900, and the median of the others is 0.4000"
    assert (found.value.epoch, found.value.best) == (2, 0.39)
    assert found.value.median == pytest.approx(0.4)


@pytest.mark.parametrize("values", [(0.4, 0.1), (0.2,), (0.0, 0.0, 0.4)])
def test_at_the_median_there_is_hope(values):
    check_hope(rows(*values), 3, OTHERS, best)


def test_a_few_others_and_the_first_epochs_say_nothing():
    check_hope(rows(0.0), 3, OTHERS[:2], best)
    check_hope([], 3, OTHERS, best)
    check_hope(rows(0.0), 8, OTHERS, best)  # a quarter is 2 epochs
    with pytest.raises(Hopeless):
        check_hope(rows(0.0, 0.0), 8, OTHERS, best)
