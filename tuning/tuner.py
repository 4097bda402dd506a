"""A KerasTuner tuner whose trials are runs, each in a folder like any other."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import keras
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FailedTrialError, FatalError

from train.errors import NonFiniteError, UsageError, bad_data, out_of_room
from train.fields import flag
from train.main import run
from train.run_folder import Row, RunFolder, write_json
from train.workers import Workers
from tuning.early import Hopeless, check_hope
from tuning.oracles import Kept
from tuning.search_folder import SearchFolder
from tuning.trials import found_by, name_of, outcomes, write

BEAT = 4  # signs of life within the time after which a worker counts as lost


class ChiefLostError(FatalError):
    """The chief has not answered: what a trial has found is not its failure, and is on disk for a rerun."""


class RunTuner(BaseTuner):
    """Runs trials: trains with each seed, and gives the oracle the mean APs of validation data.

    Args:
        oracle: says what to try.
        folder: of the search.
        workers: the devices.
        early: whether hopeless trials are stopped.
        seconds: after which a tuner that is not heard of counts as lost.
    """

    def __init__(self, oracle: Kept, folder: SearchFolder, workers: Workers, early: bool, seconds: float):
        self.folder, self.workers, self.early, self.seconds = folder, workers, early, seconds
        super().__init__(oracle, directory=str(folder.path), project_name=folder.tuner.name)

    def pre_create_trial(self) -> None:
        """Gives other tuners a moment, where this one waits for their trials."""
        time.sleep(0.2)

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Trains with each seed, unless the trial is hopeless.

        Returns:
            Mean validation APs, and the objective's value.

        Raises:
            FailedTrialError: numbers were not finite: the next trial may do better.
            FatalError: a mistake or a disk that the next trial would meet too.
        """
        print(f"\ntrial {trial.trial_id} of {self.oracle.max_trials} in all: {name_of(trial)}", flush=True)
        folders = self.folder.run_folders(trial)
        with self._alive(trial):
            try:
                for seed, folder in zip(self.folder.seeds, folders, strict=True):
                    with folder.alone():
                        if any(each.stopped.exists() for each in folders):
                            break
                        self._run(trial, seed, folder)
            except Exception as error:
                raise meaning(error, list(trial.hyperparameters.values)) from None
        found = found_by([rows for folder in folders if (rows := folder.history())], self.folder)
        print(f"trial {trial.trial_id}: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
        return found | {self.oracle.objective.name: self.oracle.objective.get_value(found)}

    def _run_and_update_trial(self, trial: Trial, *arguments: Any, **options: Any) -> None:
        """Runs a trial and tells the oracle its numbers.

        Raises:
            ChiefLostError: it cannot be told.
        """
        try:
            super()._run_and_update_trial(trial, *arguments, **options)
        except grpc.RpcError as error:
            raise ChiefLostError(str(error)) from error

    def _run(self, trial: Trial, seed: int, folder: RunFolder) -> None:
        """One run of a trial, after the one that it starts from; says so where it is stopped."""
        if lender := self.folder.lender(seed):
            with lender[1].alone():
                run(*lender, self.workers)
        others = [other.history() for other in self.folder.others(folder, seed)] if self.early else []
        config = self.folder.config(trial.hyperparameters.values, seed)
        try:
            run(config, folder, self.workers, lambda rows: check_hope(rows, config.epochs, others, self._best))
        except Hopeless as error:
            write_json(folder.stopped, {"epoch": error.epoch, "reason": str(error)})
            print(f"trial {trial.trial_id} {error}")
        keras.backend.clear_session()  # or each trial's graphs would stay

    def _best(self, rows: Sequence[Row]) -> float:
        """The objective's value that epochs give, the higher the better."""
        objective = self.oracle.objective
        value = objective.get_value(found_by([rows], self.folder))
        return value if objective.direction == "max" else -value

    def on_trial_end(self, trial: Trial) -> None:
        """Tells the oracle, and writes what there is by now; where there is a chief, that does."""
        super().on_trial_end(trial)
        if not self._is_worker():
            write(outcomes(self.oracle, self.folder), self.folder)

    @contextlib.contextmanager
    def _alive(self, trial: Trial) -> Iterator[None]:
        """Lets the chief know that this tuner is alive, as long as the trial takes."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self.seconds / BEAT):
                with contextlib.suppress(grpc.RpcError):
                    self.oracle.get_trial(trial.trial_id)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(self.seconds)

    def save(self) -> None:
        """Writes the oracle's state; a tuner has none of its own."""
        if not self._is_worker():
            self.oracle.save()

    def reload(self) -> None:
        """Reads the oracle's state.

        Raises:
            UsageError: it is damaged.
        """
        if not self._is_worker():
            try:
                self.oracle.reload()
            except (KeyError, RuntimeError, TypeError, ValueError):
                raise UsageError(
                    f"--out: {self.folder.tuner} is damaged; remove {self.folder.path} or give another --out"
                ) from None

    def _get_tuner_fname(self) -> str:
        """The file that shows that there is something to go on from, whatever the tuner's name."""
        return str(Path(self.project_dir) / "oracle.json")


def meaning(error: Exception, searched: Sequence[str]) -> Exception:
    """The error that tells KerasTuner whether a trial's own values are to blame, or the next would fail likewise.

    Args:
        error: what ended the trial.
        searched: names of the hyperparameters.
    """
    if isinstance(error, NonFiniteError) or str(error).startswith(tuple(f"{flag(name)}:" for name in searched)):
        return FailedTrialError(str(error))
    if isinstance(error, UsageError):
        return FatalError(str(error))
    if isinstance(error, OSError) or "No space left" in str(error) or bad_data(error):
        return FatalError(bad_data(error) or out_of_room(error) or str(error))
    return error
