"""Runs that are killed and go on: real processes, and every variable compared at the end."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from train import main

COMMAND = [sys.executable, str(Path(main.__file__)), "--baseline", "none"]
RUN = ["--epochs", "6", "--checkpoint-minutes", "0.01"]  # BatchNorm, and checkpoints within an epoch


def start(out, *options):
    return subprocess.Popen(
        [*COMMAND, *RUN, "--out", str(out), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def start_until(out, beginning):
    """A process that has just printed a line with this beginning."""
    process = start(out)
    next(line for line in process.stdout if line.startswith(beginning))
    return process


def finish(out, *options):
    """Runs to the end; what it printed."""
    process = start(out, *options)
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return printed


def state(out):
    """Hashes of all variables in the newest checkpoint and in the selected network, and the numbers on file."""
    newest = max((out / "checkpoints").glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    reader = tf.train.load_checkpoint(str(newest / "state"))
    names = [name for name in sorted(reader.get_variable_to_shape_map()) if name.startswith("variables/")]
    assert len(names) > 50  # weights, statistics, estimators, both moments of Adam, counters, running means
    hashes = {name: hashlib.sha256(np.asarray(reader.get_tensor(name)).tobytes()).hexdigest() for name in names}
    results = json.loads((out / "results.json").read_text())
    del results["timing"]
    best = [weight.tobytes() for weight in keras.models.load_model(out / "best" / "network.keras").get_weights()]
    return {"step": newest.name, "metrics": (out / "metrics.csv").read_text(), **hashes}, results, best


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """A run that nobody stops, and the seconds it takes."""
    out = tmp_path_factory.mktemp("untouched") / "run"
    started = time.monotonic()
    finish(out)
    return out, time.monotonic() - started


@pytest.mark.slow
def test_a_run_that_is_terminated_keeps_its_steps_and_ends_the_same(untouched, tmp_path):
    out = tmp_path / "run"
    process = start_until(out, "epoch 2/")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in errors
    (*_, newest) = sorted(int(path.name.removeprefix("step-")) for path in (out / "checkpoints").glob("step-*"))
    assert newest >= 32  # two epochs of 16 steps
    assert f"goes on from step {newest}: " in finish(out)
    assert state(out) == state(untouched[0])


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_the_same(untouched, tmp_path, rng):
    out, seconds = tmp_path / "run", untouched[1]
    killed = 0
    while killed < int(os.environ.get("ADAP_KILLS", "8")):
        process = start(out)
        try:
            process.communicate(timeout=rng.uniform(0, seconds))
            break  # it came to its end
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
    finish(out)
    assert killed
    assert state(out) == state(untouched[0])


@pytest.mark.slow
def test_a_run_whose_newest_checkpoint_is_damaged_ends_the_same(untouched, tmp_path):
    out = tmp_path / "run"
    process = start_until(out, "epoch 3/")
    process.kill()
    process.communicate()
    newest = max((out / "checkpoints").glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    data = newest / "state.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-100])
    process = start(out)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0
    assert f"warning: {newest} is damaged (" in errors
    assert state(out) == state(untouched[0])
