"""Attacks against closed forms on a linear scorer and against loops; the bounds they keep; restarts and best points."""

import itertools
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

import reference
from adap_tf.attacks import APGD, ATTACKS, FGSM, PGD, Square, ascending
from adap_tf.noise import Noise

EPS = 0.1


class Given:
    """Noise that is known beforehand."""

    def __init__(self, *draws):
        self.draws = draws

    def normal(self, shape, dtype=tf.float32, draw=0):
        return tf.constant(self.draws[int(draw)], dtype)


NOISE = Noise(tf.constant([3, 4], tf.int64))


@pytest.fixture
def linear(rng):
    """Images, labels and a weight with a dead feature."""
    image, weight = rng.uniform(0, 1, (6, 4)), rng.normal(size=4)
    image[0] = [0.0, 1.0, 0.02, 0.98]  # the box binds before the ball
    weight[3] = 0.0
    return image, weight, np.array([1.0, 0, 1, 0, 1, 0])


def scorer(weight, label):
    away = tf.constant(1 - 2 * label)[:, None]
    scores = partial(tf.linalg.matmul, b=tf.constant(weight)[:, None])
    return ascending(scores, lambda found: (tf.reduce_sum(away * found, 1), away))


def run(attack, linear, noise=None, share=None):
    image, weight, label = linear
    noise = Given(np.zeros_like(image) if noise is None else noise)
    limits = () if share is None else (tf.constant(share),)
    return attack(scorer(weight, label), tf.constant(image), noise, *limits).numpy()


def test_one_step_by_hand():
    linear = np.array([[0.5, 0.95]]), np.array([2.0, -1.0]), np.array([1.0])
    np.testing.assert_allclose(run(PGD(eps=0.1, step_size=0.07, steps=1), linear), [[0.43, 1.0]])
    straight = np.array([[0.5 - 0.07 * 0.8, 0.5 + 0.07 * 0.6]])
    linear = np.array([[0.5, 0.5]]), np.array([8.0, -6.0]), np.array([1.0])
    np.testing.assert_allclose(run(PGD(eps=0.1, step_size=0.07, steps=1, norm="l2"), linear), straight)


@pytest.mark.parametrize("steps", [1, 3, 7, 25])
def test_pgd_of_a_linear_scorer_matches_the_reference(linear, rng, steps):
    noise = rng.normal(size=linear[0].shape)
    found = run(PGD(eps=EPS, step_size=0.03, steps=steps, start=0.05), linear, noise)
    wanted = reference.pgd_linear(*linear, EPS, 0.03, steps, 0.05 * noise)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "attack",
    [
        PGD(eps=EPS, step_size=0.03, steps=4),
        PGD(eps=EPS, step_size=0.03, steps=12, keep="best"),
        *(
            APGD(eps=EPS, steps=steps) for steps in (1, 3, 10, 12)
        ),  # its first step is twice as long as the ball is wide
    ],
)
def test_a_linear_scorer_is_attacked_into_the_corner(linear, attack):
    np.testing.assert_allclose(run(attack, linear), reference.pgd_linear_corner(*linear, EPS), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "attack",
    [
        FGSM(eps=EPS, norm="l2"),
        PGD(eps=EPS, step_size=0.03, steps=4, norm="l2"),
        PGD(eps=EPS, step_size=0.03, steps=5, norm="l2", keep="best"),
        APGD(eps=EPS, steps=10, norm="l2"),
    ],
)
def test_a_linear_scorer_is_attacked_along_its_weight_in_l2(rng, attack):
    linear = rng.uniform(0.2, 0.8, (5, 4)), np.array([1.0, -2.0, 0.0, 0.5]), np.array([1.0, 0, 1, 0, 0])
    image, weight, label = linear
    wanted = image + EPS * (1 - 2 * label)[:, None] * weight / np.linalg.norm(weight)
    np.testing.assert_allclose(run(attack, linear), wanted, rtol=0, atol=1e-12)


def test_l2_outside_the_box_is_cut_off():
    linear = np.array([[0.99, 0.5]]), np.array([3.0, 4.0]), np.array([0.0])
    np.testing.assert_allclose(run(FGSM(eps=0.1, norm="l2"), linear), [[1.0, 0.58]])


def test_fgsm_of_a_linear_scorer_is_one_step_into_the_corner(linear, rng):
    image, weight, label = linear
    noise = rng.normal(size=image.shape)
    wanted = reference.pgd_linear(image, weight, label, EPS, EPS, 1, 0.01 * noise)
    np.testing.assert_allclose(run(FGSM(eps=EPS, start=0.01), linear, noise), wanted, rtol=0, atol=1e-14)


def test_the_start_is_as_drawn_and_the_end_inside(linear, rng):
    image, _, _ = linear
    noise, seen = rng.normal(size=image.shape), []

    def watched(x):
        seen.append(x.numpy())
        return tf.zeros(len(x), x.dtype), tf.constant(rng.normal(size=image.shape))

    end = PGD(eps=EPS, step_size=0.03, steps=3, start=1.0)(watched, tf.constant(image), Given(noise)).numpy()
    np.testing.assert_array_equal(seen[0], image + noise)  # far outside: projected after a step, not before
    assert len(seen) == 3
    for x in (*seen[1:], end):
        assert np.abs(x - image).max() <= EPS + 1e-15
        assert x.min() >= 0
        assert x.max() <= 1


def test_a_feature_without_slope_keeps_its_start(linear, rng):
    image, _, _ = linear
    noise = rng.normal(size=image.shape)
    found = run(PGD(eps=EPS, step_size=0.03, steps=5, start=0.01), linear, noise)
    np.testing.assert_allclose(found[1:, 3], np.clip(image + 0.01 * noise, 0, 1)[1:, 3], rtol=1e-12)


def test_features_that_may_not_change_stay(linear, rng):
    share = np.array([[1.0, 0.5, 0.0, 0.0]])
    for attack in (FGSM(EPS), PGD(EPS, 0.03, 6, start=0.01), APGD(EPS), Square(EPS, 20)):
        moved = np.abs(
            attack(scorer(*linear[1:]), tf.constant(linear[0]), NOISE, tf.constant(share)).numpy() - linear[0]
        )
        assert (moved <= EPS * share + 1e-15).all()
        assert moved[:, 0].max() > 0.09
        assert moved[:, 1].max() > 0.04
        assert (moved[:, 2:] == 0).all()
    found = run(PGD(EPS, 0.03, 6), linear, share=np.array([[1.0], [0.0], [0.5], [1.0], [1.0], [1.0]]))
    corners = [reference.pgd_linear_corner(*linear, eps) for eps in (0.0, EPS / 2, EPS)]
    np.testing.assert_allclose(found[[1, 2]], [corners[0][1], corners[1][2]], rtol=0, atol=1e-15)
    np.testing.assert_allclose(found[[0, 3, 4, 5]], corners[2][[0, 3, 4, 5]], rtol=0, atol=1e-14)


def test_an_ellipsoid_of_features_has_its_own_closed_form(rng):
    image, weight, label = rng.uniform(0.3, 0.7, (3, 3)), np.array([1.0, -2.0, 3.0]), np.array([0.0, 0, 1])
    share = np.array([[1.0, 0.5, 0.0]])
    towards = share**2 * weight / np.linalg.norm(share * weight)  # the farthest point along the weight
    wanted = image + EPS * (1 - 2 * label)[:, None] * towards
    for attack in (FGSM(EPS, norm="l2"), PGD(EPS, 0.04, 4, norm="l2"), APGD(EPS, norm="l2")):
        np.testing.assert_allclose(run(attack, (image, weight, label), share=share), wanted, rtol=0, atol=1e-12)


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


class Bumpy:
    """A function of many maxima, by example."""

    def __init__(self, rng, examples=30):
        self.clean, self.frequency = rng.uniform(0.2, 0.8, (examples, 3)), rng.uniform(5, 60, (examples, 3))

    def values(self, x):
        return np.sum(np.sin(self.frequency * x) * x, axis=-1)

    def slopes(self, x):
        return np.sin(self.frequency * x) + self.frequency * x * np.cos(self.frequency * x)

    def value_and_grad(self, x):
        f = tf.constant(self.frequency, x.dtype)
        return tf.reduce_sum(tf.sin(f * x) * x, -1), tf.sin(f * x) + f * x * tf.cos(f * x)

    def reached(self, attack, noise=NOISE):
        found = attack(self.value_and_grad, tf.constant(self.clean), noise).numpy()
        assert np.abs(found - self.clean).max() <= attack.eps + 1e-12
        return self.values(found)


@pytest.mark.parametrize("steps", [2, 6, 10, 40, 150])
def test_apgd_follows_its_algorithm_on_a_bumpy_function(rng, steps):
    bumpy = Bumpy(rng)
    start_at_clean = Given(np.zeros_like(bumpy.clean))
    found = APGD(eps=0.15, steps=steps)(bumpy.value_and_grad, tf.constant(bumpy.clean), start_at_clean).numpy()
    for i in range(30):
        f = bumpy.frequency[i]
        wanted = apgd_by_loops(
            lambda x, f=f: np.sum(np.sin(f * x) * x),
            lambda x, f=f: np.sin(f * x) + f * x * np.cos(f * x),
            bumpy.clean[i],
            0.15,
            steps,
        )
        np.testing.assert_allclose(found[i], wanted, rtol=0, atol=1e-12)
    if steps == 40:
        plain = bumpy.reached(PGD(eps=0.15, step_size=0.05, steps=40, start=0.0))
        assert (bumpy.values(found) >= plain).mean() > 0.8


def test_apgd_looks_back_where_the_paper_does():
    assert APGD(steps=100).checkpoints == (22, 41, 57, 70, 80, 87, 93, 99)
    assert APGD(steps=1).checkpoints == (1,)


def test_the_best_point_never_gets_worse_with_more_steps(rng):
    bumpy = Bumpy(rng)
    reached = [bumpy.reached(PGD(0.15, 0.04, steps, keep="best")) for steps in (1, 2, 5, 10, 11, 30)]
    for fewer, more in itertools.pairwise(reached):
        assert (more >= fewer).all()
    last = bumpy.reached(PGD(0.15, 0.04, 30))
    assert (reached[-1] >= last).all()
    assert (reached[-1] > last + 0.01).any()  # the last iterate of so long steps is often not the best


def test_a_start_outside_the_ball_is_not_the_best_point(rng):
    clean = rng.uniform(0.4, 0.6, (5, 3))

    def farther_is_better(x):
        return tf.reduce_sum((x - clean) ** 2, -1), tf.zeros_like(x)

    found = PGD(0.1, 0.03, 3, start=1.0, keep="best")(farther_is_better, tf.constant(clean), NOISE).numpy()
    assert np.abs(found - clean).max() <= 0.1 + 1e-12


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("make", [FGSM, PGD, APGD])
def test_restarts_never_make_it_worse(rng, make, norm):
    bumpy = Bumpy(rng)
    reached = [bumpy.reached(make(eps=0.15, restarts=restarts, norm=norm)) for restarts in (1, 2, 3, 6)]
    for fewer, more in itertools.pairwise(reached):
        assert (more >= fewer).all()
    assert (reached[-1] > reached[0] + 0.01).mean() > 0.3


def test_a_start_anywhere_is_all_over_the_ball(rng):
    clean = rng.uniform(0.3, 0.7, (500, 8))

    def flat(x):
        return tf.zeros(len(x), x.dtype), tf.zeros_like(x)

    cube = PGD(0.2, start="anywhere")(flat, tf.constant(clean), NOISE).numpy() - clean
    assert np.abs(np.quantile(cube, [0.25, 0.5, 0.75]) - [-0.1, 0, 0.1]).max() < 0.01
    sphere = PGD(0.2, start="anywhere", norm="l2")(flat, tf.constant(clean), NOISE).numpy() - clean
    np.testing.assert_allclose(np.linalg.norm(sphere, axis=1), 0.2, rtol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("make", [*ATTACKS.values(), Square])
def test_bounds_and_range_hold_and_radius_zero_is_the_image(rng, make, norm):
    image = rng.uniform(0, 1, (4, 6, 6, 3)).astype(np.float32)
    weight = tf.constant(rng.normal(size=image.shape[1:]), tf.float32)

    def value_and_grad(x):
        return tf.reduce_sum(tf.sin(9 * x) * weight, (1, 2, 3)), 9 * tf.cos(9 * x) * weight

    for eps in (0.0, 8 / 255, 0.7):
        attack = make(eps=eps, norm=norm, **({"queries": 30} if make is Square else {"restarts": 2}))
        found = tf.function(attack)(value_and_grad, tf.constant(image), NOISE).numpy()
        moved = (found.astype(np.float64) - image).reshape(4, -1)
        lengths = np.abs(moved).max(1) if norm == "linf" else np.linalg.norm(moved, axis=1)
        assert lengths.max() <= eps * (1 + 1e-6) + 6e-8  # half a unit in the last place of an image near 1
        assert found.min() >= 0
        assert found.max() <= 1
        if eps:
            assert lengths.min() > 0.9 * min(eps, 0.05)
        else:
            np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("attack", [make(eps=EPS) for make in ATTACKS.values()] + [Square(EPS, 50), APGD(EPS, 15)])
def test_attacks_compile_to_one_graph_of_one_shape(linear, attack):
    image, weight, _ = linear
    scorer = ascending(lambda x: tf.linalg.matvec(x, weight)[:, None], lambda h: (h[:, 0], tf.ones_like(h)))
    compiled = tf.function(lambda x: attack(scorer, x, NOISE))
    found = compiled(tf.constant(image))
    assert found.shape == compiled.get_concrete_function(image).output_shapes == image.shape
    assert (found.numpy() @ weight >= image @ weight).all()
    np.testing.assert_allclose(found, attack(scorer, tf.constant(image), NOISE), rtol=0, atol=1e-12)


def test_a_loop_in_the_graph_does_what_the_unrolled_steps_do(rng, monkeypatch):
    bumpy = Bumpy(rng)
    for attack in (PGD(0.15, 0.04, 8), PGD(0.15, 0.04, 8, keep="best"), APGD(0.15, 8)):
        unrolled = bumpy.reached(attack)
        with monkeypatch.context() as patch:
            patch.setattr("adap_tf.attacks.ascent.UNROLLED", 0)
            patch.setattr("adap_tf.attacks.ascent.repeated.__defaults__", (0,))
            looped = tf.function(lambda attack=attack: attack(bumpy.value_and_grad, tf.constant(bumpy.clean), NOISE))()
        np.testing.assert_allclose(bumpy.values(looped.numpy()), unrolled, rtol=0, atol=1e-12)


def test_slopes_too_small_for_the_network_are_not_lost():
    def network(x):
        return tf.cast(tf.reduce_sum(tf.cast(x, tf.float16), 1, keepdims=True), tf.float32)

    slope = ascending(network, lambda h: (h[:, 0], 1e-12 * tf.constant([[1.0], [-1.0], [0.0]])))(tf.zeros([3, 2]))[1]
    np.testing.assert_array_equal(slope, [[1, 1], [-1, -1], [0, 0]])


def test_gradients_too_small_to_be_squared_still_point_somewhere_in_l2():
    def value_and_grad(x):
        return tf.zeros(len(x)), tf.constant([[3e-30, -4e-30]])

    found = FGSM(0.1, start=0.0, norm="l2")(value_and_grad, tf.constant([[0.5, 0.5]]), Given(np.zeros((1, 2))))
    np.testing.assert_allclose(found, [[0.56, 0.42]], rtol=1e-6)


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
        {"steps": float("inf")},
        {"queries": 0},
        {"start": -0.1},
        {"start": float("nan")},
        {"start": "somewhere"},
        {"norm": "l3"},
        {"restarts": 0},
        {"keep": "first"},
        {"momentum": 0.0},
        {"rho": 1.5},
        {"area": 0.0},
    ],
)
def test_bad_attacks_are_refused(bad):
    name = next(iter(bad))
    kinds = [kind for kind in (*ATTACKS.values(), Square) if name in kind.__dataclass_fields__]
    assert kinds
    for kind in kinds:
        with pytest.raises(ValueError, match=f"^{name} must be"):
            kind(**bad)
