"""Benchmarks run and print what they promise; how fast they are is not asserted."""

import json

from benchmarks import step

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
    seconds = step.timed([lambda: taken.append("a"), lambda: taken.append("b")], 4)
    assert taken == ["a", "b"] * (step.WARM_UP + 4)
    assert [len(found) for found in seconds] == [4, 4]


def test_the_ratio_is_of_pairs(capsys):
    step.report([[1.0, 4.0, 9.0], [1.0, 2.0, 3.0]], as_json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ratio"] == 2
