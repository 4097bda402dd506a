"""What came of a search's trials: a table, the best one, and the trade-off."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FailedTrialError

from train import trade_off
from train.loop import selected
from train.run_folder import Row, read_json, write_json, write_text
from train.trade_off import symbol
from tuning.objectives import CLEAN, ROBUST
from tuning.search_folder import SearchFolder

EXPECTED = f"{FailedTrialError.__module__}.{FailedTrialError.__name__}: "  # begins the message of such an error
FINISHED, STOPPED, FAILED, UNFINISHED = "finished", "stopped early", "failed", "unfinished"


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        trial: KerasTuner's.
        status: one of the four above.
        found: clean and robust AP of validation data, means over its runs; none if it has failed or is not finished.
        epochs: that its runs have taken.
        reason: why it was stopped, or failed.
    """

    trial: Trial
    status: str
    found: dict[str, float]
    epochs: int
    reason: str = ""

    @property
    def name(self) -> str:
        """The hyperparameters' values."""
        return name_of(self.trial)


def name_of(trial: Trial) -> str:
    """The values of a trial's hyperparameters, in words."""
    values = trial.hyperparameters.values
    return ", ".join(f"{symbol(name)} {value:.4g}" for name, value in values.items())


def found_by(histories: Sequence[Sequence[Row]], folder: SearchFolder) -> dict[str, float]:
    """The APs of the epochs that runs would keep, means over the runs."""
    rows = [selected(rows, folder.method) for rows in histories]
    return {name: float(np.mean([row[name] for row in rows])) for name in (CLEAN, ROBUST)}


def outcomes(oracle: keras_tuner.Oracle, folder: SearchFolder) -> list[Outcome]:
    """What came of each trial by now, in their order."""
    return [_outcome(trial, folder) for trial in [*oracle.trials.values()]]


def _outcome(trial: Trial, folder: SearchFolder) -> Outcome:
    runs = folder.run_folders(trial)
    histories = [rows for run in runs if (rows := run.history())]
    epochs = sum(len(rows) for rows in histories)
    if trial.status == "FAILED":
        reason = (trial.message or "").strip().rpartition("\n")[2].removeprefix(EXPECTED)
        return Outcome(trial, FAILED, {}, epochs, reason)
    if trial.status != "COMPLETED":
        return Outcome(trial, UNFINISHED, {}, epochs)
    stops = [run.stopped for run in runs if run.stopped.exists()]
    if not histories or not (stops or all(run.results.exists() for run in runs)):
        return Outcome(trial, FAILED, {}, epochs, "its run is not there any more")
    found = found_by(histories, folder)
    if stops:
        return Outcome(trial, STOPPED, found, epochs, (read_json(stops[0]) or {}).get("reason", ""))
    return Outcome(trial, FINISHED, found, epochs)


def ranked(found: Sequence[Outcome], objective: keras_tuner.Objective) -> list[Outcome]:
    """Finished trials, those first whose objective is best; then the others, in their order."""
    sign = -1 if objective.direction == "max" else 1
    finished = [outcome for outcome in found if outcome.status == FINISHED]
    others = [outcome for outcome in found if outcome.status != FINISHED]
    return [*sorted(finished, key=lambda outcome: sign * objective.get_value(outcome.found)), *others]


def write(found: Sequence[Outcome], folder: SearchFolder) -> None:
    """Writes the table, and the trade-off of the trials that are finished."""
    names = [] if not found else list(found[0].trial.hyperparameters.values)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["trial", *names, "status", CLEAN, ROBUST, "epochs", "reason"])
    for outcome in found:
        values = outcome.trial.hyperparameters.values
        aps = [outcome.found.get(name, "") for name in (CLEAN, ROBUST)]
        own = [outcome.trial.trial_id, *(values[name] for name in names), outcome.status, *aps]
        lines.writerow([*own, outcome.epochs, outcome.reason])
    write_text(folder.table, text.getvalue())
    runs = [run for outcome in found if outcome.status == FINISHED for run in folder.run_folders(outcome.trial)]
    if runs:
        ended = sum(outcome.status != UNFINISHED for outcome in found)
        trade_off.write(trade_off.points_of(runs, "validation"), folder.trade_off, ended)


def write_best(best: Outcome, folder: SearchFolder) -> None:
    """Writes the config of a trial, of its first seed, as `train/main.py --config` takes it."""
    write_json(folder.best, folder.config(best.trial.hyperparameters.values, folder.seeds[0]).resolved())


def table(found: Sequence[Outcome]) -> str:
    """A line a trial."""
    width = max(len("setting"), *(len(outcome.name) for outcome in found)) + 2
    lines = [f"{'trial':<7}{'setting':<{width}}{'clean':>8}{'robust':>8}{'epochs':>8}"]
    for outcome in found:
        aps = "".join(f"{outcome.found[name]:>8.4f}" if outcome.found else f"{'-':>8}" for name in (CLEAN, ROBUST))
        what = "" if outcome.status == FINISHED else f"  {outcome.reason or outcome.status}"
        lines.append(f"{outcome.trial.trial_id:<7}{outcome.name:<{width}}{aps}{outcome.epochs:>8}{what}")
    return "\n".join(lines)


def saved(found: Sequence[Outcome], folder: SearchFolder) -> str | None:
    """What stopping early has saved, in words; None if nothing was stopped."""
    whole = folder.base.epochs * len(folder.seeds)
    left_out = [whole - outcome.epochs for outcome in found if outcome.status == STOPPED]
    if not left_out:
        return None
    share = sum(left_out) / (whole * len(found))
    trials = f"{len(left_out)} of {len(found)} trials"
    return f"{trials} stopped early, which saved {sum(left_out)} of {whole * len(found)} epochs ({share:.0%})"
