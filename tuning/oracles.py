"""KerasTuner's oracles, kept so that a search that was killed goes on, also where a worker is gone for good."""

import itertools
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial
from sklearn.exceptions import ConvergenceWarning

from train.run_folder import write_json

RUNNING, IDLE, STOPPED = "RUNNING", "IDLE", "STOPPED"  # KerasTuner's words for a trial's status


class Kept(keras_tuner.Oracle):
    """An oracle whose files are written whole, that notes which tuners are alive, and gives lost trials to others.

    It has a lock of its own: KerasTuner's stays locked after an error, and a chief would wait for it for ever.

    Attributes:
        heard: when each tuner was heard of last, by its name; by its trial's, if an earlier chief gave it that.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._lock = threading.RLock()
        # One failed trial after another ends no search: the table says what became of each.
        super().__init__(*args, **kwargs, max_consecutive_failed_trials=-1)
        self.verbose = 0
        self.heard: dict[str, float] = {}
        self.dismissed = False

    def create_trial(self, tuner_id: str) -> Trial:
        """The next trial for a tuner; while others have trials that could be lost yet, it waits for these."""
        with self._lock:
            self.heard[tuner_id] = time.monotonic()
            trial = super().create_trial(tuner_id)
            if trial.status == STOPPED and self.ongoing_trials:
                self.tuner_ids.add(tuner_id)
                trial.status = IDLE
            elif trial.status == STOPPED:
                self.dismissed = True
            return trial

    def get_trial(self, trial_id: str) -> Trial:
        """The trial of that number; the tuner that asks for its own is alive."""
        with self._lock:
            owners = (name for name, trial in self.ongoing_trials.items() if trial.trial_id == trial_id)
            self.heard[next(owners, trial_id)] = time.monotonic()
            return super().get_trial(trial_id)

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        """Takes the numbers of a trial."""
        with self._lock:
            return super().update_trial(trial_id, metrics, step)

    def end_trial(self, trial: Trial) -> None:
        """Takes the end of a trial."""
        with self._lock:
            super().end_trial(trial)

    def drop_silent(self, seconds: float) -> list[str]:
        """Puts the trials of tuners that have not been heard of for so long back; the tuners' names."""
        with self._lock:
            silent = [name for name in self.tuner_ids if time.monotonic() - self.heard[name] > seconds]
            for name in silent:
                self.tuner_ids.remove(name)
                if trial := self.ongoing_trials.pop(name, None):
                    self._retry_queue.append(trial.trial_id)
            return silent

    def over(self) -> bool:
        """Whether nothing is left to do, and every tuner knows it."""
        with self._lock:
            return self.dismissed and not self.ongoing_trials and not self.tuner_ids

    def complete(self) -> bool:
        """Whether all trials have ended, whoever knows it."""
        with self._lock:
            return len(self.trials) >= self.max_trials and not self.ongoing_trials and not self._retry_queue

    def save(self) -> None:
        """Writes the state."""
        write_json(Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self, trial: Trial) -> None:
        write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def reload(self) -> None:
        """Reads the state; a trial that was written just before a kill, and is not in it, is drawn again.

        KerasTuner writes the state before it takes a trial that ends from those that are under way.
        """
        super().reload()
        self._retry_queue[:] = [name for name in self._retry_queue if self.trials[name].status == RUNNING]
        known = {name: self.trials[name] for name in self.start_order}
        self.trials.clear()
        self.trials.update(known)


class Grid(Kept):
    """All combinations in their order, the last hyperparameter changing first.

    KerasTuner's own grid oracle forgets where it was when it is loaded again.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The first combination that has not been tried."""
        names = [hp.name for hp in self.hyperparameters.space]
        tried = [trial.hyperparameters.values for trial in self.trials.values()]
        for combination in itertools.product(*(hp.values for hp in self.hyperparameters.space)):
            if (values := dict(zip(names, combination, strict=True))) not in tried:
                return {"status": RUNNING, "values": values}
        return {"status": STOPPED}


class Random(Kept, keras_tuner.oracles.RandomSearchOracle):
    """KerasTuner's random search."""


class Bayesian(Kept, keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Bayesian optimisation, by a Gaussian process."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The point of the best upper confidence bound; its search begins where the number of trials says.

        KerasTuner's would be tried again where it has been tried; here it is a random one then.
        """
        self._random_state = np.random.RandomState(self.seed + len(self.trials))  # which KerasTuner does not keep
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of the process' length scales, on few trials
            found = super().populate_space(trial_id)
        return self._random_populate_space() if found["values"] and self._duplicate(found["values"]) else found


ORACLES = {"grid": Grid, "random": Random, "bayesian": Bayesian}
