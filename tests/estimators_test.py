"""The two estimators against the reference, over several steps."""

import numpy as np
import pytest
import tensorflow as tf

import reference
from adap_tf.estimators import ListwiseState, RowTable
from adap_tf.weights import Population


def table(positives, gamma=0.25, examples=10**9, start="first_visit"):
    examples = np.broadcast_to(examples, len(positives)).tolist()
    return RowTable(Population(tuple(positives), tuple(examples)), gamma, 1.0, start, "float64")


def listwise(tasks, gamma, start="first_visit"):
    return ListwiseState(Population((0,) * tasks), gamma, start, "float64")


def update(estimator, row, estimate):
    return estimator.update(tf.constant(row, tf.int64), tf.constant(estimate, tf.float64)).numpy()


def test_row_table_by_hand():
    estimator = table([3])
    first = update(estimator, [[1], [-1]], [[[0.4, 0.8]], [[9.0, 9.0]]])
    np.testing.assert_allclose(first, [[[0.4, 0.8]], [[1.0, 1.0]]])  # first visit; no anchor
    second = update(estimator, [[1], [0]], [[[0.8, 1.6]], [[0.1, 0.2]]])
    np.testing.assert_allclose(second, [[[0.5, 1.0]], [[0.1, 0.2]]])  # 0.75·0.4 + 0.25·0.8
    np.testing.assert_allclose(estimator.u, [[0.1, 0.2], [0.5, 1.0], [0, 0], [0, 0]])
    assert estimator.health() == pytest.approx({"rows_visited": 2 / 3, "u_ratio": 0.5})


def test_a_table_that_nobody_visited_is_healthy():
    assert table([3]).health() == table([0]).health() == {"rows_visited": 0.0, "u_ratio": 0.0}


def test_a_peek_gives_what_an_update_would_and_moves_nothing():
    estimator = table([2])
    update(estimator, [[0]], [[[0.4, 0.4]]])
    before = estimator.u.numpy()
    row, estimate = tf.constant([[0], [1]], tf.int64), tf.constant([[[0.8, 0.8]], [[0.3, 0.6]]], tf.float64)
    peeked = estimator.update(row, estimate, peek=True)
    np.testing.assert_array_equal(estimator.u, before)
    np.testing.assert_array_equal(estimator.update(row, estimate), peeked)
    assert (estimator.u.numpy() != before).any()

    state, scores = listwise(1, 0.5), tf.constant([[[0.0], [2.0]], [[1.0], [0.0]]], tf.float64)
    log_weight = tf.fill([2, 1, 1], tf.constant(-np.log(2.0), tf.float64))
    state.update(log_weight, scores)
    before = state.state.numpy()
    peeked = state.update(log_weight, scores[:, ::-1], peek=True)
    np.testing.assert_array_equal(state.state, before)
    moved = state.update(log_weight, scores[:, ::-1])
    np.testing.assert_array_equal(np.concatenate(moved), np.concatenate(peeked))
    assert (state.state.numpy() != before).any()


def test_row_table_moves_a_repeated_row_once_by_the_mean():
    estimator = table([2])
    update(estimator, [[0]], [[[0.4, 0.4]]])
    moved = update(estimator, [[0], [1], [0]], [[[0.2, 0.4]], [[0.7, 0.7]], [[0.4, 0.8]]])
    np.testing.assert_allclose(moved[:, 0], [[0.375, 0.45], [0.7, 0.7], [0.375, 0.45]])


def test_row_table_keeps_the_floor():
    moved = update(table([1, 1], examples=[100, 10]), [[0, 0]], [[[0.0, 0.5], [0.0, 0.05]]])
    np.testing.assert_allclose(moved[0], [[0.01, 0.5], [0.1, 0.1]])
    unknown = RowTable(Population((1,)), 0.5, 4.0, dtype="float64")
    np.testing.assert_allclose(update(unknown, [[0]], [[[0.0, 0.5]]])[0], [[4 * 2.0**-23, 0.5]])


@pytest.mark.parametrize("start", ["first_visit", "zero"])
def test_row_table_of_several_tasks_matches_the_reference(rng, start):
    positives, gamma, steps, batch = [4, 7, 0], 0.3, 12, 6
    estimator = table(positives, gamma, [50, 20, 30], start)
    expected = reference.RowTable(positives, 1.0, [50, 20, 30], gamma, start)
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
    for estimator in (table([3]), listwise(2, 0.5)):
        assert len(estimator.non_trainable_variables) == 1
        assert not estimator.trainable_variables
    assert RowTable(Population((10,)), 0.1, 0.36).u.dtype == "float32"


@pytest.mark.parametrize("start", ["first_visit", "zero"])
@pytest.mark.parametrize("gamma", [0.3, 1.0])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_listwise_state_matches_the_reference_over_steps(rng, gamma, size, start):
    estimator, expected = listwise(1, gamma, start), reference.ListwiseState(1, gamma, start)
    for _ in range(8):
        s, s_adv, weight = *(rng.normal(size=(2, 5)) * size), rng.dirichlet(np.ones(5))
        found = estimator.update(np.log(weight)[:, None, None], np.stack([s, s_adv], axis=1)[:, :, None])
        expected.update(0, s, s_adv, weight)
        names = ("log_u2", "log_u3", "r", "k1", "k2")
        for name, value in zip(names, np.concatenate(found), strict=True):
            np.testing.assert_allclose(value[0], getattr(expected, name)[0], rtol=1e-10, atol=1e-10, err_msg=name)


def test_listwise_state_of_a_task_without_labels_stays():
    estimator = listwise(2, 0.5)
    log_weight = tf.math.log(tf.constant([[[0.5, 0.0]]] * 2, tf.float64))
    scores = tf.constant([[[0.0, 1.0]] * 2] * 2, tf.float64)
    estimator.update(log_weight, scores)
    logs, means = [[0.0, -np.inf]] * 2, [[0.0, 0.0]] * 3
    np.testing.assert_allclose(estimator.state, logs + means, atol=1e-15)
