"""The search: what it refuses, how trials are stopped, fail and go on, and what it ends with."""

import csv
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf
from filelock import FileLock, Timeout

from adap_tf.data import DataError
from made_up import PRINTS
from train.errors import NonFiniteError, UsageError
from train.options import parse
from train.run_folder import RunFolder, write_json
from tuning import search, trials, tuner

COMMAND = str(Path(search.__file__))
LAMBDAS = (0.1, 1, 10, 0.4, 4, 40)


def row(config, epoch):
    """An epoch of a made-up run: robust AP is best where λ is 1, and clean AP falls with λ."""
    robust = 0.1 * epoch - 0.05 * abs(config.lam - 1) ** 0.5 + 0.01 * config.seed
    return {"epoch": float(epoch), "clean_ap": 1 / (1 + config.lam), "robust_ap": robust}


class Runs:
    """In the place of `train.main.run`: runs that take no time."""

    def __init__(self):
        self.taken, self.folders = [], []
        self.problem = lambda config: None

    def __call__(self, config, folder, workers, watch=lambda rows: None):
        folder.open(config, PRINTS)
        if folder.results.exists():
            return
        self.taken.append(config)
        self.folders.append(folder)
        if problem := self.problem(config):
            raise problem
        rows = folder.history()
        while len(rows) < config.epochs:
            watch(rows)
            rows.append(row(config, len(rows) + 1))
            folder.write_history(rows)
        folder.scores.touch()
        write_json(folder.results, {"selected": rows[-1]})


@pytest.fixture
def runs(monkeypatch):
    made = Runs()
    monkeypatch.setattr(tuner, "run", made)
    monkeypatch.setattr(tuner.keras.backend, "clear_session", lambda: None)  # it takes seconds, and there is nothing
    return made


@pytest.fixture
def quick(runs, monkeypatch):
    """The same without figures."""
    monkeypatch.setattr(trials.trade_off, "write", lambda *_: None)
    return runs


def options(out, *more, lambdas=LAMBDAS):
    grid = "lam=" + ",".join(str(value) for value in lambdas)
    return ["--method", "adap_lpn", "--data", "digits", "--epochs", "4", "--grid", grid, "--out", str(out), *more]


def trials_of(out):
    with (out / "trials.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


def failed(capsys, *arguments):
    """The line that a mistake gives."""
    assert search.main(list(arguments)) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_a_grid_ends_with_a_table_the_best_config_and_the_trade_off(tmp_path, runs, capsys):
    assert search.main(options(tmp_path / "s")) == 0
    trials = trials_of(tmp_path / "s")
    assert [float(trial["lam"]) for trial in trials] == [*LAMBDAS]
    # After three trials the median of the best after an epoch is that of λ 0.1, 1 and 10; 4 is above, 40 below.
    assert [trial["status"] for trial in trials] == ["finished"] * 3 + ["finished", "stopped early", "stopped early"]
    stopped = trials[-1]
    assert stopped["epochs"] == "1"
    assert stopped["reason"].startswith("stopped after epoch 1: ")
    wanted = row(runs.taken[1], 4)
    assert (float(trials[1]["clean_ap"]), float(trials[1]["robust_ap"])) == (wanted["clean_ap"], wanted["robust_ap"])
    printed = capsys.readouterr().out
    assert "2 of 6 trials stopped early, which saved 6 of 24 epochs (25%)" in printed
    assert "best: λ 1\n" in printed
    best = json.loads((tmp_path / "s" / "best.json").read_text())
    assert (best["lam"], best["epochs"]) == (1, 4)
    assert (tmp_path / "s" / "trade_off" / "trade_off.png").exists()
    ((config, _), *_) = parse(["--config", str(tmp_path / "s" / "best.json"), "--baseline", "none"])
    assert config == runs.taken[1]


def test_the_same_command_again_tells_and_with_more_trials_goes_on(tmp_path, quick, capsys):
    assert search.main(options(tmp_path / "s", "--trials", "2")) == 0
    before = trials_of(tmp_path / "s")
    taken = len(quick.taken)
    assert taken == len(before) == 2
    capsys.readouterr()
    assert search.main(options(tmp_path / "s", "--trials", "2")) == 0
    assert "best: λ 1\n" in capsys.readouterr().out
    assert len(quick.taken) == taken
    assert search.main(options(tmp_path / "s")) == 0
    assert trials_of(tmp_path / "s")[:2] == before
    assert len(trials_of(tmp_path / "s")) == 6


def test_a_trial_is_the_mean_of_its_seeds(tmp_path, quick):
    assert search.main(options(tmp_path / "s", "--seeds", "3", "--seed", "5", lambdas=(1, 4))) == 0
    assert [config.seed for config in quick.taken] == [5, 6, 7] * 2
    found = [float(trial["robust_ap"]) for trial in trials_of(tmp_path / "s")]
    assert found == [pytest.approx(row(quick.taken[number], 4)["robust_ap"]) for number in (1, 4)]
    assert json.loads((tmp_path / "s" / "best.json").read_text())["seed"] == 5


@pytest.mark.parametrize(("how", "best"), [(["--clean-floor", "0.6"], 0.4), (["--objective", "pareto"], 0.1), ([], 1)])
def test_the_best_is_best_by_the_objective(tmp_path, quick, how, best):
    assert search.main(options(tmp_path / "s", *how, "--no-early-stopping")) == 0
    assert json.loads((tmp_path / "s" / "best.json").read_text())["lam"] == best
    assert {trial["status"] for trial in trials_of(tmp_path / "s")} == {"finished"}


def test_a_floor_that_no_trial_reaches(tmp_path, quick, capsys):
    error = failed(capsys, *options(tmp_path / "s", "--clean-floor", "0.99"))
    assert "--clean-floor: no trial keeps a clean AP of 0.99; the highest is 0.9091, with λ 0.1. Lower" in error
    assert not (tmp_path / "s" / "best.json").exists()
    assert len(trials_of(tmp_path / "s")) == 6


def test_a_failed_trial_ends_no_search(tmp_path, quick, capsys):
    quick.problem = lambda config: NonFiniteError("term P not finite at step 3") if config.lam == 1 else None
    assert search.main(options(tmp_path / "s", lambdas=(1, 4))) == 0
    first, second = trials_of(tmp_path / "s")
    assert (first["status"], first["robust_ap"], second["status"]) == ("failed", "", "finished")
    assert first["reason"] == "term P not finite at step 3"
    assert "best: λ 4\n" in capsys.readouterr().out

    quick.problem = lambda config: ValueError("something else")
    assert "no trial has come to its end; the first: ValueError: something else" in failed(
        capsys, *options(tmp_path / "t", lambdas=(1, 4))
    )


def test_a_value_that_its_own_trial_alone_cannot_have_ends_no_search(tmp_path, quick):
    quick.problem = lambda config: UsageError("--lam: too much") if config.lam == 1 else None
    assert search.main(options(tmp_path / "s", lambdas=(1, 4))) == 0
    assert [trial["status"] for trial in trials_of(tmp_path / "s")] == ["failed", "finished"]


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (FULL, "No space left on device; make room and start the same command again"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (tf.errors.ResourceExhaustedError(None, None, "/x; No space left on device"), "No space left on device; make"),
        (DataError("a.png is no image"), "--data-dir: a.png is no image; mend it"),
    ],
)
def test_a_disk_or_data_that_every_trial_would_meet_fail_no_trial(tmp_path, quick, capsys, problem, words):
    quick.problem = lambda config: problem
    assert words in failed(capsys, *options(tmp_path / "s"))
    quick.problem = lambda config: None
    assert search.main(options(tmp_path / "s")) == 0
    assert [trial["status"] for trial in trials_of(tmp_path / "s")][:4] == ["finished"] * 4


def test_a_mistake_that_every_trial_would_meet_ends_it(tmp_path, quick, capsys):
    quick.problem = lambda config: UsageError("--data-dir: nothing there")
    assert failed(capsys, *options(tmp_path / "s")) == "error: --data-dir: nothing there"
    assert len(quick.taken) == 1
    quick.problem = lambda config: None
    assert search.main(options(tmp_path / "s")) == 0  # the trial that was under way comes first
    assert [float(trial["lam"]) for trial in trials_of(tmp_path / "s")] == [*LAMBDAS]


def test_a_method_that_needs_a_trained_network_gets_one_for_all_trials(tmp_path, quick):
    grid = ["--grid", "gamma1=0.1,0.9"]
    assert search.main(["--method", "ap", "--epochs", "4", "--seeds", "2", *grid, "--out", str(tmp_path / "s")]) == 0
    taken = [("ce", 0), ("ap", 0), ("ce", 1), ("ap", 1), ("ap", 0), ("ap", 1)]
    assert [(config.method, config.seed) for config in quick.taken] == taken
    for config in quick.taken:
        start = str(tmp_path / "s" / "runs" / f"start-seed{config.seed}")
        assert config.init_from == (start if config.method == "ap" else None)


@pytest.mark.parametrize("kind", ["random", "bayesian"])
def test_other_tuners_draw_from_ranges(tmp_path, quick, kind):
    arguments = ["--epochs", "1", "--tuner", kind, "--trials", "5", "--space", "wide", "--out", str(tmp_path / "s")]
    assert search.main(arguments) == 0
    found = [float(trial["lam"]) for trial in trials_of(tmp_path / "s")]
    assert len(set(found)) == 5
    assert all(0.01 <= value <= 100 for value in found)
    assert search.main([*arguments[:-1], str(tmp_path / "t")]) == 0
    assert trials_of(tmp_path / "s") == trials_of(tmp_path / "t")


def test_mistakes(tmp_path, quick, capsys, monkeypatch):
    out = tmp_path / "s"
    assert "--clean-floor: goes with" in failed(capsys, *options(out, "--objective", "floor"))
    assert "--clean-floor: 1.5 is not accepted" in failed(capsys, *options(out, "--clean-floor", "1.5"))
    assert "--tuner: 'hyperband' is not accepted" in failed(capsys, *options(out, "--tuner", "hyperband"))
    assert "--tuner: a grid has no range, as lam is" in failed(capsys, "--space", "wide", "--out", str(out))
    assert "--method: 'sgd' is not accepted" in failed(capsys, "--method", "sgd", "--out", str(out))
    assert "the following arguments are required: --out" in failed(capsys)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "")
    assert "KERASTUNER_ORACLE_IP: not set or empty; it takes all of KERASTUNER_TUNER_ID, " in failed(
        capsys, *options(out)
    )
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    for port in ("http", "99999"):
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", port)
        assert f"KERASTUNER_ORACLE_PORT: cannot listen at 127.0.0.1:{port}: " in failed(capsys, *options(out))
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:  # as KerasTuner's server does
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(other.getsockname()[1]))
        assert "in use; give one that is free" in failed(capsys, *options(out))
    for name in ("KERASTUNER_TUNER_ID", *search.ADDRESS):
        monkeypatch.delenv(name)
    assert not out.exists()
    assert not quick.taken

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    assert "exists and is no search's folder" in failed(capsys, *options(tmp_path / "thesis"))
    assert "is no search's folder" in failed(capsys, *options(tmp_path / "thesis" / "thesis.tex"))

    assert search.main(options(out, "--trials", "1")) == 0
    assert "--grid: " in failed(capsys, *options(out, lambdas=(1, 2)))
    assert "--seeds: " in failed(capsys, *options(out, "--seeds", "2"))
    assert "--batch-size: " in failed(capsys, *options(out, "--batch-size", "32"))
    for text in ("{", "{}"):
        (out / "search.json").write_text(text)
        assert "search.json is damaged" in failed(capsys, *options(out))


def test_a_search_that_another_process_is_at(tmp_path, quick, capsys):
    assert search.main(options(tmp_path / "s", "--trials", "1")) == 0
    with FileLock(tmp_path / "s" / ".lock"):
        error = failed(capsys, *options(tmp_path / "s"))
    assert "--out: another process is at the search in" in error
    assert len(quick.taken) == 1


@pytest.mark.parametrize("file", ["oracle.json", "trial_0/trial.json"])
@pytest.mark.parametrize("content", ["{", None])
def test_a_state_that_is_damaged(tmp_path, quick, capsys, file, content):
    assert search.main(options(tmp_path / "s", "--trials", "1")) == 0
    path = tmp_path / "s" / "tuner" / file
    if content:
        path.write_text(content)
    elif file == "oracle.json":
        path.unlink()
        assert search.main(options(tmp_path / "s", "--trials", "1")) == 0  # the run is there, and is taken
        assert len(quick.taken) == 1
        return
    else:
        path.unlink()
    assert f"--out: {path.parents[len(Path(file).parts) - 1]} is damaged; remove " in failed(
        capsys, *options(tmp_path / "s")
    )


def test_a_run_that_is_gone_ends_nothing(tmp_path, quick):
    assert search.main(options(tmp_path / "s", "--trials", "2")) == 0
    shutil.rmtree(quick.folders[0].path)
    assert search.main(options(tmp_path / "s", "--trials", "3")) == 0
    first, *others = trials_of(tmp_path / "s")
    assert (first["status"], first["reason"]) == ("failed", "its run is not there any more")
    assert [trial["status"] for trial in others] == ["finished"] * 2


def test_trials_stand_in_their_order_however_many_there_are(tmp_path, quick):
    lambdas = [1 + number / 10 for number in range(12)]
    for count in ("3", "12"):
        assert search.main(options(tmp_path / "s", "--trials", count, lambdas=lambdas)) == 0
    assert [float(trial["lam"]) for trial in trials_of(tmp_path / "s")] == lambdas


@pytest.mark.parametrize("kind", ["random", "bayesian"])
def test_what_has_been_tried_is_not_tried_again(tmp_path, quick, kind):
    assert search.main(options(tmp_path / "s", "--tuner", kind, lambdas=(0.1, 1, 4))) == 0
    assert sorted(config.lam for config in quick.taken) == [0.1, 1, 4]


def test_a_run_has_its_folder_alone_and_its_tuner_gives_signs_of_life(tmp_path, quick, monkeypatch):
    asked, get = [], search.Kept.get_trial
    monkeypatch.setattr(search.Kept, "get_trial", lambda oracle, name: asked.append(name) or get(oracle, name))

    def problem(config):
        with pytest.raises(Timeout), FileLock(quick.folders[-1].alone().lock_file, timeout=0):
            pass
        while len(asked) < 3:
            time.sleep(0.01)

    quick.problem = problem
    assert search.main(options(tmp_path / "s", "--worker-timeout", "0.001", lambdas=(1,))) == 0
    assert set(asked) == {"0"}


def ask_once(tuner):
    """In the place of a chief's server: one that a tuner asks for a trial, and that ends with the last."""
    time.sleep(0.2)
    tuner.oracle.create_trial("one")


@pytest.mark.parametrize("serving", [ask_once, lambda tuner: time.sleep(3)])
def test_a_chief_ends_well_where_nothing_is_left(tmp_path, quick, capsys, monkeypatch, serving):
    arguments = options(tmp_path / "s", "--worker-timeout", "0.02", lambdas=(1, 4))
    assert search.main(arguments) == 0
    monkeypatch.setattr(tuner.RunTuner, "search", serving)
    values = ("chief", "127.0.0.1", str(free_port()))
    for name, value in zip(("KERASTUNER_TUNER_ID", *search.ADDRESS), values, strict=True):
        monkeypatch.setenv(name, value)
    assert search.main(arguments) == 0
    assert "best: λ 1\n" in capsys.readouterr().out


SMALL = ["--backbone", "mlp", "--attack-steps", "1", "--eval-steps", "2", "--train-examples", "400"]


def started(out, name=None, port=None, *more):
    """A search in a process of its own, whose trials are short."""
    address = {"KERASTUNER_TUNER_ID": name, "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    words = [sys.executable, COMMAND, *options(out, *SMALL, *more)]
    environment = {**os.environ, **(address if name else {})}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finished_runs(out):
    return [path.parent for path in out.glob("runs/*/results.json")]


def wait_for(condition, *processes):
    while not condition():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)


@pytest.mark.slow
def test_a_search_that_is_killed_and_started_again_ends_the_same(tmp_path):
    for out, kills in ((tmp_path / "whole", False), (tmp_path / "killed", True)):
        process = started(out)
        if kills:
            wait_for(lambda: len(finished_runs(tmp_path / "killed")) == 3, process)
            process.kill()
            process.communicate()
            process = started(out)
        printed, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert trials_of(tmp_path / "killed") == trials_of(tmp_path / "whole")
    table = printed.partition("trial  setting")[2].partition("train it")[0]
    assert "best: λ " in table
    best = [json.loads((tmp_path / name / "best.json").read_text()) for name in ("whole", "killed")]
    assert best[0] == best[1]
    assert len([*RunFolder(finished_runs(tmp_path / "whole")[0]).tensorboard.iterdir()]) == 1


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


FEW = ("--worker-timeout", "0.2", "--trials", "3")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [False, True])
def test_a_chief_and_two_tuners_finish(tmp_path, kills):
    out, port = tmp_path / "s", free_port()
    chief, one, other = (started(out, name, port, *FEW) for name in ("chief", "one", "other"))
    if kills:
        wait_for(lambda: len([*out.glob("runs/*/metrics.csv")]) >= 2, one, other)
        other.kill()
    printed, errors = chief.communicate(timeout=600)
    assert chief.returncode == 0, errors
    _, errors = one.communicate(timeout=60)
    assert one.returncode == 0, errors
    other.communicate(timeout=60)
    assert other.returncode == (-signal.SIGKILL if kills else 0)
    assert ("other has not been heard of for 12 s" in printed) == kills
    assert [trial["status"] for trial in trials_of(out)] == ["finished"] * 3
    assert (out / "best.json").exists()


@pytest.mark.slow
def test_a_chief_without_tuners_ends_and_a_rerun_finishes(tmp_path):
    out, port = tmp_path / "s", free_port()
    chief, one = (started(out, name, port, *FEW) for name in ("chief", "one"))
    wait_for(lambda: finished_runs(out), chief, one)
    one.kill()
    one.communicate()
    _, errors = chief.communicate(timeout=120)
    assert chief.returncode == 75
    assert "no tuner has been heard of for 12 s; start chief and tuners again" in errors.splitlines()[-1]
    process = started(out, None, None, *FEW)  # alone, too
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert len(trials_of(out)) == 3
