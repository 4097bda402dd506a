"""KerasTuner's oracles as a search keeps them: order, going on, and tuners that are lost."""

import itertools
import threading

import keras_tuner
import pytest

from tuning.objectives import RobustAboveFloor, make_objective
from tuning.oracles import IDLE, ORACLES, RUNNING, STOPPED

SPACE = {"lam": (0.1, 1.0, 10.0), "gamma1": (0.9, 0.1)}


def made(folder, name="grid", trials=6, objective=None):
    hp = keras_tuner.HyperParameters()
    for key, values in SPACE.items():
        if name == "grid":
            hp.Choice(key, list(values))
        else:
            hp.Float(key, min(values), max(values), sampling="log")
    oracle = ORACLES[name](
        objective=objective or make_objective("robust", None), max_trials=trials, hyperparameters=hp, seed=1
    )
    oracle._set_project_dir(str(folder), "tuner")
    return oracle


def end(oracle, trial, status="COMPLETED"):
    if status == "COMPLETED":
        values = trial.hyperparameters.values
        oracle.update_trial(trial.trial_id, {oracle.objective.name: values["gamma1"] / (1 + values["lam"])})
    trial.status = status
    oracle.end_trial(trial)


def values_of(oracle, count, **how):
    """Values of the next trials, each ended before the next."""
    found = []
    for _ in range(count):
        trial = oracle.create_trial("tuner0")
        found.append(trial.hyperparameters.values)
        end(oracle, trial, **how)
    return found


def test_a_grid_goes_through_all_combinations_and_stops(tmp_path):
    oracle = made(tmp_path)
    assert [(v["lam"], v["gamma1"]) for v in values_of(oracle, 6)] == [*itertools.product(*SPACE.values())]
    assert oracle.create_trial("tuner0").status == STOPPED
    assert oracle.over()


@pytest.mark.parametrize("name", ORACLES)
def test_one_that_is_loaded_again_goes_on_as_if_nothing_had_been(tmp_path, name):
    wanted = values_of(made(tmp_path / "whole", name, 12), 6 if name == "grid" else 9)
    first = made(tmp_path / "halves", name, 12)
    assert values_of(first, 4) == wanted[:4]
    lost = first.create_trial("tuner0")
    again = made(tmp_path / "halves", name, 12)
    again.reload()
    assert values_of(again, len(wanted) - 4) == wanted[4:]
    assert again.trials[lost.trial_id].status == "COMPLETED"


def test_a_trial_that_only_its_own_file_knows_is_drawn_again(tmp_path):
    oracle = made(tmp_path, "random")
    values_of(oracle, 2)
    state = (tmp_path / "tuner" / "oracle.json").read_text()
    lost = oracle.create_trial("tuner0")
    (tmp_path / "tuner" / "oracle.json").write_text(state)  # as a kill between the two files leaves it
    again = made(tmp_path, "random")
    again.reload()
    assert again.create_trial("tuner0").hyperparameters.values == lost.hyperparameters.values
    assert len(again.trials) == 3


def test_failed_trials_end_nothing(tmp_path):
    oracle = made(tmp_path)
    values_of(oracle, 6, status="INVALID")
    assert {trial.status for trial in oracle.trials.values()} == {"FAILED"}


def test_the_trial_of_a_tuner_that_is_lost_goes_to_another(tmp_path):
    oracle = made(tmp_path, trials=2)
    lost, other = oracle.create_trial("lost"), oracle.create_trial("other")
    assert lost.status == RUNNING
    end(oracle, other)
    assert oracle.create_trial("other").status == IDLE  # there may be something left to do
    assert oracle.drop_silent(1000) == []
    oracle.heard["lost"] -= 2000
    oracle.get_trial(lost.trial_id)  # a sign of life
    assert oracle.drop_silent(1000) == []
    oracle.heard["lost"] -= 2000
    assert oracle.drop_silent(1000) == ["lost"]
    assert not oracle.over()
    taken = oracle.create_trial("other")
    assert taken.trial_id == lost.trial_id
    end(oracle, taken)
    assert oracle.create_trial("other").status == STOPPED
    assert oracle.over()


def test_a_tuner_that_has_its_trial_from_an_earlier_chief_is_alive(tmp_path):
    trial = made(tmp_path).create_trial("tuner0")
    again = made(tmp_path)
    again.reload()
    again.get_trial(trial.trial_id)
    assert list(again.heard) == [trial.trial_id]
    assert not again.complete()
    end(again, again.create_trial("other"))
    values_of(again, 5)
    assert again.complete()


def test_an_error_locks_nobody_out(tmp_path):
    oracle = made(tmp_path)
    with pytest.raises(KeyError):
        oracle.get_trial("9")
    other = threading.Thread(target=oracle.over, daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive()


def test_objectives():
    floor = RobustAboveFloor(0.9)
    assert floor.get_value({"clean_ap": 0.9, "robust_ap": 0.3}) == 0.3
    assert floor.get_value({"clean_ap": 0.8, "robust_ap": 0.7}) == pytest.approx(-0.1)
    assert floor.has_value({"clean_ap": 1, "robust_ap": 0})
    assert not floor.has_value({"robust_ap": 0})
    assert RobustAboveFloor(0.9, "val_ap", "val_robust_ap").get_value({"val_ap": 1, "val_robust_ap": 0.2}) == 0.2


def test_both_aps_count_alike_for_the_front(tmp_path):
    oracle = made(tmp_path, objective=make_objective("pareto", None))
    assert oracle.objective.get_value({"clean_ap": 0.9, "robust_ap": 0.5}) == pytest.approx(-1.4)  # to be minimised
