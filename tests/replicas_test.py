"""Several replicas compute what one computes: the same weights, statistics and estimators."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

import adap_tf
from adap_tf import PGD, AdversarialModel
from adap_tf.data import Examples, Sampler, training_batches
from adap_tf.estimators import RowTable
from adap_tf.weights import Population
from train.checkpoints import Checkpoints
from train.loop import state_of
from train.workers import make_strategy

STEPS, BATCH = 20, 16


@pytest.fixture(scope="module")
def other_process():
    """Runs four replicas: TensorFlow keeps one size of collective group a process, and here it is two."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda *arguments, **options: pool.submit(trained, *arguments, **options).result()


def make_data(tasks):
    """Several tasks have unknown labels."""
    rng = np.random.default_rng(5)
    image, label = rng.uniform(0, 1, (48, 6, 6, 1)), (np.arange(48) % 3 == 0).astype(float)
    image[label == 1] = np.clip(image[label == 1] + 0.2, 0, 1)
    if tasks > 1:
        label = np.stack([label, *(rng.uniform(size=(tasks - 1, 48)) < 0.3)], axis=1)
        label[rng.uniform(size=label.shape) < 0.2] = np.nan
    return Examples(image, label)


def penalised(tasks):
    """A dense network with losses of its own."""
    penalty = keras.regularizers.L2(0.05)
    hidden = keras.layers.Dense(6, activation="relu", kernel_regularizer=penalty)
    return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), hidden, keras.layers.Dense(tasks)])


def trained(replicas, *arguments, **options):
    """As `trained_on`, on so many devices of this machine."""
    return trained_on(make_strategy(replicas), *arguments, **options)


def trained_on(
    strategy,
    backbone,
    method,
    optimizer=None,
    policy="float64",
    tasks=1,
    separate=False,
    stops=(STEPS,),
    path=None,
    **hyper,
):
    """All variables after the steps, estimators included, and the last step's signals.

    The steps are those up to the last of `stops`, after what lies at `path`; at every stop the state goes there.
    """
    keras.utils.set_random_seed(3)
    data, replicas = make_data(tasks), strategy.num_replicas_in_sync
    sampler = Sampler(data.label, BATCH, 6, seed=1, separate=separate)
    with strategy.scope():
        keras.config.set_dtype_policy(policy)
        make = adap_tf.BACKBONES.get(backbone)
        network = make((6, 6, 1), tasks, widths=(6, 8)) if make else penalised(tasks)
        keras.config.set_dtype_policy("float32")
        attack = PGD(eps=0.1, step_size=0.03, steps=3)
        hyper = {"lam": 0.8, **hyper}
        model = AdversarialModel(network, method, data.positives, examples=data.known, attack=attack, l2=1e-3, **hyper)
        model.compile(optimizer or keras.optimizers.SGD(0.5))
    checkpoints = Checkpoints(path, state_of(model)) if path else None
    first = checkpoints.restore() if checkpoints else 0

    def own(worker):
        share = worker.input_pipeline_id, worker.num_input_pipelines
        return training_batches(data, sampler, first, replicas, None, *share)

    step = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)))
    batches = iter(strategy.distribute_datasets_from_function(own))
    for number in range(first + 1, stops[-1] + 1):
        signals = step(next(batches))
        if checkpoints and number in stops:
            checkpoints.save(number)
    estimators = [w for e in model.estimators.values() for w in e.weights]
    for variable in (*network.weights, *estimators):
        first, *others = (v.numpy() for v in strategy.experimental_local_results(variable.value))
        for other in others:
            np.testing.assert_array_equal(first, other)  # the copies have not drifted apart
    signals.pop("gradient_norm")  # which is a bound where there are several
    means = {name: float(strategy.experimental_local_results(value)[0]) for name, value in signals.items()}
    return [w.numpy() for w in (*network.weights, *estimators)], means


SOON = ("adap_lpn",)
"""Methods that are tested at once; the others take as long, and are tested with the slow ones."""


@pytest.mark.parametrize(
    ("backbone", "method"),
    [
        *(pytest.param("small_cnn", name, marks=() if name in SOON else pytest.mark.slow) for name in adap_tf.METHODS),
        ("mlp", "adap_lpn"),  # without BatchNorm; so are the networks of several tasks below
    ],
)
def test_replicas_equal_one(other_process, backbone, method):
    alone, signals = trained(1, backbone, method)
    for found, found_signals in (trained(2, backbone, method), other_process(4, backbone, method)):
        for wanted, got in zip(alone, found, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8)
        assert found_signals == pytest.approx(signals, abs=1e-5)


VARIATIONS = {
    "adap_lpn": {"separate": True},
    "adap_lz": {"prevalence": "dataset", "divergence": "js", "peek": True},
    "adap_mm": {"prevalence": "dataset", "separate": True},
}
"""What else is tried with a method and several tasks."""


@pytest.mark.parametrize(
    ("method", "options"),
    [
        pytest.param(method, VARIATIONS.get(method, {}), marks=() if method in SOON else pytest.mark.slow)
        for method in adap_tf.METHODS
    ],
)
def test_replicas_equal_one_with_several_tasks_and_a_network_with_losses(other_process, method, options):
    options = {"tasks": 2, **options}
    alone, signals = trained(1, "penalised", method, **options)
    for run in (trained, other_process):
        found, found_signals = run(2 if run is trained else 4, "penalised", method, **options)
        for wanted, got in zip(alone, found, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8)
        assert found_signals == pytest.approx(signals, abs=1e-5)


def test_a_replica_reads_the_drawn_rows_and_not_the_whole_table():
    strategy = make_strategy(2)
    with strategy.scope():
        table = RowTable(Population((1000,)), 0.1, 0.36)
    update = tf.function(lambda row, estimate: strategy.run(table.update, args=(row, estimate)))
    drawn = tf.constant([[3], [999], [0], [5]], tf.int64), tf.ones([4, 1, 2])
    operations = {op.type for op in update.get_concrete_function(*drawn).graph.get_operations()}
    assert "ResourceGather" in operations
    assert "ReadVariableOp" not in operations
    update(*drawn)
    assert table.health() == {"rows_visited": 0.004, "u_ratio": 1}


def test_replicas_equal_one_in_float32_with_adam():
    # The head's bias is left out: no pair of scores depends on it, so Adam makes steps of rounding noise there.
    # Numbers of about 1 are rounded once a step. But where a gradient rounds to the other side of 0, a sign step of
    # the attack flips, and Adam moves a weight by up to the learning rate, 1e-3: a few may be 20 of those apart.
    alone, _ = trained(1, "mlp", "adap_ln", "adam", "float32")
    found, _ = trained(2, "mlp", "adap_ln", "adam", "float32")
    apart = np.concatenate([np.abs(a - b).ravel() for a, b in zip(alone, found, strict=True) if a.shape != (1,)])
    assert np.quantile(apart, 0.9) <= STEPS * np.finfo(np.float32).eps
    assert apart.max() <= STEPS * 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["small_cnn", "mlp"])
def test_a_checkpoint_of_one_number_of_replicas_goes_on_on_another(tmp_path, other_process, backbone):
    path, stops = tmp_path / "checkpoints", [STEPS // 3, 2 * STEPS // 3, STEPS]
    alone, signals = trained(1, backbone, "adap_lpn", "adam")
    trained(1, backbone, "adap_lpn", "adam", path=path, stops=stops[:1])
    trained(2, backbone, "adap_lpn", "adam", path=path, stops=stops[:2])
    found, found_signals = other_process(4, backbone, "adap_lpn", "adam", path=path, stops=stops)
    assert sorted(p.name for p in path.iterdir()) == [f"step-{stop}" for stop in stops[1:]]
    for wanted, got in zip(alone[:-1], found[:-1], strict=True):
        if wanted.shape != (1,):  # of the head's bias, on which no pair depends, Adam makes steps of rounding noise
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8)
    assert found_signals == pytest.approx(signals, abs=1e-5)
