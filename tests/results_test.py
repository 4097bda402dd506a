"""What is kept of runs, and the page that is made of it: against numbers written by hand, and the committed one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import keep, learning, orderings, results
from experiments.cells import ALL, ATTACKER, COMPARED
from experiments.entries import ENTRIES
from experiments.orderings import Pair
from experiments.scales import SCALES
from experiments.sheet import Sheet
from experiments.study import Study
from experiments.work import check_same, evaluations
from made_up import PRINTS, VERSIONS
from train.errors import UsageError
from train.presets import PRESETS
from train.run_folder import RunFolder, write_json
from train.settings import parse

DOCS = Path(results.__file__).parents[1] / "docs"
SPLITS = {name: {"examples": 512, "positives": 51} for name in ("train", "validation", "test")}
ROBUST = dict(zip(COMPARED, (0.05, 0.06, 0.2, 0.19, 0.18, 0.21, 0.17), strict=True))
"""Robust test AP by method: in the paper each is above the one before, but for MART, which is above PGD alone."""


def finish(folder, config, robust, clean=0.5):
    """Makes a run a finished one: robust validation AP by epoch; the last epoch is selected."""
    folder.open(config, PRINTS)
    rows = [{"epoch": k, "loss": 0.1, "clean_ap": clean, "robust_ap": ap} for k, ap in enumerate(robust, 1)]
    folder.write_history([{name: float(value) for name, value in row.items()} for row in rows])
    np.savez(folder.scores, label=np.ones((2, 1)))
    folder.best.touch()
    told = {"splits": SPLITS, "selected": rows[-1], "versions": VERSIONS, "timing": {"train_seconds": 900.0}}
    write_json(folder.results, {**told, "test": {"clean": {"ap": clean}, "pgd": {"ap": robust[-1] - 0.01}}})


def evaluate(run, ap):
    """An evaluation of a run, with the paths of this machine, as the command would write it."""
    lender = run.attacker.path
    attacker = [] if lender == run.folder.path else ["--attacker", str(lender)]
    settings = parse([str(run.folder.path), "--threats", "clean,pgd,apgd", "--quick", *attacker])[0]
    part = {"interval": [ap - 0.0125, ap + 0.01], "ap_at_prevalence": {}, "precision_at_recall": {}}
    part["budget"] = {"automobile": {"ap": [ap] * 100}}
    told = {"path": str(run.folder.path), "tasks": ["automobile"], "limits": {}, "twice_the_steps": {}, "notes": []}
    told |= {"warnings": [], "threats": {"pgd": {**part, "ap": ap}, "clean": {**part, "ap": 0.5}}}
    written = {"settings": settings.resolved(), "runs": {run.folder.path.name: told}, "differences": []}
    run.home().mkdir()
    write_json(run.home() / "results.json", {**written, "versions": VERSIONS, "timing": {"a": 360.0}})


@pytest.fixture
def store(tmp_path):
    """A store of the scale mini as it would be after Table 2's CIFAR-10: λ = 1 has the best validation AP."""
    study = Study(SCALES["mini"], tmp_path / "store")
    methods = dict.fromkeys((ALL[ATTACKER], *(ALL[name] for name in COMPARED)))
    for method in methods:
        for (run,) in study.search("cifar10/1", method):
            finish(run.folder, run.config, [0.3 if run.config.lam == 1 else 0.2])
    for cell in ENTRIES["table2"].cells:
        if cell.column.startswith("CIFAR-10 "):
            for (run,) in study.of_cell(cell, ENTRIES["table2"]).values():
                evaluate(run, ROBUST[cell.row])
    return tmp_path / "store"


def long_run(folder, method, robust, **changes):
    given = {"method": method, "epochs": len(robust), "train_examples": 512, "lam": 4.0, **changes}
    finish(RunFolder(folder / method), replace(PRESETS["cifar10-mini"], **given), robust)


def kept(store, out):
    assert keep.main([*map(str, sorted(path for path in store.iterdir() if path.is_dir())), "--out", str(out)]) == 0
    return out


# Orderings


def test_the_papers_orderings_that_hold_and_that_do_not():
    aps = {"PGD": (0.2, 0.25), "MART": (0.2, 0.1), "AdAP_LN": (0.3, 0.2), "TRADES": (0.25, 0.2)}
    found = orderings.pairs(aps)
    assert [(*pair[:2], pytest.approx(pair.published), pytest.approx(pair.here)) for pair in found] == [
        ("AdAP_LN", "PGD", 0.1, -0.05),
        ("TRADES", "PGD", 0.05, -0.05),
        ("AdAP_LN", "MART", 0.1, 0.1),
        ("TRADES", "MART", 0.05, 0.1),
        ("AdAP_LN", "TRADES", 0.05, 0.0),
    ]  # PGD and MART are level in the paper
    assert list(orderings.told("robust", found, ["AdAP_LN", "AdAP_LPN"])) == [
        "robust AP: the paper's ordering does not show in full here; 2 of the 5 orderings of two methods in its table "
        "hold.",
        "These do not: AdAP_LN is 0.0500 behind PGD (in the paper 0.1000 ahead); TRADES is 0.0500 behind PGD (in the "
        "paper 0.0500 ahead); AdAP_LN is level with TRADES (in the paper 0.0500 ahead).",
        "AdAP_LN, in the paper ahead of PGD, MART and TRADES, is ahead of MART here and not of PGD and TRADES.",
    ]


def test_orderings_that_all_hold_or_none():
    claimed = [Pair("AdAP_LN", "PGD", 0.1, 0.1), Pair("AdAP_LN", "MART", 0.1, 0.1)]
    assert list(orderings.told("clean", claimed, ["AdAP_LN"])) == [
        "clean AP: the paper's ordering shows here; 2 of the 2 orderings of two methods in its table hold.",
        "AdAP_LN, in the paper ahead of PGD and MART, is ahead of all of them here.",
    ]
    (*_, said) = orderings.told("clean", [pair._replace(here=-0.1) for pair in claimed], ["AdAP_LN"])
    assert said == "AdAP_LN, in the paper ahead of PGD and MART, is ahead of none here."
    assert orderings.pairs({}) == orderings.pairs({"PGD": (0.1, 0.2)}) == []


# Learning curves


def test_from_when_on_a_curve_is_ahead_for_good():
    assert learning.ahead_from([0.2, 0.1, 0.3, 0.4], [[0.1, 0.1, 0.2, 0.3], [0.0, 0.2, 0.0, 0.0]]) == 3
    assert learning.ahead_from([0.2, 0.2], [[0.1, 0.1]]) == 1
    assert learning.ahead_from([0.2, 0.1], [[0.1, 0.1]]) is None
    assert learning.ahead_from([], [[]]) is None


def test_the_lead_is_told_in_epochs_steps_and_images():
    curves = {"PGD": [0.1, 0.2, 0.2], "TRADES": [0.1, 0.1, 0.4], "AdAP_LPN": [0.2, 0.15, 0.3]}
    assert list(learning.told(curves, steps=1000, batch=128)) == [
        "AdAP_LPN is ahead of PGD for good from epoch 3 on, after 3,000 steps, in which 384,000 images were drawn; at "
        "the end by 0.1000.",
        "AdAP_LPN is at no point ahead of TRADES for good: it ends 0.1000 below, and is ahead after 2 of 3 epochs.",
        "AdAP_LPN is at no point ahead of PGD and TRADES for good: it ends 0.1000 below, and is ahead after 1 of 3 "
        "epochs.",
    ]


def test_some_epochs_evenly_and_the_last():
    _, *rows = learning.by_epoch({"PGD": [k / 100 for k in range(45)]}, 312)
    assert [row[0] for row in rows] == ["4", "9", "14", "18", "22", "27", "32", "36", "40", "45"]
    assert rows[-1] == ["45", "14,040", "0.4400"]
    assert len(learning.by_epoch({"PGD": [0.1, 0.2, 0.3]}, 1)) == 1 + 3


def test_runs_that_cannot_be_compared_by_epoch_are_refused(tmp_path):
    assert learning.read(tmp_path / "none") == {}
    long_run(tmp_path, "adap_lpn", [0.1, 0.2])
    long_run(tmp_path, "pgd", [0.1, 0.2])
    assert list(learning.read(tmp_path)) == ["PGD", "AdAP_LPN"]
    (tmp_path / "pgd").rename(tmp_path / "again")
    long_run(tmp_path, "pgd", [0.1, 0.2])
    with pytest.raises(UsageError, match="pgd: a second run of its method"):
        learning.read(tmp_path)
    (tmp_path / "again").rename(tmp_path.with_name("elsewhere"))
    long_run(tmp_path, "trades", [0.1])
    with pytest.raises(UsageError, match="other numbers of images or epochs"):
        learning.read(tmp_path)


# What is kept


def test_the_small_files_are_kept_without_paths(tmp_path, store, capsys):
    unfinished = RunFolder(store / "later")
    unfinished.open(PRESETS["digits"], PRINTS)
    given_up = RunFolder(store / "stopped")
    given_up.open(PRESETS["digits"], PRINTS)
    write_json(given_up.stopped, {"reason": f"P was not finite; the last checkpoint is {given_up.checkpoints}/step-1"})
    out = kept(store, tmp_path / "out")
    assert "note: later is not at its end and left out" in capsys.readouterr().err
    files = {path.relative_to(out) for path in out.glob("**/*") if path.is_file()}
    assert {path.name for path in out.iterdir()} == {path.name for path in store.iterdir()} - {"later"}
    assert {Path(*file.parts[1:]).as_posix() for file in files} == set(keep.KEPT) - {f"last/{keep.EVALUATION}"}
    assert not [file for file in files if str(tmp_path) in (out / file).read_text()]
    (ap,) = (path for path in out.iterdir() if "-ap-" in path.name)
    start = json.loads((ap / "config.json").read_text())["init_from"]
    assert start == "cifar10-automobile-ce-learning_rate_0.001-seed0"
    evaluation = json.loads((ap / keep.EVALUATION).read_text())
    assert (evaluation["settings"]["attacker"], evaluation["settings"]["budget"]) == (start, 100)
    assert "budget" not in evaluation["runs"][ap.name]["threats"]["pgd"]
    told = json.loads((out / "stopped" / "stopped.json").read_text())["reason"]
    assert told == "P was not finite; the last checkpoint is stopped/checkpoints/step-1"


def test_what_is_kept_is_the_store_and_needs_no_data(tmp_path, store):
    study = Study(SCALES["mini"], kept(store, tmp_path / "out"), data_dirs={"cifar10": "/nowhere"})
    entry = results.done(ENTRIES["table2"], study)
    assert [cell.row for cell in entry.cells] == [*COMPARED]
    for runs in study.stages(entry):
        assert all(run.over for run in runs)
        check_same(runs)
    assert all(job.done() for job in evaluations(study, entry))


def test_another_data_folder_is_no_other_run(tmp_path):
    run = Study(SCALES["mini"], tmp_path, data_dirs={"cifar10": "/here"}).selected("cifar10/1", "pgd", 0)
    finish(run.folder, replace(run.config, data_dir="/there", download=True), [0.1])
    assert run.differing() is None
    assert replace(run, config=replace(run.config, weight_decay=0.1)).differing() == "weight_decay"


def test_what_is_no_run_or_damaged_is_not_kept(tmp_path, store, capsys):
    (tmp_path / "empty").mkdir()
    assert keep.main([str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    assert "empty: no run is there; give the folder that a run was written to" in capsys.readouterr().err
    run = next(store.glob("*-pgd-*"))
    (run / keep.EVALUATION).write_text("{")
    assert keep.main([str(run), "--out", str(tmp_path / "out")]) == 2
    assert "results.json is damaged; leave that run out" in capsys.readouterr().err
    assert not [*(tmp_path / "out").iterdir()]


# The page


@pytest.fixture
def docs(tmp_path, store):
    """A folder as docs/ is, with runs of the scale mini and long ones."""
    folder = tmp_path / "docs"
    for method, robust in {"pgd": [0.1, 0.2], "trades": [0.1, 0.1], "adap_lpn": [0.2, 0.3]}.items():
        long_run(tmp_path / "long", method, robust, precision="bfloat16")
    kept(store, folder / "results" / "mini")
    kept(tmp_path / "long", folder / "results" / "long")
    return folder


def test_the_page_has_tables_orderings_searches_and_curves(docs):
    assert results.main(["--docs", str(docs)]) == 0
    text = (docs / "results.md").read_text()
    assert (docs / results.FIGURE).stat().st_size
    for expected in (
        "\n## table2\n",
        "\n| AdAP_LN  | 0.2100 [0.2949(0.0147), −0.0849] | ",
        "\n- CIFAR-10 (average): cifar10/1 was run in the place of cifar10/0, ",
        "\n- CIFAR-10 (average), robust AP: the paper's ordering does not show in full here; 15 of the 21 orderings ",
        "MART is 0.0200 behind PGD (in the paper 0.0094 ahead); AdAP_LPN is 0.0300 behind PGD (in the paper 0.0536 ",
        "\n- AdAP_LN, in the paper ahead of CE Min., AP Max., PGD, TRADES and MART, is ahead of all of them here.\n",
        "TRADES and MART, is ahead of CE Min. and AP Max. here and not of PGD, TRADES and MART.\n",
        " reach up to 0.0125 to either side.",
        "\n## table10\n",
        "\n| cifar10, automobile | TRADES   | 1   | 0.3000            | 0.5000           | 1     | 15.0    | "
        "selected, by robust AP |\n",
        "\n| cifar10, automobile | TRADES   | 4   | 0.2000            | 0.5000           | 1     | 15.0    | "
        "                       |\n",
        "selected, by clean AP",
        "(positives): train 512 (51), validation 512 (51), test 512 (51). Network small_cnn, float32, 12 epochs of 4 ",
        "\n- 14 runs: 3.5 hours of training, validation included, and 0.7 hours of evaluation;",
        "\n- Versions: python 3.11.7, tensorflow 2.21.0. ",
        "\n## Learning curves\n",
        f"]({results.FIGURE})",
        "\n- AdAP_LPN is ahead of PGD and TRADES for good from epoch 1 on, after 4 steps, in which 512 images were "
        "drawn; at the end by 0.1000.\n",
        "\n| 2     | 8     | 0.2000 | 0.1000 | 0.3000   |\n",
        "\n| TRADES   | 4 | 2              | 0.1000            | 0.5000     | 0.0900   | 0.2               |\n",
        "Network small_cnn, bfloat16, 2 epochs of 4 steps",
    ):
        assert expected in text, text


def test_what_is_not_there_is_left_out(tmp_path):
    assert results.page(tmp_path) == results.HEAD


def test_only_what_is_finished_is_shown(docs, monkeypatch):
    (path,) = (docs / "results" / "mini").glob(f"*-mart-*lam_1-*/{keep.EVALUATION}")
    path.unlink()
    monkeypatch.setattr(
        results, "sheet_of", lambda name, entry, study: Sheet(str([c.row for c in entry.cells]), "", {})
    )
    assert "MART" not in results.page(docs / "results").split("## What was searched")[0]


def test_the_committed_page_is_what_its_files_say():
    assert (DOCS / "results.md").read_text() == results.page(DOCS / "results"), "python -m experiments.results"
    assert not learning.read(DOCS / "results" / "long") or (DOCS / results.FIGURE).exists()
    files = [path for path in (DOCS / "results").glob("*/**/*") if path.is_file()]
    assert {Path(*file.relative_to(DOCS / "results").parts[2:]).as_posix() for file in files} <= set(keep.KEPT)
