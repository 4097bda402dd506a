"""Several workers, as processes on this machine, compute what one computes, and end together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.kills import state
from replicas_test import trained, trained_on
from train import main
from train.errors import UsageError
from train.workers import Workers, make_workers
from two_workers import cluster, on_two

COMMAND = [sys.executable, str(Path(main.__file__)), "--baseline", "none", "--checkpoint-minutes", "0.01"]


def agreed(workers):
    """What workers tell each other."""

    def mistake():
        raise UsageError("--out: chief’s own mistake")

    value = workers.of_chief(lambda: {"index": workers.index, "rate": 0.1, "none": None, "text": "λ"})
    with workers.strategy.scope():
        variables = [tf.Variable(np.full([2], workers.index + 5, kind)) for kind in (np.float32, np.int64, np.float64)]
    for variable in variables:
        variable.assign([workers.index, 7 + workers.index])
    workers.share(variables)
    try:
        workers.of_chief(mistake)
    except UsageError as error:
        return value, [variable.numpy().tolist() for variable in variables], str(error)


def test_workers_come_to_know_what_the_chief_knows():
    wanted = {"index": 0, "rate": 0.1, "none": None, "text": "λ"}, [[0, 7]] * 3, "--out: chief’s own mistake"
    assert on_two(agreed) == [wanted, wanted]


def test_a_process_alone_asks_nobody():
    workers = Workers(tf.distribute.get_strategy())
    there = object()
    assert workers.chief
    assert workers.of_chief(lambda: there) is there


def on_workers(workers, *arguments, **options):
    return trained_on(workers.strategy, *arguments, **options)


@pytest.mark.parametrize(
    ("backbone", "method", "options"),
    [
        ("small_cnn", "adap_lpn", {}),
        pytest.param("small_cnn", "adap_mm", {}, marks=pytest.mark.slow),
        pytest.param("penalised", "adap_lz", {"tasks": 2, "separate": True}, marks=pytest.mark.slow),
    ],
)
def test_two_workers_equal_one(backbone, method, options):
    alone, signals = trained(1, backbone, method, **options)
    for found, found_signals in on_two(on_workers, backbone, method, **options):
        for wanted, got in zip(alone, found, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8)
        assert found_signals == pytest.approx(signals, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"cluster": ', "TF_CONFIG: Expecting value"),
        ('{"cluster": {"worker": "host0:1"}, "task": {"type": "worker", "index": 0}}', "TF_CONFIG: The tasks for job"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "TF_CONFIG: "),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "worker 2 is none of"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}', "ps 0 is none of"),
    ],
)
def test_what_is_wrong_with_tf_config(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text)
    make_workers.cache_clear()
    with pytest.raises(UsageError, match=words) as caught:
        make_workers()
    assert '"task": {"type": "worker", "index": 0}}, on each worker' in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'])
def test_a_cluster_of_one_is_no_cluster(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    make_workers.cache_clear()
    assert make_workers().count == 1
    make_workers.cache_clear()


# The command


def start(folder, *options, own=((), ())):
    """Two workers that train; a run folder for each, of which only the chief's is used."""
    return [
        subprocess.Popen(
            [*COMMAND, "--out", str(folder / str(number)), *options, *mine],
            env={**os.environ, "TF_CONFIG": config},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, (config, mine) in enumerate(zip(cluster(), own, strict=True))
    ]


def ends(processes):
    """Exit statuses, what was printed, and the last lines of the messages."""
    found = [process.communicate(timeout=300) for process in processes]
    errors = [messages.splitlines()[-1:] for _, messages in found]
    return [process.returncode for process in processes], [printed for printed, _ in found], errors


@pytest.mark.slow
def test_a_worker_dies_and_all_are_started_again(tmp_path):
    run = ("--epochs", "3", "--method", "adap_ln", "--attack-steps", "1", "--eval-steps", "2")  # quick to trace
    folders = tmp_path / "killed", tmp_path / "untouched"
    for number, victim in enumerate((1, 0)):
        processes = start(folders[0], *run)
        next(line for line in processes[0].stdout if line.startswith(f"epoch {number + 1}/"))
        processes[victim].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        statuses, _, errors = ends(processes)
        assert time.monotonic() - killed < 60
        assert (statuses[victim], statuses[1 - victim]) == (-signal.SIGKILL, 75)
        assert errors[1 - victim][0].startswith(f"error: worker {victim} has ended or cannot be reached")
        assert "Start the same command on every worker again" in errors[1 - victim][0]
    statuses, (chief, other), _ = ends(start(folders[0], *run))
    assert statuses == [0, 0]
    assert "goes on from step" in chief
    assert "Test AP" in chief
    assert "epoch" not in other
    assert not (folders[0] / "1").exists()  # all is written by the chief

    assert ends(start(folders[1], *run))[0] == [0, 0]
    assert state(folders[0] / "0") == state(folders[1] / "0")

    statuses, (chief, other), _ = ends(start(folders[1], *run))  # a finished run says so, and all end
    assert statuses == [0, 0]
    assert "is finished" in chief
    assert "Test AP" not in other


@pytest.mark.slow
def test_a_chief_that_is_terminated_keeps_its_steps(tmp_path):
    processes = start(tmp_path, "--epochs", "40")
    next(line for line in processes[0].stdout if line.startswith("epoch 1/"))
    processes[0].send_signal(signal.SIGTERM)
    statuses, _, errors = ends(processes)
    assert statuses == [143, 75]
    assert "worker 0 has ended" in errors[1][0]
    assert list((tmp_path / "0" / "checkpoints").glob("step-*"))


@pytest.mark.slow
def test_mistakes_end_all_workers(tmp_path):
    statuses, _, errors = ends(start(tmp_path, "--epochs", "1", own=(("--method", "ce"), ("--method", "adap_ln"))))
    assert statuses == [75, 2]
    assert "--method: worker 1 has another value than worker 0" in errors[1][0]
    assert "worker 1 has ended or cannot be reached; its own messages say why" in errors[0][0]

    (tmp_path / "other" / "0").mkdir(parents=True)
    (tmp_path / "other" / "0" / "thesis.tex").touch()
    statuses, _, errors = ends(start(tmp_path / "other", "--epochs", "1"))
    assert statuses == [2, 2]
    assert errors[0] == errors[1]
    assert "is not a run folder" in errors[0][0]
