"""Which examples stand in which batch."""

import numpy as np
import pytest
import tensorflow as tf

from adap_tf.data import Examples, Sampler, batches, training_batches


def labels(positives, negatives):
    return np.repeat([1.0, 0.0], [positives, negatives])


def drawn(sampler, steps):
    return [sampler.indices(step).numpy() for step in range(steps)]


def test_positives_cycle_through_permutations():
    sampler = Sampler(labels(10, 40), batch_size=8, positives_per_batch=4, seed=3)
    cycles = np.array([[i for i in batch if i < 10] for batch in drawn(sampler, 6)]).reshape(2, 12)  # ⌈10/4⌉ = 3 steps
    for cycle in cycles:
        assert set(cycle[:10]) == set(range(10))  # all in a cycle
        np.testing.assert_array_equal(cycle[10:], cycle[:2])  # the last batch goes round: (tA + i) mod n+
    assert list(cycles[0]) != list(cycles[1])
    for batch in drawn(sampler, 40):
        assert len(set(batch)) == 8


def test_negatives_cycle_too():
    sampler = Sampler(labels(3, 12), batch_size=6, positives_per_batch=2)
    assert {i for batch in drawn(sampler, 3) for i in batch if i >= 3} == set(range(3, 15))


def test_plain_shuffle_covers_all_in_a_cycle():
    sampler = Sampler(labels(3, 9), batch_size=4)
    first, second = np.concatenate(drawn(sampler, 3)), np.concatenate(drawn(sampler, 6)[3:])
    assert set(first) == set(second) == set(range(12))
    assert list(first) != list(second)


def test_the_last_batch_of_a_shuffle_goes_round():
    sampler = Sampler(labels(3, 7), batch_size=4)  # 10 examples in ⌈10/4⌉ = 3 steps of a cycle
    assert sampler.steps_per_epoch == 2
    cycle = np.concatenate(drawn(sampler, 3))
    assert set(cycle[:10]) == set(range(10))
    np.testing.assert_array_equal(cycle[10:], cycle[:2])


def test_a_step_is_a_pure_function_of_seed_and_step():
    def fresh(seed):
        return Sampler(labels(10, 40), 8, 4, seed)

    compiled = tf.function(fresh(5).indices)
    wanted = drawn(fresh(5), 9)
    for step in (8, 0, 3):
        np.testing.assert_array_equal(fresh(5).indices(step), wanted[step])
        np.testing.assert_array_equal(compiled(tf.constant(step, tf.int64)), wanted[step])
    assert any((a != b).any() for a, b in zip(wanted, drawn(fresh(6), 9), strict=True))


@pytest.mark.parametrize(
    ("positives", "negatives", "asked", "held"), [(3, 40, 6, 3), (40, 3, 2, 5), (1, 7, 8, 1), (5, 5, 4, 4)]
)
def test_a_batch_holds_what_there_is(positives, negatives, asked, held):
    sampler = Sampler(labels(positives, negatives), 8, asked)
    assert sampler.positives_per_batch == held
    for batch in drawn(sampler, 5):
        assert (batch < positives).sum() == held
        assert len(set(batch)) == 8


def test_every_part_of_a_batch_holds_its_share():
    for batch in drawn(Sampler(labels(20, 60), 16, 4), 5):
        assert [(part < 20).sum() for part in np.split(batch, 4)] == [1, 1, 1, 1]
    for asked in range(1, 17):
        positive = Sampler(labels(20, 60), 16, asked).indices(0).numpy() < 20
        assert positive.sum() == asked
        for parts in (2, 4, 8):
            held = positive.reshape(parts, -1).sum(axis=1)
            assert max(held) - min(held) <= 1


@pytest.mark.parametrize(
    ("label", "batch", "asked", "words"),
    [
        (labels(2, 2), 5, None, "batch_size must be from 1 to the number of examples, 4, not 5"),
        (labels(2, 2), 0, None, "batch_size"),
        (labels(0, 4), 2, 1, "no positive"),
        (labels(2, 2), 2, 3, "positives_per_batch must be from 1 to the batch size, 2, not 3"),
        (labels(2, 2), 2, 0, "positives_per_batch"),
    ],
)
def test_bad_samplers_are_refused(label, batch, asked, words):
    with pytest.raises(ValueError, match=words):
        Sampler(label, batch, asked)


def test_examples_without_a_known_label_are_not_drawn_where_positives_are():
    label = np.array([1.0] * 4 + [0.0] * 6 + [np.nan] * 90)
    sampler = Sampler(label, 8, 2)
    assert max(np.concatenate(drawn(sampler, 20))) < 10
    with pytest.raises(ValueError, match="only 10 examples are labelled"):
        Sampler(label, 12, 2)


def test_a_task_without_positives_is_as_if_it_were_not_there():
    label = np.array([[1.0, np.nan]] * 4 + [[0.0, np.nan]] * 6 + [[np.nan, 0.0]] * 90)
    assert max(np.concatenate(drawn(Sampler(label, 8, 2), 20))) < 10
    with pytest.raises(ValueError, match="only 10 examples are labelled"):
        Sampler(label, 12, 2)


@pytest.fixture
def several(rng):
    """Labels of three tasks, one of them rare, with unknown ones."""
    label = (rng.uniform(size=(200, 3)) < [0.4, 0.1, 0.03]).astype(float)
    label[rng.uniform(size=label.shape) < 0.1] = np.nan
    label[0] = [1, 1, 1]
    return label


def test_each_task_gets_its_share_and_no_example_stands_twice(several):
    sampler = Sampler(several, batch_size=32, positives_per_batch=16, seed=3)
    assert sampler.positives_per_batch == 15
    rare = (several == 1).sum(axis=0)[2]
    for batch in drawn(sampler, 40):
        assert len(set(batch)) == 32
        held = (several[batch] == 1).sum(axis=0)
        assert (held >= np.minimum(5, [5, 5, rare])).all()
        assert np.isfinite(several[batch]).any(axis=1).all()


def test_all_positives_of_all_tasks_are_drawn_in_a_cycle(several):
    sampler = Sampler(several, batch_size=32, positives_per_batch=6)
    most = (several == 1).sum(axis=0).max()
    assert sampler.cycle_steps == -(-most // 2)
    for first in (0, sampler.cycle_steps):
        seen = np.concatenate([sampler.indices(first + step) for step in range(sampler.cycle_steps)])
        assert set(np.flatnonzero((several == 1).any(axis=1))) <= set(seen)


def test_tasks_take_turns_where_there_are_more_than_anchors():
    label = np.eye(12)[np.arange(60) % 12]
    sampler = Sampler(label, batch_size=10, positives_per_batch=5)
    assert sampler.cycle_steps == 12  # five of 12 tasks a step, five positives each
    found = np.concatenate([sampler.indices(step) for step in range(12)])
    assert set(found) == set(range(60))
    for batch in drawn(sampler, 24):
        assert len(set(batch)) == 10


def test_examples_that_are_positives_of_everything_make_room(rng):
    label = np.ones((40, 2))
    label[20:] = 0
    for batch in drawn(Sampler(label, 16, 12), 20):
        assert len(set(batch)) == 16


def test_a_task_without_positives_takes_no_share():
    label = np.stack([labels(10, 30), np.zeros(40)], axis=1)
    sampler = Sampler(label, 8, 4)
    one = Sampler(label[:, 0], 8, 4)
    for found, wanted in zip(drawn(sampler, 5), drawn(one, 5), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("tasks", [1, 3])
def test_anchors_and_candidates_drawn_apart(several, tasks):
    label = several[:, :tasks]
    sampler = Sampler(label, 32, 12, seed=1, separate=True)
    candidate = sampler.candidate
    assert (~candidate).sum() == sampler.positives_per_batch == 12
    shares = []
    for batch in drawn(sampler, 200):
        anchors, others = batch[~candidate], batch[candidate]
        assert len(set(anchors)) == 12
        assert len(set(others)) == 20
        assert (label[anchors] == 1).any(axis=1).all()
        shares.append((label[others, 0] == 1).mean())
    known = np.isfinite(label).any(axis=1)
    assert np.mean(shares) == pytest.approx((label[known, 0] == 1).mean(), abs=0.02)  # the data's, not a half
    held = [(~candidate[part]).sum() for part in np.split(np.arange(32), 4)]
    assert held == [3, 3, 3, 3]


def test_batches_say_who_is_there_as_an_anchor_alone(several):
    examples = Examples(np.zeros((200, 2)), several)
    sampler = Sampler(several, 16, 6, separate=True)
    for parts in (1, 2):
        found = list(training_batches(examples, sampler, parts=parts).take(parts))
        batch = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        np.testing.assert_array_equal(batch["candidate"], sampler.candidate)
        rows = examples.rows[sampler.indices(0)]
        np.testing.assert_array_equal(batch["row"], np.where(sampler.candidate[:, None], -1, rows))
        assert (batch["row"] >= 0).any(axis=1).sum() == 6
    assert "candidate" not in next(iter(batches(np.zeros((200, 2)), several, 16)))
    assert "candidate" in next(iter(batches(np.zeros((200, 2)), several, 16, separate=True)))


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("step", [0, 1, 7, 600])
def test_when_each_example_was_last_drawn(several, step, separate):
    sampler = Sampler(several, 16, 6, seed=2, separate=separate)
    wanted = np.full(200, -1)
    for number in range(step):
        indices = sampler.indices(number).numpy()
        wanted[indices[~sampler.candidate] if separate else indices] = number
    found, positive = sampler.last_drawn(step), (several == 1).any(axis=1)
    np.testing.assert_array_equal(found[positive], wanted[positive])
    if step == 600:
        assert found[positive].min() >= step - 2 * sampler.cycle_steps


def test_anchors_alone_need_candidates():
    with pytest.raises(ValueError, match="from 1 to the batch size less one, 7, not 8"):
        Sampler(labels(20, 20), 8, 8, separate=True)
    with pytest.raises(ValueError, match="give positives_per_batch"):
        Sampler(labels(20, 20), 8, separate=True)


def test_the_graph_of_a_batch_does_not_grow_with_the_data():
    sampler = Sampler(labels(20_000, 20_000), batch_size=8, positives_per_batch=4)
    graph = tf.function(sampler.indices).get_concrete_function(tf.constant(0)).graph
    assert graph.as_graph_def().ByteSize() < 8 * 20_000  # a pool alone has as many bytes
