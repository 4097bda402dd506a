"""The evaluator: what it scores under each threat, whatever the batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score

import adap_tf
import reference
from adap_tf import PGD, Evaluator
from adap_tf.evaluation import EVALUATION_STREAM, arrays_of
from adap_tf.noise import Noise


@pytest.fixture
def data(rng):
    image = rng.uniform(0, 1, (30, 8, 8, 1)).astype("float32")
    return image, (np.arange(30)[:, None] % 3 == 0).astype("float32")


THREATS = {"clean": None, "pgd": PGD(eps=0.1, step_size=0.03, steps=3, start=0.05)}


def linear(weight):
    network = keras.Sequential([keras.Input((len(weight),)), keras.layers.Dense(weight.shape[1], use_bias=False)])
    network.set_weights([weight])
    return network


@pytest.fixture
def table(rng):
    """Features, labels with two unknown, and the weight of a linear scorer."""
    image, weight = rng.uniform(0, 1, (11, 5)).astype("float32"), rng.normal(size=(5, 1)).astype("float32")
    label = np.array([1, 0, 0, 1, np.nan, 0, 1, 0, 0, np.nan, 0], "float32")[:, None]
    return image, label, weight


def test_a_linear_scorer_agrees_with_the_reference(table):
    image, label, weight = table
    attack = PGD(eps=0.1, step_size=0.03, steps=5, start=0.05)
    evaluator = Evaluator(linear(weight), {"clean": None, "pgd": attack}, batch_size=4, seed=9)
    noise = Noise(tf.constant([9, EVALUATION_STREAM], tf.int64)).normal(image.shape).numpy()
    away = np.nan_to_num(label[:, 0], nan=0.5)  # halfway, the reference goes neither way
    images = {"clean": image, "pgd": reference.pgd_linear(image, weight[:, 0], away, 0.1, 0.03, 5, 0.05 * noise)}
    scores, found = evaluator.scores(image, label), evaluator.average_precision(image, label)
    known = np.isfinite(label[:, 0])
    for threat, wanted in images.items():
        np.testing.assert_allclose(scores[threat], wanted @ weight, atol=1e-5)
        np.testing.assert_allclose(evaluator.attacked(threat, image, label, np.arange(11)), wanted, atol=1e-6)
        ap = found[threat]["ap"]
        assert ap == pytest.approx(reference.average_precision((wanted @ weight)[:, 0], label[:, 0]), rel=1e-12)
        assert ap == pytest.approx(average_precision_score(label[known, 0], scores[threat][known, 0]), rel=1e-12)
        assert (found[threat]["examples"], found[threat]["positives"]) == (11, 3)
    assert found["pgd"]["ap"] < found["clean"]["ap"]


def test_an_unknown_label_of_one_task_leaves_the_attack_to_the_other(table, rng):
    image, label, weight = table
    label = np.where(np.isnan(label), 0, label).astype("float32")
    threats = {"pgd": PGD(eps=0.1, step_size=0.03, steps=5)}
    alone = Evaluator(linear(weight), threats).scores(image, label)["pgd"]
    both = linear(np.hstack([weight, rng.normal(size=(5, 1)).astype("float32")]))
    beside = np.hstack([label, np.full_like(label, np.nan)])
    np.testing.assert_allclose(Evaluator(both, threats).scores(image, beside)["pgd"][:, :1], alone, atol=1e-5)


def test_scores_do_not_depend_on_the_batch(data):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    wanted = Evaluator(network, THREATS, batch_size=30).scores(*data)
    np.testing.assert_allclose(wanted["clean"], network(data[0]), atol=1e-5)
    assert np.abs(wanted["pgd"] - wanted["clean"]).max() > 1e-3
    for size in (7, 64):
        found = Evaluator(network, THREATS, batch_size=size).scores(*data)
        for threat in THREATS:
            np.testing.assert_allclose(found[threat], wanted[threat], atol=1e-5)


def test_the_seed_draws_the_start(data):
    network = adap_tf.BACKBONES["mlp"]((8, 8, 1))
    one, same, other = (Evaluator(network, THREATS, seed=seed).scores(*data) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one["pgd"], same["pgd"])
    np.testing.assert_array_equal(one["clean"], other["clean"])
    assert (one["pgd"] != other["pgd"]).any()


def test_evaluation_leaves_the_network_alone(data):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    before = [weight.copy() for weight in network.get_weights()]
    Evaluator(network, THREATS).scores(*data)
    for one, other in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_attack_moves_every_score_against_its_label(data):
    image, label = data
    network = adap_tf.BACKBONES["mlp"]((8, 8, 1))
    found = Evaluator(network, {"clean": None, "pgd": PGD(eps=0.1, step_size=0.01, steps=8)}).scores(image, label)
    assert ((1 - 2 * label) * (found["pgd"] - found["clean"]) > 0).all()


def test_attacked_gives_the_images_that_were_scored(data):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    evaluator = Evaluator(network, THREATS, batch_size=8, seed=4)
    places = np.array([2, 13, 29])
    attacked = evaluator.attacked("pgd", *data, places)
    assert np.abs(attacked - data[0][places]).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(network(attacked), evaluator.scores(*data)["pgd"][places], atol=1e-4)
    np.testing.assert_array_equal(evaluator.attacked("clean", *data, places), data[0][places])


def test_uint8_images_are_scaled(data):
    network = adap_tf.BACKBONES["mlp"]((8, 8, 1))
    image = (data[0] * 255).astype("uint8")
    found, wanted = (Evaluator(network, THREATS).scores(x, data[1]) for x in (image, image.astype("float32") / 255))
    for threat in THREATS:
        np.testing.assert_allclose(found[threat], wanted[threat], atol=1e-5)


def test_summary_counts(data):
    found = Evaluator(adap_tf.BACKBONES["mlp"]((8, 8, 1)), THREATS).average_precision(*data)
    assert {threat: (entry["examples"], entry["positives"]) for threat, entry in found.items()} == {
        "clean": (30, 10),
        "pgd": (30, 10),
    }
    assert found["pgd"]["ap"] <= found["clean"]["ap"]


def test_arrays_come_from_arrays_and_data_sets(data):
    image, label = data
    dataset = tf.data.Dataset.from_tensor_slices({"image": image, "label": label[:, 0]}).batch(7)
    for found in (arrays_of(image, label[:, 0]), arrays_of(dataset)):
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], label)
    with pytest.raises(ValueError, match="labels are missing"):
        arrays_of(image)


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e4])
def test_no_example_of_several_tasks_stays_where_it_was(rng, scale):
    image = rng.uniform(0.2, 0.8, (60, 6)).astype("float32")
    weight = rng.normal(size=(6, 2))
    label = (image @ weight > 0).astype(float)  # every score is on its label's side, and large where the scale is
    label[::7, 1] = np.nan
    network = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    network.set_weights([scale * weight, np.zeros(2)])
    evaluator = Evaluator(network, {"robust": PGD(eps=0.1, step_size=0.03, steps=10)})
    moved = np.abs(evaluator.attacked("robust", image, label, np.arange(60)) - image)
    assert np.median(moved) > 0.09
    assert (moved.max(axis=1) > 0.09).all()


def test_evaluation_takes_labels_of_one_task_as_a_vector(rng):
    image, label = rng.uniform(0, 1, (10, 4)).astype("float32"), np.arange(10) % 2
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    evaluator = Evaluator(network, {"clean": None, "pgd": PGD()})
    found, wanted = evaluator.scores(image, label), evaluator.scores(image, label[:, None])
    np.testing.assert_array_equal(found["pgd"], wanted["pgd"])
