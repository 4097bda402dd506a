"""The geometry of the ball, PGD against its closed form on a linear scorer, and noise that is keyed by place."""

import numpy as np
import pytest
import tensorflow as tf

import reference
from adap_tf import geometry
from adap_tf.attacks import APGD, ATTACKS, FGSM, PGD, ascending, keyed_noise


def test_projection_is_the_nearest_point_of_ball_and_box():
    clean = tf.constant([[0.5, 0.5, 0.05, 0.95, 0.5]])
    moved = tf.constant([[0.9, 0.1, -0.4, 1.4, 0.45]])
    found = geometry.linf_project(moved, clean, 0.1)
    np.testing.assert_allclose(found, [[0.6, 0.4, 0.0, 1.0, 0.45]], rtol=1e-6)
    np.testing.assert_array_equal(geometry.linf_project(moved, clean, 0.0), clean)


def test_a_step_has_one_length_whatever_the_slope():
    found = geometry.linf_step(tf.constant([-1e30, -1e-30, 0.0, 5.0]), 0.25)
    np.testing.assert_array_equal(found, [-0.25, -0.25, 0.0, 0.25])


@pytest.fixture
def linear(rng):
    """Images, labels and a weight with a dead feature."""
    image, weight = rng.uniform(0, 1, (6, 4)), rng.normal(size=4)
    image[0] = [0.0, 1.0, 0.02, 0.98]  # the box binds before the ball
    weight[3] = 0.0
    return image, weight, np.array([1.0, 0, 1, 0, 1, 0])


def run(attack, linear, noise=None):
    image, weight, label = linear

    def network(x, training):
        assert training is False
        return tf.linalg.matvec(x, tf.constant(weight))[:, None]

    away = tf.constant(1 - 2 * label)[:, None]
    ascent = ascending(network, lambda scores: (tf.reduce_sum(away * scores, 1), away))
    return attack(ascent, tf.constant(image), tf.constant(np.zeros_like(image) if noise is None else noise)).numpy()


def test_one_step_by_hand():
    linear = np.array([[0.5, 0.95]]), np.array([2.0, -1.0]), np.array([1.0])
    np.testing.assert_allclose(run(PGD(eps=0.1, step_size=0.07, steps=1), linear), [[0.43, 1.0]])


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_pgd_of_a_linear_scorer_matches_the_reference(linear, rng, steps):
    noise = rng.normal(size=linear[0].shape)
    found = run(PGD(eps=0.1, step_size=0.03, steps=steps, start=0.05), linear, noise)
    wanted = reference.pgd_linear(*linear, 0.1, 0.03, steps, 0.05 * noise)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


def test_pgd_ends_in_the_closed_form(linear):
    found = run(PGD(eps=0.1, step_size=0.03, steps=4), linear)
    np.testing.assert_allclose(found, reference.pgd_linear_corner(*linear, 0.1), rtol=0, atol=1e-14)


def test_the_start_is_as_drawn_and_the_end_inside(linear, rng):
    image, _, _ = linear
    noise, seen = rng.normal(size=image.shape), []

    def watched(x):
        seen.append(x.numpy())
        return tf.zeros(len(x), x.dtype), tf.constant(rng.normal(size=image.shape))

    end = PGD(eps=0.1, step_size=0.03, steps=3, start=1.0)(watched, tf.constant(image), tf.constant(noise)).numpy()
    np.testing.assert_array_equal(seen[0], image + noise)  # far outside: projected after a step, not before
    assert len(seen) == 3
    for x in (*seen[1:], end):
        assert np.abs(x - image).max() <= 0.1 + 1e-15
        assert x.min() >= 0
        assert x.max() <= 1


def test_a_feature_without_slope_keeps_its_start(linear, rng):
    image, _, _ = linear
    noise = rng.normal(size=image.shape)
    found = run(PGD(eps=0.1, step_size=0.03, steps=5, start=0.01), linear, noise)
    np.testing.assert_allclose(found[1:, 3], np.clip(image + 0.01 * noise, 0, 1)[1:, 3], rtol=1e-12)


def test_a_ball_of_radius_zero_is_the_image(linear, rng):
    np.testing.assert_array_equal(run(PGD(eps=0.0), linear, rng.normal(size=linear[0].shape)), linear[0])


def test_fgsm_of_a_linear_scorer_is_one_step_into_the_corner(linear, rng):
    image, weight, label = linear
    noise = rng.normal(size=image.shape)
    wanted = reference.pgd_linear(image, weight, label, 0.1, 0.1, 1, 0.01 * noise)
    np.testing.assert_allclose(run(FGSM(eps=0.1, start=0.01), linear, noise), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_apgd_of_a_linear_scorer_ends_in_the_closed_form(linear, steps):
    wanted = reference.pgd_linear_corner(*linear, 0.1)  # the first step is twice as long as the ball is wide
    np.testing.assert_allclose(run(APGD(eps=0.1, steps=steps), linear), wanted, rtol=0, atol=1e-14)


def apgd_by_loops(value, slope, clean, eps, steps):
    """Algorithm 1 of Croce and Hein for one example, from a start at the clean point; the best point."""
    p, w = [0.0, 0.22], [0]
    while p[-1] <= 1:
        w.append(int(np.ceil(round(p[-1] * steps, 9))))
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))

    def project(x):
        return np.clip(np.clip(x, clean - eps, clean + eps), 0, 1)

    x, before, length = [clean], clean, 2 * eps
    best, f_best, f = clean, value(clean), [value(clean)]
    f_best_at, length_at, checked = f_best, length, 0
    for k in range(steps):
        z = project(x[-1] + length * np.sign(slope(x[-1])))
        new = z if k == 0 else project(x[-1] + 0.75 * (z - x[-1]) + 0.25 * (x[-1] - before))
        before = x[-1]
        x.append(new)
        f.append(value(new))
        if f[-1] > f_best:
            best, f_best = new, f[-1]
        if k + 1 in w and k + 1 > checked:
            rises = sum(f[i + 1] > f[i] for i in range(checked, k + 1))
            halve = rises < 0.75 * (k + 1 - checked) or (length == length_at and f_best == f_best_at)
            length_at, f_best_at, checked = length, f_best, k + 1
            if halve:
                length /= 2
                x[-1], f[-1] = best, f_best
    return best


@pytest.mark.parametrize("steps", [2, 6, 10, 40, 150])
def test_apgd_follows_its_algorithm_on_a_bumpy_function(rng, steps):
    clean, frequency = rng.uniform(0.2, 0.8, (30, 3)), rng.uniform(5, 60, (30, 3))

    def values(x):
        return np.sum(np.sin(frequency * x) * x, axis=-1)

    def slopes(x):
        return np.sin(frequency * x) + frequency * x * np.cos(frequency * x)

    def value_and_grad(x):
        return tf.constant(values(x.numpy())), tf.constant(slopes(x.numpy()))

    found = APGD(eps=0.15, steps=steps)(value_and_grad, tf.constant(clean), tf.zeros_like(clean)).numpy()
    for i in range(30):
        wanted = apgd_by_loops(
            lambda x, i=i: np.sum(np.sin(frequency[i] * x) * x),
            lambda x, i=i: np.sin(frequency[i] * x) + frequency[i] * x * np.cos(frequency[i] * x),
            clean[i],
            0.15,
            steps,
        )
        np.testing.assert_allclose(found[i], wanted, rtol=0, atol=1e-12)
    if steps == 40:
        last = PGD(eps=0.15, step_size=0.05, steps=40, start=0.0)
        plain = last(value_and_grad, tf.constant(clean), tf.zeros_like(clean)).numpy()
        assert (values(found) >= values(plain)).mean() > 0.8


def test_apgd_looks_back_where_the_paper_does():
    assert APGD(steps=100).checkpoints == (22, 41, 57, 70, 80, 87, 93, 99)
    assert APGD(steps=1).checkpoints == (1,)


@pytest.mark.parametrize("attack", [make(eps=0.1) for make in ATTACKS.values()])
def test_attacks_compile_to_one_graph_of_one_shape(linear, attack):
    image, weight, _ = linear
    scorer = ascending(lambda x, training: tf.linalg.matvec(x, weight)[:, None], lambda h: (h[:, 0], tf.ones_like(h)))
    compiled = tf.function(lambda x, noise: attack(scorer, x, noise))
    found = compiled(tf.constant(image), tf.zeros_like(image))
    assert found.shape == compiled.get_concrete_function(image, image).output_shapes == image.shape
    assert (found.numpy() @ weight >= image @ weight).all()


def test_slopes_too_small_for_the_network_are_not_lost():
    def network(x, training):
        return tf.cast(tf.reduce_sum(tf.cast(x, tf.float16), 1, keepdims=True), tf.float32)

    slope = ascending(network, lambda h: (h[:, 0], 1e-12 * tf.constant([[1.0], [-1.0], [0.0]])))(tf.zeros([3, 2]))[1]
    np.testing.assert_array_equal(slope, [[1, 1], [-1, -1], [0, 0]])


@pytest.mark.parametrize("shape", [(8, 3), (8, 4), (8, 5, 5, 3)])
def test_noise_of_a_part_is_the_part_of_the_noise(shape):
    whole = keyed_noise(tf.constant([1, 2], tf.int64), 0, tf.zeros(shape)).numpy()
    part = keyed_noise(tf.constant([1, 2], tf.int64), tf.constant(3), tf.zeros((4, *shape[1:])))
    np.testing.assert_array_equal(part, whole[3:7])
    assert len(np.unique(whole)) == whole.size
    graph = tf.function(lambda first: keyed_noise(tf.constant([1, 2], tf.int64), first, tf.zeros((4, *shape[1:]))))
    np.testing.assert_array_equal(graph(tf.constant(3, tf.int64)), part)


def test_noise_has_the_images_type():
    assert keyed_noise(tf.constant([0, 0], tf.int64), 0, tf.zeros((2, 3), tf.float64)).dtype == tf.float64
    assert keyed_noise(tf.constant([0, 0], tf.int64), 0, tf.zeros((0, 3))).shape == (0, 3)


def test_noise_is_standard_normal_and_follows_its_key():
    draws = [
        keyed_noise(tf.constant(key, tf.int64), 0, tf.zeros((100, 1000))).numpy() for key in ([0, 0], [0, 1], [1, 0])
    ]
    for noise in draws:
        assert abs(noise.mean()) < 0.02
        assert abs(noise.std() - 1) < 0.02
        assert abs(np.abs(noise).mean() - np.sqrt(2 / np.pi)) < 0.02
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs((draws[one] * draws[other]).mean()) < 0.02


@pytest.mark.parametrize(
    "bad",
    [
        {"eps": -1},
        {"eps": float("nan")},
        {"eps": float("inf")},
        {"step_size": 0},
        {"step_size": float("nan")},
        {"step_size": float("inf")},
        {"steps": 0},
        {"steps": 1.5},
        {"start": -0.1},
        {"start": float("nan")},
        {"momentum": 0.0},
        {"rho": 1.5},
    ],
)
def test_bad_attacks_are_refused(bad):
    name = next(iter(bad))
    for kind in ATTACKS.values():
        if name in kind.__dataclass_fields__:
            with pytest.raises(ValueError, match=f"^{name} must be"):
                kind(**bad)
