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
from adap_tf.lean import Convolution, Lean

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


def assert_same(network, tolerance=1e-10):
    """Scores and gradients, at rest and in training, with the statistics that it leaves."""
    image, lean = images(network), Lean(network)
    assert lean._steps
    expected = by_images(network, image)
    assert_close(by_images(lean.at_rest(), image), expected, tolerance)
    before = network.get_weights()
    expected = by_weights(lambda: partial(network, training=True), network, image)
    network.set_weights(before)
    assert_close(by_weights(lean.in_training, network, image), expected, tolerance)


def forms(network):
    return Counter(type(step.form) for step in Lean(network)._steps if isinstance(step, Convolution))


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
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", STACKS)
def test_layers_around(name):
    assert_same(built(*(type(layer).from_config(layer.get_config() | {"dtype": "float64"}) for layer in STACKS[name])))


@pytest.mark.usefixtures("float64")
def test_what_others_look_at_stays():
    """A padding, a convolution and a norm, each with a second user."""
    image = keras.Input((4, 4, 3))
    padded = layers.ZeroPadding2D(1)(image)
    convolved = layers.Conv2D(3, 3)(padded)
    normed = layers.BatchNormalization()(convolved)
    parts = [layers.GlobalAveragePooling2D()(x) for x in (padded, convolved, normed)]
    assert_same(shaken(keras.Model(image, layers.Dense(2)(layers.Concatenate()(parts)))))


def test_batch_norm_of_a_training_pass_in_float32():
    network = shaken(small_cnn((9, 9, 3), 2, NARROW))
    assert_same(network, 2e-4)
    image = images(network, 8)
    graph = tf.function(lambda x: Lean(network).in_training()(x)).get_concrete_function(image).graph
    assert Counter(op.type for op in graph.get_operations())["FusedBatchNormV3"] == len(NARROW)


def test_low_precision_stays_within_its_rounding():
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = shaken(small_cnn((9, 9, 3), 2, NARROW))
    keras.config.set_dtype_policy("float32")
    image = images(network, 64)
    found, expected = (np.asarray(scores(image)) for scores in (Lean(network).at_rest(), network))
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


def with_a_layer_twice():
    image = keras.Input((4, 4, 3))
    conv = layers.Conv2D(3, 3, padding="same")
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(conv(conv(image)))))


def with_another_inside():
    image = keras.Input((4, 4, 3))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(small_cnn((4, 4, 3), 2)(image))))


def with_an_operation():
    image = keras.Input((4, 4, 3))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(image * 2)))


def with_attention():
    image = keras.Input((4, 3))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.MultiHeadAttention(1, 2)(image, image))))


def never_called():
    return keras.Sequential([layers.Flatten(), layers.Dense(2)])


@pytest.mark.parametrize(
    "make", [Subclassed, with_a_layer_twice, with_another_inside, with_an_operation, with_attention, never_called]
)
def test_others_are_called_as_a_whole(make):
    network = make()
    image = np.random.default_rng(0).random((2, 4, 3) if make is with_attention else (2, 4, 4, 3), np.float32)
    lean = Lean(network)
    assert not lean._steps
    if make is not never_called:
        np.testing.assert_array_equal(lean.at_rest()(image), network(image, training=False))
        np.testing.assert_array_equal(lean.in_training()(image), network(image, training=True))


def test_any_function_will_do():
    lean = Lean(lambda image, training: image + float(training))
    assert [lean.in_training()(1.0), lean.at_rest()(1.0)] == [2.0, 1.0]


def test_no_weight_is_added():
    network = small_cnn((9, 9, 3), 2, NARROW)
    names = [weight.path for weight in network.weights]
    Lean(network).at_rest()(images(network))
    assert [weight.path for weight in network.weights] == names
