"""Benchmarks run and print what they promise; how fast they are is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adap_tf.data import Source
from benchmarks import attack, pipeline, predict, step, timing

SMALL = ["--backbone", "mlp", "--batch-size", "8", "--repeats", "2", "--json"]


def test_a_step_is_timed(capsys):
    step.main(["--method", "ce", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["repeats"] == 2


def test_two_variants_are_timed_in_turn(capsys):
    step.main(["--tasks", "3", "--versus", "--tasks 1 --precision bfloat16", *SMALL])
    printed = capsys.readouterr().out
    found = json.loads(printed.splitlines()[-1])
    assert found["ratio"] > 0
    assert "ratio" in printed


def test_a_step_on_two_replicas_with_a_larger_table_is_timed(capsys):
    step.main(["--replicas", "2", "--rows", "5", "--versus", "--rows 20000", *SMALL])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratio"] > 0


def test_variants_are_taken_in_turn_and_the_first_ones_left_out():
    taken = []
    seconds = timing.timed([lambda: taken.append("a"), lambda: taken.append("b")], 4)
    assert taken == ["a", "b"] * (timing.WARM_UP + 4)
    assert [len(found) for found in seconds] == [4, 4]


def test_the_ratio_is_of_pairs(capsys):
    timing.report([[1.0, 4.0, 9.0], [1.0, 2.0, 3.0]], as_json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratio"] == 2


def test_an_attack_is_timed(capsys):
    attack.main(
        ["--backbone", "mlp", "--images", "12", "--batch-size", "5", "--steps", "2", "--repeats", "2", "--json"]
    )
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["seconds"] > 0
    assert found["repeats"] == 2


@pytest.mark.parametrize("peer", ["foolbox", "art"])
def test_a_peer_is_timed_beside_it_and_finds_as_much(peer, capsys):
    pytest.importorskip(peer)
    attack.main(["--backbone", "mlp", "--images", "12", "--steps", "2", "--repeats", "2", "--peer", peer])
    assert "ratio" in capsys.readouterr().out


def test_a_peer_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(SystemExit, match=r"pip install foolbox"):
        attack.main(["--backbone", "mlp", "--images", "4", "--peer", "foolbox"])


def test_prediction_is_timed_beside_the_bare_network(capsys):
    predict.main(["--images", "12", *SMALL])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["ratio"] > 0
    assert found["repeats"] == 2


def test_batches_from_files_are_timed(capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "DIFFERENT", 10)
    pipeline.main(["--images", "200", "--batch-size", "16", "--steps", "2", "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["images_per_second"] > 0
    assert found["added_mebibytes"] >= 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files():
    command = [sys.executable, "-m", "benchmarks.pipeline", "--images", "20000", "--steps", "20", "--json"]
    found = subprocess.run(command, cwd=Path(pipeline.__file__).parents[1], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.splitlines()[-1])["added_mebibytes"] < 1024  # 20,000 images are 2,220 MiB


def test_waiting_for_input_is_measured(capsys, monkeypatch):
    source = Source.of_classes(np.zeros((40, 32, 32, 3), np.uint8), np.arange(40) % 10 == 0, ("other", "automobile"))
    monkeypatch.setattr(pipeline.cifar10, "load", lambda data_dir: {"train": source})
    pipeline.main(["--data-dir", "there", "--backbone", "mlp", "--batch-size", "8", "--steps", "3", "--json"])
    assert 0 < json.loads(capsys.readouterr().out.splitlines()[-1])["waiting_share"] < 1
