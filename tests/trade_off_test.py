"""Robust against clean AP: which points are best, what is one setting, and what is drawn."""

import dataclasses
import json

import pytest

from summaries_test import read
from train import trade_off
from train.errors import UsageError
from train.presets import PRESETS
from train.run_folder import RunFolder
from train.trade_off import Point, front, points_of, write


def points(*pairs):
    return [Point("ce", str(number), clean, robust) for number, (clean, robust) in enumerate(pairs)]


@pytest.fixture
def run(tmp_path):
    """Writes what is looked at of a finished run."""

    def write(name, clean, robust, data="a hash", **fields):
        folder = RunFolder(tmp_path / name)
        config = dataclasses.replace(PRESETS["digits"], **fields)
        folder.open(config, {"test": data})
        rows = [{"epoch": 1.0, "clean_ap": clean / 2, "robust_ap": robust / 2}]
        folder.write_history(rows)
        folder.scores.touch()
        results = {"test": {"clean": {"ap": clean}, "pgd": {"ap": robust}}, "selected": {"clean_ap": 1, "robust_ap": 0}}
        folder.results.write_text(json.dumps(results))
        return folder

    return write


def test_the_front_is_what_nothing_beats():
    assert front(points((0.9, 0.1), (0.8, 0.5), (0.7, 0.4), (0.8, 0.3), (0.2, 0.6))) == [True, True, False, False, True]
    assert front(points((0.5, 0.5), (0.5, 0.5))) == [True, True]
    assert front([]) == []


def test_a_run_is_drawn_among_its_like(run, tmp_path):
    first = run("a", 0.9, 0.5)
    trade_off.write_beside(first)
    assert not (tmp_path / "trade_off").exists()  # one point is no trade-off
    run("b", 0.8, 0.6, lam=4.0)
    run("other-data", 0.1, 0.1, data="x", positive="3")
    run("damaged", 0.1, 0.1, lam=5.0).results.write_text("{")
    config = run("another-version", 0.1, 0.1, lam=5.0).config
    config.write_text(config.read_text().replace("adap_lpn", "adap_old"))
    trade_off.write_beside(first)
    step, robust, _ = read(tmp_path / "trade_off" / "digits-8-eps0.1")["trade_off/front"]
    assert (step, float(robust)) == (9000, pytest.approx(0.5))


def test_runs_that_differ_in_their_seed_are_one_point(run):
    folders = [
        run("a", 0.9, 0.5, seed=0, lam=1.0),
        run("b", 0.7, 0.3, data="other split", seed=1, lam=1.0),
        run("c", 0.6, 0.6, seed=0, lam=4.0),
        run("d", 0.5, 0.1, method="ce"),
        run("e", 0.5, 0.1, method="ce", seed=1, lam=9.0, data="other split"),  # ce has no λ
    ]
    assert points_of(folders) == [
        Point("adap_lpn", "λ 1", pytest.approx(0.8), pytest.approx(0.4), 2),
        Point("adap_lpn", "λ 4", 0.6, 0.6, 1),
        Point("ce", "", 0.5, 0.1, 2),
    ]
    assert [point.clean for point in points_of(folders[:1], "last")] == [0.45]
    assert [point.clean for point in points_of(folders[:1], "validation")] == [1]


@pytest.mark.parametrize(
    ("fields", "data", "option"),
    [({"positive": "3"}, "a hash", "--positive"), ({"eps": 0.5}, "a hash", "--eps"), ({}, "changed", "--data-dir")],
)
def test_runs_of_other_data_or_threats_are_refused(run, fields, data, option):
    folders = [run("a", 0.9, 0.5), run("b", 0.9, 0.5, data, **fields)]
    with pytest.raises(UsageError, match=f"b: {option} differs from that of .*a "):
        points_of(folders)


def test_what_can_be_had_at_a_clean_ap_of_at_least_so_much(tmp_path):
    write(points((0.9, 0.1), (0.8, 0.5), (0.7, 0.4)), tmp_path, 3)
    assert (tmp_path / "trade_off.png").exists()
    found = read(tmp_path)
    assert found["trade_off"][0] == 3
    step, value, _ = found["trade_off/front"]  # the last one
    assert (step, float(value)) == (9000, pytest.approx(0.1))
    assert "custom_scalars__config__" in found


def test_nothing_is_drawn_of_nothing(tmp_path):
    write([], tmp_path / "new", 0)
    assert not (tmp_path / "new").exists()


def test_the_command(run, tmp_path, capsys):
    run("a", 0.9, 0.5)
    run("b", 0.95, 0.4, lam=0.1)
    arguments = [str(tmp_path / name) for name in ("a", "b")]
    assert trade_off.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines()[2:4]] == [
        ["adap_lpn", "λ", "1", "1", "0.9000", "0.5000", "*"],
        ["adap_lpn", "λ", "0.1", "1", "0.9500", "0.4000", "*"],
    ]
    assert (tmp_path / "out" / "trade_off.png").exists()


@pytest.mark.parametrize("name", ["missing", "foreign", "unfinished"])
def test_a_folder_without_a_finished_run(run, tmp_path, capsys, name):
    (tmp_path / "foreign").mkdir()
    run("unfinished", 0.5, 0.5).results.unlink()
    assert trade_off.main([str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    words = "not finished" if name == "unfinished" else "no run is there"
    assert f"{name}: " in (error := capsys.readouterr().err)
    assert words in error
    assert not (tmp_path / "out").exists()
