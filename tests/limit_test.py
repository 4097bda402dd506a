"""Operations and passes are those counted by hand; how fast a machine is is not asserted."""

import keras
import pytest
import tensorflow as tf
from keras import layers

from adap_tf import APGD, FGSM, PGD, Square, Threat
from adap_tf.backbones import resnet18, small_cnn
from adap_tf.methods import METHODS
from benchmarks import limit

# Operations of a pass


def test_of_a_small_network_layer_by_layer():
    # Of three taps at each place along an axis one falls outside at a border. 4 pixels, and from there with stride 2:
    taps = 2 + 3 + 3 + 2, 2 + 3, 2, 1  # 4 → 4, 4 → 2, 2 → 1, 1 → 1
    channels = 3 * 16, 16 * 32, 32 * 64, 64 * 128
    convolutions = sum(along**2 * pairs for along, pairs in zip(taps, channels, strict=True))
    assert limit.forward_operations(small_cnn((4, 4, 3))) == 2 * (convolutions + 128) == 68_224


def test_of_resnet18_on_small_images():
    stem = (16 * 7 - (3 + 1 + 2)) ** 2 * 3 * 64  # 32 → 16, zeros three wide; then pooled to 8
    groups = [
        4 * (8 * 3 - 2) ** 2 * 64 * 64,
        (4 * 3 - 1) ** 2 * 64 * 128 + 4**2 * 64 * 128 + 3 * (4 * 3 - 2) ** 2 * 128 * 128,
        (2 * 3 - 1) ** 2 * 128 * 256 + 2**2 * 128 * 256 + 3 * (2 * 3 - 2) ** 2 * 256 * 256,
        (1 * 3 - 1) ** 2 * 256 * 512 + 1**2 * 256 * 512 + 3 * (1 * 3 - 2) ** 2 * 512 * 512,
    ]
    assert limit.forward_operations(resnet18((32, 32, 3))) == 2 * (stem + sum(groups) + 512) == 43_325_952


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layers.Conv2D(3, (2, 3)), (3 * 2) * (3 * 3) * 2 * 3),
        (layers.Conv2D(3, 3, strides=2, padding="same"), (3 + 2) * (2 + 3 + 2) * 2 * 3),  # 4 pixels: none before
        (layers.Conv2D(3, 3, padding="same", dilation_rate=2), (4 * 2) * (2 + 2 + 3 + 2 + 2) * 2 * 3),
        (layers.Conv2D(4, 1, groups=2), 4 * 5 * 1 * 4),
        (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=3), (4 * 3 - 2) * (5 * 3 - 2) * 2 * 3),
        (layers.Dense(7), 4 * 5 * 2 * 7),
        (layers.BatchNormalization(), 0),
    ],
)
def test_of_a_layer(layer, expected):
    image = keras.Input([4, 5, 2])
    assert limit.forward_operations(keras.Model(image, layer(image))) == 2 * expected


def test_zeros_around_the_image_are_not_of_it():
    image = keras.Input([4, 5, 2])
    x = layers.ZeroPadding2D(((1, 0), (0, 2)))(image)
    assert limit.forward_operations(keras.Model(image, layers.Conv2D(3, 3)(x))) == 2 * (2 + 3 + 3) * (9 + 2 + 1) * 2 * 3


def test_of_a_network_within_another():
    inner, image = small_cnn((4, 4, 3), tasks=5), keras.Input([4, 4, 3])
    outer = keras.Model(image, layers.Dense(1)(inner(image)))
    assert limit.forward_operations(outer) == limit.forward_operations(inner) + 2 * 5


# How many passes

ATTACK, TRAINED = 6 * 2, 3
BY_HAND = {
    "ce": TRAINED,
    "ap": TRAINED,
    "pgd": ATTACK + TRAINED,
    "trades": 1 + ATTACK + 2 * TRAINED,  # the attack looks at the clean scores once
    "mart": ATTACK + 2 * TRAINED,
    "adap_mm": ATTACK + TRAINED,
    "adap_pz": 1 + ATTACK + 2 * TRAINED,
    "adap_lz": 1 + ATTACK + 2 * TRAINED,
    "adap_ln": ATTACK + 2 * TRAINED,
    "adap_lpn": ATTACK + 2 * TRAINED,
}


def test_every_method_is_counted_by_hand():
    assert list(BY_HAND) == list(METHODS)


@pytest.mark.parametrize("method", BY_HAND)
def test_of_a_step(method):
    assert limit.step_passes(method) == BY_HAND[method]


def test_of_a_step_with_another_attack():
    assert limit.step_passes("pgd", attack=FGSM()) == 2 + TRAINED
    assert limit.step_passes(METHODS["adap_lz"], attack=PGD(steps=2)) == 1 + 2 * 2 + 2 * TRAINED


@pytest.mark.parametrize(
    ("threat", "expected"),
    [
        (None, 1),
        (FGSM(), 2 + 1),
        (PGD(steps=10), 10 * 2 + 1),
        (PGD(steps=12), 12 * 2 + 1),  # a loop in the graph
        (PGD(steps=2, keep="best"), 2 * 2 + 1 + 1),
        (PGD(steps=2, restarts=3), 3 * (2 * 2 + 1) + 1),  # each end is looked at
        (APGD(steps=4), 5 + 4 + 1),  # values at the start too, and no gradient at the end
        (Square(queries=5), 1 + 5 + 1),
        (Threat(PGD(steps=2), METHODS["adap_mm"].attack), 2 * 3 + 1),  # scores of all before any gradient
    ],
)
def test_of_an_evaluation(threat, expected):
    assert limit.evaluation_passes(threat) == expected


# The rate


def test_the_limit_is_at_the_rate_of_the_same_turn(monkeypatch):
    monkeypatch.setattr(limit, "SIDE", 10)
    monkeypatch.setattr(limit, "timed", lambda runs, repeats, warm_up: [[5.0, 6.0], [7.0, 8.0], [1.0, 3.0]])
    seconds, limits = limit.timed_with_limits([lambda: None] * 2, [limit.Need(4000)], 2)
    assert seconds == [[5.0, 6.0], [7.0, 8.0]]
    assert limits == [[2.0, 6.0]]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_product_is_in_that_precision(precision, monkeypatch):
    seen = []
    matmul = tf.linalg.matmul
    monkeypatch.setattr(limit, "SIDE", 8)
    monkeypatch.setattr(tf.linalg, "matmul", lambda a, b: seen.append((a.dtype.name, *a.shape)) or matmul(a, b))
    limit.product(precision)()
    assert seen == [(precision, 8, 8)]
