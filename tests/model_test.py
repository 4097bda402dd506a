"""The step: against the reference and automatic differentiation, in `fit`, and what it leaves alone."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import adap_tf
from adap_tf import PGD, AdversarialModel, Reach
from adap_tf.data import Examples, batches, with_rows
from adap_tf.replicas import ALONE
from adap_tf.weights import Population
from train.workers import make_strategy

ATTACK = PGD(eps=0.1, step_size=0.03, steps=6, start=0.0)
N, D = 24, 5


@pytest.fixture
def data(rng):
    image = rng.uniform(0, 1, (N, D))
    label = (np.arange(N)[:, None] % 4 == 0).astype(float)
    return Examples(image, label)


def linear(weight=None):
    network = keras.Sequential([keras.Input((D,), dtype="float64"), keras.layers.Dense(1, dtype="float64")])
    if weight is not None:
        network.set_weights([weight, np.array([0.2])])
    return network


def as_batch(examples, places):
    part = examples.take(places)
    return {
        "image": tf.constant(part.image),
        "label": tf.constant(part.label),
        "row": tf.constant(examples.rows[places]),
    }


@pytest.mark.parametrize("method", [name for name, row in adap_tf.METHODS.items() if row.attack is not None])
def test_the_attack_leaves_everything_as_it_was(rng, method):
    data = Examples(rng.uniform(0, 1, (N, 8, 8, 1)), np.arange(N) % 4 == 0)
    model = AdversarialModel(adap_tf.BACKBONES["small_cnn"]((8, 8, 1)), method, 6, peek=True)
    model.compile()
    before = [v.numpy() for v in (*model.variables, *model.optimizer.variables)]
    batch = {**as_batch(data, np.arange(N)), "image": tf.constant(data.image, tf.float32)}
    adversarial = model._attacked(model.method.attack, batch, model._whole(batch, ALONE))
    assert np.abs(adversarial - batch["image"]).max() > 0.03
    for old, variable in zip(before, (*model.variables, *model.optimizer.variables), strict=True):
        np.testing.assert_array_equal(old, variable)


@pytest.mark.parametrize("method", ["adap_ln", "adap_lz", "adap_mm"])
def test_features_out_of_reach_stay_in_training_and_in_evaluate(data, method):
    network, fixed = linear(np.ones((D, 1))), np.array([1, 0, 1, 0, 1.0])
    attack = PGD(eps=0.1, step_size=0.03, steps=6, start=0.01)  # a divergence has no slope at the clean image
    model = AdversarialModel(network, method, 6, reach=Reach(negatives=0.5, features=fixed), attack=attack)
    model.compile()
    batch = as_batch(data, np.arange(N))
    change = model._attacked(model.method.attack, batch, model._whole(batch, ALONE)) - data.image
    most = np.where(data.label == 1, 0.1, 0.05) * fixed
    assert (np.abs(change) <= most + 1e-12).all()
    assert np.abs(change).max() > 0.09
    everything = AdversarialModel(network, method, 6)
    found, worse = (each.evaluate(data.image, data.label, return_dict=True) for each in (model, everything))
    assert found["ap"] == worse["ap"]
    assert found["robust_ap"] >= worse["robust_ap"]


def test_attack_noise_follows_seed_and_step(data):
    weight = np.ones((D, 1))
    drawn = []
    for seed, step in ((0, 0), (0, 0), (0, 1), (1, 0)):
        model = AdversarialModel(linear(weight), "adap_ln", 6, seed=seed, attack=PGD(eps=1.0, step_size=1e-9, steps=1))
        model.compile()
        model.steps_taken.assign(step)
        batch = as_batch(data, np.arange(N))
        drawn.append(model._attacked(model.method.attack, batch, model._whole(batch, ALONE)).numpy())
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 1e-4
    assert np.abs(drawn[0] - drawn[3]).max() > 1e-4


def test_regularisation_losses_of_the_network_are_added(data):
    network = penalised(np.ones((D, 1)))
    network.set_weights([np.ones((D, 1)), np.zeros(1)])
    plain = linear(np.ones((D, 1)))
    plain.set_weights([np.ones((D, 1)), np.zeros(1)])
    moved = []
    for each in (network, plain):
        model = AdversarialModel(each, "ce")
        model.compile(keras.optimizers.SGD(1.0))
        model.train_step(as_batch(data, np.arange(N)))
        moved.append(each.get_weights()[0])
    np.testing.assert_allclose(moved[0], moved[1] - 2 * 0.01, atol=1e-7)


@keras.saving.register_keras_serializable("tests")
class Loud(keras.layers.Layer):
    """Adds the mean of what it is given to the losses."""

    def call(self, x):
        self.add_loss(tf.reduce_mean(x))
        return x


def test_losses_of_a_layers_call_count_in_every_pass():
    dense = keras.layers.Dense(1, dtype="float64", use_bias=False)
    network = keras.Sequential([keras.Input((1,), dtype="float64"), dense, Loud(dtype="float64")])
    network.set_weights([np.zeros((1, 1))])
    still = PGD(eps=0.0)
    moved = []
    for method in ("ce", "adap_ln"):  # one pass and two; scores of 0 for all give no other gradient than CE's
        network.set_weights([np.zeros((1, 1))])
        model = AdversarialModel(network, method, 1, attack=still, lam=0.0)
        model.compile(keras.optimizers.SGD(1.0))
        batch = {"image": tf.constant([[0.5], [0.5]], tf.float64), "label": tf.constant([[1.0], [0.0]], tf.float64)}
        model.train_step({**batch, "row": tf.constant([[0], [-1]], tf.int64)})
        moved.append(network.get_weights()[0].item())
    np.testing.assert_allclose(moved, [-0.5, -0.5], atol=1e-12)


def float32_data(rng):
    image = rng.uniform(0, 1, (64, 8, 8, 1)).astype("float32")
    label = (np.arange(64) % 4 == 0).astype("float32")
    image[label == 1] = np.clip(image[label == 1] + 0.3, 0, 1)
    return image, label


def test_fit_evaluate_predict(rng):
    image, label = float32_data(rng)
    model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), "adap_lpn", 16, attack=ATTACK, threat=ATTACK)
    model.compile(keras.optimizers.Adam(1e-2))
    train = batches(image, label, batch_size=16, seed=1)
    history = model.fit(train, epochs=6, steps_per_epoch=4, validation_data=(image, label), verbose=0).history
    assert set(history) == {"loss", "P", "R", "L", "gradient_norm", "val_ap", "val_robust_ap"}
    assert history["P"][-1] < history["P"][0]
    assert int(model.optimizer.iterations) == 24
    found = model.evaluate(image, label, return_dict=True)
    assert found == {"ap": history["val_ap"][-1], "robust_ap": history["val_robust_ap"][-1]}
    expected = adap_tf.average_precision(model.predict(image, verbose=0), label)[0]
    np.testing.assert_allclose(found["ap"], expected, rtol=1e-6)
    assert found["robust_ap"] <= found["ap"]
    dataset = tf.data.Dataset.from_tensor_slices((image, label)).batch(10)
    np.testing.assert_allclose(model.evaluate(dataset), list(found.values()), rtol=1e-6)


def test_fit_on_a_data_set_of_ones_own(rng):
    image, label = float32_data(rng)
    model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), "adap_ln", 16)
    model.compile()
    dataset = with_rows(tf.data.Dataset.from_tensor_slices((image, label))).shuffle(64).batch(32, drop_remainder=True)
    model.fit(dataset, verbose=0)
    assert model.health()["rows_visited"] == 1


def test_a_method_without_rows_takes_plain_pairs_and_the_others_say_what_to_do(rng):
    image, label = float32_data(rng)
    plain = tf.data.Dataset.from_tensor_slices((image, label)).batch(16, drop_remainder=True)
    model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), "ce")
    model.compile()
    model.fit(plain, verbose=0)
    model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), "adap_ln", 16)
    model.compile()
    with pytest.raises(ValueError, match="with_rows"):
        model.fit(plain, verbose=0)


def test_estimators_are_in_checkpoints_and_weights(rng, tmp_path):
    image, label = float32_data(rng)

    def fresh():
        model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), "adap_lpn", 16)
        model.compile()
        return model

    model = fresh()
    model.fit(batches(image, label, 16), steps_per_epoch=4, verbose=0)
    table, state = (
        model.estimators["P_clean"].u.numpy(),
        model.estimators["R_clean_adversarial"].state.numpy(),
    )
    assert table[:-1].min() > 0
    assert not table[-1].any()
    assert np.isfinite(state).all()
    model.save_weights(tmp_path / "all.weights.h5")
    saved = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    for restore in (
        lambda other: other.load_weights(tmp_path / "all.weights.h5"),
        lambda other: tf.train.Checkpoint(model=other).restore(saved).expect_partial(),
    ):
        other = fresh()
        restore(other)
        np.testing.assert_array_equal(other.estimators["P_clean"].u, table)
        np.testing.assert_array_equal(other.estimators["R_clean_adversarial"].state, state)


def test_the_second_step_does_not_retrace(rng):
    image, label = float32_data(rng)
    model = AdversarialModel(adap_tf.BACKBONES["small_cnn"]((8, 8, 1)), "adap_lpn", 16)
    model.compile()
    step = tf.function(model.train_step)
    for batch in batches(image, label, 16).take(3):
        step(batch)
    assert step.experimental_get_tracing_count() == 1


def test_low_precision_networks_have_wide_scores(rng):
    image, label = float32_data(rng)
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
    keras.config.set_dtype_policy("float32")
    assert network.layers[2].compute_dtype == "bfloat16"
    assert network(image).dtype == tf.float32
    model = AdversarialModel(network, "adap_lpn", 16)
    model.compile()
    before = [w.numpy() for w in network.trainable_variables]
    history = model.fit(batches(image, label, 16), steps_per_epoch=4, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(
        (old != new.numpy()).any() for old, new in zip(before[:-1], network.trainable_variables[:-1], strict=True)
    )


def penalised(weight):
    """A linear scorer with a loss of its own."""
    dense = keras.layers.Dense(1, dtype="float64", kernel_regularizer="l2")
    network = keras.Sequential([keras.Input((D,), dtype="float64"), dense])
    network.set_weights([weight, np.array([0.2])])
    return network


def test_loss_scaling_scales_every_part_of_the_gradient(rng, data):
    weight, moved = rng.normal(size=(D, 1)), []
    for wrap in (lambda plain: plain, lambda plain: keras.optimizers.LossScaleOptimizer(plain, initial_scale=2.0**20)):
        model = AdversarialModel(penalised(weight), "adap_lpn", 6, examples=N, l2=0.1)
        model.compile(wrap(keras.optimizers.SGD(0.5)))
        model.train_step(as_batch(data, np.arange(N)))
        moved.append(model.network.get_weights()[0])
    assert np.abs(moved[0] - weight).min() > 1e-3
    np.testing.assert_allclose(moved[0], moved[1], rtol=0, atol=1e-7)  # the scale is float32


def test_a_step_whose_gradient_overflows_is_left_out_and_the_scale_halved(rng, data):
    weight = rng.normal(size=(D, 1))
    model = AdversarialModel(linear(weight), "adap_lpn", 6, examples=N)
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5), initial_scale=np.inf))
    step = tf.function(model.train_step)
    step(as_batch(data, np.arange(N)))
    np.testing.assert_array_equal(model.network.get_weights()[0], weight)
    assert (int(model.optimizer.iterations), int(model.steps_taken)) == (0, 1)  # the next attack has its own noise
    model.optimizer.dynamic_scale.assign(2.0**10)
    step(as_batch(data, np.arange(N)))
    assert (model.network.get_weights()[0] != weight).any()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_low_precision_follows_float32(rng, policy, tmp_path):
    image, label = float32_data(rng)

    def trained(policy):
        keras.utils.set_random_seed(3)
        keras.config.set_dtype_policy(policy)
        network = adap_tf.BACKBONES["small_cnn"]((8, 8, 1))
        keras.config.set_dtype_policy("float32")
        model = AdversarialModel(network, "adap_lpn", 16, l2=1e-3)
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(batches(image, label, 16, seed=1), steps_per_epoch=4, epochs=2, verbose=0)
        return model

    low, full = trained(policy), trained("float32")
    scaling = isinstance(low.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaling == (policy == "mixed_float16")
    assert {weight.dtype for weight in low.network.weights} == {"float32"}
    assert {variable.dtype for each in low.estimators.values() for variable in each.variables} == {"float32"}
    scores, wanted = low.predict(image, verbose=0), full.predict(image, verbose=0)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wanted, atol=0.1 * np.std(wanted))
    low.network.save(tmp_path / "network.keras")
    loaded = AdversarialModel(keras.models.load_model(tmp_path / "network.keras"), "adap_lpn", 16)
    loaded.compile()
    assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer) == scaling


def test_bad_models_are_refused():
    network = adap_tf.BACKBONES["mlp"]((4,))
    with pytest.raises(ValueError, match="give positives="):
        AdversarialModel(network, "adap_ln")
    with pytest.raises(ValueError, match="has no weights yet"):
        AdversarialModel(keras.Sequential([keras.layers.Dense(1)]), "ce")
    with pytest.raises(ValueError, match="unknown method"):
        AdversarialModel(network, "adap", 3)


def test_networks_labels_and_counts_must_fit_each_other(rng):
    network = adap_tf.BACKBONES["mlp"]((4,), tasks=2)
    with pytest.raises(ValueError, match=r"outputs \(None, 2\) does not fit 1 numbers of positives"):
        AdversarialModel(network, "adap_ln", 3)
    with pytest.raises(ValueError, match=r"outputs \(None, 3, 1\) does not fit"):
        AdversarialModel(keras.Sequential([keras.Input((3, 4)), keras.layers.Dense(1)]), "ce")
    model = AdversarialModel(network, "adap_ln", np.array([3, 2]))
    model.compile()
    batch = {"image": tf.zeros([6, 4]), "label": tf.zeros([6, 1]), "row": tf.zeros([6, 1], tf.int64)}
    with pytest.raises(ValueError, match=r"label must have the shape \(6, 2\), 6 examples of 2 tasks, not \(6, 1\)"):
        model.train_step(batch)
    for positives in (np.int64(3), np.array([3]), [3], 3):
        model = AdversarialModel(adap_tf.BACKBONES["mlp"]((4,)), "adap_ln", positives)
        assert model.population == Population((3,))
    model = AdversarialModel(network, "adap_ln", (3, 2), examples=9, prevalence="dataset")
    assert model.population == Population((3, 2), (9, 9))
    with pytest.raises(ValueError, match="examples must be one whole number or 2, one of each task"):
        AdversarialModel(network, "adap_ln", (3, 2), examples=(9, 9, 9))
    with pytest.raises(ValueError, match="positives must be one whole number or 2"):
        AdversarialModel(network, "adap_ln", (3, -2))
    with pytest.raises(ValueError, match="give positives= and examples="):
        AdversarialModel(network, "adap_ln", (3, 2), prevalence="dataset")


def plain_model(method="ce", **options):
    model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), method, 16, **options)
    model.compile()
    return model


def test_what_fit_cannot_use_is_refused_in_words(rng):
    image, label = float32_data(rng)
    model = plain_model()
    with pytest.raises(ValueError, match="weights do not belong"):
        model.fit(image, label, sample_weight=np.ones(64), batch_size=16, verbose=0)
    with pytest.raises(ValueError, match="weights do not belong"):
        model.evaluate(image, label, sample_weight=np.ones(64))
    with pytest.raises(ValueError, match=r"batch\(…, drop_remainder=True\)"):
        model.fit(tf.data.Dataset.from_tensor_slices((image, label)).batch(24), verbose=0)
    with pytest.raises(ValueError, match="no end: give steps_per_epoch"):
        model.fit(batches(image, label, 16), verbose=0)
    with pytest.raises(TypeError, match="loss"):
        model.compile(loss="mse")
    with pytest.raises(ValueError, match="the data set is empty"):
        model.evaluate(tf.data.Dataset.from_tensor_slices((image, label)).batch(8).take(0))
    with pytest.raises(ValueError, match="weights do not belong"):
        model.fit(batches(image, label, 16), steps_per_epoch=1, class_weight={0: 1.0, 1: 2.0}, verbose=0)
    with pytest.raises(ValueError, match="no end: give steps="):
        model.evaluate(batches(image, label, 16))
    with pytest.raises(ValueError, match=r"0 for a negative \(not -1\)"):
        model.fit(image, 2 * label - 1, batch_size=16, verbose=0)
    wrong = tf.data.Dataset.from_tensor_slices((image, 2 * label - 1)).batch(16, drop_remainder=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"0 for a negative \(not -1\)"):
        model.fit(wrong, verbose=0)


@pytest.mark.parametrize(("method", "positives"), [("adap_ln", 8), ("ce", None)])
def test_fit_on_arrays_draws_the_methods_batches(rng, method, positives):
    image, label = float32_data(rng)
    found = []
    for data in ((image, label, 16), (batches(image, label, 16, positives_per_batch=positives), None, None)):
        keras.utils.set_random_seed(3)
        model = plain_model(method)
        model.fit(*data, steps_per_epoch=None if data[1] is not None else 4, epochs=2, verbose=0)
        assert int(model.steps_taken) == 8
        found.append(model.network.get_weights()[0])
    np.testing.assert_array_equal(*found)


def test_fit_on_arrays_goes_on_where_it_was(rng):
    image, label = float32_data(rng)
    found = []
    for calls in (1, 2):
        keras.utils.set_random_seed(3)
        model = plain_model("adap_ln")
        for _ in range(calls):
            model.fit(image, label, batch_size=16, epochs=2 // calls, verbose=0)
        found.append(model.network.get_weights()[0])
    np.testing.assert_array_equal(*found)


def test_fit_on_arrays_holds_out_the_last(rng):
    image, label = float32_data(rng)
    model = plain_model("adap_ln")
    logs = model.fit(image[:50], label[:50], validation_split=0.2, verbose=0).history  # a batch of 40, which is all
    assert int(model.steps_taken) == 1
    assert logs["val_ap"] == model.evaluate(image[40:50], label[40:50], verbose=0)[:1]


def test_a_single_batch_can_be_trained_on_and_evaluated(rng):
    image, label = float32_data(rng)
    model = plain_model("adap_ln")
    batch = next(iter(batches(image, label, 16)))
    model.train_on_batch(batch)
    assert int(model.steps_taken) == 1
    wanted = model.evaluate(batch["image"], batch["label"], return_dict=True)
    assert model.test_on_batch(batch, return_dict=True) == wanted
    assert model.test_on_batch(batch["image"], batch["label"]) == list(wanted.values())
    np.testing.assert_allclose(
        model.predict(batches(image, label, 16), steps=1, verbose=0), model.predict(batch["image"], verbose=0)
    )


class Heard(keras.callbacks.Callback):
    """Notes what it is told of an evaluation."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def on_test_begin(self, logs=None):
        self.notes.append("begin")

    def on_test_batch_end(self, batch, logs=None):
        self.notes.append(batch)

    def on_test_end(self, logs=None):
        self.notes.append(logs)


def test_evaluate_tells_its_callbacks_and_prints_as_keras_does(rng, capsys):
    image, label = float32_data(rng)
    model, heard = plain_model(), Heard()
    found = model.evaluate(image, label, batch_size=32, callbacks=[heard], return_dict=True, verbose=2)
    assert heard.notes == ["begin", 0, 1, 2, 3, found]  # two batches, clean and attacked
    printed = capsys.readouterr().out
    assert printed.startswith("4/4 ")
    assert f"robust_ap: {found['robust_ap']:.4f}" in printed
    model.evaluate(image, label, verbose=0)
    assert capsys.readouterr().out == ""


def test_callbacks_keep_stop_restore_and_log(rng, tmp_path):
    image, label = float32_data(rng)
    best = {"monitor": "val_robust_ap", "mode": "min"}  # so that it is not the last
    file = tmp_path / "best.weights.h5"
    callbacks = [
        keras.callbacks.ModelCheckpoint(file, save_best_only=True, save_weights_only=True, **best),
        keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True, **best),
        keras.callbacks.TensorBoard(tmp_path / "logs", histogram_freq=1, update_freq=1),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
    ]
    model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), "adap_lpn", 16, attack=ATTACK, threat=ATTACK)
    model.compile(keras.optimizers.Adam(1e-2))
    data = {"validation_data": (image, label), "callbacks": callbacks}
    history = model.fit(image, label, batch_size=16, epochs=30, verbose=0, **data).history["val_robust_ap"]
    assert len(history) < 30
    assert model.evaluate(image, label, verbose=0)[1] == min(history) < history[-1]
    other = plain_model("adap_lpn", threat=ATTACK)
    other.load_weights(file)
    assert other.evaluate(image, label, verbose=0)[1] == min(history)
    np.testing.assert_array_equal(other.estimators["P_clean"].u, model.estimators["P_clean"].u)
    assert list((tmp_path / "logs" / "validation").glob("events*"))


def test_an_endless_data_set_is_evaluated_for_so_many_steps(rng):
    image, label = float32_data(rng)
    model = plain_model()
    dataset = tf.data.Dataset.from_tensor_slices((image, label)).batch(16).repeat()
    assert model.evaluate(dataset, steps=4) == model.evaluate(image, label)


def test_bytes_are_images_too(rng):
    image, label = float32_data(rng)
    pixels = np.round(255 * image).astype("uint8")
    model = plain_model()
    np.testing.assert_allclose(
        model.predict(pixels, verbose=0), model.predict(pixels / np.float32(255), verbose=0), atol=1e-6
    )
    logs = [model.train_on_batch(x, label, return_dict=True)["loss"] for x in (pixels, pixels / np.float32(255))]
    assert logs[0] == pytest.approx(logs[1], rel=0.1)  # not 255 times as large


def test_the_threat_can_be_changed_and_a_model_that_was_evaluated_can_be_forgotten(rng):
    image, label = float32_data(rng)
    model = plain_model(threat=PGD(eps=1e-4, step_size=1e-4, steps=1))
    mild = model.evaluate(image, label)[1]
    model.threat = PGD(eps=0.3, step_size=0.1, steps=5)
    assert model.evaluate(image, label)[1] < mild
    reference_to_it = weakref.ref(model)
    del model
    gc.collect()
    assert reference_to_it() is None


def test_saving_the_trainer_says_what_to_save(tmp_path):
    with pytest.raises(NotImplementedError, match="save_weights keeps its state"):
        plain_model().save(tmp_path / "model.keras")


@pytest.mark.parametrize("method", ["adap_lpn", "adap_lz"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: make_strategy(2),
        lambda: tf.distribute.MirroredStrategy(["CPU:0"]),
        lambda: tf.distribute.OneDeviceStrategy("CPU:0"),
    ],
    ids=["two", "one of mirrored", "one"],
)
def test_fit_in_a_strategys_scope_equals_fit_without(rng, make, method):
    image, label = float32_data(rng)

    def trained():
        keras.utils.set_random_seed(3)
        model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), method, 16)
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(batches(image, label, 16, seed=1), steps_per_epoch=4, epochs=2, verbose=0)
        model.fit(image, label, batch_size=16, verbose=0)
        return [*model.network.get_weights(), np.array(model.evaluate(image, label, verbose=0))]

    alone = trained()
    with make().scope():
        shared = trained()
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_steps_of_arrays_are_batches(rng):
    image, label = float32_data(rng)
    model = plain_model()
    wanted = model.evaluate(image[:16], label[:16])
    assert model.evaluate(image, label, batch_size=8, steps=2) == pytest.approx(wanted)


def test_clipping_of_each_replicas_part_is_refused(rng):
    with make_strategy(2).scope():
        model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), "ce")
        with pytest.raises(ValueError, match="global_clipnorm cuts"):
            model.compile(keras.optimizers.SGD(0.1, global_clipnorm=1.0))


def test_fit_on_replicas_with_anchors_apart(rng):
    image, label = float32_data(rng)
    with make_strategy(2).scope():
        model = AdversarialModel(adap_tf.BACKBONES["mlp"]((8, 8, 1)), "adap_ln", 16, attack=PGD(steps=1))
        model.compile()
    data = adap_tf.data.batches(image, label, 32, positives_per_batch=12, separate=True)
    history = model.fit(data, epochs=1, steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
