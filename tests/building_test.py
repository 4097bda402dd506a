"""What a config stands for reaches the model."""

import dataclasses

import pytest

from adap_tf import PGD
from train.building import make_model, make_sampler
from train.config import PRESETS
from train.sources import load_splits

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
    return load_splits("digits", "8", 0)


@pytest.fixture(scope="module")
def model(splits):
    return make_model(CONFIG, splits, 100)


def test_method_and_attacks(model):
    method = model.method
    assert (method.name, method.lam, method.loss.gamma1, method.loss.margin) == ("adap_lpn", 0.4, 0.9, 0.5)
    assert method.regularisers[0].gamma2 == 0.2
    assert model.attack == PGD(eps=0.2, steps=2, step_size=0.11)
    assert model.threat == PGD(eps=0.2, steps=3, step_size=0.07)
    assert (model.l2, model.seed) == (0.5, 5)


def test_estimators_fit_the_training_split(model):
    table = model.estimators["P_clean"]
    assert table.positives == (104,)
    assert table.floor == pytest.approx(0.5**2 / 1078)


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


def test_seeds_give_other_weights_and_the_same_seed_the_same(splits, model):
    same, other = (make_model(dataclasses.replace(CONFIG, seed=seed), splits, 100) for seed in (5, 6))
    first = model.network.get_weights()[0]
    assert (same.network.get_weights()[0] == first).all()
    assert (other.network.get_weights()[0] != first).any()
