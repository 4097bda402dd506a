"""What a config stands for reaches the model."""

import dataclasses

import numpy as np
import pytest

from adap_tf import PGD, AveragePrecision, Listwise
from adap_tf.data import training_batches
from adap_tf.weights import Population
from train.building import make_model, make_sampler
from train.config import OPTIMIZERS
from train.errors import UsageError
from train.presets import PRESETS
from train.run_folder import RunFolder
from train.sources import DataOptions, load_splits

CONFIG = dataclasses.replace(
    PRESETS["digits"],
    method="adap_lpn",
    lam=0.4,
    gamma1=0.9,
    gamma2=0.2,
    margin=0.5,
    batch_size=32,
    positives_per_batch=8,
    learning_rate=0.01,
    weight_decay=0.5,
    backbone="mlp",
    precision="bfloat16",
    seed=5,
    eps=0.2,
    attack_steps=2,
    attack_step_size=0.11,
    eval_steps=3,
    eval_step_size=0.07,
)


@pytest.fixture(scope="module")
def splits():
    return load_splits(DataOptions(data="digits", positive="8"), 0)


@pytest.fixture(scope="module")
def model(splits):
    return make_model(CONFIG, splits, 100)


def test_hyperparameters(splits):
    changed = {
        "ap_score": "identity",
        "list_score": "sigmoid",
        "temperature": 0.3,
        "divergence": "js",
        "start": "zero",
        "prevalence": "dataset",
        "peek": True,
    }
    method = make_model(dataclasses.replace(CONFIG, method="adap_lz", **changed), splits, 100).method
    loss, (listwise,) = method.loss, method.regularisers
    assert loss == AveragePrecision("clean", 0.9, 0.5, "identity", "zero", "dataset")
    assert listwise == method.attack == Listwise(0.2, "sigmoid", 0.3, "js", "zero", "dataset")
    assert method.peek


def test_method_and_attacks(model):
    method = model.method
    assert (method.name, method.lam, method.loss.gamma1, method.loss.margin) == ("adap_lpn", 0.4, 0.9, 0.5)
    assert method.regularisers[0].gamma2 == 0.2
    assert model.attack == PGD(eps=0.2, steps=2, step_size=0.11)
    assert model.threat == PGD(eps=0.2, steps=3, step_size=0.07)
    assert (model.l2, model.seed) == (0.5, 5)


def test_estimators_fit_the_training_split(model):
    table = model.estimators["P_clean"]
    assert table.population == Population((104,), (1078,))
    assert table.floor == pytest.approx(0.5**2 / 1078)


def test_a_trunk_comes_from_another_run_and_the_head_does_not(splits, tmp_path):
    lender = make_model(dataclasses.replace(CONFIG, seed=9), splits, 100).network
    plain = make_model(CONFIG, splits, 100).network
    best = RunFolder(tmp_path / "run").best
    best.parent.mkdir(parents=True)
    lender.save(best)
    for path in (tmp_path / "run", best):
        network = make_model(dataclasses.replace(CONFIG, init_from=str(path)), splits, 100).network
        *trunk, kernel, bias = network.get_weights()
        for weight, lent in zip(trunk, lender.get_weights(), strict=False):
            np.testing.assert_array_equal(weight, lent)
        np.testing.assert_array_equal(kernel, plain.get_weights()[-2])
        np.testing.assert_array_equal(bias, plain.get_weights()[-1])


def test_what_cannot_lend_a_trunk_is_named(splits, tmp_path):
    def message(path, **changes):
        with pytest.raises(UsageError) as caught:
            make_model(dataclasses.replace(CONFIG, init_from=str(path), **changes), splits, 100)
        return str(caught.value)

    assert "--init-from: " in (found := message(tmp_path))
    assert "holds no trained network; it takes a run folder or a .keras file" in found
    (tmp_path / "damaged.keras").write_bytes(b"PK")
    assert f"--init-from: {tmp_path / 'damaged.keras'}: " in message(tmp_path / "damaged.keras")
    make_model(CONFIG, splits, 100).network.save(tmp_path / "mlp.keras")
    assert "its network mlp has other weights than small_cnn" in message(tmp_path / "mlp.keras", backbone="small_cnn")


def test_networks_that_the_images_are_too_small_for_are_named(splits):
    with pytest.raises(UsageError, match=r"^--backbone: MobileNetV2: .*at least 32x32"):
        make_model(dataclasses.replace(CONFIG, backbone="MobileNetV2"), splits, 100)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_of_keras(splits, name):
    model = make_model(dataclasses.replace(CONFIG, optimizer=name, precision="float32"), splits, 100)
    assert type(model.optimizer).__name__.lower() == name
    before = model.network.get_weights()
    model.train_step(next(iter(training_batches(splits.train, make_sampler(CONFIG, splits)))))
    assert all(np.isfinite(weight).all() for weight in model.network.get_weights())
    assert any((old != new).any() for old, new in zip(before, model.network.get_weights(), strict=True))


def test_network_and_precision(model):
    assert model.network.name == "mlp"
    assert {layer.compute_dtype for layer in model.network.layers if "dense" in layer.name} == {"bfloat16"}


@pytest.mark.parametrize(("steps", "drops"), [(100, (50, 75)), (10, (5, 7))])
def test_the_rate_falls_to_a_tenth_after_half_and_three_quarters_of_the_steps(splits, steps, drops):
    optimizer = make_model(CONFIG, splits, steps).optimizer
    assert optimizer.epsilon == 1e-8
    rates = []
    for step in range(steps):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    first, second = drops
    wanted = [0.01] * first + [0.001] * (second - first) + [0.0001] * (steps - second)
    assert rates == pytest.approx(wanted)


def test_batches(splits):
    sampler = make_sampler(CONFIG, splits)
    assert (sampler.batch_size, sampler.positives_per_batch, sampler.seed) == (32, 8, 5)
    assert make_sampler(dataclasses.replace(CONFIG, positives_per_batch=None), splits).positives_per_batch == 16
    assert make_sampler(dataclasses.replace(CONFIG, method="ce"), splits).positives_per_batch is None
    assert make_sampler(dataclasses.replace(CONFIG, method="ce", sampling="positives"), splits).positives_per_batch == 8
    assert make_sampler(dataclasses.replace(CONFIG, sampling="shuffle"), splits).positives_per_batch is None
    assert make_sampler(dataclasses.replace(CONFIG, sampling="separate"), splits).separate


def test_seeds_give_other_weights_and_the_same_seed_the_same(splits, model):
    same, other = (make_model(dataclasses.replace(CONFIG, seed=seed), splits, 100) for seed in (5, 6))
    first = model.network.get_weights()[0]
    assert (same.network.get_weights()[0] == first).all()
    assert (other.network.get_weights()[0] != first).any()
