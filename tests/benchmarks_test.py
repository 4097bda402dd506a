"""Benchmarks run and print what they promise; how fast they are is not asserted."""

import json
import sys

import pytest

from benchmarks import attack, step, timing

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
