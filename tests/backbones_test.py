"""Networks against float64 loops in NumPy and a twin in PyTorch; initial values, constants and precisions."""

import math
from itertools import combinations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from adap_tf.backbones import BACKBONES, find_backbone, is_backbone, mlp, resnet18, small_cnn, take_trunk
from train.workers import make_strategy

NARROW = (4, 6, 8, 10)
LOW = ["mixed_bfloat16", "mixed_float16"]


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch", reason="the twin needs PyTorch")
    torch.set_num_threads(1)  # its threads would wait for TensorFlow's
    return torch


def of_kind(network, kind):
    return [layer for layer in network.layers if isinstance(layer, kind)]


def units(network):
    """Convolutions, each with the BatchNorm that it feeds: along the main path, and 1×1 around it."""
    norms = {id(norm.input): norm for norm in of_kind(network, layers.BatchNormalization)}
    pairs = [(conv, norms[id(conv.output)]) for conv in of_kind(network, layers.Conv2D)]
    around = [pair for pair in pairs if pair[0].kernel_size == (1, 1)]
    return iter([pair for pair in pairs if pair not in around]), iter(around)


def shaken(network, rng):
    """The network with a BatchNorm that is not the identity."""
    for norm in of_kind(network, layers.BatchNormalization):
        c = norm.gamma.shape[0]
        gamma, beta, mean, variance = rng.uniform(0.5, 1.5, c), *rng.normal(0, 0.3, (2, c)), rng.uniform(0.5, 2, c)
        norm.set_weights([gamma, beta, mean, variance])
    return network


def images(rng, *shape):
    return rng.random(shape, np.float32)


# By NumPy


def windows(x, size, stride, fill):
    p = size // 2
    padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]


def by_unit(x, pair, stride, training):
    (kernel,), (gamma, beta, mean, variance) = (layer.get_weights() for layer in pair)
    x = np.einsum("bhwcij,ijcd->bhwd", windows(x, len(kernel), stride, fill=0), kernel)
    if training:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def relu(x):
    return np.maximum(x, 0)


def imagenet(image):
    return (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


def normalised(network, image):
    """What the network itself makes of the image, which has tests of its own."""
    (scaling,) = of_kind(network, layers.Rescaling)
    return keras.Model(network.input, scaling.output)(tf.constant(image)).numpy()


def logits(network, x):
    kernel, bias = network.get_layer("logits").get_weights()
    return x.mean((1, 2)) @ kernel + bias


def numpy_resnet18(network, image, training):
    main, around = units(network)
    x = relu(by_unit(normalised(network, image), next(main), 2, training))
    x = windows(x, 3, 2, fill=-np.inf).max((-2, -1))
    for stride in (1, 1, 2, 1, 2, 1, 2, 1):
        y = relu(by_unit(x, next(main), stride, training))
        y = by_unit(y, next(main), 1, training)
        x = relu(y + (x if stride == 1 else by_unit(x, next(around), stride, training)))
    return logits(network, x)


def numpy_small_cnn(network, image, training):
    x = normalised(network, image)
    for pair, stride in zip(units(network)[0], (1, 2, 2, 2), strict=True):
        x = relu(by_unit(x, pair, stride, training))
    return logits(network, x)


@pytest.mark.parametrize("policy", ["float64"], indirect=True)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (37, 45)])  # lopsided padding shows at even sizes
def test_resnet18_matches_numpy(rng, policy, training, size):
    network, image = shaken(resnet18((*size, 3), tasks=2, widths=NARROW), rng), images(rng, 3, *size, 3)
    expected = numpy_resnet18(network, image, training)
    np.testing.assert_allclose(network(image, training=training), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("policy", ["float64"], indirect=True)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(12, 9, 1), (10, 8, 3), (1, 1, 1), (1, 1, 3)])
def test_small_cnn_matches_numpy_down_to_one_pixel(rng, policy, training, shape):
    network, image = shaken(small_cnn(shape, tasks=2, widths=NARROW), rng), images(rng, 5, *shape)
    expected = numpy_small_cnn(network, image, training)
    np.testing.assert_allclose(network(image, training=training), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("policy", ["float64"], indirect=True)
def test_mlp_matches_numpy_and_leaves_the_image_as_it_is(rng, policy):
    network, x = mlp((3, 2, 1), tasks=2, widths=(5, 4)), images(rng, 4, 3, 2, 1)
    first, second, head = np.split(np.array(network.weights, dtype=object), 3)
    hidden = relu(relu(x.reshape(4, 6) @ first[0] + first[1]) @ second[0] + second[1])
    np.testing.assert_allclose(network(x), hidden @ head[0] + head[1], rtol=0, atol=1e-12)


# By PyTorch


def torch_twin(torch, network):
    """ResNet-18 of torch's modules and their own constants with the network's weights, and the pairs of BatchNorms."""
    nn, norms, (main, around) = torch.nn, [], units(network)

    def unit(pair, stride):
        (kernel,), values = (layer.get_weights() for layer in pair)
        size, _, inputs, outputs = kernel.shape
        conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
        norm = nn.BatchNorm2d(outputs)
        fill([conv.weight], [kernel.transpose(3, 2, 0, 1)])
        fill([norm.weight, norm.bias, norm.running_mean, norm.running_var], values)
        norms.append((pair[1], norm))
        return nn.Sequential(conv, norm)

    def fill(places, values):
        with torch.no_grad():
            for place, value in zip(places, values, strict=True):
                place.copy_(torch.tensor(value))

    class Block(nn.Module):
        def __init__(self, stride):
            super().__init__()
            self.inner = nn.Sequential(unit(next(main), stride), nn.ReLU(), unit(next(main), 1))
            self.around = nn.Identity() if stride == 1 else unit(next(around), stride)

        def forward(self, x):
            return torch.relu(self.inner(x) + self.around(x))

    kernel, bias = network.get_layer("logits").get_weights()
    head = nn.Linear(*kernel.shape)
    fill([head.weight, head.bias], [kernel.T, bias])
    stem = [unit(next(main), 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    blocks = [Block(stride) for stride in (1, 1, 2, 1, 2, 1, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head), norms


def scores_and_slope(network, image, training):
    image = tf.constant(image)
    with tf.GradientTape() as tape:
        tape.watch(image)
        scores = network(image, training=training)
    return scores.numpy(), tape.gradient(scores, image).numpy()


@pytest.mark.parametrize("training", [False, True])
def test_resnet18_and_its_image_gradient_match_pytorch(rng, torch, training):
    network, image = shaken(resnet18((32, 32, 3)), rng), images(rng, 8, 32, 32, 3)
    twin, _ = torch_twin(torch, network)
    leaf = torch.tensor(image, requires_grad=True)
    normalised = (leaf - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    theirs = twin.train(training)(normalised.permute(0, 3, 1, 2))
    theirs.sum().backward()
    scores, slope = scores_and_slope(network, image, training)
    np.testing.assert_allclose(scores, theirs.detach().numpy(), rtol=0, atol=1e-4 * np.abs(scores).max())
    assert np.linalg.norm(slope - leaf.grad.numpy()) < 1e-3 * np.linalg.norm(slope)


def test_moving_statistics_match_pytorch_but_for_its_unbiased_variance(rng, torch):
    network, image = shaken(resnet18((32, 32, 3)), rng), images(rng, 8, 32, 32, 3)
    twin, norms = torch_twin(torch, network)
    before = [norm.get_weights()[3] for norm, _ in norms]
    network(image, training=True)
    twin.train()(torch.tensor(imagenet(image), dtype=torch.float32).permute(0, 3, 1, 2))
    for old, (ours, theirs) in zip(before, norms, strict=True):
        _, _, mean, variance = ours.get_weights()
        n = 8 * math.prod(ours.input.shape[1:3])
        unbiased = 0.9 * old + n / (n - 1) * (variance - 0.9 * old)  # torch's momentum of 0.1 is Keras' 0.9
        np.testing.assert_allclose(mean, theirs.running_mean.numpy(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(unbiased, theirs.running_var.numpy(), rtol=1e-4)


# Weights and constants


@pytest.mark.parametrize(("name", "one_task"), [("resnet18", 11_177_025), ("resnet18_cifar", 11_169_345)])
@pytest.mark.parametrize("tasks", [1, 10])
def test_trainable_weights_of_resnet18(name, one_task, tasks):
    network = BACKBONES[name]((32, 32, 3), tasks)
    assert sum(math.prod(w.shape) for w in network.trainable_weights) == one_task + 513 * (tasks - 1)


def test_convolutions_start_kaiming_normal_by_their_outputs():
    kernels = [conv.get_weights()[0] for conv in of_kind(resnet18((32, 32, 3)), layers.Conv2D)]
    for kernel in kernels:
        size, _, _, width = kernel.shape
        deviation = math.sqrt(2 / (size * size * width))
        bound = 5 * deviation / math.sqrt(kernel.size)  # five standard errors
        assert abs(kernel.mean()) < bound
        assert abs(kernel.std() - deviation) < bound / math.sqrt(2)
        assert np.abs(kernel).max() > 2.5 * deviation  # Keras' own draw ends at 2.27
    assert not any(np.array_equal(a, b) for a, b in combinations(kernels, 2))


def test_head_starts_uniform_within_one_over_the_root_of_its_inputs():
    kernel, bias = resnet18((32, 32, 3), tasks=200).get_layer("logits").get_weights()
    for values in kernel, bias:
        scaled = values * math.sqrt(512)
        assert np.abs(scaled).max() <= 1 + 1e-6
        assert scaled.min() < -0.95
        assert scaled.max() > 0.95
        assert abs(scaled.var() - 1 / 3) < 5 * math.sqrt(4 / 45 / scaled.size)  # five standard errors
    assert not np.array_equal(kernel[0], bias)


@pytest.mark.parametrize("name", ["resnet18", "resnet18_cifar", "small_cnn"])
def test_batch_norms_have_the_papers_constants_and_start_as_the_identity(name):
    norms = of_kind(BACKBONES[name]((32, 32, 3), widths=NARROW), layers.BatchNormalization)
    assert len(norms) == (4 if name == "small_cnn" else 20)
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-5, 0.9)}
    for norm in norms:
        gamma, beta, mean, variance = norm.get_weights()
        assert np.all([gamma == 1, beta == 0, mean == 0, variance == 1])


# Shapes


@pytest.mark.parametrize(("name", "sizes"), [("resnet18", [8, 4, 2, 1]), ("resnet18_cifar", [32, 16, 8, 4])])
def test_sizes_of_the_groups(name, sizes):
    sums = of_kind(BACKBONES[name]((32, 32, 3), widths=NARROW), layers.Add)
    assert [tuple(add.output.shape[1:]) for add in sums[::2]] == [(s, s, w) for s, w in zip(sizes, NARROW, strict=True)]


def test_cifar_stem_is_one_small_convolution():
    network = resnet18((32, 32, 3), stem="cifar")
    stem = of_kind(network, layers.Conv2D)[0]
    assert (stem.kernel_size, stem.strides, stem.output.shape) == ((3, 3), (1, 1), (None, 32, 32, 64))
    assert not of_kind(network, layers.MaxPooling2D)


def test_unknown_stem_is_refused():
    with pytest.raises(ValueError, match="stem must be one of imagenet, cifar, not 'tiny'"):
        resnet18((32, 32, 3), stem="tiny")


def test_sizes_of_small_cnn():
    convs = of_kind(small_cnn((32, 32, 3)), layers.Conv2D)
    assert {conv.kernel_size for conv in convs} == {(3, 3)}
    shapes = [tuple(conv.output.shape[1:]) for conv in convs]
    assert shapes == [(32, 32, 16), (16, 16, 32), (8, 8, 64), (4, 4, 128)]


# Low precision


@pytest.mark.parametrize("policy", LOW, indirect=True)
@pytest.mark.parametrize("name", BACKBONES)
def test_logits_are_float32_where_the_network_is_not(rng, policy, name):
    network, low = BACKBONES[name]((8, 8, 3), 3, widths=NARROW), policy.removeprefix("mixed_")
    scores = network(images(rng, 4, 8, 8, 3))
    assert network.get_layer("logits").compute_dtype == scores.dtype == network.output.dtype == "float32"
    assert not np.array_equal(scores, tf.cast(tf.cast(scores, low), tf.float32))
    assert {conv.compute_dtype for conv in of_kind(network, layers.Conv2D)} <= {low}


@pytest.mark.parametrize("policy", ["float32", *LOW], indirect=True)
@pytest.mark.parametrize("name", ["resnet18", "resnet18_cifar", "small_cnn"])
@pytest.mark.parametrize("channels", [1, 3])
def test_image_is_normalised_before_any_rounding(rng, policy, name, channels):
    network, image = BACKBONES[name]((8, 8, channels), widths=NARROW), images(rng, 4, 8, 8, channels)
    found = normalised(network, image)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, imagenet(image) if channels == 3 else 2 * image - 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("policy", ["float64"], indirect=True)
def test_float64_network_rounds_neither_image_nor_constants(rng, policy):
    image = rng.random((4, 8, 8, 3))
    np.testing.assert_allclose(normalised(small_cnn((8, 8, 3)), image), imagenet(image), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "shape"), [("MobileNetV2", (32, 40, 3)), ("EfficientNetB0", (32, 32, 1))])
def test_networks_of_keras_applications(rng, name, shape):
    network = find_backbone(name)(shape, 3)
    image = rng.uniform(0, 1, (4, *shape)).astype("float32")
    assert network(image).shape == (4, 3)
    assert network(image).dtype == tf.float32
    with pytest.raises(ValueError, match="at least 32x32"):
        find_backbone(name)((8, 8, 3))


def test_networks_with_names_that_nobody_knows():
    with pytest.raises(ValueError, match="unknown backbone 'vgg'; known: resnet18, resnet18_cifar"):
        find_backbone("vgg")
    assert not is_backbone("imagenet_utils")


def test_a_trunk_is_taken_and_the_head_left(rng):
    image = rng.uniform(0, 1, (4, 8, 8, 1)).astype("float32")
    other = small_cnn((8, 8, 1))
    for layer in other.layers:  # statistics as after a training
        layer.set_weights([weight + rng.uniform(0, 0.1, weight.shape) for weight in layer.get_weights()])
    network = small_cnn((8, 8, 1), tasks=2)
    head = network.layers[-1].get_weights()
    take_trunk(network, other)
    for weight, kept in zip(network.layers[-1].get_weights(), head, strict=True):
        np.testing.assert_array_equal(weight, kept)
    trunks = [keras.Model(each.input, each.layers[-2].output) for each in (network, other)]
    np.testing.assert_array_equal(*(trunk(image) for trunk in trunks))
    with pytest.raises(ValueError, match="its network mlp has other weights than small_cnn, and not only in the head"):
        take_trunk(network, mlp((8, 8, 1)))


def test_replicas_share_batchnorm_in_keras_applications_too():
    kinds = []
    for replicas in (1, 2):
        keras.utils.set_random_seed(0)
        with make_strategy(replicas).scope():
            network = find_backbone("MobileNetV2")((32, 32, 3), 1)
        kinds.append(network)
    alone, shared = (
        [layer for layer in network.layers[2].layers if isinstance(layer, layers.BatchNormalization)]
        for network in kinds
    )
    assert len(shared) == len(alone) > 50
    assert all(layer.synchronized for layer in shared)
    assert not any(layer.synchronized for layer in alone)
    for one, other in zip(*(network.weights for network in kinds), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
