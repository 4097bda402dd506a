"""Metrics and the evaluator."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import adap_tf
import reference
from adap_tf import PGD, Evaluator, average_precision, mean_average_precision
from adap_tf.evaluation import arrays_of


def test_average_precision_by_hand_and_by_reference(rng):
    np.testing.assert_allclose(average_precision(np.array([3.0, 2, 1]), np.array([1.0, 0, 1])), [(1 + 2 / 3) / 2])
    np.testing.assert_allclose(average_precision(np.ones(4), np.array([1, 0, 0, 0])), [0.25])  # all tied
    for _ in range(20):
        scores, label = np.round(rng.normal(size=(30, 2)), 1), (rng.uniform(size=(30, 2)) < 0.3).astype(float)
        label[:3] = np.nan
        label[3] = 1
        wanted = [reference.average_precision(s[3:], y[3:]) for s, y in zip(scores.T, label.T, strict=True)]
        np.testing.assert_allclose(average_precision(scores, label), wanted)
        np.testing.assert_allclose(mean_average_precision(scores, label), np.mean(wanted))


def test_a_task_without_positives_has_no_average_precision():
    assert np.isnan(average_precision(np.zeros(3), np.zeros(3))).all()
    label = np.array([[1, 0], [0, np.nan]])
    assert mean_average_precision(np.array([[1.0, 0], [0, 0]]), label) == 1.0
    assert np.isnan(mean_average_precision(np.zeros(3), np.zeros(3)))


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="example 1 is not finite"):
        average_precision(np.array([0.0, np.nan]), np.array([1, 0]))
    with pytest.raises(ValueError, match="same shape"):
        average_precision(np.zeros((2, 2)), np.zeros((2, 1)))


@pytest.fixture
def data(rng):
    image = rng.uniform(0, 1, (30, 8, 8, 1)).astype("float32")
    return image, (np.arange(30)[:, None] % 3 == 0).astype("float32")


THREATS = {"clean": None, "pgd": PGD(eps=0.1, step_size=0.03, steps=3, start=0.05)}


def test_scores_do_not_depend_on_the_batch(data):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    wanted = Evaluator(network, THREATS, batch_size=30).scores(*data)
    np.testing.assert_allclose(wanted["clean"], network(data[0]), atol=1e-5)
    assert np.abs(wanted["pgd"] - wanted["clean"]).max() > 1e-3
    for size in (7, 64):
        found = Evaluator(network, THREATS, batch_size=size).scores(*data)
        for threat in THREATS:
            np.testing.assert_allclose(found[threat], wanted[threat], atol=1e-5)


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


def test_export_needs_no_code_of_ours(data, tmp_path):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    adap_tf.export_saved_model(network, tmp_path / "export")
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    assert len(loaded.variables) == len(network.weights)  # no estimator, no optimizer
    pixels = (data[0] * 255).astype("uint8")
    for name, image in (("serving_default", pixels[:5]), ("float", (pixels / 255).astype("float32"))):
        found = loaded.signatures[name](image=tf.constant(image))
        wanted = keras.ops.convert_to_numpy(network(pixels.astype("float32")[: len(image)] / 255))
        np.testing.assert_allclose(found["score"], wanted, atol=1e-5)
        np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-wanted)), atol=1e-5)
