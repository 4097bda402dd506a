"""The step of every method: against the reference by loops, automatic differentiation, and where it could break."""

import copy
import itertools
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

import adap_tf
import reference
from adap_tf import METHODS, PGD, AdversarialModel, AveragePrecision, CrossEntropy, Listwise, Method
from adap_tf.backbones import find_backbone
from adap_tf.data import Examples, batches
from adap_tf.losses import DIVERGENCES
from adap_tf.noise import Noise
from adap_tf.replicas import ALONE
from adap_tf.scored import Scored
from adap_tf.weights import Population
from train.workers import make_strategy

N, D, BATCH = 24, 5, 10
ATTACK = PGD(eps=0.1, step_size=0.03, steps=6, start=0.01)
LAM, GAMMA1, GAMMA2 = 0.7, 0.3, 0.4

# A row that a user could write: the AP surrogate of perturbed data, beside the listwise term.
MINE = Method("mine", AveragePrecision("adversarial"), (Listwise(),), CrossEntropy("adversarial"))
ROWS = {**METHODS, "mine": MINE}

# What is ascended and what is minimised, as method.md has it; the second of a pair counts λ times.
TABLE = {
    "ce": (None, "CE"),
    "ap": (None, "P"),
    "pgd": ("CE", "CE'"),
    "trades": ("L", "CE", "L"),
    "mart": ("CE", "CE'", "MART"),
    "adap_mm": ("P'", "P'"),
    "adap_pz": ("L", "P", "L"),
    "adap_lz": ("R", "P", "R"),
    "adap_ln": ("CE", "P", "R"),
    "adap_lpn": ("CE", "P", "R", "L"),
    "mine": ("CE", "P'", "R"),
}


def make_data(rng, tasks):
    """With unknown labels where there are several tasks."""
    label = (rng.uniform(size=(N, tasks)) < 0.4).astype(float)
    label[0], label[1] = 1, 0
    if tasks > 1:
        label[2:][rng.uniform(size=(N - 2, tasks)) < 0.2] = np.nan
    return Examples(rng.uniform(0, 1, (N, D)), label)


def linear(weight, bias):
    dense = keras.layers.Dense(len(bias), dtype="float64")
    network = keras.Sequential([keras.Input((D,), dtype="float64"), dense])
    network.set_weights([weight, bias])
    return network


def as_batch(examples, places, candidate=None):
    part = examples.take(places)
    batch = {"image": tf.constant(part.image), "label": tf.constant(part.label), "row": examples.rows[places]}
    if candidate is not None:
        batch |= {"candidate": tf.constant(candidate), "row": np.where(candidate[:, None], -1, batch["row"])}
    return {name: tf.constant(value) for name, value in batch.items()}


class Reference:
    """The same objective by plain loops: value and slopes of a term by its short name, with its estimators."""

    def __init__(self, data, y, row, candidate, states, divergence="kl", prevalence="batch"):
        self.data, self.y, self.row, self.candidate, self.states = data, y, row, candidate, states
        self.divergence, self.prevalence = divergence, prevalence

    def term(self, name, h, h_adv):
        none, y, candidate = np.zeros_like(h), self.y, self.candidate
        if name in ("CE", "CE'"):
            value, slope = reference.cross_entropy_term(h_adv if name == "CE'" else h, y, candidate)
            return (value, none, slope) if name == "CE'" else (value, slope, none)
        if name in ("P", "P'"):
            seen, table = h_adv if name == "P'" else h, self.states[name]
            value, slope = reference.ap_term(seen, y, self.row, table, 0.6, "sigmoid", self.prevalence, candidate)
            return (value, none, slope) if name == "P'" else (value, slope, none)
        if name == "MART":
            return reference.mart_term(h, h_adv, y, candidate)
        if name == "L":
            return reference.pointwise_term(h, h_adv, y, self.divergence, candidate)
        counts = self.data.known, self.data.positives, candidate
        return reference.listwise_term(
            h, h_adv, y, self.states["R"], "tanh", 1.0, self.divergence, self.prevalence, *counts
        )

    def ascent(self, name, h, h_adv):
        """Slopes of what an attack ascends by the perturbed scores, but for positive factors of each example's own."""
        known = np.isfinite(self.y)
        away = np.where(self.y == 1, -1, 1) * known
        if name == "CE":
            return away if h.shape[1] == 1 else away * reference.sigmoid(away * h_adv)
        if name == "L":
            slope = reference.pointwise_divergence(h, h_adv, self.divergence)[2]
            return np.sign(h_adv - h) if h.shape[1] == 1 else slope * known
        return self.term(name, h, h_adv)[2]


def states_of(data, start="first_visit"):
    tables = {name: reference.RowTable(data.positives, 0.6, data.known, GAMMA1, start) for name in ("P", "P'")}
    return {**tables, "R": reference.ListwiseState(len(data.positives), GAMMA2, start)}


EVERY = [(method, tasks, {}) for method in ROWS for tasks in (1, 3)]
SPECIAL = [
    ("adap_mm", 1, {"peek": True}),
    ("adap_lz", 3, {"peek": True}),
    ("adap_mm", 3, {"prevalence": "dataset", "separate": True}),
    ("adap_ln", 1, {"start": "zero", "separate": True}),
    ("adap_lpn", 3, {"prevalence": "dataset", "start": "zero"}),
    *((method, 3, {"divergence": d}) for method in ("trades", "adap_lz", "adap_lpn") for d in ("reverse_kl", "js")),
    ("adap_pz", 1, {"divergence": "js"}),
    ("pgd", 3, {"separate": True}),
    ("mart", 1, {"separate": True}),
]


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize(("method", "tasks", "options"), EVERY + SPECIAL)
def test_five_steps_of_a_linear_scorer_match_the_reference(rng, method, tasks, options, graph):
    data, options = make_data(rng, tasks), dict(options)
    candidate = np.arange(BATCH) % 3 > 0 if options.pop("separate", False) else None
    weight, bias, l2, rate = rng.normal(size=(D, tasks)), rng.normal(size=tasks), 0.01, 0.5
    hyper = {"lam": LAM, "gamma1": GAMMA1, "gamma2": GAMMA2, "margin": 0.6, **options}
    model = AdversarialModel(
        linear(weight, bias), ROWS[method], data.positives, examples=data.known, attack=ATTACK, l2=l2, **hyper
    )
    model.compile(keras.optimizers.SGD(rate))
    take = tf.function(model.train_step) if graph else model.train_step

    start, peek = options.pop("start", "first_visit"), options.pop("peek", False)
    states = states_of(data, start)
    ascended, *minimised = TABLE[method]
    for step in range(5):
        places = rng.choice(N, BATCH)  # with repeats
        if candidate is not None:
            places[~candidate] = rng.choice(np.flatnonzero((data.label == 1).any(1)), sum(~candidate))
        batch = as_batch(data, places, candidate)
        logs = take(batch)

        x, y, row = data.image[places], data.label[places].astype(float), batch["row"].numpy()
        plain = Reference(data, y, row, candidate, states, **options)
        x_adv = x
        if ascended:
            h = x @ weight + bias
            looking = Reference(data, y, row, candidate, copy.deepcopy(states), **options) if peek else plain

            def slopes(scores, h=h, looking=looking, bias=bias):
                if peek:
                    looking.states = copy.deepcopy(states)
                return looking.ascent(ascended, h, scores + bias)

            noise = Noise(tf.constant([0, step], tf.int64)).normal(x.shape, tf.float64).numpy()
            x_adv = reference.pgd_of_scores(x, weight, slopes, 0.1, 0.03, 6, 0.01 * noise)
        h, h_adv = x @ weight + bias, x_adv @ weight + bias
        parts = [plain.term(name, h, h_adv) for name in minimised]
        factors = [1.0] + [LAM] * (len(parts) - 1)
        value, slope, slope_adv = (
            sum(factor * part[i] for factor, part in zip(factors, parts, strict=True)) for i in range(3)
        )
        weight, bias = (
            weight - rate * (x.T @ slope + x_adv.T @ slope_adv + l2 * weight),
            bias - rate * (slope.sum(0) + slope_adv.sum(0) + l2 * bias),
        )
        np.testing.assert_allclose(model.network.get_weights()[0], weight, rtol=0, atol=1e-10)
        np.testing.assert_allclose(model.network.get_weights()[1], bias, rtol=0, atol=1e-10)
        np.testing.assert_allclose(logs["loss"], value, atol=1e-5)  # the running mean is float32
        model.reset_metrics()


@pytest.mark.parametrize(("method", "operation"), [("adap_lz", "Softplus"), ("adap_mm", "MatrixDiagV3")])
def test_what_a_joint_attack_ascends_is_in_the_graph_once_for_all_steps(rng, method, operation):
    data, found = make_data(rng, 1), {}
    for steps in (2, 6):
        network = linear(np.ones((D, 1)), np.zeros(1))
        model = AdversarialModel(network, method, data.positives, attack=PGD(steps=steps))
        model.compile("sgd")
        step = tf.function(model.train_step).get_concrete_function(as_batch(data, np.arange(BATCH)))
        graph = step.graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        found[steps] = Counter(node.op for node in nodes)
        holders = [f for f in graph.library.function if operation in {node.op for node in f.node_def}]
        assert [function.attr["_noinline"].b for function in holders] == [True]
    assert found[2]["MatMul"] < found[6]["MatMul"]
    assert 0 < found[2][operation] == found[6][operation]


def exact(name, h, h_adv, y, divergence):
    """A term over all data as TensorFlow can differentiate it (eq. 1, 4, 5 and 8, and MART's)."""
    if name in ("CE", "CE'"):
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, h_adv if name == "CE'" else h))
    if name in ("P", "P'"):
        s, positive = tf.sigmoid((h_adv if name == "P'" else h)[:, 0]), y[:, 0]
        pair = tf.nn.relu(0.6 - s[:, None] + s[None, :]) ** 2
        precision = tf.reduce_sum(pair * positive, 1) / tf.reduce_sum(pair, 1)
        return -tf.reduce_sum(precision * positive) / tf.reduce_sum(positive)
    if name == "R":
        p, q = (tf.nn.softmax(tf.tanh(x), axis=0) for x in (h, h_adv))
        return tf.reduce_sum(discrepancy(p, q, divergence))
    p, q = tf.sigmoid(h), tf.sigmoid(h_adv)
    if name == "MART":
        kl = discrepancy(p, q, "kl") + discrepancy(1 - p, 1 - q, "kl")
        return tf.reduce_mean(tf.abs(y - p) * kl)
    return tf.reduce_mean(discrepancy(p, q, divergence) + discrepancy(1 - p, 1 - q, divergence))


def discrepancy(p, q, divergence):
    """What outcomes of these probabilities add to a divergence."""
    if divergence == "js":
        middle = (p + q) / 2
        return (p * tf.math.log(p / middle) + q * tf.math.log(q / middle)) / 2
    return p * tf.math.log(p / q) if divergence == "kl" else q * tf.math.log(q / p)


DIVERGING = [name for name, method in ROWS.items() if "divergence" in method.hyperparameters]


@pytest.mark.parametrize(
    ("method", "divergence"),
    [(name, "kl") for name in ROWS] + [(name, d) for name in DIVERGING for d in ("reverse_kl", "js")],
)
def test_with_gamma_one_on_all_data_the_step_is_exact_gradient_descent(rng, method, divergence):
    data = Examples(rng.uniform(0, 1, (N, 4, 4, 1)), np.arange(N) % 4 == 0)
    keras.config.set_dtype_policy("float64")
    network = adap_tf.BACKBONES["mlp"]((4, 4, 1), widths=(7,))
    keras.config.set_dtype_policy("float32")
    hyper = {"lam": LAM, "gamma1": 1.0, "gamma2": 1.0, "divergence": divergence}
    model = AdversarialModel(network, ROWS[method], 6, examples=N, attack=ATTACK, **hyper)
    model.compile(keras.optimizers.SGD(1.0))
    batch = as_batch(data, np.arange(N))
    attack, (loss, *regularisers) = model.method.attack, TABLE[method][1:]
    adversarial = batch["image"] if attack is None else model._attacked(attack, batch, model._whole(batch, ALONE))
    assert attack is None or np.abs(adversarial - batch["image"]).max() > 0.09
    before = [w.numpy() for w in network.trainable_variables]
    with tf.GradientTape() as tape:
        scores = network(batch["image"]), network(adversarial), tf.cast(batch["label"], tf.float64)
        objective = exact(loss, *scores, divergence)
        for name in regularisers:
            objective += LAM * exact(name, *scores, divergence)
    gradients = tape.gradient(objective, network.trainable_variables)
    model.train_step(batch)
    for old, new, gradient in zip(before, network.trainable_variables, gradients, strict=True):
        assert np.abs(gradient).max() > 1e-6 or old.shape == (1,)
        np.testing.assert_allclose(old - new.numpy(), gradient, rtol=0, atol=1e-8)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_with_small_gamma_the_listwise_term_follows_all_the_data(rng, divergence):
    n, size, steps = 400, 40, 4000
    h = rng.normal(size=(n, 1))
    h_adv = h + 0.7 * rng.normal(size=(n, 1))
    term = Listwise(gamma2=0.01, list_score="identity", divergence=divergence)
    estimator = term.estimator(Population((1,), (n,)), "float64")

    @tf.function
    def step(places):
        scores = {"clean": tf.gather(h, places), "adversarial": tf.gather(h_adv, places)}
        return term(Scored.of(scores, tf.zeros([size, 1])), estimator)

    total = {"clean": np.zeros_like(h), "adversarial": np.zeros_like(h)}
    values = []
    for number in range(steps):
        places = rng.choice(n, size, replace=False)
        value, gradients = step(tf.constant(places))
        if number >= steps // 4:
            values.append(float(value))
            for view, slope in gradients.items():
                total[view][places] += slope
    first, second = (h_adv, h) if divergence == "reverse_kl" else (h, h_adv)
    log_u2, log_u3 = estimator.state.numpy()[:2, 0]
    np.testing.assert_allclose(log_u2, np.log(np.mean(np.exp(first))), atol=0.1)
    np.testing.assert_allclose(log_u3, np.log(np.mean(np.exp(second))), atol=0.1)
    with tf.GradientTape() as tape:
        views = [tf.Variable(h), tf.Variable(h_adv)]
        p, q = (tf.nn.softmax(x, axis=0) for x in views)
        wanted = tf.reduce_sum(discrepancy(p, q, divergence))
    np.testing.assert_allclose(np.mean(values), wanted, rtol=0.05)
    for found, gradient in zip(total.values(), tape.gradient(wanted, views), strict=True):
        cosine = np.sum(found * gradient) / np.linalg.norm(found) / np.linalg.norm(gradient)
        assert cosine > 0.99


@pytest.mark.parametrize("method", ROWS)
@pytest.mark.parametrize("score", ["sigmoid", "identity"])
def test_large_logits_and_steps_stay_finite(rng, method, score):
    image = rng.uniform(0, 1, (64, D)).astype("float32")
    label = image[:, 0] > 0.7
    network = keras.Sequential([keras.Input((D,)), keras.layers.Dense(1)])
    network.set_weights([np.full((D, 1), -100.0), np.array([250.0])])  # logits of ±50 and more, wrong
    scores = {"ap_score": score, "list_score": {"sigmoid": "tanh"}.get(score, score)}
    model = AdversarialModel(network, ROWS[method], int(label.sum()), attack=ATTACK, **scores)
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(batches(image, label, 16), steps_per_epoch=200, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(np.isfinite(variable).all() for variable in (*network.weights, *model.optimizer.variables))
    assert np.abs(network.get_weights()[0] + 100).max() > 0.1


class OfMyOwn(keras.Model):
    """A subclassed model that does not know its output's shape."""

    def __init__(self, tasks):
        super().__init__()
        self.scorer = keras.layers.Dense(tasks)
        self.dropout = keras.layers.Dropout(0.1)

    def call(self, image, training=False):
        return self.scorer(self.dropout(tf.reshape(image, [image.shape[0] or -1, 30]), training=training))


def of_my_own(shape, tasks):
    network = OfMyOwn(tasks)
    network(np.zeros((2, *shape), "float32"))
    return network


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (adap_tf.BACKBONES["mlp"], (7,)),  # a table of features
        (adap_tf.BACKBONES["small_cnn"], (9, 5, 2)),
        (of_my_own, (5, 2, 3)),
        (find_backbone("MobileNetV2"), (32, 40, 3)),
    ],
)
def test_any_network_trains_and_is_evaluated(rng, make, shape):
    data = Examples(rng.uniform(0, 1, (16, *shape)).astype("float32"), rng.uniform(size=(16, 2)) < 0.5)
    network = make(shape, 2)
    before = [w.numpy() for w in network.trainable_variables]
    model = AdversarialModel(network, "adap_lpn", data.positives, attack=PGD(steps=1), threat=PGD(steps=1))
    model.compile()
    train = batches(data.image, data.label, 8)
    history = model.fit(train, steps_per_epoch=2, validation_data=(data.image, data.label), verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert any((old != new.numpy()).any() for old, new in zip(before, network.trainable_variables, strict=True))


@pytest.mark.parametrize(
    ("method", "tasks", "policy", "replicas"),
    [
        *itertools.product(METHODS, [1, 3], ["float32", "mixed_bfloat16"], [1]),
        *(
            pytest.param(method, 3, "mixed_bfloat16", 2, marks=() if method == "adap_lpn" else pytest.mark.slow)
            for method in METHODS
        ),
    ],
)
def test_every_row_trains_in_every_setting(rng, tmp_path, method, tasks, policy, replicas):
    label = rng.uniform(size=(32, tasks)) < 0.4
    data = Examples(rng.uniform(0, 1, (32, 6, 6, 1)).astype("float32"), label)
    strategy = make_strategy(replicas)
    with strategy.scope():
        keras.config.set_dtype_policy(policy)
        network = adap_tf.BACKBONES["mlp"]((6, 6, 1), tasks, widths=(8,))
        keras.config.set_dtype_policy("float32")
        model = AdversarialModel(network, method, data.positives, examples=32, attack=PGD(eps=0.1, steps=2))
        model.compile()
    before = [w.numpy() for w in network.trainable_variables]
    sampler = adap_tf.data.Sampler(data.label, 16, 8)
    parts = adap_tf.data.training_batches(data, sampler, parts=replicas)
    distributed = iter(strategy.distribute_datasets_from_function(lambda _: parts))
    step = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)))
    for _ in range(3):
        logs = step(next(distributed))
    assert step.experimental_get_tracing_count() == 1
    for old, new in zip(before[:-1], network.trainable_variables[:-1], strict=True):  # the head's bias may rest
        assert (old != new.numpy()).any()
    for value in logs.values():
        assert np.isfinite(strategy.experimental_local_results(value)[0])

    state = [v for estimator in model.estimators.values() for v in estimator.variables]
    saved = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    kept = [tf.train.load_variable(saved, name) for name, _ in tf.train.list_variables(saved) if "_CHECK" not in name]
    for variable in state:
        value = strategy.experimental_local_results(variable.value)[0].numpy()
        assert np.isfinite(value).all()
        assert any(np.array_equal(value, other) for other in kept)
    if replicas == 1:
        adap_tf.export_saved_model(network, tmp_path / "export")
        assert len(tf.saved_model.load(str(tmp_path / "export")).variables) == len(network.variables)
