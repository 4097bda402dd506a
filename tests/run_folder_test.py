"""The run folder: what it takes for its own, and files that are whole or not there."""

import dataclasses
import json

import numpy as np
import pytest

from train.errors import UsageError
from train.presets import PRESETS
from train.run_folder import RunFolder, replacing, write_json, write_text

CONFIG = PRESETS["digits"]


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "some" / "run")
    folder.open(CONFIG, {"train": "a"})
    return folder


def names(path):
    return sorted(file.name for file in path.iterdir())


def test_a_run_is_opened_once_and_again(folder):
    assert json.loads(folder.config.read_text()) == CONFIG.resolved()
    before = folder.config.stat().st_ino
    folder.open(CONFIG, {"train": "a"})
    assert folder.config.stat().st_ino == before
    assert folder.finished() is None
    assert folder.history() == []


@pytest.mark.parametrize("name", [".", "run"])
def test_an_empty_or_a_new_folder_will_do_and_a_check_writes_nothing(tmp_path, name):
    RunFolder(tmp_path / name).check(CONFIG)
    assert names(tmp_path) == []


def test_another_run_is_refused_by_the_field(folder):
    for field, value in (("lam", 3.0), ("seed", 1), ("positive", "3")):
        with pytest.raises(UsageError, match=f"^--{field}: .*run holds a run with another value; give that value"):
            folder.check(dataclasses.replace(CONFIG, **{field: value}))
    folder.check(dataclasses.replace(CONFIG, replicas=2, data_dir="elsewhere"))


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UsageError, match=r"^--out: .* is not a run folder; give a new or an empty one"):
            RunFolder(path).open(CONFIG, {"train": "a"})
    assert names(tmp_path) == ["thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "all of it"


@pytest.mark.parametrize("text", ['{"lam": ', "", "null", "[]"])
def test_damaged_files_are_named(folder, text):
    write_json(folder.results, {"test": {}})
    folder.scores.touch()
    for path, read in ((folder.results, folder.finished), (folder.config, lambda: folder.check(CONFIG))):
        path.write_text(text)
        with pytest.raises(UsageError, match=rf"^--out: .*{path.name} is damaged; remove"):
            read()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^--out: cannot write .*file/run: Not a directory"):
        RunFolder(tmp_path / "file" / "run").open(CONFIG, {"train": "a"})


def test_history_comes_back(folder):
    rows = [{"epoch": 1.0, "loss": -0.5, "clean_ap": 0.25}, {"epoch": 2.0, "loss": 1e-30, "clean_ap": 1 / 3}]
    folder.write_history(rows[:1])
    folder.write_history(rows)
    assert folder.history() == rows  # to the last digit: a run that goes on selects by these numbers
    assert folder.metrics.read_text().splitlines()[:2] == ["epoch,loss,clean_ap", "1,-0.5,0.25"]


@pytest.mark.parametrize("text", ["", "epoch,loss\n1,\n", "epoch,loss\n1,a\n", "epoch,loss\n2,0.5\n", "loss\n0.5\n"])
def test_a_damaged_history_is_named(folder, text):
    folder.metrics.write_text(text)
    if text:
        with pytest.raises(UsageError, match=r"^--out: .*metrics\.csv is damaged"):
            folder.history()
    else:
        assert folder.history() == []


def test_scores_come_back(folder, rng):
    label, scores = np.array([[1.0], [np.nan]]), {"clean": rng.normal(size=(2, 1)), "pgd": rng.normal(size=(2, 1))}
    folder.write_scores(label, scores)
    found = folder.read_scores()
    assert sorted(found) == ["clean", "label", "pgd"]
    for name, wanted in {"label": label, **scores}.items():
        np.testing.assert_array_equal(found[name], wanted)


def test_results_come_back_and_end_a_run(folder):
    write_json(folder.results, {"test": {"clean": {"ap": 0.5}}})
    assert folder.finished() is None  # the scores belong to them
    folder.write_scores(np.zeros((1, 1)), {})
    assert folder.finished() == {"test": {"clean": {"ap": 0.5}}}


def test_a_file_is_whole_or_as_before(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")

    def fail_half_way():
        with replacing(path) as part:
            part.write_text("ne")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]
    write_text(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_other_data_are_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open(CONFIG, {"train": "a", "test": "b"})
    folder.open(CONFIG, {"train": "a", "test": "b"})
    with pytest.raises(UsageError, match=r"^--data-dir: the test data are not those that .*run began with; give those"):
        folder.open(CONFIG, {"train": "a", "test": "c"})
    folder.data.unlink()  # of a version that did not keep it
    folder.open(CONFIG, {"train": "a", "test": "c"})
