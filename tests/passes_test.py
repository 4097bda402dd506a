"""Passes over several views against the network itself called under one tape, and the memory that they take."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from adap_tf.passes import Passes, repeatable

VIEWS = ("clean", "adversarial", "another")
PENALTY_WEIGHT, L2 = 0.7, 0.3


@pytest.fixture
def dtype(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


class Own(layers.Layer):
    """A layer that is not Keras' own; it counts its calls."""

    calls = 0

    def call(self, x):
        self.calls += 1
        return x


def with_chance_and_state(*more):
    """A network with all that a second pass might do otherwise: chance, statistics, other state, losses of layers."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.GaussianNoise(0.2, seed=1),
            layers.Conv2D(3, 3, use_bias=False),
            layers.BatchNormalization(momentum=0.5),
            layers.Activation("relu"),
            layers.Dropout(0.4, seed=2),
            *more,
            layers.Flatten(),
            layers.ActivityRegularization(l2=0.1),
            layers.Dense(2, kernel_regularizer="l2"),
        ]
    )


def views(network, count=5):
    rng = np.random.default_rng(0)
    return {view: tf.constant(rng.random((count, *network.input_shape[1:])), network.inputs[0].dtype) for view in VIEWS}


def slopes_of(scores):
    """Of a loss in which each view's scores meet those of the next."""
    return {view: tf.square(scores[other]) - 0.5 for view, other in zip(VIEWS, VIEWS[1:] + VIEWS[:1], strict=True)}


def by_passes(network, images):
    passes = Passes(network, images, network.dtype)
    return passes.scores, passes.gradients(slopes_of(passes.scores), tf.constant(PENALTY_WEIGHT, network.dtype), L2)


def by_one_tape(network, images):
    """The network as Keras has it, and its gradient as TensorFlow has it, of the whole loss at once."""
    scores, penalty = {}, 0.0
    with tf.GradientTape() as tape:
        for view, image in images.items():
            scores[view] = network(image, training=True)
            penalty += tf.add_n(network.losses) / len(images)
        penalty += L2 * tf.add_n([tf.nn.l2_loss(w) for w in network.trainable_variables])
        slopes = {view: tf.stop_gradient(slope) for view, slope in slopes_of(scores).items()}
        loss = tf.add_n([tf.reduce_sum(slopes[view] * scores[view]) for view in images]) + PENALTY_WEIGHT * penalty
    return scores, tape.gradient(loss, network.trainable_variables)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"], indirect=True)
@pytest.mark.parametrize(
    "make",
    [
        lambda: [],
        lambda: [Own()],
        lambda: [layers.SpectralNormalization(layers.Dense(3))],
        lambda: [layers.Dense(3, trainable=False)],
    ],
)
def test_they_are_the_networks_own_passes(make, dtype, graph):
    network = with_chance_and_state(*make())
    images = views(network)
    start = [weight.numpy() for weight in network.variables]
    found = []
    for way in (by_one_tape, by_passes):
        for weight, value in zip(network.variables, start, strict=True):
            weight.assign(value)
        once = tf.function(way) if graph else way
        twice = [once(network, images) for _ in range(2)]
        found.append([*tf.nest.flatten(twice), *(weight.numpy() for weight in network.variables)])
    for expected, each in zip(*found, strict=True):
        tolerance = {"float64": 1e-10, "float32": 1e-4}[dtype]
        np.testing.assert_allclose(each, expected, rtol=tolerance, atol=tolerance)
    first, second = (np.array(each["clean"]) for each, _ in twice)
    assert np.abs(first - second).max() > 0.01  # chance has gone on


def test_a_pass_that_is_made_again_computes_no_statistics():
    momentum = 0.6875  # which nothing else is
    norm = layers.BatchNormalization(momentum=momentum)
    network = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(3, 3), norm, layers.Flatten(), layers.Dense(2)])
    graph = tf.function(by_passes).get_concrete_function(network, views(network)).graph
    constants = [tf.get_static_value(op.outputs[0]) for op in graph.get_operations() if op.type == "Const"]
    assert sum(np.array_equal(constant, momentum) for constant in constants) == 2 * len(VIEWS)


def test_only_keras_own_layers_are_repeated():
    own = Own()
    network = with_chance_and_state(own)
    own.calls = 0
    by_passes(network, views(network))
    assert own.calls == len(VIEWS)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.BatchNormalization(), True),
        (layers.TimeDistributed(layers.Dropout(0.5)), True),
        (keras.Sequential([layers.Dense(2), layers.Dropout(0.5)]), True),
        (layers.SpectralNormalization(layers.Dense(2)), False),
        (layers.AugMix(), False),
        (layers.LSTM(2), True),
        (layers.LSTM(2, stateful=True), False),
        (layers.Dense(2, activation="gelu"), True),
        (layers.Dense(2, activation=layers.LeakyReLU()), True),
        (layers.Dense(2, activation=lambda x: x * tf.random.uniform([])), False),
        (Own(), False),
        (layers.TimeDistributed(Own()), False),
        (keras.Sequential([keras.Sequential([Own()])]), False),
        (layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x))), False),
    ],
)
def test_what_can_be_repeated(layer, expected):
    assert repeatable(keras.Sequential([layers.Dense(2), layer])) is expected


def test_a_function_of_symbolic_tensors_is_repeated_if_it_is_keras_own():
    class Noise(keras.Operation):
        def call(self, x):
            return x + tf.random.normal(tf.shape(x))

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    image = keras.Input((2,))
    assert repeatable(keras.Model(image, image + 1))
    assert not repeatable(keras.Model(image, Noise()(image)))


def test_a_model_with_a_call_of_its_own_is_not_repeated():
    class Noisy(keras.Model):
        def call(self, x, training=False):
            return x + tf.random.normal(tf.shape(x))

    assert not repeatable(Noisy())


def large_maps(*more):
    stack = [layer for _ in range(12) for layer in (layers.Conv2D(16, 3, padding="same"), layers.Activation("tanh"))]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(1)]
    return keras.Sequential([keras.Input((32, 32, 4)), *stack, *more, *head]), 64


def large_maps_of_my_own():
    return large_maps(Own())


def large_maps_of_a_whole():
    """A network that cannot be walked through, since a layer takes two arguments."""
    image = keras.Input((32, 32, 4))
    x = image
    for _ in range(12):
        x = layers.Activation("tanh")(layers.Conv2D(16, 3, padding="same")(x))
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.MultiHeadAttention(1, 2, attention_axes=(1, 2))(x, x)
    return keras.Model(image, layers.Dense(1)(layers.Flatten()(x))), 64


def large_kernels():
    """A network of which the walk makes kernels larger than they are, for few images."""
    stack = [layers.Conv2D(256, 3, padding="same") for _ in range(12)]
    return keras.Sequential([keras.Input((2, 2, 256)), *stack, layers.Flatten(), layers.Dense(1)]), 2


@pytest.mark.parametrize(("make", "factor"), [(large_maps, 1.4), (large_maps_of_a_whole, 1.4), (large_kernels, 1.2)])
def test_activations_and_kernels_of_one_view_are_kept_at_a_time(make, factor):
    one, two = (peak(make, count) for count in (1, 2))
    assert two < factor * one


def test_the_activations_of_all_views_are_kept_where_no_pass_can_be_repeated():
    one, two = (peak(large_maps_of_my_own, count) for count in (1, 2))
    assert two > 1.6 * one


def peak(make, count):
    """Bytes that a step with so many views takes on top of weights and images, at the most, once it has been taken."""
    network, size = make()
    images = {view: tf.ones([size, *network.input_shape[1:]]) for view in VIEWS[:count]}

    @tf.function
    def step():
        passes = Passes(network, images, "float32")
        gradients = passes.gradients(passes.scores, tf.constant(1.0), 0.1)
        return tf.linalg.global_norm(gradients)

    gc.collect()  # of models before this one
    start = tf.config.experimental.get_memory_info("CPU:0")["current"]
    step()
    tf.config.experimental.reset_memory_stats("CPU:0")
    step()
    return tf.config.experimental.get_memory_info("CPU:0")["peak"] - start
