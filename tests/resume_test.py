"""Runs that are killed and go on: real processes, and every variable compared at the end."""

import os
import signal

import pytest

from benchmarks.kills import finish, killed_runs, start, state, timed_run

pytestmark = pytest.mark.slow


def start_until(out, beginning):
    """A process that has just printed a line with this beginning."""
    process = start(out)
    next(line for line in process.stdout if line.startswith(beginning))
    return process


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """How a run ends that nobody stops, and the seconds it takes."""
    found, seconds = timed_run(tmp_path_factory.mktemp("untouched") / "run")
    assert len(found[0]) > 50  # weights, statistics, estimators, both moments of Adam, counters, running means
    return found, seconds


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
    assert state(out) == untouched[0]


def test_a_run_killed_at_any_moment_ends_the_same(untouched, tmp_path, rng):
    wanted, seconds = untouched
    for out in killed_runs(tmp_path, int(os.environ.get("ADAP_KILLS", "3")), seconds, rng):
        assert state(out) == wanted


def test_two_replicas_killed_at_any_moment_end_the_same(tmp_path, rng):
    options = ("--replicas", "2", "--epochs", "3", "--attack-steps", "1", "--eval-steps", "2")  # quick to trace
    wanted, seconds = timed_run(tmp_path / "untouched", *options)
    for out in killed_runs(tmp_path, 20, seconds, rng, *options):
        assert state(out) == wanted


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
    assert state(out) == untouched[0]
