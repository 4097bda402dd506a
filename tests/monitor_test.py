"""What one sees of a run."""

import pytest
import tensorflow as tf

from train import monitor
from train.monitor import TIMED, WARM_UP, Monitor
from train.run_folder import RunFolder


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s a step, 256 images/s; 60 epochs of 312 steps take 2.6 hours"),
        (0.01, "60 epochs of 312 steps take 3.1 minutes"),
    ],
)
def test_speed_and_duration_are_said_once_and_early(tmp_path, capsys, monkeypatch, seconds, words):
    clock = iter([100.0, 100.0 + TIMED * seconds])
    monkeypatch.setattr(monitor.time, "perf_counter", lambda: next(clock))
    with Monitor.watching(RunFolder(tmp_path), 0, 312, 60, 128) as watching:
        for _ in range(WARM_UP + TIMED - 1):
            watching.step({"loss": tf.constant(0.0)})
        assert capsys.readouterr().out == ""
        for _ in range(20):
            watching.step({"loss": tf.constant(0.0)})
    assert words in capsys.readouterr().out
    assert next(clock, None) is None


def test_an_epoch_is_a_line(tmp_path, capsys):
    row = {"epoch": 2.0, "loss": -0.25, "gradient_norm": 0.1, "steps_skipped": 0.0, "robust_ap": 1 / 3}
    with Monitor.watching(RunFolder(tmp_path), 0, 10, 4, 8) as watching:
        watching.epoch(row)
        watching.epoch(row | {"steps_skipped": 2.0})
    line = "epoch 2/4  loss -0.25  robust_ap 0.3333"
    assert capsys.readouterr().out == f"{line}\n{line}  steps_skipped 2\n"
