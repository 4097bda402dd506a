"""What is kept of runs, and the page that is made of it: against numbers written by hand, and the committed one."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import drawings, keep, learning, orderings, recorded, results
from experiments.cells import ALL, ATTACKER, COMPARED
from experiments.entries import ENTRIES
from experiments.orderings import Ordering, Pair
from experiments.scales import SCALES
from experiments.store import StoreFolder
from experiments.study import Study
from experiments.work import check_same, evaluations
from made_up import PRINTS, VERSIONS
from train.errors import UsageError
from train.presets import PRESETS
from train.run_folder import RunFolder, write_json
from train.settings import parse

NAN = float("nan")
DOCS = Path(results.__file__).parents[1] / "docs"
SPLITS = {name: {"examples": 512, "positives": 51} for name in ("train", "validation", "test")}
ROBUST = dict(zip(COMPARED, (0.05, 0.06, 0.2, 0.19, 0.18, 0.21, 0.17), strict=True))
"""Robust test AP by method, as it is made up; in the paper it rises from each to the next, but from TRADES to MART."""


def finish(folder, config, robust):
    """Makes a run a finished one: robust validation AP by epoch; the last epoch is selected."""
    folder.open(config, PRINTS)
    rows = [
        {"epoch": float(k), "loss": 0.1, "learning_rate": 0.1**k, "clean_ap": 0.4 + ap, "robust_ap": ap}
        for k, ap in enumerate(robust, 1)
    ]
    folder.write_history(rows)
    np.savez(folder.scores, label=np.ones((2, 1)))
    folder.best.touch()
    timing = {"train_seconds": 600.0 + 60 * config.lam}
    told = {"splits": SPLITS, "selected": {**rows[-1], "epoch": len(rows)}, "versions": VERSIONS, "timing": timing}
    test = {"clean": {"ap": robust[-1] + 0.35}, "pgd": {"ap": robust[-1] - 0.01}}
    write_json(folder.results, {**told, "test": test})


def give_up(folder, config):
    folder.open(config, PRINTS)
    write_json(folder.stopped, {"reason": "not finite"})


def rewritten(path, change):
    """A JSON file with a change to what it holds."""
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


def evaluate(run, ap):
    """An evaluation of a run, with the paths of this machine, as the command would write it."""
    lender = run.attacker.path
    attacker = [] if lender == run.folder.path else ["--attacker", str(lender)]
    settings = parse([str(run.folder.path), "--threats", "clean,pgd,apgd", "--quick", *attacker])[0]
    part = {"interval": [ap - 0.0125, ap + 0.01], "ap_at_prevalence": {}, "precision_at_recall": {}}
    part["budget"] = {"automobile": {"ap": [ap] * 100}}
    told = {"path": str(run.folder.path), "tasks": ["automobile"], "limits": {}, "twice_the_steps": {}, "notes": []}
    told |= {"warnings": [], "threats": {"pgd": {**part, "ap": ap}, "clean": {**part, "ap": 1 - ap}}}
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
    ordering = Ordering("robust", found, {})
    assert list(orderings.told(ordering, ["AdAP_LN", "AdAP_LPN"])) == [
        "robust AP: the paper's ordering does not show in full here; 2 of the 5 orderings among the methods that are "
        "here hold.",
        "robust AP: AdAP_LN, in the paper ahead of PGD, MART and TRADES, is ahead of MART here and not of PGD and "
        "TRADES.",
    ]
    assert orderings.rows([ordering]) == [
        ["robust", "AdAP_LN", "PGD", "0.1000 ahead", "0.0500 behind"],
        ["robust", "TRADES", "PGD", "0.0500 ahead", "0.0500 behind"],
        ["robust", "AdAP_LN", "TRADES", "0.0500 ahead", "level with it"],
    ]


def test_orderings_that_all_hold_or_none():
    claimed = [Pair("AdAP_LN", "PGD", 0.1, 0.1), Pair("AdAP_LN", "MART", 0.1, 0.1)]
    assert list(orderings.told(Ordering("clean", claimed, {}), ["AdAP_LN"])) == [
        "clean AP: the paper's ordering shows here; 2 of the 2 orderings among the methods that are here hold.",
        "clean AP: AdAP_LN, in the paper ahead of PGD and MART, is ahead of all of them here.",
    ]
    reverse = Ordering("clean", [pair._replace(here=-0.1) for pair in claimed], {})
    assert list(orderings.told(reverse, ["AdAP_LN"])) == [
        "clean AP: the paper's ordering does not show here; 0 of the 2 orderings among the methods that are here hold.",
        "clean AP: AdAP_LN, in the paper ahead of PGD and MART, is ahead of none here.",
    ]


def test_an_ordering_of_some_methods_does_not_show():
    some = Ordering("clean", [Pair("MART", "PGD", 0.1, 0.1)], {"TRADES": "not finished", "AP Max.": "given up"})
    assert list(orderings.told(some, [])) == [
        "clean AP: the paper's ordering cannot be seen in full here; 1 of the 1 orderings among the methods that are "
        "here hold; not here: TRADES (not finished), AP Max. (given up).",
    ]
    assert not list(orderings.told(some._replace(pairs=orderings.pairs({"PGD": (0.1, 0.2)})), ["PGD"]))
    assert orderings.pairs({}) == []


def test_nobody_is_ahead_by_what_is_not_printed():
    (pair,) = orderings.pairs({"CE Min.": (0.0526, 0.0518070), "AP Max.": (0.0528, 0.0518054)})
    assert (pair.ahead, pair.here, pair.holds) == ("AP Max.", 0, False)
    (said,) = learning.told({"PGD": [0.1, 0.0518054], "AdAP_LN": [0.2, 0.0518070]}, steps=1, batch=1)
    assert said == (
        "AdAP_LN is at no point ahead of PGD for good: it ends level with PGD, and is ahead after 1 of 2 epochs."
    )


# Learning curves


def test_from_when_on_a_curve_is_ahead_for_good():
    assert learning.ahead_from([0.2, 0.1, 0.3, 0.4], [[0.1, 0.1, 0.2, 0.3], [0.0, 0.2, 0.0, 0.0]]) == 3
    assert learning.ahead_from([0.2, 0.2], [[0.1, 0.1]]) == 1
    assert learning.ahead_from([0.2, 0.1], [[0.1, 0.1]]) is None
    assert learning.ahead_from([], [[]]) is None


def test_the_lead_is_told_in_epochs_steps_and_images():
    curves = {"PGD": [0.1, 0.2, 0.2], "TRADES": [0.1, 0.1, 0.4], "AdAP_LPN": [0.2, 0.15, 0.3]}
    assert list(learning.told(curves, steps=1000, batch=128)) == [
        "AdAP_LPN is ahead of PGD for good from epoch 3 on, after 3,000 steps, in which 384,000 images were drawn; "
        "that is in 1 of 3 epochs, at the end by 0.1000.",
        "AdAP_LPN is at no point ahead of TRADES for good: it ends 0.1000 below TRADES, and is ahead after 2 of 3 "
        "epochs.",
        "AdAP_LPN is at no point ahead of PGD and TRADES for good: it ends 0.1000 below TRADES, and is ahead after 1 "
        "of 3 epochs.",
    ]


def test_where_clean_ap_ends_is_told():
    clean = {"PGD": [0.9, 0.3], "TRADES": [0.1, 0.5], "AdAP_LN": [0.2, 0.3], "AdAP_LPN": [0.2, 0.4]}
    assert list(learning.clean_ends(clean)) == [
        "Clean AP: AdAP_LN ends level with PGD and 0.2000 behind TRADES.",
        "Clean AP: AdAP_LPN ends 0.1000 ahead of PGD and 0.1000 behind TRADES.",
    ]
    assert not list(learning.clean_ends({"AdAP_LN": [0.2]}))


def test_an_evaluation_of_the_long_runs_is_shown_with_its_differences(tmp_path):
    for method in ("adap_lpn", "pgd"):
        long_run(tmp_path, method, [0.1, 0.2])
    part = {"ap_at_prevalence": {}, "precision_at_recall": {}}
    told = {"tasks": ["cat"], "limits": {}, "twice_the_steps": {}, "notes": [], "warnings": []}
    entries = {
        name: told | {"path": name, "method": name, "threats": {"apgd": {**part, "ap": ap, "interval": [0.1, 0.4]}}}
        for name, ap in {"adap_lpn": 0.3, "pgd": 0.21}.items()
    }
    gap = {"runs": ["adap_lpn", "pgd"], "threat": "apgd", "difference": 0.09, "interval": [-0.01, 0.2]}
    written = {"settings": {"confidence": 0.9, "split": "test", "norm": "linf"}, "runs": entries, "differences": [gap]}
    (tmp_path / "adap_lpn" / "evaluation").mkdir()
    write_json(tmp_path / "adap_lpn" / "evaluation" / "results.json", {**written, "versions": VERSIONS})
    ((sentence, table),) = learning.attacked(learning.read(tmp_path))
    assert sentence == "AP of the test data, with 90% intervals over resampled images:"
    assert table == [
        ["", "apgd"],
        ["AdAP_LPN", "0.3000 (0.1000 to 0.4000)"],
        ["PGD", "0.2100 (0.1000 to 0.4000)"],
        ["AdAP_LPN − PGD", "+0.0900 (−0.0100 to +0.2000)"],
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


@pytest.mark.parametrize(
    "changes", [{"batch_size": 64}, {"backbone": "mlp"}, {"precision": "bfloat16"}, {"seed": 1}, {"eval_steps": 20}]
)
def test_long_runs_differ_in_their_methods_alone(tmp_path, changes):
    of_method = {"lam": 1.0, "gamma1": 0.5, "sampling": "fair", "init_from": "a run"}
    for folder, given in (("alike", of_method), ("apart", changes)):
        long_run(tmp_path / folder, "pgd", [0.1, 0.2])
        long_run(tmp_path / folder, "trades", [0.1, 0.2], **given)
    assert list(learning.read(tmp_path / "alike")) == ["PGD", "TRADES"]
    with pytest.raises(UsageError, match=f"trades: another {next(iter(changes))} than in .*pgd; runs are compared by"):
        learning.read(tmp_path / "apart")


def test_long_runs_have_the_same_data_and_all_their_epochs(tmp_path):
    for method in ("pgd", "trades"):
        long_run(tmp_path, method, [0.1, 0.2])
    run = RunFolder(tmp_path / "trades")
    run.write_history(run.history()[:1])
    with pytest.raises(UsageError, match=r"trades: another length of metrics\.csv than in "):
        learning.read(tmp_path)
    write_json(run.data, {**PRINTS, "train": "9999"})
    with pytest.raises(UsageError, match="trades: another train data than in "):
        learning.read(tmp_path)


def test_long_runs_without_an_end_are_named(tmp_path):
    long_run(tmp_path, "pgd", [0.1, 0.2])
    give_up(RunFolder(tmp_path / "trades"), replace(PRESETS["cifar10-mini"], method="trades"))
    RunFolder(tmp_path / "mart").open(replace(PRESETS["cifar10-mini"], method="mart"), PRINTS)
    (tmp_path / ".mart.lock").touch()
    assert list(learning.read(tmp_path)) == ["PGD"]
    text = "".join(results.curves(tmp_path))
    assert "\n- mart is not here: not finished.\n- trades is not here: given up.\n" in text


def test_the_learning_rate_is_told_of_if_it_falls(tmp_path):
    long_run(tmp_path, "pgd", [0.1, 0.2])
    long_run(tmp_path, "trades", [0.1])
    (said,) = learning.falling(RunFolder(tmp_path / "pgd"))
    assert said == "The learning rate falls from 0.1 to 0.01, so the curve of a run with fewer epochs is another one."
    assert not list(learning.falling(RunFolder(tmp_path / "trades")))


def test_the_figure_draws_robust_and_clean_ap(tmp_path, monkeypatch):
    for method, robust in {"pgd": [0.1, 0.2], "trades": [0.3, 0.1]}.items():
        long_run(tmp_path, method, robust)
    curves, drawn = learning.curves(learning.read(tmp_path)), []
    monkeypatch.setattr(drawings, "saved", lambda figure, *_: drawn.append(figure))
    drawings.learning_curves(curves, tmp_path / "curves.png")
    shown = {axes.get_ylabel(): [list(line.get_ydata()) for line in axes.lines] for axes in drawn[0].axes}
    assert shown == {
        "robust validation AP": [[0.1, 0.2], [0.3, 0.1]],
        "clean validation AP": [[0.5, pytest.approx(0.6)], [pytest.approx(0.7), 0.5]],
    }
    assert [list(line.get_xdata()) for line in drawn[0].axes[0].lines] == [[1, 2]] * 2
    other = {**curves, "PGD": {**curves["PGD"], "clean": [0.5, 0.6001]}}
    assert drawings.digest(curves) != drawings.digest(other)


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
    assert {path.name for path in out.iterdir()} == {path.name for path in store.glob("[!.]*")} - {"later"}
    assert {Path(*file.parts[1:]).as_posix() for file in files} == set(keep.KEPT) - {f"last/{keep.EVALUATION}"}
    assert not [file for file in files if str(tmp_path) in (out / file).read_text()]
    (ap,) = (path for path in out.iterdir() if "-ap-" in path.name)
    start = json.loads((ap / "config.json").read_text())["init_from"]
    assert start == "cifar10-automobile-ce-learning_rate_0.001-seed0"
    evaluation = json.loads((ap / keep.EVALUATION).read_text())
    assert (evaluation["settings"]["attacker"], evaluation["settings"]["budget"]) == (start, 100)
    assert "budget" not in evaluation["runs"][ap.name]["threats"]["pgd"]
    told = json.loads((out / "stopped" / "stopped.json").read_text())["reason"]
    assert told == "P was not finite; the last checkpoint is step-1"


def test_paths_are_private(tmp_path, store):
    (pgd,) = store.glob("*-pgd-*")
    private = {"data_dir": "/home/me/my data", "labels": "labels.csv", "bounds": "/home/me/my data/bounds.json"}
    rewritten(pgd / "config.json", lambda config: config.update(private))
    assert json.loads((kept(store, tmp_path / "out") / pgd.name / "config.json").read_text()) == {
        **json.loads((pgd / "config.json").read_text()),
        **dict.fromkeys(keep.PRIVATE),
        "bounds": "bounds.json",
    }
    assert keep.light(["(/a/b), '/c/d' and ~/e", "f=/g", "1/2 and ../h", "f(x)/2", "i / j", "/k"]) == [
        "(b), 'd' and e",
        "f=g",
        "1/2 and ../h",
        "f(x)/2",
        "i / j",
        "k",
    ]


def test_a_run_is_not_lost_to_its_copy(tmp_path, store, capsys):
    (pgd,) = store.glob("*-pgd-*")
    before = {path: path.read_bytes() for path in pgd.glob("**/*") if path.is_file()}
    (tmp_path / "link").symlink_to(store)
    for out in (store, tmp_path / "link"):
        assert keep.main([str(pgd), "--out", str(out)]) == 2
        assert f"error: --out: a copy would take the place of {out / pgd.name}, which is" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in pgd.glob("**/*") if path.is_file()} == before
    (copy,) = kept(store, tmp_path / "out").glob("*-pgd-*")
    assert keep.main([str(copy), "--out", str(tmp_path / "out")]) == 2
    assert kept(store, tmp_path / "out") == copy.parent  # the copy is replaced


def test_what_a_process_is_at_is_not_kept(tmp_path, store, capsys):
    (pgd,) = store.glob("*-pgd-*")
    with RunFolder(pgd).alone():
        kept(store, tmp_path / "out")
    assert f"note: {pgd.name} is not at its end and left out\n" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*-pgd-*"))


def test_what_is_not_evaluated_is_told(tmp_path, store, capsys):
    kept(store, tmp_path / "out")
    notes = capsys.readouterr().err.splitlines()
    assert notes == [  # those that the search did not select
        f"note: {path.name} is not evaluated"
        for path in sorted(store.glob("[!.]*"))
        if any(f"-lam_{lam}-" in path.name for lam in ("0.4", 4, 40))
    ]


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


def is_drawn_of(figure, folder):
    """Whether a figure is of the runs in a folder."""
    with Image.open(figure) as drawn:
        return drawn.info["Description"] == drawings.digest(learning.curves(learning.read(folder)))


def threat_of(evaluation, name):
    """What the evaluation of one run says of a threat."""
    (run,) = evaluation["runs"].values()
    return run["threats"][name]


def of_mini(docs, pattern):
    """The one of the kept runs of the scale mini whose name has a pattern."""
    (found,) = (docs / "results" / "mini").glob(pattern)
    return StoreFolder(found)


def test_the_page_has_tables_orderings_searches_and_curves(docs):
    assert results.main(["--docs", str(docs)]) == 0
    text = (docs / "results.md").read_text()
    assert is_drawn_of(docs / results.FIGURE, docs / "results" / "long")
    for expected in (
        "\n## table2\n",
        "\n| AdAP_LN  | 0.2100 [0.2949(0.0147), −0.0849] | ",
        "\n- CIFAR-10 (average): cifar10/1 was run in the place of cifar10/0, ",
        "\n\nFrom this table:\n\n- CIFAR-10 (average), robust AP: the paper's ordering does not show in full here; 15 "
        "of the 21 orderings among the methods that are here hold.\n",
        "\n| CIFAR-10 (average), robust | MART     | PGD     | 0.0094 ahead | 0.0200 behind |\n",
        "\n- CIFAR-10 (average), robust AP: AdAP_LN, in the paper ahead of CE Min., AP Max., PGD, TRADES and MART, is "
        "ahead of all of them here.\n",
        "\n- CIFAR-10 (average), clean AP: AdAP_LN, in the paper ahead of PGD, TRADES and MART, is ahead of none "
        "here.\n",
        "TRADES and MART, is ahead of CE Min. and AP Max. here and not of PGD, TRADES and MART.\n",
        "\n- 95% intervals of robust AP, over resampled test images, reach up to 0.0125 to either side.",
        "\n## table10\n",
        "\n| cifar10, automobile | TRADES   | 1   | 0.3000            | 0.7000           | 1     | 11.0           "
        "              | selected, by robust AP |\n",
        "\n| cifar10, automobile | TRADES   | 40  | 0.2000            | 0.6000           | 1     | 50.0           "
        "              |                        |\n",
        "selected, by clean AP",
        "(positives): train 512 (51), validation 512 (51), test 512 (51). Network small_cnn, float32, 12 epochs of 4 ",
        # 15 times 10 minutes and one a λ: 0.8 of three methods, 45 of TRADES and 5.4 of three others
        "\n- 15 runs: 3.6 hours of training, validation included, and 0.7 hours of evaluation, each since its last "
        "start; what was interrupted took longer.\n",
        "\n- Versions: python 3.11.7, tensorflow 2.21.0. ",
        "\n## Learning curves\n",
        f"]({results.FIGURE})",
        "\n- AdAP_LPN is ahead of PGD and TRADES for good from epoch 1 on, after 4 steps, in which 512 images were "
        "drawn, where it was first measured; that is in 2 of 2 epochs, at the end by 0.1000.\n",
        "\n- Clean AP: AdAP_LPN ends 0.1000 ahead of PGD and 0.2000 ahead of TRADES.\n",
        "\n- One seed was run, and a validation AP is that of 51 positives: ",
        "\n- The learning rate falls from 0.1 to 0.01, ",
        "\n| 2     | 8     | 0.2000 | 0.1000 | 0.3000   |\n",
        "\n| TRADES   | 4 | 2              | 0.1000            | 0.4500     | 0.0900   | 0.2                   "
        "     |\n",
        "Network small_cnn, bfloat16, 2 epochs of 4 steps",
    ):
        assert expected in text, text


def test_what_is_not_there_is_left_out(tmp_path):
    assert results.page(tmp_path) == results.HEAD


@pytest.mark.parametrize("pattern", ["*-pgd-*", "*-mart-*lam_4-*"])  # one that is shown, one that is searched alone
@pytest.mark.parametrize(("field", "value"), [("backbone", "mlp"), ("epochs", 3)])
def test_a_run_that_is_another_than_its_name_says_is_refused(docs, pattern, field, value):
    rewritten(of_mini(docs, pattern).config, lambda config: config.update({field: value}))
    (of_mini(docs, "*-mart-*lam_1-*").path / keep.EVALUATION).unlink()  # so that no table shows MART
    with pytest.raises(UsageError, match=f"holds a run with another {field}"):
        results.page(docs / "results")


@pytest.mark.parametrize(("name", "value"), [("confidence", 0.9), ("steps", 20)])
def test_an_evaluation_with_other_settings_is_refused(docs, name, value):
    path = of_mini(docs, "*-pgd-*").path / keep.EVALUATION
    rewritten(path, lambda evaluation: evaluation["settings"].update({name: value}))
    with pytest.raises(UsageError, match=r"-pgd-.*: evaluated with other settings; evaluate it again, or leave it out"):
        results.page(docs / "results")


def test_the_confidence_is_that_of_the_evaluations(docs):
    study = Study(SCALES["mini"], docs / "results" / "mini", still=True)
    for path in study.store.glob(f"*/{keep.EVALUATION}"):
        rewritten(path, lambda evaluation: evaluation["settings"].update(confidence=0.999))
    entry = results.done(ENTRIES["table10"], study)
    (said,) = results.chance(entry, study)
    assert said.startswith("99.9% intervals of robust AP, ")
    assert not list(results.chance(replace(entry, cells=()), study))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (keep.EVALUATION, lambda content: threat_of(content, "pgd").update(interval=[NAN, 1.0])),
        (keep.EVALUATION, lambda content: threat_of(content, "clean").update(ap=NAN)),
        ("results.json", lambda content: content["selected"].update(robust_ap=NAN)),
    ],
)
def test_an_ap_that_is_not_finite_is_refused(docs, file, change):
    rewritten(of_mini(docs, "*-pgd-*").path / file, change)
    with pytest.raises(UsageError, match=r"-pgd-.*: an AP is not finite"):
        results.page(docs / "results")


def test_a_curve_that_is_not_finite_is_refused(tmp_path):
    long_run(tmp_path, "pgd", [0.1, NAN, 0.2])
    with pytest.raises(UsageError, match="pgd: an AP is not finite"):
        learning.read(tmp_path)


def test_a_damaged_evaluation_is_refused(docs):
    run = of_mini(docs, "*-pgd-*")
    (run.path / keep.EVALUATION).write_text("{")
    with pytest.raises(UsageError, match="is damaged or missing"):
        recorded.hours([run])


def test_only_what_is_finished_is_shown(docs):
    (of_mini(docs, "*-mart-*lam_1-*").path / keep.EVALUATION).unlink()
    text = results.page(docs / "results").split("## table10")[0]
    assert "\n| MART " not in text
    assert "does not show in full here; 11 of the 15 orderings" in text
    assert "hold; not here: MART (not finished).\n" in text


def test_what_was_given_up_is_told(docs):
    run = of_mini(docs, "*-pgd-*")
    run.results.unlink()
    write_json(run.stopped, {"reason": "not finite"})
    tables, searched = results.page(docs / "results").split("## What was searched")
    assert "orderings among the methods that are here hold; not here: PGD (given up).\n" in tables
    assert re.search(r"\n\| cifar10, automobile \| PGD +\| – +\| – +\| – +\| – +\| – +\| given up +\|\n", searched)


def test_nothing_is_selected_before_a_search_is_over(docs):
    def selected():
        text = results.page(docs / "results")
        return [line for line in text.splitlines() if line.endswith("|") and "selected, by" in line]

    before = selected()
    of_mini(docs, "*-mart-*lam_4-*").results.unlink()
    assert len(before) == 7
    assert selected() == [line for line in before if " MART " not in line]


def test_the_committed_page_is_what_its_files_say():
    folder = DOCS / "results"
    assert (DOCS / "results.md").read_text() == results.page(folder), "python -m experiments.results"
    assert not learning.read(folder / "long") or is_drawn_of(DOCS / results.FIGURE, folder / "long")


def test_the_committed_files_are_light_and_tell_no_path():
    files = [path for path in (DOCS / "results").glob("*/**/*") if path.is_file()]
    assert {Path(*file.relative_to(DOCS / "results").parts[2:]).as_posix() for file in files} <= set(keep.KEPT)
    for file in files:
        assert not re.search(r"~|/home|/root|/Users|(^|[^\w.)\]])/\w", file.read_text()), file
        assert file.suffix != ".json" or not {*keep.PRIVATE} & {
            name for name, value in json.loads(file.read_text()).items() if value is not None
        }, file
