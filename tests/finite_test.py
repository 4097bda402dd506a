"""Steps whose numbers are not finite: named, without effect, on all replicas alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import adap_tf
from adap_tf import PGD, AdversarialModel
from adap_tf.data import Examples, Sampler, training_batches
from adap_tf.finite import refused
from train.workers import make_strategy

SPOILT = 5  # place in the batch, on the first of two replicas


def make_model(replicas, optimizer=None, method="adap_lpn", **options):
    """A model on so many replicas, a function that takes a step, and its batches; all kinds of state are in it."""
    rng = np.random.default_rng(3)
    data = Examples(rng.uniform(size=(48, 6, 6, 1)).astype(np.float32), np.arange(48) % 3 == 0)
    strategy, sampler = make_strategy(replicas), Sampler(data.label, 16, 8)
    with strategy.scope():
        plain = adap_tf.BACKBONES["small_cnn"]((6, 6, 1), 1, widths=(3,))
        network = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Dropout(0.1), plain])
        model = AdversarialModel(network, method, data.positives, attack=PGD(steps=1), **options)
        model.compile(optimizer or keras.optimizers.Adam(0.01))
    batches = strategy.distribute_datasets_from_function(lambda _: training_batches(data, sampler, parts=replicas))
    step = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)))
    return model, step, iter(batches)


def spoilt(batch, replicas, place=SPOILT):
    """The batch with one image that is NaN."""

    def of(number, image):
        here = tf.reshape(tf.range(len(image)) + number * len(image) == place, [-1, 1, 1, 1])
        return tf.where(here, np.nan, image)

    images = make_strategy(replicas).experimental_local_results(batch["image"])
    return {**batch, "image": per_replica([of(number, image) for number, image in enumerate(images)])}


def per_replica(parts):
    """What each replica gets."""
    if len(parts) == 1:
        return parts[0]
    return make_strategy(len(parts)).experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group]
    )


def values(model, replicas):
    """All copies of all variables but the counters."""
    counters = {id(model.steps_taken), id(model.steps_skipped)}
    kept = [v for v in (*model.variables, *model.optimizer.variables) if id(v) not in counters]
    local = make_strategy(replicas).experimental_local_results
    return [copy.numpy() for v in kept for copy in local(v.value)]


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_that_is_refused_moves_nothing_and_says_why(replicas):
    model, step, batches = make_model(replicas)
    step(next(batches))
    before = values(model, replicas)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        step(spoilt(next(batches), replicas))
    number, names = refused(caught.value)
    assert number == 2
    assert {"images", "gradients"} <= set(names) <= {"images", "scores", "term P", "term R", "term L", "gradients"}
    for old, new in zip(before, values(model, replicas), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.steps_taken.numpy() == 1
    step(next(batches))
    assert model.steps_taken.numpy() == 2


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_that_is_skipped_moves_nothing_and_counts(replicas):
    model, step, batches = make_model(replicas, skip_nonfinite=True)
    step(next(batches))
    before, means = values(model, replicas), model.get_metrics_result()
    step(spoilt(next(batches), replicas))
    for old, new in zip(before, values(model, replicas), strict=True):
        np.testing.assert_array_equal(old, new)
    assert {name: float(x) for name, x in model.get_metrics_result().items()} == {n: float(x) for n, x in means.items()}
    assert (model.steps_taken.numpy(), model.steps_skipped.numpy()) == (2, 1)
    step(next(batches))
    assert (model.steps_taken.numpy(), model.steps_skipped.numpy()) == (3, 1)
    assert any((old != new).any() for old, new in zip(before, values(model, replicas), strict=True))


@pytest.mark.parametrize("replicas", [1, 2])
def test_gradients_alone_that_are_not_finite_leave_the_estimators_too(replicas):
    model, step, batches = make_model(replicas, skip_nonfinite=True)
    step(next(batches))
    before = values(model, replicas)
    model.l2, step = np.inf, tf.function(step.python_function)  # a new tracing, of gradients that overflow
    step(next(batches))
    assert model.steps_skipped.numpy() == 1
    for old, new in zip(before, values(model, replicas), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("method", ["adap_lpn", "adap_mm", "adap_lz", "ce"])
def test_the_examples_to_blame_are_found(method):
    model, _, batches = make_model(1, method=method)
    batch = next(batches)
    assert not model.not_finite(batch).any()
    assert np.flatnonzero(model.not_finite(spoilt(batch, 1))).tolist() == [SPOILT]
    model.network.trainable_weights[-1].assign([np.inf])
    assert model.not_finite(batch).all()


def test_fit_stops_at_a_number_that_is_not_finite():
    model, _, batches = make_model(1)
    data = tf.data.Dataset.from_tensors(spoilt(next(batches), 1))
    for eagerly in (False, True):
        model.compile(run_eagerly=eagerly)
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            model.fit(data, verbose=0)
        number, names = refused(caught.value)
        assert (number, names[0]) == (1, "images")


def test_what_xla_would_not_say_is_refused():
    model, _, _ = make_model(1)
    with pytest.raises(ValueError, match="jit_compile needs skip_nonfinite"):
        model.compile(jit_compile=True)


def test_other_errors_are_not_taken_for_it():
    assert refused(tf.errors.InvalidArgumentError(None, None, "row out of range")) is None


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_overflow_on_one_replica_halves_the_scale_on_all(replicas):
    """The second replica's examples alone have a gradient, which overflows when it is scaled."""
    strategy = make_strategy(replicas)
    with strategy.scope():
        network = keras.Sequential(
            [keras.Input((1,)), keras.layers.Rescaling(16), keras.layers.Dense(1, kernel_initializer="ones")]
        )
        model = AdversarialModel(network, "ce")
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**127))
    network.weights[1].assign([200.0])  # so sure of positives that their slope is 0
    take = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)))

    def step(of_second):
        labels = [tf.fill([4, 1], 1.0 - of_second * (number == replicas - 1)) for number in range(replicas)]
        take((tf.ones([4, 1]), per_replica(labels)))
        return [v.numpy() for w in network.weights for v in strategy.experimental_local_results(w.value)]

    before = step(of_second=0)
    after = step(of_second=1)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    scales = strategy.experimental_local_results(model.optimizer.dynamic_scale.value)
    assert [float(scale) for scale in scales] == [2.0**126] * replicas
    assert model.steps_skipped.numpy() == 0  # the scale can be halved: nothing is wrong yet


def test_an_overflow_that_no_scale_can_help_is_refused():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model = AdversarialModel(network, "ce", l2=3e38)
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=1.0))
    network.weights[0].assign([[1e3]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="gradients"):
        model.train_step((tf.ones([4, 1]), tf.ones([4, 1])))
