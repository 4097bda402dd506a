"""The lean network against the network itself in float64: scores, gradients, statistics; and what it leaves alone."""

from collections import Counter
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from adap_tf import PGD, Evaluator
from adap_tf.backbones import resnet18, small_cnn
from adap_tf.convolutions import Blocks, Direct, Product
from adap_tf.lean import Convolution, Other, at_rest, in_training, steps
from model_test import Loud
from train.workers import make_strategy

NARROW = (4, 6, 8, 10)


@pytest.fixture
def float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def shaken(network):
    """The network with weights and statistics that are nobody's default."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        low = 0.5 if "variance" in weight.path or "gamma" in weight.path else -0.5
        weight.assign(rng.uniform(low, low + 1, weight.shape))
    return network


def built(*stack, size=(9, 9, 3)):
    return shaken(keras.Sequential([keras.Input(size), *stack, layers.Flatten(), layers.Dense(2)]))


def images(network, count=5):
    rng = np.random.default_rng(1)
    return tf.constant(rng.random((count, *network.inputs[0].shape[1:])), network.inputs[0].dtype)


def by_images(scores, image):
    with tf.GradientTape() as tape:
        tape.watch(image)
        found = scores(image)
    return found, tape.gradient(
        found, image, output_gradients=tf.random.stateless_normal(found.shape, (1, 2), dtype=found.dtype)
    )


def by_weights(scores, network, image):
    with tf.GradientTape() as tape:
        found = scores()(image)
    seeds = tf.random.stateless_normal(found.shape, (1, 2), dtype=found.dtype)
    gradients = tape.gradient(found, network.trainable_variables, output_gradients=seeds)
    return found, gradients, [weight.numpy() for weight in network.non_trainable_variables]


def assert_close(found, expected, tolerance=1e-10):
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max(initial=0)))


def assert_same(network, tolerance=1e-10, image=None):
    """Scores, losses and gradients, at rest and in training, with the statistics that it leaves."""
    image = images(network) if image is None else image
    assert steps(network)
    assert_close(by_images(at_rest(network), image), by_images(partial(network, training=False), image), tolerance)
    before, found = network.get_weights(), []
    for start in (partial(partial, network, training=True), partial(in_training, network)):
        network.set_weights(before)
        found.append([*by_weights(start, network, image), list(network.losses)])
    assert_close(found[1], found[0], tolerance)


def forms(network):
    return Counter(type(step.unit.form) for step in steps(network) if isinstance(step.unit, Convolution))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_resnet(stem):
    assert_same(shaken(resnet18((32, 32, 3), 2, stem, NARROW)))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", [(1, 1, 3), (2, 3, 3), (9, 8, 1)])
def test_small_cnn(size):
    assert_same(shaken(small_cnn(size, 2, NARROW)))


def test_forms_of_the_papers_network():
    # maps of 2×2: 3 convolutions; from 2×2 to 1×1, and at 1×1: 1 and 3; the 1×1 around sees one pixel of four
    assert forms(resnet18((32, 32, 3))) == {Blocks: 1, Product: 7, Direct: 12}
    assert forms(resnet18((64, 64, 3))) == {Blocks: 1, Product: 3, Direct: 16}
    assert forms(resnet18((32, 32, 3), stem="cifar")) == {Direct: 20}


def any_convolution(number):
    """A convolution of any size, stride and padding, on a map of any size on which it has an output."""
    rng = np.random.default_rng(number)
    kernel, stride, around = rng.integers(1, 8, 2), int(rng.integers(1, 4)), rng.integers(0, 3, (2, 2))
    size = np.maximum(rng.integers(1, 8, 2), kernel - around.sum(axis=1))
    conv = layers.Conv2D(3, kernel.tolist(), stride, rng.choice(["same", "valid"]), use_bias=bool(rng.integers(2)))
    return built(layers.ZeroPadding2D(around.tolist()), conv, layers.BatchNormalization(), size=(*size.tolist(), 2))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("number", range(20))
def test_any_convolution(number):
    assert_same(any_convolution(number))


def test_the_convolutions_above_take_all_forms():
    found = sum((forms(any_convolution(number)) for number in range(20)), Counter())
    assert min(found[form] for form in (Blocks, Direct, Product)) >= 3, found


STACKS = {
    "activation before the norm": [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()],
    "activation and no norm": [layers.Conv2D(4, 9, activation="relu")],
    "a norm without slope": [layers.Conv2D(4, 3), layers.BatchNormalization(scale=False)],
    "a norm without offset": [layers.Conv2D(4, 3, use_bias=False), layers.BatchNormalization(center=False)],
    "a norm of rows": [layers.Conv2D(4, 3), layers.BatchNormalization(axis=1)],
    "a frozen norm": [layers.Conv2D(4, 3), layers.BatchNormalization(trainable=False)],
    "groups": [layers.Conv2D(6, 3, groups=3), layers.BatchNormalization()],
    "dilation": [layers.Conv2D(4, 3, dilation_rate=2), layers.BatchNormalization()],
    "another convolution": [layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.LayerNormalization()],
    "padding before another layer": [layers.ZeroPadding2D(1), layers.MaxPooling2D(), layers.Conv2D(4, 3)],
    "dropout": [layers.Conv2D(4, 3), layers.Dropout(0.0)],
    "a norm before": [layers.BatchNormalization(), layers.Conv2D(4, 3, padding="same")],
    "renormalisation": [layers.Conv2D(4, 3), layers.BatchNormalization(renorm=True)],
    "losses of a convolution": [layers.Conv2D(4, 3, activity_regularizer="l2"), layers.BatchNormalization()],
    "losses of a norm": [layers.Conv2D(4, 3), layers.BatchNormalization(activity_regularizer="l2")],
    "losses of a kernel": [layers.Conv2D(4, 9, kernel_regularizer="l2"), layers.BatchNormalization()],
    "pixels that no kernel reaches": [layers.Conv2D(4, 2, 3)],
    "a large kernel on a large map": [layers.Conv2D(4, 17, padding="same")],
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_layers_around(name, precision):
    stack = [type(layer).from_config(layer.get_config() | {"dtype": precision}) for layer in STACKS[name]]
    keras.config.set_dtype_policy(precision)
    network = built(*stack)
    keras.config.set_dtype_policy("float32")
    assert_same(network, 1e-10 if precision == "float64" else 1e-3)


@pytest.mark.usefixtures("float64")
def test_what_others_look_at_stays():
    """A padding, a convolution and a norm, each with a second user."""
    image = keras.Input((4, 4, 3))
    padded = layers.ZeroPadding2D(1)(image)
    convolved = layers.Conv2D(3, 3)(padded)
    normed = layers.BatchNormalization()(convolved)
    parts = [layers.GlobalAveragePooling2D()(x) for x in (padded, convolved, normed)]
    assert_same(shaken(keras.Model(image, layers.Dense(2)(layers.Concatenate()(parts)))))


@pytest.mark.usefixtures("float64")
def test_layers_may_have_any_name():
    network = built(layers.Conv2D(4, 3), layers.ReLU(name="_hidden"))
    scores = tf.function(at_rest(network))(images(network))
    assert_close(scores, network(images(network), training=False))


class Nested(layers.Layer):
    """A sum of what comes in a list in a list, or in a dict."""

    def call(self, x):
        return x["one"] + x["two"] if isinstance(x, dict) else x[0] + 2 * x[1][0]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("argue", [lambda a, b: [a, [b]], lambda a, b: {"one": a, "two": b}])
def test_arguments_keep_their_structure(argue):
    image = keras.Input((4,))
    a, b = layers.Dense(3)(image), layers.Dense(3)(image)
    assert_same(shaken(keras.Model(image, layers.Dense(2)(layers.Concatenate()([Nested()(argue(a, b))])))))


@pytest.mark.usefixtures("float64")
def test_a_layer_that_is_called_twice_on_maps_of_two_sizes():
    image = keras.Input((5, 5, 3))
    conv = layers.Conv2D(3, 3)
    assert_same(shaken(keras.Model(image, layers.Dense(2)(layers.Flatten()(conv(conv(image)))))))


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dense(3, activity_regularizer="l2"),
        Loud,
        lambda: keras.Sequential([keras.Input((3,)), layers.ActivityRegularization(0.1)]),
    ],
)
def test_losses_of_a_layer_that_is_called_twice_are_not_forgotten(make):
    image, twice = keras.Input((3,)), make()
    network = keras.Model(image, layers.Dense(1)(twice(layers.ReLU()(twice(image)))))
    losses = []
    for scores in (in_training(network), partial(network, training=True)):
        scores(images(network))
        losses.append([float(loss) for loss in network.losses])
    assert len(losses[0]) == 2
    np.testing.assert_allclose(losses[0], losses[1])


@pytest.mark.usefixtures("float64")
def test_a_network_within():
    image = keras.Input((9, 9, 3))
    network = shaken(keras.Model(image, layers.Dense(2)(small_cnn((9, 9, 3), 3, NARROW)(layers.ReLU()(image)))))
    assert_same(network)
    others = [step.unit.layer for step in steps(network) if isinstance(step.unit, Other)]
    (inside,) = [layer for layer in others if isinstance(layer, keras.Model)]
    assert forms(inside)


@pytest.mark.usefixtures("float64")
def test_a_sequential_model_that_was_saved(tmp_path):
    network = built(layers.Conv2D(4, 3), layers.BatchNormalization())
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert forms(loaded) == forms(network) == {Direct: 1}
    assert_same(loaded)


@pytest.mark.usefixtures("float64")
def test_the_network_decides_on_training():
    image = keras.Input((4, 4, 3))
    x = layers.BatchNormalization()(layers.Conv2D(3, 3)(image, training=True), training=False)
    assert_same(shaken(keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))))


def test_kernels_of_low_rank():
    network = built(layers.Conv2D(4, 3), layers.BatchNormalization())
    network.layers[0].enable_lora(2)
    assert_same(shaken(network), 1e-3)


@pytest.mark.parametrize(("of_conv", "of_norm"), [("mixed_bfloat16", "float32"), ("float32", "mixed_bfloat16")])
def test_a_norm_of_another_precision(of_conv, of_norm):
    image = keras.Input((9, 9, 3))
    x = layers.BatchNormalization(dtype=of_norm)(layers.Conv2D(4, 3, dtype=of_conv)(image))
    network = shaken(keras.Model(image, x))
    expected = network(images(network), training=False)
    found = at_rest(network)(images(network))
    assert found.dtype == expected.dtype == in_training(network)(images(network)).dtype
    np.testing.assert_allclose(np.float32(found), np.float32(expected), atol=0.05)


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_images_of_another_type(dtype):
    network = built(layers.Conv2D(4, 3), layers.BatchNormalization())
    image = tf.cast(9 * images(network), dtype)
    np.testing.assert_allclose(at_rest(network)(image), network(image, training=False), rtol=1e-4, atol=1e-4)


def test_images_of_another_shape_are_the_networks_business():
    gray = built(layers.Conv2D(4, 3), size=(6, 6, 1))
    image = tf.random.stateless_uniform([5, 6, 6], (0, 1))
    np.testing.assert_array_equal(at_rest(gray)(image), gray(image, training=False))
    with pytest.raises(ValueError, match="incompatible"):
        at_rest(gray)(tf.zeros([5, 12, 12, 1]))


def test_batch_norm_of_a_training_pass_is_one_operation():
    network = shaken(small_cnn((9, 9, 3), 2, NARROW))
    assert_same(network, 1e-3)
    graph = tf.function(lambda x: in_training(network)(x)).get_concrete_function(images(network)).graph
    assert Counter(op.type for op in graph.get_operations())["FusedBatchNormV3"] == len(NARROW)


def test_a_pass_that_is_made_again_moves_no_statistics():
    network = shaken(small_cnn((9, 9, 3), 2, NARROW))
    before, image = network.get_weights(), images(network)
    again, once = in_training(network, again=True)(image), in_training(network)(image)
    np.testing.assert_array_equal(again, once)
    assert sum((old != new).any() for old, new in zip(before, network.get_weights(), strict=True)) == 2 * len(NARROW)
    network.set_weights(before)
    in_training(network, again=True)(image)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_maps_of_a_size_that_is_not_known_before():
    network = shaken(small_cnn((None, None, 3), 2, NARROW))
    image = images(built(size=(9, 9, 3)))
    before, found = network.get_weights(), []
    for start in (partial(network, training=True), in_training(network)):
        network.set_weights(before)
        scores = tf.function(start, input_signature=[tf.TensorSpec([None, None, None, 3])])(image)
        found.append([scores, *network.get_weights()])
    assert_close(found[1], found[0], 1e-4)


def test_low_precision_stays_within_its_rounding():
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = shaken(small_cnn((9, 9, 3), 2, NARROW))
    keras.config.set_dtype_policy("float32")
    image = images(network, 64)
    found, expected = np.asarray(at_rest(network)(image)), np.asarray(network(image, training=False))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.1 * expected.std()


def test_weights_are_made_ready_once_for_all_passes():
    network = small_cnn((9, 9, 3), 2, NARROW)
    evaluator = Evaluator(network, {"pgd": PGD(steps=5)}, batch_size=4)
    parts = images(network, 4), tf.zeros([4, 2]), tf.constant(0, tf.int64)
    graph = evaluator._compiled["pgd"].get_concrete_function(*parts).graph
    count = Counter(op.type for op in graph.get_operations())
    assert count["Conv2DBackpropInput"] == 5 * len(NARROW)
    assert count["Rsqrt"] == len(NARROW)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(layers.Flatten()(x))


class Doubled(keras.Sequential):
    def call(self, x, training=None):
        return 2 * super().call(x, training=training)


def doubled():
    return Doubled([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(2)])


def with_an_operation():
    image = keras.Input((4, 4, 3))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(image * 2)))


def with_attention():
    image = keras.Input((4, 4, 3))
    x = layers.Reshape((16, 3))(image)
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.MultiHeadAttention(1, 2)(x, x))))


@pytest.mark.parametrize("make", [Subclassed, doubled, with_an_operation, with_attention])
def test_others_are_called_as_a_whole(make):
    network = make()
    image = tf.constant(np.random.default_rng(0).random((2, 4, 4, 3), np.float32))
    network(image)
    assert not steps(network)
    np.testing.assert_array_equal(at_rest(network)(image), network(image, training=False))
    np.testing.assert_array_equal(in_training(network)(image), network(image, training=True))


def test_a_model_that_was_never_called_is_called_as_a_whole():
    assert not steps(keras.Sequential([layers.Flatten(), layers.Dense(2)]))


def test_any_function_will_do():
    def network(image, training):
        return image + float(training)

    assert [in_training(network)(1.0), at_rest(network)(1.0)] == [2.0, 1.0]


def test_replicas_share_the_sums_of_a_norm():
    strategy = make_strategy(2)
    with strategy.scope():
        network = shaken(small_cnn((4, 4, 3), 2, NARROW))
    parts = tf.split(images(network, 4), 2)
    given = strategy.experimental_distribute_values_from_function(lambda at: parts[at.replica_id_in_sync_group])

    def passed(start):
        scores = tf.function(lambda: strategy.run(lambda x: start()(x), (given,)))()
        statistics = [weight.numpy() for weight in network.non_trainable_variables]
        network.set_weights(before)
        return [*strategy.experimental_local_results(scores), *statistics]

    before = network.get_weights()
    expected = passed(lambda: partial(network, training=True))
    assert_close(passed(lambda: in_training(network)), expected, 1e-5)
