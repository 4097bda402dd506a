"""The SavedModel, read where none of our code is."""

import io
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import adap_tf
from adap_tf.data import Features, table
from adap_tf.data.images import Form
from adap_tf.export import onnx_model

SHAPE = (8, 8, 1)

# Our package may be installed beside TensorFlow, so this keeps it from being imported.
READER = """
import sys
sys.modules["adap_tf"] = None
import numpy as np
import tensorflow as tf
folder = sys.argv[1]
loaded, given = tf.saved_model.load(folder + "/export"), np.load(folder + "/given.npz", allow_pickle=True)
found = {}
for name in ("serving_default", "float", "encoded"):
    for size in (1, 5):
        image = given[name][:size]
        image = tf.constant(image.tolist() if name == "encoded" else image)
        for key, value in loaded.signatures[name](image=image).items():
            found[f"{name}_{key}_{size}"] = value
np.savez(folder + "/found.npz", **found)
"""


def encoded(pixels, kind="PNG", **options):
    """The bytes of a file, grey if there is one channel."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, kind, **options)
    return file.getvalue()


def random_pixels(rng, *shape):
    return rng.integers(0, 256, shape, np.uint8)


def in_graph(network):
    """The network's own call, compiled as an export's is."""
    return tf.function(partial(network, training=False))


def test_a_fresh_process_gives_the_scores_bit_for_bit(rng, tmp_path):
    network, pixels = adap_tf.BACKBONES["small_cnn"](SHAPE, tasks=2), random_pixels(rng, 5, *SHAPE)
    images = (pixels / np.float32(255)).astype(np.float32)
    adap_tf.export_saved_model(network, tmp_path / "export")
    files = np.array([encoded(each) for each in pixels], object)
    np.savez(tmp_path / "given.npz", serving_default=pixels, float=images, encoded=files)
    subprocess.run([sys.executable, "-c", READER, str(tmp_path)], cwd=tmp_path, check=True, capture_output=True)
    found = np.load(tmp_path / "found.npz")
    assert len(found) == 12
    for size in (1, 5):  # kernels round otherwise in a batch of another size
        wanted = in_graph(network)(tf.constant(images[:size])).numpy()
        for name in ("serving_default", "float", "encoded"):
            np.testing.assert_array_equal(found[f"{name}_score_{size}"], wanted)
            np.testing.assert_allclose(found[f"{name}_probability_{size}"], 1 / (1 + np.exp(-wanted)), atol=1e-6)


class Subclassed(keras.Model):
    """Knows neither the shape of its input nor that of its output."""

    def __init__(self):
        super().__init__()
        self.parts = [keras.layers.Flatten(), keras.layers.Dense(2)]

    def call(self, image, training=False):
        return self.parts[1](self.parts[0](image))


class Simple(Subclassed):
    """Does the same in training."""

    def call(self, image):
        return super().call(image)


@pytest.mark.parametrize("kind", [Subclassed, Simple])
def test_a_subclassed_network_is_exported_too(rng, tmp_path, kind):
    network, images = kind(), rng.uniform(size=(5, *SHAPE)).astype(np.float32)
    wanted = network(images[:3])
    adap_tf.export_saved_model(network, tmp_path / "export")
    serve = tf.saved_model.load(str(tmp_path / "export")).signatures["float"]
    np.testing.assert_allclose(serve(image=tf.constant(images))["score"][:3], wanted, atol=1e-6)
    assert serve(image=tf.zeros((0, *SHAPE)))["score"].shape == (0, 2)


def test_what_has_no_single_input_is_refused(tmp_path):
    one, other = keras.Input((3,)), keras.Input((3,))
    network = adap_tf.BACKBONES["mlp"]((3,))
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    two = keras.Model([one, other], keras.layers.Dense(1)(one + other))
    for given in (unbuilt, Subclassed(), two, adap_tf.AdversarialModel(network, "ce")):
        with pytest.raises(ValueError, match="built and has one input; of an AdversarialModel, its network"):
            adap_tf.export_saved_model(given, tmp_path / "export")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The network of a compiled trainer with 977 positives, and what was exported of it."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("exported") / "export"
    network = adap_tf.BACKBONES["small_cnn"](SHAPE)
    model = adap_tf.AdversarialModel(network, "adap_lpn", positives=977)
    model.compile()
    adap_tf.export_saved_model(model.network, folder)
    return network, tf.saved_model.load(str(folder))


def test_an_export_holds_the_scorer_alone(exported):
    network, loaded = exported
    assert sorted(tuple(v.shape) for v in loaded.variables) == sorted(tuple(w.shape) for w in network.weights)


def test_the_float_signature_is_differentiable(exported, rng):
    network, loaded = exported
    image = tf.constant(rng.random((5, *SHAPE), np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        found, wanted = loaded.signatures["float"](image=image)["score"], network(image, training=False)
    np.testing.assert_allclose(tape.gradient(found, image), tape.gradient(wanted, image), atol=1e-6)
    assert np.abs(tape.gradient(found, image)).max() > 0


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("serving_default", np.zeros((0, *SHAPE), np.uint8)),
        ("serving_default", np.zeros((0, 5, 0, 1), np.uint8)),
        ("float", np.zeros((0, *SHAPE), np.float32)),
        ("encoded", np.zeros((0,), "S1")),
    ],
)
def test_no_images_give_no_scores(exported, name, given):
    assert exported[1].signatures[name](image=tf.constant(given))["score"].shape == (0, 1)


NOT_A_NUMBER = np.where(np.arange(64).reshape(1, *SHAPE) == 9, np.nan, 0.5).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "given", "wrong"),
    [
        ("serving_default", np.zeros((1, *SHAPE), np.float32), "expected to be a uint8 tensor but is a float"),
        ("serving_default", np.zeros((1, 8, 8, 3), np.uint8), r"\[1,8,8,3\] is not compatible .* \[\?,\?,\?,1\]"),
        ("serving_default", np.zeros(SHAPE, np.uint8), r"\[8,8,1\] is not compatible"),
        ("serving_default", np.zeros((1, 0, 8, 1), np.uint8), "must be of non-zero size"),
        ("float", np.zeros((1, *SHAPE), np.uint8), "expected to be a float tensor but is a uint8"),
        (
            "float",
            np.zeros((1, 9, 8, 1), np.float32),
            r"\[1,9,8,1\] is not compatible .* \[\?,8,8,1\]",
        ),
        ("float", NOT_A_NUMBER, "image holds NaN or infinity"),
        ("float", NOT_A_NUMBER * np.inf, "image holds NaN or infinity"),
        ("encoded", np.array([encoded(np.zeros((30, 40, 1), np.uint8), "JPEG")[:-60]]), "Invalid JPEG data"),
        ("encoded", np.array([encoded(np.zeros((30, 40, 1), np.uint8))[:-40]]), "PNG"),
        ("encoded", np.array([b"no image"]), "Unknown image file format"),
        ("encoded", np.array([b""]), "Input is empty"),
    ],
)
def test_what_cannot_be_scored_is_refused(exported, name, given, wrong):
    given = given.tolist() if name == "encoded" else given  # NumPy drops zeros at the end of bytes
    with pytest.raises(tf.errors.InvalidArgumentError, match=wrong):
        exported[1].signatures[name](image=tf.constant(given))


def test_images_of_any_size_are_resized_as_for_training(exported, rng):
    network, loaded = exported
    serve, files = loaded.signatures["serving_default"], loaded.signatures["encoded"]
    for height, width in ((1, 1), (3, 20), (8, 9), (100, 75)):
        pixels = random_pixels(rng, height, width, 1)
        wanted = Form(*SHAPE).decode(encoded(pixels))
        # A level at most, since Pillow rounds between the two directions.
        near = [network(np.clip(wanted + np.float32(d), 0, 255)[None] / 255, training=False) for d in (-1, 0, 1)]
        found = serve(image=tf.constant(pixels[None]))["score"]
        np.testing.assert_allclose(found, near[1], atol=np.ptp(near) + 1e-6)
        np.testing.assert_array_equal(files(image=tf.constant([encoded(pixels)]))["score"], found)
    assert np.isfinite(serve(image=tf.zeros((1, 10_000, 10_000, 1), tf.uint8))["score"]).all()


def test_files_are_decoded_as_for_training(tmp_path, rng):
    network = adap_tf.BACKBONES["mlp"]((24, 16, 3))
    adap_tf.export_saved_model(network, tmp_path / "export")
    signatures = tf.saved_model.load(str(tmp_path / "export")).signatures
    smooth = Image.fromarray(random_pixels(rng, 3, 2, 3)).resize((16, 24), Image.Resampling.BICUBIC)
    colours = np.asarray(smooth)
    for file in (
        encoded(colours, "JPEG"),
        encoded(colours, "JPEG", progressive=True, subsampling=0),
        encoded(colours[..., :1], "JPEG"),  # grey
        encoded(colours),
        encoded(np.dstack([colours, colours[..., :1]])),  # with alpha
    ):
        pixels = Form(24, 16, 3).decode(file)
        wanted = signatures["serving_default"](image=tf.constant(pixels[None]))["score"]
        np.testing.assert_array_equal(signatures["encoded"](image=tf.constant([file]))["score"], wanted)


@pytest.mark.parametrize("shape", [(5,), (8, 8, 5), (None, None, 3)])
def test_what_no_file_holds_has_no_encoded_signature(tmp_path, shape):
    image = keras.Input(shape)
    pooled = keras.layers.GlobalAveragePooling2D()(image) if len(shape) == 3 else image
    network = keras.Model(image, keras.layers.Dense(1)(pooled))
    adap_tf.export_saved_model(network, tmp_path / "export")
    signatures = tf.saved_model.load(str(tmp_path / "export")).signatures
    assert set(signatures) == {"serving_default", "float"}
    pixels = np.full((2, *(each or 7 for each in shape)), 51, np.uint8)
    found = signatures["serving_default"](image=tf.constant(pixels))["score"]
    np.testing.assert_allclose(found, network(pixels / np.float32(255)), atol=1e-6)


# Tables


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A table as it is loaded, its values, and what was exported of a network for it."""
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(3)
    values = np.stack([rng.uniform(-1e6, 1e7, 50), rng.normal(size=50), np.full(50, 3)], axis=1).astype(np.float32)
    lines = [f"{a!r},{b!r},{c!r},{n % 2}" for n, (a, b, c) in enumerate(values.astype(float).tolist())]
    (folder / "t.csv").write_text("amount,age,same,y\n" + "\n".join(lines))
    source = table.load(folder / "t.csv", [])["train"]
    network = adap_tf.BACKBONES["mlp"]((3,))
    adap_tf.export_saved_model(network, folder / "export", source.features)
    return source, values, network, tf.saved_model.load(str(folder / "export")).signatures


def test_features_are_scaled_as_for_training(rows):
    source, values, network, signatures = rows
    wanted = in_graph(network)(tf.constant(source.image)).numpy()
    np.testing.assert_array_equal(signatures["serving_default"](features=tf.constant(values))["score"], wanted)
    np.testing.assert_array_equal(signatures["float"](image=tf.constant(source.image))["score"], wanted)
    assert set(signatures) == {"serving_default", "float"}


def test_values_out_of_bounds_count_as_the_bound(rows):
    _, _, network, signatures = rows
    found = signatures["serving_default"](features=tf.constant([[3e38, -3e38, 3]]))["score"]
    np.testing.assert_array_equal(found, in_graph(network)(tf.constant([[1.0, 0, 0]])))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ([[1, 2, 3], [np.nan, 2, np.inf]], r"missing, NaN or infinite in the columns\] \[amount same\]"),
        ([[1, 2]], r"\[1,2\] is not compatible with expected shape \[\?,3\]"),
        ([[1]], r"\[1,1\] is not compatible"),  # it would do for all columns
    ],
)
def test_rows_that_will_not_do_are_refused(rows, given, wrong):
    with pytest.raises(tf.errors.InvalidArgumentError, match=wrong):
        rows[3]["serving_default"](features=tf.constant(given, tf.float32))


def test_no_rows_give_no_scores(rows):
    assert rows[3]["serving_default"](features=tf.zeros((0, 3)))["score"].shape == (0, 1)


def test_columns_come_back_from_what_is_told_of_them(rows):
    features = rows[0].features
    again = Features.of(features.by_name())
    assert again.names == features.names
    for part in ("low", "high", "changeable"):
        np.testing.assert_array_equal(getattr(again, part), getattr(features, part))


# ONNX


def test_onnx_gives_the_scores(rows, exported, rng):
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    source, values, network, signatures = rows
    image = rng.random((5, *SHAPE), np.float32)
    for model, name, given, wanted in (
        (onnx_model(network, source.features), "features", values, signatures["serving_default"](features=values)),
        (onnx_model(exported[0]), "image", image, exported[1].signatures["float"](image=tf.constant(image))),
    ):
        session = runtime.InferenceSession(model)
        for key in ("score", "probability"):
            np.testing.assert_allclose(session.run([key], {name: given})[0], wanted[key], atol=1e-5)


def test_onnx_has_no_bfloat16(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", object())
    image = keras.Input((3,))
    network = keras.Model(image, keras.layers.Dense(1, dtype="mixed_bfloat16")(image))
    with pytest.raises(ValueError, match="computes in bfloat16"):
        onnx_model(network)
