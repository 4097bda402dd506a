"""The evaluator: what it scores under each threat, whatever the batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score

import adap_tf
import reference
from adap_tf import APGD, FGSM, PGD, Evaluator, Reach, Square, Threat, average_precision
from adap_tf.data import Images
from adap_tf.evaluation import EVALUATION_STREAM, arrays_of
from adap_tf.exact import ExactAveragePrecision
from adap_tf.noise import Noise


@pytest.fixture
def data(rng):
    image = rng.uniform(0, 1, (30, 8, 8, 1)).astype("float32")
    return image, (np.arange(30)[:, None] % 3 == 0).astype("float32")


THREATS = {"clean": None, "pgd": PGD(eps=0.1, step_size=0.03, steps=3, start=0.05)}


def linear(weight):
    network = keras.Sequential([keras.Input((len(weight),)), keras.layers.Dense(weight.shape[1], use_bias=False)])
    network.set_weights([weight])
    return network


@pytest.fixture
def table(rng):
    """Features, labels with two unknown, and the weight of a linear scorer."""
    image, weight = rng.uniform(0, 1, (11, 5)).astype("float32"), rng.normal(size=(5, 1)).astype("float32")
    label = np.array([1, 0, 0, 1, np.nan, 0, 1, 0, 0, np.nan, 0], "float32")[:, None]
    return image, label, weight


def test_a_linear_scorer_agrees_with_the_reference(table):
    image, label, weight = table
    attack = PGD(eps=0.1, step_size=0.03, steps=5, start=0.05)
    evaluator = Evaluator(linear(weight), {"clean": None, "pgd": attack}, batch_size=4, seed=9)
    noise = Noise(tf.constant([9, EVALUATION_STREAM], tf.int64)).normal(image.shape).numpy()
    away = np.nan_to_num(label[:, 0], nan=0.5)  # halfway, the reference goes neither way
    images = {"clean": image, "pgd": reference.pgd_linear(image, weight[:, 0], away, 0.1, 0.03, 5, 0.05 * noise)}
    scores, found = evaluator.scores(image, label), evaluator.average_precision(image, label)
    known = np.isfinite(label[:, 0])
    for threat, wanted in images.items():
        np.testing.assert_allclose(scores[threat], wanted @ weight, atol=1e-5)
        np.testing.assert_allclose(evaluator.attacked(threat, image, label, np.arange(11)), wanted, atol=1e-6)
        ap = found[threat]["ap"]
        assert ap == pytest.approx(reference.average_precision((wanted @ weight)[:, 0], label[:, 0]), rel=1e-12)
        assert ap == pytest.approx(average_precision_score(label[known, 0], scores[threat][known, 0]), rel=1e-12)
        assert (found[threat]["examples"], found[threat]["positives"]) == (11, 3)
    assert found["pgd"]["ap"] < found["clean"]["ap"]


def test_an_unknown_label_of_one_task_leaves_the_attack_to_the_other(table, rng):
    image, label, weight = table
    label = np.where(np.isnan(label), 0, label).astype("float32")
    threats = {"pgd": PGD(eps=0.1, step_size=0.03, steps=5)}
    alone = Evaluator(linear(weight), threats).scores(image, label)["pgd"]
    both = linear(np.hstack([weight, rng.normal(size=(5, 1)).astype("float32")]))
    beside = np.hstack([label, np.full_like(label, np.nan)])
    np.testing.assert_allclose(Evaluator(both, threats).scores(image, beside)["pgd"][:, :1], alone, atol=1e-5)


def test_scores_do_not_depend_on_the_batch(data):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    wanted = Evaluator(network, THREATS, batch_size=30).scores(*data)
    np.testing.assert_allclose(wanted["clean"], network(data[0]), atol=1e-5)
    assert np.abs(wanted["pgd"] - wanted["clean"]).max() > 1e-3
    for size in (7, 64):
        found = Evaluator(network, THREATS, batch_size=size).scores(*data)
        for threat in THREATS:
            np.testing.assert_allclose(found[threat], wanted[threat], atol=1e-5)


def test_the_seed_draws_the_start(data):
    network = adap_tf.BACKBONES["mlp"]((8, 8, 1))
    one, same, other = (Evaluator(network, THREATS, seed=seed).scores(*data) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one["pgd"], same["pgd"])
    np.testing.assert_array_equal(one["clean"], other["clean"])
    assert (one["pgd"] != other["pgd"]).any()


def test_evaluation_leaves_the_network_alone(data):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    before = [weight.copy() for weight in network.get_weights()]
    Evaluator(network, THREATS).scores(*data)
    for one, other in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_attack_moves_every_score_against_its_label(data):
    image, label = data
    network = adap_tf.BACKBONES["mlp"]((8, 8, 1))
    found = Evaluator(network, {"clean": None, "pgd": PGD(eps=0.1, step_size=0.01, steps=8)}).scores(image, label)
    assert ((1 - 2 * label) * (found["pgd"] - found["clean"]) > 0).all()


def test_attacked_gives_the_images_that_were_scored(data):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    evaluator = Evaluator(network, THREATS, batch_size=8, seed=4)
    places = np.array([2, 13, 29])
    attacked = evaluator.attacked("pgd", *data, places)
    assert np.abs(attacked - data[0][places]).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(network(attacked), evaluator.scores(*data)["pgd"][places], atol=1e-4)
    np.testing.assert_array_equal(evaluator.attacked("clean", *data, places), data[0][places])


def test_uint8_images_are_scaled(data):
    network = adap_tf.BACKBONES["mlp"]((8, 8, 1))
    image = (data[0] * 255).astype("uint8")
    found, wanted = (Evaluator(network, THREATS).scores(x, data[1]) for x in (image, image.astype("float32") / 255))
    for threat in THREATS:
        np.testing.assert_allclose(found[threat], wanted[threat], atol=1e-5)


def test_summary_counts(data):
    found = Evaluator(adap_tf.BACKBONES["mlp"]((8, 8, 1)), THREATS).average_precision(*data)
    assert {threat: (entry["examples"], entry["positives"]) for threat, entry in found.items()} == {
        "clean": (30, 10),
        "pgd": (30, 10),
    }
    assert found["pgd"]["ap"] <= found["clean"]["ap"]


def test_arrays_come_from_arrays_and_data_sets(data):
    image, label = data
    dataset = tf.data.Dataset.from_tensor_slices({"image": image, "label": label[:, 0]}).batch(7)
    for found in (arrays_of(image, label[:, 0]), arrays_of(dataset)):
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], label)
    with pytest.raises(ValueError, match="labels are missing"):
        arrays_of(image)


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e4])
def test_no_example_of_several_tasks_stays_where_it_was(rng, scale):
    image = rng.uniform(0.2, 0.8, (60, 6)).astype("float32")
    weight = rng.normal(size=(6, 2))
    label = (image @ weight > 0).astype(float)  # every score is on its label's side, and large where the scale is
    label[::7, 1] = np.nan
    network = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    network.set_weights([scale * weight, np.zeros(2)])
    evaluator = Evaluator(network, {"robust": PGD(eps=0.1, step_size=0.03, steps=10)})
    moved = np.abs(evaluator.attacked("robust", image, label, np.arange(60)) - image)
    assert np.median(moved) > 0.09
    assert (moved.max(axis=1) > 0.09).all()


def test_evaluation_takes_labels_of_one_task_as_a_vector(rng):
    image, label = rng.uniform(0, 1, (10, 4)).astype("float32"), np.arange(10) % 2
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    evaluator = Evaluator(network, {"clean": None, "pgd": PGD()})
    found, wanted = evaluator.scores(image, label), evaluator.scores(image, label[:, None])
    np.testing.assert_array_equal(found["pgd"], wanted["pgd"])


ALL_THREATS = {
    "fgsm": FGSM(eps=0.1),
    "pgd": PGD(eps=0.1, step_size=0.03, steps=3),
    "apgd": APGD(eps=0.1, steps=3, restarts=2),
    "square": Square(eps=0.1, queries=10),
    "l2": PGD(eps=0.5, step_size=0.2, steps=3, norm="l2", start="anywhere", keep="best"),
}


def test_no_threat_depends_on_batch_or_order_of_batches(data):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    wanted = Evaluator(network, ALL_THREATS, batch_size=30).scores(*data)
    found = Evaluator(network, ALL_THREATS, batch_size=7).scores(*data)
    for threat in ALL_THREATS:
        assert np.abs(wanted[threat] - network(data[0])).max() > 1e-3
        np.testing.assert_allclose(found[threat], wanted[threat], atol=1e-4)


@pytest.mark.parametrize("places", [np.random.default_rng(1).permutation(30), np.array([2, 3, 11, 25, 29])])
def test_an_example_keeps_its_noise_wherever_it_stands(data, places):
    image, label = data
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    starts = {"start": PGD(eps=0.5, step_size=1e-6, steps=1, start="anywhere")}  # little more than its noise
    evaluator = Evaluator(network, {**ALL_THREATS, **starts}, batch_size=7)
    wanted = evaluator.scores(image, label)
    found = evaluator.scores(image[places], label[places], ids=places)
    for threat in evaluator.threats:
        np.testing.assert_allclose(found[threat], wanted[threat][places], atol=1e-4)
    assert np.abs(evaluator.scores(image[places], label[places])["start"] - found["start"]).max() > 1e-3
    attacked = evaluator.attacked("pgd", image[places], label[places], np.array([4, 1]), places)
    np.testing.assert_allclose(attacked, evaluator.attacked("pgd", image, label, places[[4, 1]]), atol=1e-6)
    ap = evaluator.average_precision(image[places], label[places], places)["start"]["ap"]
    assert ap == pytest.approx(average_precision(found["start"], label[places])[0])


class Counted(Images):
    """Images of somebody's own, that count what is asked of them."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.asked = array, array.shape, array.dtype, 0

    def __getitem__(self, places):
        self.asked = max(self.asked, len(places))
        return self.array[places]

    def take(self, places):
        return Counted(self.array[places])


def test_images_that_are_not_in_memory_are_read_batch_by_batch(data):
    image, label = data
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    stored = Counted((255 * image).astype(np.uint8))
    evaluator = Evaluator(network, ALL_THREATS, batch_size=7)
    found, wanted = evaluator.scores(stored, label), evaluator.scores(stored.array, label)
    assert stored.asked == 7
    for threat in ALL_THREATS:
        np.testing.assert_array_equal(found[threat], wanted[threat])
    places = np.array([20, 3])
    np.testing.assert_array_equal(
        evaluator.attacked("pgd", stored, label, places), evaluator.attacked("pgd", stored.array, label, places)
    )
    joint = Evaluator(network, {"joint": Threat(PGD(0.1, 0.03, 2), ExactAveragePrecision())}, batch_size=7)
    np.testing.assert_array_equal(joint.scores(stored, label)["joint"], joint.scores(stored.array, label)["joint"])
    assert evaluator.zero_gradients(stored, label) == 0


def test_a_threat_on_the_ranking_keeps_an_examples_noise_too(data):
    image, label = data
    turned = np.random.default_rng(1).permutation(30)
    threat = Threat(PGD(eps=0.1, step_size=0.03, steps=3, start=0.05), ExactAveragePrecision())
    evaluator = Evaluator(adap_tf.BACKBONES["small_cnn"]((8, 8, 1)), {"surrogate": threat}, batch_size=7)
    wanted = evaluator.scores(image, label)["surrogate"]
    found = evaluator.scores(image[turned], label[turned], ids=turned)["surrogate"]
    np.testing.assert_allclose(found, wanted[turned], atol=1e-4)
    assert np.abs(evaluator.scores(image[turned], label[turned])["surrogate"] - found).max() > 1e-3


def test_nothing_of_the_trainer_moves(data):
    model = adap_tf.AdversarialModel(adap_tf.BACKBONES["small_cnn"]((8, 8, 1)), "adap_lpn", 10, examples=30)
    model.compile()
    model.fit(adap_tf.data.batches(*data, 8), steps_per_epoch=3, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy().copy() for variable in variables]
    threats = {**ALL_THREATS, "ranking": Threat(PGD(steps=2), adap_tf.Listwise())}
    Evaluator(model.network, threats, strict=True).scores(*data)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_partial_last_batch_is_no_second_graph(data):
    evaluator = Evaluator(adap_tf.BACKBONES["mlp"]((8, 8, 1)), THREATS, batch_size=8)
    for n in (30, 17, 9):
        evaluator.scores(data[0][:n], data[1][:n])
    traced = [evaluator._score, *evaluator._compiled.values()]
    assert [function.experimental_get_tracing_count() for function in traced] == [1, 1]


def test_bounds_hold_for_a_network_of_low_precision(data):
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    keras.config.set_dtype_policy("float32")
    evaluator = Evaluator(network, ALL_THREATS)
    for threat in ("fgsm", "pgd", "apgd", "square"):
        attacked = evaluator.attacked(threat, *data, np.arange(30)).astype(np.float64)
        assert 0.09 < np.abs(attacked - data[0]).max() <= 0.1 + 1e-7
        assert attacked.min() >= 0
        assert attacked.max() <= 1


def test_images_of_low_precision_are_attacked_in_32_bits(data):
    network = adap_tf.BACKBONES["mlp"]((8, 8, 1))
    image = tf.cast(data[0], tf.bfloat16).numpy()
    attacked = Evaluator(network, {"pgd": PGD()}).attacked("pgd", image, data[1], np.arange(30))
    assert attacked.dtype == np.float32
    assert np.abs(attacked.astype(np.float64) - image.astype(np.float64)).max() <= 8 / 255 + 1e-7


def test_strict_keeps_the_clean_image_where_the_attack_only_helps(table):
    image, label, weight = table
    label = np.where(np.isnan(label), 0, label)

    def helpful(value_and_grad, clean, noise):
        _, gradient = value_and_grad(clean)
        return tf.clip_by_value(clean - 0.1 * tf.sign(gradient), 0, 1)

    threats = {"clean": None, "helpful": helpful, "pgd": PGD(eps=0.1, step_size=0.03, steps=4)}
    loose, strict = (
        Evaluator(linear(weight), threats, 4, strict=strict).scores(image, label) for strict in (False, True)
    )
    away = 1 - 2 * label
    assert (away * (loose["helpful"] - loose["clean"]) < 0).all()
    np.testing.assert_array_equal(strict["helpful"], strict["clean"])
    np.testing.assert_array_equal(strict["pgd"], loose["pgd"])
    evaluator = Evaluator(linear(weight), threats, 4, strict=True)
    np.testing.assert_array_equal(evaluator.attacked("helpful", image, label, np.array([5])), image[[5]])


def test_strict_ap_is_at_most_the_clean(data):
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        threats = {"clean": None, **ALL_THREATS, "ranking": Threat(PGD(eps=0.1, steps=2), adap_tf.Listwise())}
        evaluator = Evaluator(adap_tf.BACKBONES["small_cnn"]((8, 8, 1)), threats, strict=True)
        scores = evaluator.scores(*data)
        clean = average_precision(scores["clean"], data[1])
        for threat in (*ALL_THREATS, "ranking"):
            assert average_precision(scores[threat], data[1]) <= clean


def test_an_example_that_is_already_ranked_wrong_is_pushed_further(table):
    image, _, weight = table
    wrong = (image @ weight < np.median(image @ weight)).astype("float32")  # positives below the negatives
    scores = Evaluator(linear(weight), {"clean": None, "pgd": PGD(eps=0.1, step_size=0.03, steps=4)}).scores(
        image, wrong
    )
    moved = (1 - 2 * wrong) * (scores["pgd"] - scores["clean"])
    assert average_precision(scores["clean"], wrong) < 0.6
    assert (moved > 0.05).all()


def test_transfer_follows_the_other_networks_gradient(table, rng):
    image, label, weight = table
    other = rng.normal(size=weight.shape).astype("float32")
    threat = Threat(PGD(eps=0.1, step_size=0.03, steps=5), source=linear(other))
    evaluator = Evaluator(linear(weight), {"transfer": threat})
    wanted = Evaluator(linear(other), {"pgd": threat.attack}).attacked("pgd", image, label, np.arange(11))
    np.testing.assert_array_equal(evaluator.attacked("transfer", image, label, np.arange(11)), wanted)
    np.testing.assert_allclose(evaluator.scores(image, label)["transfer"], wanted @ weight, atol=1e-5)


def test_a_loss_of_ones_own_is_ascended(table):
    image, label, weight = table

    class Upwards(adap_tf.CrossEntropy):
        def ascent(self, batch, estimator=None, peek=False):
            return batch.scores["adversarial"][:, 0], tf.ones_like(batch.scores["adversarial"])

    threat = Threat(PGD(eps=0.1, step_size=0.05, steps=3, start=0.0), Upwards("adversarial"))
    found = Evaluator(linear(weight), {"up": threat}).attacked("up", image, label, np.arange(11))
    np.testing.assert_allclose(found, np.clip(image + 0.1 * np.sign(weight[:, 0]), 0, 1), atol=1e-6)


@pytest.mark.parametrize("attack", [PGD(eps=0.1, step_size=0.03, steps=5), APGD(eps=0.1), Square(eps=0.1, queries=20)])
def test_reach_says_who_may_change_and_what(table, attack):
    image, label, weight = table
    features = np.array([1, 0, 1, 1, 0.5], "float32")
    whole = Evaluator(linear(weight), {"x": attack}).attacked("x", image, label, np.arange(11))
    positive, unknown = label[:, 0] == 1, np.isnan(label[:, 0])
    for reach, radius in (
        (Reach(negatives=0.0), np.where(positive, 0.1, 0.0)),
        (Reach(positives=0.0), np.where(positive, 0.0, 0.1)),
        (Reach(positives=0.5, negatives=0.25), np.where(positive, 0.05, 0.025)),
    ):
        moved = np.abs(
            Evaluator(linear(weight), {"x": attack}, reach=reach).attacked("x", image, label, np.arange(11)) - image
        )
        assert (moved <= radius[:, None] + 1e-7).all()
        assert (moved[~unknown].max(axis=1) >= 0.9 * radius[~unknown]).all()
    reach = Reach(features=features)
    moved = Evaluator(linear(weight), {"x": attack}, reach=reach).attacked("x", image, label, np.arange(11)) - image
    assert (np.abs(moved) <= 0.1 * features + 1e-7).all()
    assert (moved[:, 1] == 0).all()
    if isinstance(attack, PGD):
        np.testing.assert_allclose(moved[:, [0, 2, 3]], (whole - image)[:, [0, 2, 3]], atol=1e-3)
    with pytest.raises(ValueError, match="positives: shares"):
        Reach(positives=1.5)
    with pytest.raises(ValueError, match="features: shares"):
        Reach(features=np.array([np.nan]))


def test_zero_gradients_are_counted(data):
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    assert Evaluator(network, {}, batch_size=7).zero_gradients(*data) == 0
    saturating = keras.Sequential([network, keras.layers.Rescaling(1e4), keras.layers.Activation("tanh")])
    saturating.build((None, 8, 8, 1))
    assert Evaluator(saturating, {}, batch_size=7).zero_gradients(*data) > 0.9
    scores = saturating.predict(data[0], verbose=0)
    image = np.where((np.arange(30) < 6)[:, None, None, None], data[0], 0)
    gate = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1, "relu", use_bias=False)]
    )
    gate.set_weights([np.ones((64, 1))])
    assert Evaluator(gate, {}, batch_size=7).zero_gradients(image, data[1]) == pytest.approx(24 / 30)
    half = np.where(np.arange(30)[:, None] < 12, data[1], np.nan)
    assert Evaluator(gate, {}, batch_size=7).zero_gradients(image, half) == pytest.approx(6 / 12)
    assert Evaluator(gate, {}).zero_gradients(image, np.full((30, 1), np.nan)) == 0
    assert np.abs(scores).max() <= 1


def test_progress_is_told(data):
    told = []
    evaluator = Evaluator(adap_tf.BACKBONES["mlp"]((8, 8, 1)), THREATS, batch_size=12)
    evaluator.scores(*data, progress=lambda *done: told.append(done))
    assert told == [(threat, n) for threat in THREATS for n in (12, 24, 30)]
    told.clear()
    threat = Threat(PGD(eps=0.1, steps=12), ExactAveragePrecision())
    Evaluator(evaluator.network, {"x": threat}, 12).scores(*data, progress=lambda *done: told.append(done))
    assert told == [("x", 0)] * 12 + [("x", n) for n in (12, 24, 30)]
