"""Values, gradients and estimator sequences of the terms against the reference."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import tensorflow as tf

import reference
from adap_tf.losses import DIVERGENCES, SCORES
from adap_tf.scored import Scored
from adap_tf.terms import (
    AveragePrecision,
    CrossEntropy,
    Listwise,
    MisclassificationWeightedKL,
    PointwiseDivergence,
)
from adap_tf.weights import Population

TASKS, EXAMPLES, BATCH = 4, 40, 14
ANY = np.arange(BATCH) % 4 != 0
"""Candidates where some of the batch are anchors alone."""
OPTIONS = (
    {},
    {"start": "zero"},
    {"prevalence": "dataset"},
    {"candidate": ANY},
    {"prevalence": "dataset", "candidate": ANY},
)


def scored(h, h_adv, label, row, candidate=None):
    scores = {"clean": tf.constant(h, tf.float64), "adversarial": tf.constant(h_adv, tf.float64)}
    return Scored.of(scores, tf.constant(label, tf.float64), tf.constant(row, tf.int64), candidate)


def batches(rng, count, size=1.0):
    """Batches of several tasks: unknown labels, a task without anchors, one without any known label; the counts."""
    label = (rng.uniform(size=(EXAMPLES, TASKS)) < 0.4).astype(float)
    label[rng.uniform(size=label.shape) < 0.2] = np.nan
    label[:, 2] = np.where(np.isnan(label[:, 2]), np.nan, 0.0)
    label[:, 3] = np.nan
    row = np.where(label == 1, np.cumsum(label == 1, axis=0) - 1, -1)
    population = Population(*(tuple(x.sum(axis=0).tolist()) for x in (label == 1, np.isfinite(label))))
    drawn = []
    for _ in range(count):
        places = rng.choice(EXAMPLES, BATCH)  # with repeats
        h = size * rng.normal(size=(BATCH, TASKS))
        drawn.append((h, h + 0.3 * size * rng.normal(size=h.shape), label[places], row[places]))
    return population, drawn


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_average_precision_by_hand():
    # One positive (score 0.5) and one negative (score 0.2), m = 0.6: pair losses 0.36 with itself, 0.09.
    term = AveragePrecision(gamma1=1.0, ap_score="identity")
    value, gradient = term(
        scored([[0.5], [0.2]], [[0], [0]], [[1], [0]], [[0], [-1]]), term.estimator(Population((1,), (2,)), "float64")
    )
    close(value, -0.36 / 0.45)  # u1 = 0.18, u2 = 0.225
    # of -ℓ++ / (ℓ++ + ℓ+-): by ℓ+- it is 0.36 / 0.45², times the slope 2·0.3 of ℓ+-
    slope = 0.36 / 0.45**2 * 0.6
    close(gradient["clean"], [[-slope], [slope]])


@pytest.mark.parametrize(
    "options",
    [{}, {"start": "zero"}, {"prevalence": "dataset"}, {"candidate": ANY}, {"prevalence": "dataset", "candidate": ANY}],
)
@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("view", ["clean", "adversarial"])
def test_average_precision_matches_the_reference_over_steps(rng, score, view, size, options):
    population, drawn = batches(rng, 5, size)
    options = dict(options)
    candidate = options.pop("candidate", None)
    term = AveragePrecision(view, gamma1=0.3, margin=0.7, ap_score=score, **options)
    estimator = term.estimator(population, "float64")
    examples = np.maximum(population.examples, 1)
    table = reference.RowTable(population.positives, 0.7, examples, 0.3, options.get("start", "first_visit"))
    for h, h_adv, label, row in drawn:
        value, gradient = term(scored(h, h_adv, label, row, candidate), estimator)
        seen = h if view == "clean" else h_adv
        wanted, wanted_gradient = reference.ap_term(
            seen, label, row, table, 0.7, score, options.get("prevalence", "batch"), candidate
        )
        close(value, wanted)
        close(gradient[view], wanted_gradient)
        assert np.isfinite(gradient[view]).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"start": "zero"}, {"prevalence": "dataset"}, {"candidate": ANY}, {"prevalence": "dataset", "candidate": ANY}],
)
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("score", SCORES)
def test_listwise_matches_the_reference_over_steps(rng, score, size, divergence, options):
    population, drawn = batches(rng, 5, size)
    options = dict(options)
    candidate = options.pop("candidate", None)
    term = Listwise(gamma2=0.3, list_score=score, temperature=0.5, divergence=divergence, **options)
    estimator = term.estimator(population, "float64")
    state = reference.ListwiseState(TASKS, 0.3, options.get("start", "first_visit"))
    for h, h_adv, label, row in drawn:
        value, gradient = term(scored(h, h_adv, label, row, candidate), estimator)
        wanted = reference.listwise_term(
            h,
            h_adv,
            label,
            state,
            score,
            0.5,
            divergence,
            options.get("prevalence", "batch"),
            population.examples,
            population.positives,
            candidate,
        )
        for found, expected in zip((value, gradient["clean"], gradient["adversarial"]), wanted, strict=True):
            close(found, expected)
        assert value > -1e-12


def test_listwise_by_hand():
    # two examples, clean scores equal, one moved by log 3: p = (1/2, 1/2), q = (1/4, 3/4)
    term = Listwise(gamma2=1.0, list_score="identity")
    batch = scored([[0.0], [0.0]], [[0.0], [np.log(3)]], [[1], [0]], [[0], [-1]])
    value, gradient = term(batch, term.estimator(Population((1,), (2,)), "float64"))
    close(value, 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75))
    close(gradient["adversarial"], [[-0.25], [0.25]])


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_listwise_value_is_a_divergence_in_float32(rng, divergence):
    term = Listwise(gamma2=0.1, list_score="identity", divergence=divergence)
    estimator = term.estimator(Population((1,)), "float32")
    for size in (1e-3, 1.0, 30.0, 1e4, 1e-3):
        h = (size * rng.normal(size=(64, 1))).astype("float32")
        h_adv = h + (0.1 * size * rng.normal(size=h.shape)).astype("float32")
        label, row = tf.zeros([64, 1]), tf.fill([64, 1], tf.constant(-1, tf.int64))
        value, _ = term(Scored.of({"clean": tf.constant(h), "adversarial": tf.constant(h_adv)}, label, row), estimator)
        log_u2, log_u3 = estimator.state.numpy()[:2, 0]
        assert value >= -1e-6 * max(1, abs(log_u2), abs(log_u3))


@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("size", [30.0, 1e4, 1e8])
def test_listwise_in_float32_of_scores_far_out_and_close_together(rng, size, divergence, spread):
    h, h_adv = (np.float32(far + spread * rng.normal(size=(64, 1))) for far in (size, -size))
    label, row = tf.zeros([64, 1]), tf.fill([64, 1], tf.constant(-1, tf.int64))
    term = Listwise(list_score="identity", divergence=divergence)
    estimator, state = term.estimator(Population((1,)), "float32"), reference.ListwiseState(1, 0.9)
    batch = Scored.of({"clean": tf.constant(h), "adversarial": tf.constant(h_adv)}, label, row)
    for _ in range(2):
        value, slopes = term(batch, estimator)
        wide = h.astype(np.float64), h_adv.astype(np.float64), label.numpy()
        wanted = reference.listwise_term(*wide, state, "identity", divergence=divergence)
        for found, expected in zip((value, slopes["clean"], slopes["adversarial"]), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * size)


@pytest.mark.parametrize("candidate", [None, ANY])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_pointwise_terms_match_the_reference(rng, size, candidate):
    _, drawn = batches(rng, 1, size)
    h, h_adv, label, row = drawn[0]
    batch = scored(h, h_adv, label, row, candidate)
    for term, wanted in (
        *((PointwiseDivergence(d), reference.pointwise_term(h, h_adv, label, d, candidate)) for d in DIVERGENCES),
        (MisclassificationWeightedKL(), reference.mart_term(h, h_adv, label, candidate)),
    ):
        value, gradient = term(batch)
        for found, expected in zip((value, gradient["clean"], gradient["adversarial"]), wanted, strict=True):
            close(found, expected)
    for view, logits in (("clean", h), ("adversarial", h_adv)):
        value, gradient = CrossEntropy(view)(batch)
        wanted_value, wanted_gradient = reference.cross_entropy_term(logits, label, candidate)
        close(value, wanted_value)
        close(gradient[view], wanted_gradient)


def test_divergences_of_both_views_are_ascended_away_from_the_clean_score(rng):
    _, drawn = batches(rng, 1)
    h, h_adv, label, row = drawn[0]
    known = np.isfinite(label)
    for divergence in DIVERGENCES:
        values, slopes = PointwiseDivergence(divergence).ascent(scored(h, h_adv, label, row, ANY))
        each, _, slope = reference.pointwise_divergence(h, h_adv, divergence)
        close(values, (each * known).sum(1))  # of every example, and of no other one's labels
        close(slopes, slope * known)
    for term in (*map(PointwiseDivergence, DIVERGENCES), MisclassificationWeightedKL()):
        h, h_adv = np.array([[300.0], [300.0], [0.3]]), np.array([[301.0], [299.0], [0.3]])
        _, slopes = term.ascent(scored(h, h_adv, [[1], [0], [0]], [[-1]] * 3))
        close(slopes, [[1], [-1], [0]])  # of one label, whatever the scores


def test_joint_terms_are_ascended_as_they_are(rng):
    population, drawn = batches(rng, 1)
    for term in (AveragePrecision("adversarial"), *(Listwise(divergence=d) for d in DIVERGENCES)):
        batch = scored(*drawn[0])
        value, gradients = term(batch, term.estimator(population, "float64"))
        estimator = term.estimator(population, "float64")
        values, slopes = term.ascent(batch, estimator, peek=True)
        close(values, [value] * BATCH)
        close(slopes, gradients["adversarial"])
        again, _ = term.ascent(batch, estimator)  # as if the first had not been
        close(again, values)


@pytest.mark.parametrize("score", SCORES)
def test_float32_logits_of_any_size_give_finite_numbers(rng, score):
    population, drawn = batches(rng, 4, 1e4)
    ranking = {"prevalence": "dataset"}
    terms = [
        AveragePrecision("adversarial", ap_score=score, **ranking),
        *(Listwise(list_score=score, temperature=0.1, divergence=d, **ranking) for d in DIVERGENCES),
        *map(PointwiseDivergence, DIVERGENCES),
        MisclassificationWeightedKL(),
        CrossEntropy("adversarial"),
    ]
    estimators = [term.estimator(population, "float32") for term in terms]
    for h, h_adv, label, row in drawn:
        scores = {"clean": tf.constant(h, tf.float32), "adversarial": tf.constant(h_adv, tf.float32)}
        batch = Scored.of(scores, tf.constant(label), tf.constant(row, tf.int64))
        for term, estimator in zip(terms, estimators, strict=True):
            value, gradients = term(batch, estimator)
            for number in (value, *gradients.values(), *term.ascent(batch, estimator)):
                assert np.isfinite(number).all()
                assert number.dtype == tf.float32


def test_a_batch_without_positives_or_known_labels_adds_nothing():
    label = np.full((3, 1), np.nan)
    batch = scored(np.ones((3, 1)), np.ones((3, 1)), label, np.full((3, 1), -1))
    for term in (
        AveragePrecision(),
        AveragePrecision(prevalence="dataset"),
        Listwise(),
        Listwise(prevalence="dataset"),
        Listwise(divergence="js"),
        PointwiseDivergence(),
        MisclassificationWeightedKL(),
        CrossEntropy(),
    ):
        value, gradient = term(batch, term.estimator(Population((1,), (3,)), "float64"))
        close(value, 0)
        for slope in gradient.values():
            close(slope, 0)


def test_ascent_of_one_task_is_the_logit_against_the_label():
    h = np.array([[2.0], [-1e4], [3.0]])
    values, slopes = CrossEntropy("adversarial").ascent(scored(h, h, [[1], [0], [np.nan]], -np.ones((3, 1))))
    close(values, [-2.0, -1e4, 0.0])
    close(slopes, [[-1.0], [1.0], [0.0]])


def by_decimals(a):
    """log(e^S - 1) and its slopes for S = Σ log(1 + e^a), with 250 digits."""
    with localcontext() as context:
        context.prec = 250
        growth = [Decimal(float(x)).exp() for x in a]
        odds = 1
        for x in growth:
            odds *= 1 + x
        slopes = [x / (1 + x) * odds / (odds - 1) for x in growth]
        return float((odds - 1).ln()), [float(x) for x in slopes]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ascent_of_several_tasks_rises_with_the_summed_cross_entropy_and_never_stalls(rng, dtype):
    label = np.array([[1, 0, 1], [0, 0, np.nan], [1, np.nan, np.nan], [np.nan] * 3])
    none = np.full(label.shape, -1)
    away = np.where(np.isnan(label), 0, 1 - 2 * label)
    for size in (1e-3, 1.0, 30.0, 200.0, 1e4):
        for side in (-1, 1):  # all scores on their label's side, or all against it
            h = (side * size * away * rng.uniform(0.5, 1, label.shape)).astype(dtype)
            scores = {"adversarial": tf.constant(h)}
            values, slopes = CrossEntropy("adversarial").ascent(
                Scored.of(scores, tf.constant(label), tf.constant(none))
            )
            tolerance = 2e-6 if dtype == np.float32 else 1e-12
            for example in range(3):
                known = away[example] != 0
                found = (away * slopes.numpy())[example][known]
                assert found.sum() > 0.99
                if size < 1e4:
                    value, slope = by_decimals((away * h)[example][known])
                    np.testing.assert_allclose(values[example], value, rtol=tolerance, atol=tolerance)
                    np.testing.assert_allclose(found, slope, rtol=10 * tolerance, atol=tolerance)
            assert values[3] == 0
            assert not slopes[3].numpy().any()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AveragePrecision(gamma1=0), "gamma1 must be in"),
        (lambda: AveragePrecision(margin=-1), "margin must be a positive"),
        (lambda: AveragePrecision(ap_score="relu"), "ap_score must be one of identity, sigmoid, tanh"),
        (lambda: Listwise(gamma2=1.5), "gamma2 must be in"),
        (lambda: Listwise(temperature=float("nan")), "temperature must be a positive"),
        (lambda: Listwise(divergence="hellinger"), "divergence must be one of kl, reverse_kl, js"),
        (lambda: PointwiseDivergence("tv"), "divergence must be one of kl, reverse_kl, js"),
        (lambda: AveragePrecision(start="one"), "start must be one of first_visit, zero"),
        (lambda: Listwise(prevalence="half"), "prevalence must be one of batch, dataset"),
        (
            lambda: Listwise(prevalence="dataset").estimator(Population((1,)), "float32"),
            "give positives= and examples=",
        ),
    ],
)
def test_bad_hyperparameters_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_an_anchor_that_meets_no_candidate_of_its_task_leaves_its_row_alone():
    term, population = AveragePrecision(gamma1=0.1), Population((2, 2), (10, 10))
    h = tf.constant([[1.0, 0.5], [0.2, 0.1], [-1.0, 0.0]])
    row, candidate = tf.constant([[0, 0], [-1, -1], [-1, -1]], tf.int64), tf.constant([0.0, 1.0, 1.0])
    unknown = tf.constant([[1.0, 1.0], [0.0, np.nan], [0.0, np.nan]])
    table = term.estimator(population, "float32")
    value, slopes = term(Scored.of({"clean": h}, unknown, row, candidate), table)
    fresh = term.estimator(population, "float32")
    alone = term(Scored.of({"clean": h[:, :1]}, unknown[:, :1], row[:, :1], candidate), _first_task(fresh, term))
    assert float(value) == pytest.approx(float(alone[0]))
    np.testing.assert_allclose(slopes["clean"], np.pad(alone[1]["clean"], [(0, 0), (0, 1)]))
    known = Scored.of({"clean": h}, tf.constant([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]), row, candidate)
    np.testing.assert_allclose(term(known, table)[1]["clean"][:, 1], term(known, fresh)[1]["clean"][:, 1])


def _first_task(estimator, term):
    return term.estimator(Population(estimator.population.positives[:1], estimator.population.examples[:1]), "float32")


def test_a_population_that_the_datas_prevalence_does_not_follow_from_is_refused():
    for term in (AveragePrecision(prevalence="dataset"), Listwise(prevalence="dataset")):
        for population in (Population((3,)), Population((0,), (10,))):
            with pytest.raises(ValueError, match="give positives= and examples="):
                term.estimator(population, "float32")
    with pytest.raises(ValueError, match="more positives"):
        Population((11,), (10,))
