"""The SavedModel, read where none of our code is."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import adap_tf

# Our package may be installed beside TensorFlow, so this keeps it from being imported.
READER = """
import sys
sys.modules["adap_tf"] = None
import numpy as np
import tensorflow as tf
folder = sys.argv[1]
loaded, images = tf.saved_model.load(folder + "/export"), np.load(folder + "/images.npz")
found = {
    f"{name}_{key}_{size}": value
    for name in ("serving_default", "float")
    for size in (1, 5)
    for key, value in loaded.signatures[name](image=tf.constant(images[name][:size])).items()
}
np.savez(folder + "/found.npz", **found)
"""


def random_images(rng, count=5):
    pixels = rng.integers(0, 256, (count, 8, 8, 1), dtype="uint8")
    return {"serving_default": pixels, "float": (pixels / 255).astype("float32")}


def test_a_fresh_process_gives_the_scores(rng, tmp_path):
    network, images = adap_tf.BACKBONES["small_cnn"]((8, 8, 1), tasks=2), random_images(rng)
    adap_tf.export_saved_model(network, tmp_path / "export")
    np.savez(tmp_path / "images.npz", **images)
    subprocess.run([sys.executable, "-c", READER, str(tmp_path)], cwd=tmp_path, check=True, capture_output=True)
    found, wanted = np.load(tmp_path / "found.npz"), keras.ops.convert_to_numpy(network(images["float"]))
    assert len(found) == 8
    for name in images:
        for size in (1, 5):  # any batch size
            np.testing.assert_allclose(found[f"{name}_score_{size}"], wanted[:size], atol=1e-5)
            np.testing.assert_allclose(found[f"{name}_probability_{size}"], 1 / (1 + np.exp(-wanted[:size])), atol=1e-5)


class Subclassed(keras.Model):
    """Knows neither the shape of its input nor that of its output."""

    def __init__(self):
        super().__init__()
        self.parts = [keras.layers.Flatten(), keras.layers.Dense(2)]

    def call(self, image, training=False):
        return self.parts[1](self.parts[0](image))


def test_a_subclassed_network_is_exported_too(rng, tmp_path):
    network, images = Subclassed(), random_images(rng)["float"]
    wanted = network(images[:3])
    adap_tf.export_saved_model(network, tmp_path / "export")
    serve = tf.saved_model.load(str(tmp_path / "export")).signatures["float"]
    np.testing.assert_allclose(serve(image=tf.constant(images))["score"][:3], wanted, atol=1e-6)
    assert serve(image=tf.zeros((0, 8, 8, 1)))["score"].shape == (0, 2)


@pytest.fixture
def exported(tmp_path):
    """The network of a compiled trainer with 977 positives, and what was exported of it."""
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    model = adap_tf.AdversarialModel(network, "adap_lpn", positives=977)
    model.compile()
    adap_tf.export_saved_model(model.network, tmp_path / "export")
    return network, tf.saved_model.load(str(tmp_path / "export"))


def test_an_export_holds_the_scorer_alone(exported):
    network, loaded = exported
    assert sorted(tuple(v.shape) for v in loaded.variables) == sorted(tuple(w.shape) for w in network.weights)


def test_the_float_signature_is_differentiable(exported, rng):
    network, loaded = exported
    image = tf.constant(random_images(rng)["float"])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        found, wanted = loaded.signatures["float"](image=image)["score"], network(image, training=False)
    np.testing.assert_allclose(tape.gradient(found, image), tape.gradient(wanted, image), atol=1e-6)
    assert np.abs(tape.gradient(found, image)).max() > 0


def test_no_images_give_no_scores(exported):
    _, loaded = exported
    assert loaded.signatures["serving_default"](image=tf.zeros((0, 8, 8, 1), tf.uint8))["score"].shape == (0, 1)
