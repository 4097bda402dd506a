"""Several replicas and several workers find bit for bit what one replica finds."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import adap_tf
from adap_tf import (
    APGD,
    PGD,
    AdversarialModel,
    CrossEntropy,
    Evaluator,
    ExactAveragePrecision,
    Listwise,
    Square,
    Threat,
)
from adap_tf.adversary import perturbed
from adap_tf.data import Images
from adap_tf.noise import Noise
from adap_tf.replicas import Replicas
from adap_tf.scored import Scored
from adap_tf.spread import Spread
from adap_tf.weights import Population
from train.workers import make_strategy
from two_workers import on_two

N, BATCH = 30, 7
SHOWN = np.array([29, 4, 12])

THREATS = {
    "clean": None,
    "pgd": PGD(eps=0.1, step_size=0.03, steps=2, start=0.05),
    "square": Square(eps=0.1, queries=12),
}

ON_RANKING = {
    "surrogate": Threat(PGD(eps=0.1, step_size=0.03, steps=2), ExactAveragePrecision()),
    "listwise": Threat(PGD(eps=0.1, step_size=0.03, steps=2, start=0.05), Listwise()),
}


class Watched(Images):
    """Images that do not lie in memory, and remember which of them were read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, []

    def __getitem__(self, places):
        self.read.extend(places.tolist())
        return self.array[places]

    def take(self, places):
        return Watched(self.array[places])


def make_data():
    rng = np.random.default_rng(7)
    image = (255 * rng.uniform(0, 1, (N, 6, 6, 1))).astype(np.uint8)
    return image, (np.arange(N)[:, None] % 3 == 0).astype("float32")


def make_evaluator(threats, strategy=None, **options):
    """Of a network with convolutions and statistics, the same every time."""
    keras.utils.set_random_seed(1)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        network = adap_tf.BACKBONES["small_cnn"]((6, 6, 1), widths=(4, 6))
        return Evaluator(network, threats, BATCH, seed=3, **options)


@pytest.fixture(scope="module", params=[2, 4])
def both(request):
    """Evaluators of one replica and of several."""
    return make_evaluator(THREATS), make_evaluator(THREATS, make_strategy(request.param))


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for threat, scores in wanted.items():
        np.testing.assert_array_equal(found[threat], scores)


# Places


def spread_of(replicas, own):
    """As one worker of several has it."""
    spread = Spread(2)
    spread.replicas, spread.own = replicas, own
    return spread


@pytest.mark.parametrize(
    ("replicas", "own", "n", "wanted"),
    [
        (1, [0], 5, [[[0, 1]], [[2, 3]], [[4, 4]]]),
        (1, [0], 1, [[[0]]]),
        (2, [0, 1], 5, [[[0, 1], [2, 3]], [[4, 4], [4, 4]]]),
        (2, [0, 1], 1, [[[0], [0]]]),
        (4, [0, 1], 11, [[[0, 1], [2, 3]], [[8, 9], [10, 10]]]),
        (4, [2, 3], 11, [[[4, 5], [6, 7]], [[10, 10], [10, 10]]]),
    ],
)
def test_batches_go_round_the_replicas(replicas, own, n, wanted):
    np.testing.assert_array_equal(spread_of(replicas, own).places(n), wanted)


def test_what_was_found_stands_in_order():
    spread = spread_of(2, [0, 1])
    places = spread.places(11)
    np.testing.assert_array_equal(spread.joined(10 * places[..., None], 11), 10 * np.arange(11)[:, None])


# Replicas


def test_replicas_find_what_one_finds(both):
    data = make_data()
    wanted, found = (evaluator.scores(*data) for evaluator in both)
    assert np.abs(wanted["pgd"] - wanted["clean"]).max() > 1e-3
    assert_same(found, wanted)
    aps = [{threat: entry["ap"] for threat, entry in each.average_precision(*data).items()} for each in both]
    assert aps[0] == aps[1]
    for threat in THREATS:
        attacked = [evaluator.attacked(threat, *data, SHOWN) for evaluator in both]
        np.testing.assert_array_equal(*attacked)


def test_replicas_find_it_in_any_order_and_of_images_that_stay_on_disk(both):
    image, label = make_data()
    turned = np.random.default_rng(1).permutation(N)
    stored = Watched(image[turned])
    wanted = both[0].scores(image[turned], label[turned], ids=turned)
    assert_same(both[1].scores(stored, label[turned], ids=turned), wanted)
    assert set(stored.read) == set(range(N))


def test_replicas_that_have_nothing_to_do_do_no_harm(both):
    image, label = make_data()
    wanted, found = (evaluator.scores(image[:5], label[:5]) for evaluator in both)
    assert_same(found, wanted)


def test_a_partial_last_round_is_no_second_graph():
    image, label = make_data()
    evaluator = make_evaluator({"clean": None}, make_strategy(2))
    told = []
    for n in (30, 14, 9):
        evaluator.scores(image[:n], label[:n], lambda *done: told.append(done[1]))
    assert evaluator._spread._everywhere(evaluator._score).experimental_get_tracing_count() == 1
    assert told == [14, 28, 30, 14, 9]


@pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_threats_on_the_ranking_and_flat_gradients_are_spread_too(replicas):
    data = make_data()
    wanted, found = (make_evaluator(ON_RANKING, strategy) for strategy in (None, make_strategy(replicas)))
    assert_same(found.scores(*data), wanted.scores(*data))
    for threat in ON_RANKING:
        attacked = [evaluator.attacked(threat, *data, SHOWN) for evaluator in (wanted, found)]
        np.testing.assert_array_equal(*attacked)
    image = np.where((np.arange(N) < 6)[:, None, None, None], data[0], 0)
    with make_strategy(replicas).scope():
        gate = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(1, "relu")])
        gate.set_weights([np.ones((36, 1)), np.zeros(1)])
        assert Evaluator(gate, {}, BATCH).zero_gradients(image, data[1]) == pytest.approx(24 / 30)


def test_strict_and_long_attacks_on_replicas():
    threats = {"apgd": APGD(eps=0.1, steps=12, restarts=2), "long": PGD(eps=0.1, step_size=0.03, steps=12, keep="best")}
    wanted, found = (make_evaluator(threats, strategy, strict=True) for strategy in (None, make_strategy(2)))
    assert_same(found.scores(*make_data()), wanted.scores(*make_data()))


def test_a_model_evaluates_on_its_own_replicas():
    image, label = make_data()
    found = []
    for strategy in (tf.distribute.get_strategy(), make_strategy(2)):
        keras.utils.set_random_seed(1)
        with strategy.scope():
            network = adap_tf.BACKBONES["small_cnn"]((6, 6, 1), widths=(4, 6))
            model = AdversarialModel(network, "ce", threat=PGD(steps=2))
        model.compile()
        found.append(model.evaluate(image, label, batch_size=BATCH, return_dict=True))
        assert model._evaluator(BATCH, model.threat)._spread.replicas == strategy.num_replicas_in_sync
    assert found[0] == found[1]


@pytest.mark.parametrize(("term", "loops"), [(CrossEntropy("adversarial"), 2), (Listwise(), 0)])
def test_on_replicas_a_long_attack_is_a_loop_unless_it_holds_collectives(term, loops):
    strategy, noise = make_strategy(2), Noise(tf.constant([1, 2], tf.int64))
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    image, label = tf.fill([4, 3], 0.5), tf.constant([[1.0], [0.0], [0.0], [1.0]])
    with strategy.scope():
        state = {"estimator": term.estimator(Population((4,), (8,)), "float32"), "peek": True}

    def attack():
        batch = Scored.of({}, label, replicas=Replicas.current())
        return perturbed(network, PGD(steps=12), term, image, label, noise, batch=batch, **state)

    graph = tf.function(lambda: strategy.run(attack)).get_concrete_function().graph
    assert sum(operation.type in ("While", "StatelessWhile") for operation in graph.get_operations()) == loops


# Workers


BY_WORKERS = {name: (THREATS | ON_RANKING)[name] for name in ("clean", "pgd", "surrogate")}


def found_by(workers):
    """What a worker finds, the places that it reads, and what the second perturbs by itself."""
    evaluator, (image, label) = make_evaluator(BY_WORKERS, workers.strategy), make_data()
    stored = Watched(image)
    scores, flat, read = evaluator.scores(stored, label), evaluator.zero_gradients(stored, label), sorted(stored.read)
    alone = [threat for threat in ("pgd", "surrogate") if workers.index == 1]
    return scores, flat, read, {threat: evaluator.attacked(threat, image, label, SHOWN) for threat in alone}


@pytest.mark.slow
def test_two_workers_read_their_share_and_both_find_what_one_process_finds():
    data, alone = make_data(), make_evaluator(BY_WORKERS)
    found = on_two(found_by)
    wanted = alone.scores(*data)
    shares = [[*range(7), *range(14, 21), 28, 29], [*range(7, 14), *range(21, 28), 28, 29]]
    for (scores, flat, read, _), share in zip(found, shares, strict=True):
        assert_same(scores, wanted)
        assert flat == 0
        assert sorted(set(read)) == share
        assert {read.count(place) for place in share if place < 28} == {5}  # the ranking's threat twice, then gradients
    for threat, images in found[1][3].items():
        np.testing.assert_array_equal(images, alone.attacked(threat, *data, SHOWN))
