"""Searches for a method's hyperparameters: `python tuning/search.py --help`."""

import sys
from pathlib import Path

if not __package__:  # run as a file: its folder is on the path, and the project's has to be
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import train  # noqa: F401, I001  # before TensorFlow

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Sequence

import grpc
import keras_tuner
import tensorflow as tf
from keras_tuner.errors import FatalError
from keras_tuner.src.distribute import oracle_client

from train.command import ended
from train.errors import LostError, UsageError
from train.workers import cluster, make_workers
from tuning import trials
from tuning.objectives import CLEAN, make_objective
from tuning.oracles import ORACLES, Kept
from tuning.search_folder import SearchFolder
from tuning.settings import Settings, parse
from tuning.space import Range, Space, declare, listed
from tuning.tuner import ChiefLostError, RunTuner

TRIALS = 20  # of a search that is no grid
CHIEF, TUNER, SINGLE = "chief", "tuner", "single"
ADDRESS = ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    return ended(lambda: searched(arguments), "the same command goes on from here")


def searched(arguments: Sequence[str] | None) -> None:
    """All that the command does.

    Raises:
        UsageError: the user's mistake, or no trial is what was asked for.
        LostError: the chief or all tuners are gone.
    """
    settings, space, base, out = parse(arguments)
    role, seconds = role_of_this(), 60 * settings.worker_timeout
    folder, oracle = SearchFolder(out, base, settings.seeds), make_oracle(settings, space)
    workers = make_workers(base.replicas)
    what = {**settings.resolved(), "grid": listed(space)}
    if role == CHIEF:
        check_address()
    if role == TUNER:
        folder.join(what, seconds)
    else:
        folder.open(what)
    with contextlib.nullcontext() if role == TUNER else folder.alone():
        tuner = RunTuner(oracle, folder, workers, not settings.no_early_stopping, seconds)
        take_part(role, tuner, oracle, seconds)
        if role != TUNER:
            report(oracle, folder, settings)


def take_part(role: str, tuner: RunTuner, oracle: Kept, seconds: float) -> None:
    """Runs trials, or as the chief serves those who do, until all are done.

    Raises:
        UsageError: a mistake that every trial would meet.
        LostError: the chief or all tuners are gone.
    """
    tf.get_logger().setLevel("ERROR")  # it warns of graphs that are traced anew, as each trial's are
    oracle_client.TIMEOUT = seconds  # KerasTuner's tuners would wait an hour for a chief that is gone
    try:
        if role == CHIEF:
            serve(tuner, oracle, seconds)
        else:
            tuner.search()
    except (ChiefLostError, grpc.RpcError) as error:
        raise LostError("the chief has ended or cannot be reached; start it, and this command, again") from error
    except FatalError as error:
        raise UsageError(str(error)) from error


def role_of_this() -> str:
    """What this process is among those of KerasTuner's variables, or that it is alone.

    Raises:
        UsageError: some of the variables are missing, or TF_CONFIG has this process train together with others.
    """
    if len(cluster()[0]) > 1:
        raise UsageError("TF_CONFIG: a trial trains on one machine; several work as docs/tuning.md says")
    names = ("KERASTUNER_TUNER_ID", *ADDRESS)
    if not any(name in os.environ for name in names):
        return SINGLE
    if missing := next((name for name in names if not os.environ.get(name)), None):
        raise UsageError(f"{missing}: not set or empty; it takes all of {', '.join(names)}, or none")
    return CHIEF if "chief" in os.environ[names[0]] else TUNER


def check_address() -> None:
    """Makes sure that a chief can listen where it should; KerasTuner's would share the port with another one.

    Raises:
        UsageError: it cannot.
    """
    ip, port = (os.environ[name] for name in ADDRESS)
    try:
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was in use just now is free
            probe.bind((ip.strip("[]"), int(port)))
    except (OSError, OverflowError, ValueError) as error:
        raise UsageError(f"{ADDRESS[1]}: cannot listen at {ip}:{port}: {error}; give one that is free") from None


def make_oracle(settings: Settings, space: Space) -> Kept:
    """What chooses trials: of a grid all, unless fewer are asked for."""
    hp = keras_tuner.HyperParameters()
    declare(hp, space)
    size = math.prod(len(values) for values in space.values() if not isinstance(values, Range))
    grid = settings.tuner == "grid"
    return ORACLES[settings.tuner](
        objective=make_objective(settings.objective, settings.clean_floor),
        max_trials=min(settings.trials or size, size) if grid else settings.trials or TRIALS,
        hyperparameters=hp,
        tune_new_entries=False,
        allow_new_entries=False,
        seed=settings.tuner_seed + 1,  # KerasTuner takes 0 for none
    )


def serve(tuner: RunTuner, oracle: Kept, seconds: float) -> None:
    """Serves tuners until all trials are done; those of tuners that are not heard of go to others.

    Raises:
        LostError: no tuner has been heard of for so long, or the server has ended.
    """
    server = threading.Thread(target=tuner.search, daemon=True)  # it has no end of its own while a tuner is lost
    server.start()
    print(f"serves tuners, {oracle.max_trials} trials", flush=True)
    started, ended = time.monotonic(), 0
    while not oracle.over():
        time.sleep(1)
        if len(oracle.end_order) > ended:
            ended = len(oracle.end_order)
            trials.write(trials.outcomes(oracle, tuner.folder), tuner.folder)
        if not server.is_alive() and not oracle.over():  # it ends by itself when all is over
            raise LostError("the server has ended, its own message says why; the same command goes on from here")
        for name in oracle.drop_silent(seconds):
            print(f"{name} has not been heard of for {seconds:.0f} s; its trial goes to another", flush=True)
        if time.monotonic() - max([started, *oracle.heard.values()]) > seconds:
            if oracle.complete():
                break
            raise LostError(
                f"no tuner has been heard of for {seconds:.0f} s; start chief and tuners again, and they finish the "
                "trials that are left"
            )
    time.sleep(1)  # for the last answer to leave


def report(oracle: Kept, folder: SearchFolder, settings: Settings) -> None:
    """Prints what came of the trials, and writes the best one's config.

    Raises:
        UsageError: no trial has come to its end, or none keeps the clean AP that was asked for.
    """
    in_order = trials.outcomes(oracle, folder)
    trials.write(in_order, folder)
    found = trials.ranked(in_order, oracle.objective)
    print(f"\nAP on validation data, {folder.base.method}, {len(folder.seeds)} run(s) a trial\n{trials.table(found)}")
    if words := trials.saved(found, folder):
        print(words)
    finished = [outcome for outcome in found if outcome.status == trials.FINISHED]
    if not finished:
        raise UsageError(f"no trial has come to its end; the first: {found[0].reason or found[0].status}")
    if settings.clean_floor is not None and finished[0].found[CLEAN] < settings.clean_floor:
        best = max(finished, key=lambda outcome: outcome.found[CLEAN])
        raise UsageError(
            f"--clean-floor: no trial keeps a clean AP of {settings.clean_floor}; the highest is "
            f"{best.found[CLEAN]:.4f}, with {best.name}. Lower the floor, or search elsewhere"
        )
    trials.write_best(finished[0], folder)
    print(f"best: {finished[0].name}\n")
    for what, where in (
        ("train it", f"python train/main.py --config {folder.best}"),
        ("trials", folder.table),
        ("figure", folder.trade_off / "trade_off.png"),
        ("TensorBoard", f"tensorboard --logdir {folder.path}"),
    ):
        print(f"{what:<12}{where}")


if __name__ == "__main__":
    sys.exit(main())
