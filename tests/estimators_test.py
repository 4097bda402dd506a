"""The two estimators against the reference, over several steps."""

import numpy as np
import pytest
import tensorflow as tf

import reference
from adap_tf.estimators import ListwiseState, RowTable


def table(positives, gamma=0.25, floor=1e-9):
    return RowTable(positives, gamma, floor, "float64")


def update(estimator, row, estimate):
    return estimator.update(tf.constant(row, tf.int64), tf.constant(estimate, tf.float64)).numpy()


def test_row_table_by_hand():
    estimator = table([3])
    first = update(estimator, [[1], [-1]], [[[0.4, 0.8]], [[9.0, 9.0]]])
    np.testing.assert_allclose(first, [[[0.4, 0.8]], [[1.0, 1.0]]])  # first visit; no anchor
    second = update(estimator, [[1], [0]], [[[0.8, 1.6]], [[0.1, 0.2]]])
    np.testing.assert_allclose(second, [[[0.5, 1.0]], [[0.1, 0.2]]])  # 0.75·0.4 + 0.25·0.8
    np.testing.assert_allclose(estimator.u, [[0.1, 0.2], [0.5, 1.0], [0, 0], [0, 0]])
    np.testing.assert_allclose(estimator.visited(), 2 / 3)


def test_row_table_moves_a_repeated_row_once_by_the_mean():
    estimator = table([2])
    update(estimator, [[0]], [[[0.4, 0.4]]])
    moved = update(estimator, [[0], [1], [0]], [[[0.2, 0.4]], [[0.7, 0.7]], [[0.4, 0.8]]])
    np.testing.assert_allclose(moved[:, 0], [[0.375, 0.45], [0.7, 0.7], [0.375, 0.45]])


def test_row_table_keeps_the_floor():
    moved = update(table([1], floor=0.01), [[0]], [[[0.0, 0.5]]])
    np.testing.assert_allclose(moved[:, 0], [[0.01, 0.5]])


def test_row_table_of_several_tasks_matches_the_reference(rng):
    positives, gamma, steps, batch = [4, 7, 0], 0.3, 12, 6
    estimator, expected = table(positives, gamma, 0.6**2 / 50), reference.RowTable(positives, 0.6, 50, gamma)
    for _ in range(steps):
        row = np.stack([rng.integers(-1, max(n, 0), batch) if n else np.full(batch, -1) for n in positives], 1)
        estimate = rng.uniform(0, 1, (batch, 3, 2))
        found = update(estimator, row, estimate)
        for task in range(3):
            anchors = np.flatnonzero(row[:, task] >= 0)
            u1, u2 = expected.update(task, row[anchors, task].tolist(), *estimate[anchors, task].T)
            np.testing.assert_allclose(found[anchors, task], np.stack([u1, u2], 1), rtol=1e-13)


def test_row_out_of_range_is_named():
    with pytest.raises(tf.errors.InvalidArgumentError, match="row out of range") as caught:
        update(table([3, 5]), [[0, 4], [7, -1]], np.ones((2, 2, 2)))
    assert "7, 4" in str(caught.value)


def test_estimators_are_state_but_not_trainable():
    for estimator in (table([3]), ListwiseState(2, 0.5)):
        assert len(estimator.non_trainable_variables) == 1
        assert not estimator.trainable_variables
    assert RowTable([10], 0.1, 1e-6).u.dtype == "float32"


@pytest.mark.parametrize("gamma", [0.3, 1.0])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_listwise_state_matches_the_reference_over_steps(rng, gamma, size):
    estimator, expected = ListwiseState(1, gamma, "float64"), reference.ListwiseState(1, gamma)
    for _ in range(8):
        s, s_adv = rng.normal(size=(2, 5)) * size
        log_u2, log_u3, r = estimator.update(
            tf.fill([5, 1], -np.log(5.0)), tf.constant(s[:, None]), tf.constant(s_adv[:, None])
        )
        expected.update(0, s, s_adv)
        np.testing.assert_allclose(log_u2[0], expected.log_u2[0], rtol=1e-12)
        np.testing.assert_allclose(log_u3[0], expected.log_u3[0], rtol=1e-12)
        np.testing.assert_allclose(r[0], expected.r[0], rtol=1e-10, atol=1e-10)


def test_listwise_state_of_a_task_without_labels_stays():
    estimator = ListwiseState(2, 0.5, "float64")
    log_weight = np.log(np.array([[0.5, 0.0], [0.5, 0.0]]), where=[[True, False]] * 2, out=np.full((2, 2), -np.inf))
    s = tf.constant([[0.0, 1.0], [0.0, 1.0]], tf.float64)
    estimator.update(tf.constant(log_weight), s, s)
    np.testing.assert_allclose(estimator.state, [[0.0, -np.inf], [0.0, -np.inf], [0.0, 0.0]], atol=1e-15)
