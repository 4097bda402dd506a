"""The AP surrogate of a whole data set: against loops, automatic differentiation, and the term that trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from adap_tf import AveragePrecision, Evaluator, Listwise, average_precision
from adap_tf.attacks import FGSM, PGD
from adap_tf.evaluation import Threat
from adap_tf.exact import ExactAveragePrecision, WholeSet
from adap_tf.scored import Scored
from adap_tf.spread import Spread
from adap_tf.weights import Population


def surrogate(h, label, margin=0.6):
    """P by loops, from eq. 1, in float64, of one task."""
    s, known = 1 / (1 + np.exp(-h)), np.isfinite(label)
    ratios = []
    for a in np.flatnonzero(label == 1):
        loss = np.maximum(margin - (s[a] - s), 0) ** 2 * known
        ratios.append(loss[label == 1].sum() / loss.sum())
    return -np.mean(ratios)


def by_differences(f, x, step=1e-6):
    gradient = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (f(up) - f(down)) / (2 * step)
    return gradient


@pytest.mark.parametrize("tasks", [1, 3])
def test_value_and_gradient_by_loops_and_differences(rng, tasks):
    h, label = rng.normal(size=(15, tasks)), (rng.uniform(size=(15, tasks)) < 0.4).astype(float)
    label[0], label[1] = 1, np.nan
    h[3] = h[4]  # a tie
    if tasks == 3:
        label[:, 2] = 0  # no positive: left out

    def value(h):
        return np.mean([surrogate(h[:, c], label[:, c]) for c in range(min(tasks, 2))])

    found, slopes = ExactAveragePrecision()(Scored.of({"adversarial": tf.constant(h)}, tf.constant(label)))
    assert float(found) == pytest.approx(value(h), abs=1e-12)
    np.testing.assert_allclose(slopes["adversarial"], by_differences(value, h), atol=1e-8)


def test_it_is_the_term_that_trains_with_its_averages_at_their_first_visit(rng):
    h, label = rng.normal(size=(30, 2)), (rng.uniform(size=(30, 2)) < 0.4).astype(float)
    row = np.where(label == 1, np.cumsum(label == 1, 0) - 1, -1)
    batch = Scored.of({"adversarial": tf.constant(h)}, tf.constant(label), tf.constant(row))
    term = AveragePrecision("adversarial", gamma1=0.3)
    population = Population(tuple(int(n) for n in label.sum(0)), (30, 30))
    wanted = term(batch, term.estimator(population, "float64"), peek=True)
    found = ExactAveragePrecision()(batch)
    assert float(found[0]) == pytest.approx(float(wanted[0]), abs=1e-12)
    np.testing.assert_allclose(found[1]["adversarial"], wanted[1]["adversarial"], atol=1e-12)


def test_it_asks_for_memory_in_proportion_to_the_examples():
    h = tf.random.normal([200_000, 1], seed=1)  # pairs would take 160 GB
    label = tf.cast(tf.random.uniform([200_000, 1], seed=2) < 0.1, tf.float32)
    value, slopes = ExactAveragePrecision()(Scored.of({"adversarial": h}, label))
    assert -1 <= float(value) <= -0.1 + 0.05
    assert np.isfinite(slopes["adversarial"]).all()


def test_a_whole_set_is_differentiated_in_batches(rng):
    image, label = rng.uniform(size=(11, 5)).astype(np.float32), (np.arange(11) % 3 == 0).astype(np.float32)[:, None]
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    spread = Spread(4)
    at = tf.constant(image[spread.places(11).ravel()])
    values, found = WholeSet(network, ExactAveragePrecision(), at, label, spread)(at)
    with tf.GradientTape() as tape:
        x = tf.constant(image)
        tape.watch(x)
        h = network(x)
    value, slopes = ExactAveragePrecision()(Scored.of({"adversarial": h}, tf.constant(label)))
    np.testing.assert_allclose(values, np.full(12, float(value)), rtol=1e-5)
    wanted = tape.gradient(h, x, output_gradients=tf.sign(slopes["adversarial"]))  # each on a scale of its own
    np.testing.assert_allclose(found[:11], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("term", "start"), [(ExactAveragePrecision(), 0.001), (Listwise(), 0.02)])
@pytest.mark.parametrize("attack", [FGSM, PGD])
def test_threats_on_the_ranking_lower_ap(rng, term, start, attack):
    image = rng.uniform(0.2, 0.8, (40, 6)).astype(np.float32)
    weight = rng.normal(size=(6, 1)).astype(np.float32)
    label = (image @ weight > np.quantile(image @ weight, 0.75)).astype(np.float32)
    network = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, use_bias=False)])
    network.set_weights([weight])
    threats = {"clean": None, "ranking": Threat(attack(eps=0.15, start=start), term)}
    evaluator = Evaluator(network, threats, batch_size=16)
    scores = evaluator.scores(image, label)
    clean, attacked = (float(average_precision(scores[name], label)[0]) for name in threats)
    assert clean == 1
    assert attacked < 0.9
    places = np.array([1, 17, 39])
    images = evaluator.attacked("ranking", image, label, places)
    assert np.abs(images - image[places]).max() <= 0.15 + 1e-6
    np.testing.assert_allclose(images @ weight, scores["ranking"][places], atol=1e-5)


def test_a_network_that_is_sure_of_itself_is_attacked_as_any_other(rng):
    image = rng.uniform(0.2, 0.8, (200, 6)).astype(np.float32)
    weight = rng.normal(size=(6, 1)).astype(np.float32)
    logits = image @ weight
    label = (logits > np.quantile(logits, 0.8)).astype(np.float32)
    ap = []
    for scale in (1, 100, 10_000):  # of the last, no score has a sigmoid with a slope
        network = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        network.set_weights([scale * weight, -scale * np.quantile(logits, [0.8])])
        threat = Threat(PGD(eps=0.1, step_size=0.03, steps=5), ExactAveragePrecision())
        ap.append(average_precision(Evaluator(network, {"x": threat}).scores(image, label)["x"], label)[0])
    assert ap[0] < 0.8
    np.testing.assert_allclose(ap, ap[0], atol=0.02)
