"""The hypermodel in KerasTuner's own tuners, as a user's script has it."""

import keras_tuner
import numpy as np
import pytest

from adap_tf import AdversarialModel
from adap_tf.attacks import PGD
from adap_tf.backbones import mlp
from adap_tf.data import batches
from adap_tf.methods import METHODS
from tuning.hypermodel import AdversarialHyperModel
from tuning.objectives import RobustAboveFloor
from tuning.space import Range

SMALL = {"attack": PGD(eps=0.05, step_size=0.02, steps=2), "threat": PGD(eps=0.05, step_size=0.02, steps=2)}


@pytest.fixture
def data(rng):
    """Images and labels, a few of them positive."""
    image = rng.uniform(size=(64, 3, 3, 1)).astype(np.float32)
    return image, (image.mean((1, 2, 3)) > 0.55).astype(np.float32)


def network():
    return mlp((3, 3, 1), 1, (8,))


def test_models_have_the_values_that_are_tried():
    hypermodel = AdversarialHyperModel(network, "adap_lpn", 5, l2=0.5)
    hp = keras_tuner.HyperParameters()
    hypermodel.build(hp)
    hp.values |= {"lam": 4.0, "gamma1": 0.9, "gamma2": 0.1, "learning_rate": 1e-4}
    model = hypermodel.build(hp)
    assert model.method == METHODS["adap_lpn"].tuned(lam=4.0, gamma1=0.9, gamma2=0.1)
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-4)
    assert model.l2 == 0.5


def test_a_space_without_a_learning_rate_leaves_the_optimizers_own():
    hypermodel = AdversarialHyperModel(network, "pgd", None, {})
    assert float(hypermodel.build(keras_tuner.HyperParameters()).optimizer.learning_rate) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("tuner", "objective"),
    [
        (keras_tuner.GridSearch, keras_tuner.Objective("val_robust_ap", "max")),
        (keras_tuner.RandomSearch, RobustAboveFloor(0.1, "val_ap", "val_robust_ap")),
    ],
)
def test_any_tuner_searches(tmp_path, data, tuner, objective):
    image, label = data
    hypermodel = AdversarialHyperModel(network, "adap_lpn", int(label.sum()), {"lam": (0.1, 10.0)}, **SMALL)
    search = tuner(hypermodel, objective, max_trials=2, directory=tmp_path, seed=1)
    search.search(batches(image, label, batch_size=16), validation_data=data, epochs=2, steps_per_epoch=3, verbose=0)
    trials = search.oracle.get_best_trials(2)
    assert {trial.hyperparameters.values["lam"] for trial in trials} == {0.1, 10.0}
    assert trials[0].score >= trials[1].score
    assert trials[0].metrics.exists("val_ap")
    (best,) = search.get_best_models()
    assert isinstance(best, AdversarialModel)
    found = best.evaluate(*data, return_dict=True)
    assert objective.get_value({f"val_{name}": value for name, value in found.items()}) == pytest.approx(
        trials[0].score
    )


def test_ranges_are_for_random_search(tmp_path):
    hypermodel = AdversarialHyperModel(network, "adap_lpn", 5, {"gamma1": Range(0.5, 0.6)})
    hp = keras_tuner.RandomSearch(hypermodel, "val_loss", directory=tmp_path).oracle.get_space()
    assert [(p.name, p.min_value, p.max_value, p.sampling) for p in hp.space] == [("gamma1", 0.5, 0.6, "log")]
