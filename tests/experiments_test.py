"""The experiments: what runs, what is selected, what tables say, and going on after a kill."""

import csv
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adap_tf.methods import METHODS
from experiments import command, drawings, estimate, gather, study, work
from experiments.cells import ALL, Cell
from experiments.entries import ENTRIES
from experiments.estimate import plans, unevaluated, weight
from experiments.measures import Number, aggregated
from experiments.published import Published, read
from experiments.scales import SCALES, Scale
from experiments.sheet import Place, Sheet
from experiments.study import Study
from experiments.without_runs import described
from made_up import PRINTS, VERSIONS
from train.building import make_model
from train.command import INTERRUPTED
from train.errors import NonFiniteError, UsageError
from train.run_folder import RunFolder, write_json
from train.settings import parse
from train.threats import limits

ROOT = Path(command.__file__).parents[1]
ONE_RATE = {"gamma1": (0.1,), "gamma2": (0.9,), "learning_rate": (1e-3,)}
TINY = Scale("tiny", seeds=(0, 1), classes=(0, 1), grids={"lam": (1.0, 4.0, 8.0), **ONE_RATE})


def robust(config):
    """Validation AP of a made-up run: best at λ = 4, on average over the seeds."""
    return 0.5 - 0.02 * abs(config.lam - 4) + (0.3 if (config.seed, config.lam) == (0, 1) else 0) * 0.1


def test_ap(config):
    """Test AP: a hundredth more a seed, a tenth more for class_1."""
    return 0.2 + 0.01 * config.seed + 0.1 * (config.positive == "automobile")


test_ap.__test__ = False


class Runs:
    """In the place of `train.main.run`: runs that take no time."""

    def __init__(self):
        self.taken, self.begun = [], Counter()
        self.problem = lambda config: None

    def __call__(self, config, folder, workers):
        assert folder.finished() is None
        assert config.init_from is None or RunFolder(Path(config.init_from)).finished()
        self.begun[folder.path.name] += 1
        folder.open(config, PRINTS)
        if problem := self.problem(config):
            raise problem
        folder.write_history([{"epoch": 1.0, "P": -0.5, "R": 0.25, "loss": -0.5 + config.lam * 0.25}])
        np.savez(folder.scores, label=np.ones((2, 1)))
        selected = {"epoch": 1, "clean_ap": 1 - config.learning_rate, "robust_ap": robust(config)}
        write_json(folder.results, {"selected": selected, "timing": {"train_seconds": 10.0 + config.seed}})
        self.taken.append(config)


class Evaluations:
    """In the place of the evaluation command."""

    def __init__(self):
        self.asked = []

    def __call__(self, arguments):
        self.asked.append(arguments)
        run, out = Path(arguments[0]), Path(arguments[arguments.index("--out") + 1])
        attacker = arguments[arguments.index("--attacker") + 1] if "--attacker" in arguments else None
        assert attacker is None or RunFolder(Path(attacker)).finished()
        folder = run if run.is_dir() else run.parent.parent
        ap = test_ap(study.Config(**json.loads((folder / "config.json").read_text())))
        out.mkdir(parents=True, exist_ok=True)
        threat = {"interval": [0.0, 1.0], "ap_at_prevalence": {}, "precision_at_recall": {}}
        threats = {
            name: {**threat, "ap": ap / number} for number, name in enumerate(("clean", "pgd", "apgd", "transfer"), 1)
        }
        told = {"path": str(run), "tasks": ["8"], "limits": {}, "threats": threats}
        told |= {"twice_the_steps": {}, "warnings": [], "notes": []}
        results = {
            "settings": parse(arguments)[0].resolved(),
            "runs": {run.name: told},
            "differences": [],
            "versions": VERSIONS,
        }
        write_json(out / "results.json", results)


@pytest.fixture
def runs(monkeypatch):
    made = Runs()
    monkeypatch.setattr(work, "train_run", made)
    monkeypatch.setattr(work, "make_workers", lambda replicas: None)
    monkeypatch.setattr(work, "last_network", lambda run: run.folder.path / "last" / "network.keras")
    monkeypatch.setattr(work.keras.backend, "clear_session", lambda: None)
    return made


@pytest.fixture
def evaluated(monkeypatch):
    made = Evaluations()
    monkeypatch.setattr(work, "evaluated_and_reported", made)
    return made


@pytest.fixture
def tiny(runs, evaluated, monkeypatch):
    """A scale of two classes and two seeds, with CIFAR-10 alone at hand."""
    monkeypatch.setitem(SCALES, "tiny", TINY)

    def loaded(config, *_):
        if config.data != "cifar10":
            raise UsageError(f"--data-dir: no {config.data} here")
        return "the data"

    monkeypatch.setattr(study, "load_splits", loaded)
    return runs


def call(tmp_path, *arguments, scale="tiny"):
    out = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    return command.main(["--scale", scale, *out, *arguments])


def lines(path):
    with path.open(newline="") as file:
        return {(x["block"], x["row"], x["column"], x["part"]): x for x in csv.DictReader(file)}


# Numbers


def test_a_cell_is_the_mean_of_tasks_and_of_their_deviations():
    found = aggregated({"a": [{"Robust": 0.1}, {"Robust": 0.3}], "b": [{"Robust": 0.5}, {"Robust": 0.5}]})
    assert found["Robust"] == pytest.approx(Number(0.35, 0.05))
    assert aggregated({"a": [{"Robust": 0.1}]}) == {"Robust": Number(0.1)}
    assert aggregated({"a": [{"Robust": 0.1}], "b": []}) == {}
    assert aggregated({}) == {}


def test_a_sheet_has_the_published_value_and_the_difference():
    places = {
        ("", "PGD", "class_0", "Robust"): Place(Number(0.25, 0.01), Published("0.3", 0.02, "wrong")),
        ("", "PGD", "class_1", "Robust"): Place(Number(0.5), Published("", None, "absent")),
        ("", "MART", "class_0", "Robust"): Place(None, Published("0.4", None, "")),
    }
    sheet = Sheet("table0", "A title", places, wide=1, digits=2, notes=["a note"])
    text = sheet.text()
    assert "| PGD  | 0.25(0.01) [0.3(0.0200)*, −0.05] |" in text
    assert "| MART | – [0.4]" in text
    assert "| PGD  | 0.50 [absent]  |" in text
    assert "- a note" in text
    assert "- PGD, class_0, Robust, published 0.3(0.0200)*: wrong" in text
    assert text.count("| PGD ") == 2  # two columns, one at a time
    assert r"PGD & 0.25(0.01) [0.3(0.0200)$^*$, $-$0.05] \\" in sheet.latex()
    assert sheet.latex().endswith("\n\n% a note\n% PGD, class_0, Robust, published 0.3(0.0200)*: wrong\n")
    row = next(csv.DictReader(sheet.csv().splitlines()))
    assert (row["value"], row["published"], row["mark"]) == ("0.25", "0.3", "wrong")
    assert float(row["difference"]) == pytest.approx(-0.05)


def test_the_methods_are_as_table_1_says():
    table = read("table1")
    assert len(table) == 30
    for (_, row, column, _), number in table.items():
        assert described(METHODS[ALL[row]])[column] == number.text


# What runs


def test_the_paper_scale_has_the_papers_runs(tmp_path):
    papers = Study(SCALES["paper"], tmp_path, still=True)
    found = plans(papers, ENTRIES["figure5"])
    # 120 epochs of ⌊40,000/128⌋ steps, and 80 of ⌊55,890/128⌋, three seeds each
    assert {data: each[:3] for data, each in found.items()} == {
        "cifar10": (3, 0, 3 * 120 * 312),
        "bdd100k": (3, 0, 3 * 80 * 436),
    }
    # λ, γ1, γ2 and the learning rate, by method in the order of the table
    assert [len(papers.points(name)) for name in ("ce", "ap", "pgd", "trades", "mart", "adap_ln")] == [
        3,
        6,
        3,
        21,
        21,
        84,
    ]
    assert [len(papers.points(name)) for name in ("adap_mm", "adap_pz", "adap_lz")] == [6, 42, 84]
    config = papers.run("celeba/mustache", "trades", {"lam": 40.0, "learning_rate": 1e-4}, 2).config
    assert (config.epochs, config.weight_decay, config.backbone, config.batch_size) == (32, 1e-5, "resnet18", 128)


def test_work_grows_with_pixels_batch_and_method():
    config = SCALES["paper"].config("cifar10/0")
    assert weight(replace(config, method="adap_ln")) == 1
    assert weight(replace(config, method="adap_ln", batch_size=64)) == 0.5
    assert weight(replace(config, method="ce")) == pytest.approx(565.67 / 3217)
    assert weight(replace(config, method="adap_lz", data="bdd100k")) == pytest.approx(4188 / 3217 * 49)


def test_a_step_is_measured(monkeypatch):
    made = []

    def model(config, *others):
        made.append(config)
        return make_model(config, *others)

    monkeypatch.setattr(estimate, "make_model", model)
    monkeypatch.setattr(estimate.tf, "function", lambda step: step)
    assert estimate.measured(SCALES["smoke"].config("cifar10/0")) > 0
    assert [(config.method, config.batch_size, config.backbone) for config in made] == [("adap_ln", 128, "mlp")]


def test_smoke_counts(tmp_path):
    found = plans(Study(SCALES["smoke"], tmp_path), ENTRIES["table2"])
    # TRADES with two λ, the other six once; 1,078 of 1,797 digits are trained on, 64 a step
    assert found["digits"][:3] == (8, 0, 8 * (1078 // 64))
    assert unevaluated(Study(SCALES["smoke"], tmp_path), ENTRIES["table2"]) == 7


def test_a_dry_run_tells_and_does_nothing(tmp_path, tiny, capsys):
    assert call(tmp_path, "table5", "--dry-run", "--seconds-per-step", "0.5") == 0
    printed = capsys.readouterr().out
    # of AdAP_MM one, of PZ three λ, of LZ, LN and LPN three, two seeds, two classes: 13 × 4
    steps = 52 * 60 * 312
    assert f"cifar10        52         0{steps:>13}" in printed
    # PZ's, LZ's and MM's steps count as TRADES', 4188.00/3217.00 of AdAP_LN's, LPN's as 3223.67/3217.00
    work_of = 60 * 312 * 4 * (7 * 4188 / 3217 + 3 + 3 * 3223.67 / 3217)
    assert f"{work_of * 0.5 / 3600:>12.2f}{work_of * 3217 / (60 * 312) / 3600:>11.2f}" in printed
    assert "missing: cifar100: --data-dir: no cifar100 here; docs/data.md says how to get it" in printed
    assert not tiny.taken
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_several_counts_a_run_once(tmp_path, tiny, capsys):
    assert call(tmp_path, "table4", "table5", "--dry-run", "--seconds-per-step", "1") == 0
    runs = [line.split()[1:4] for line in capsys.readouterr().out.splitlines() if line.startswith("cifar10 ")]
    # a task and seed: ce, ap, pgd, three λ of TRADES and MART; of LN and LPN too, which Table 5 has as well
    steps = 60 * 312
    assert runs == [[str(4 * n), "0", str(4 * n * steps)] for n in (9 + 6, 13, 9 + 13)]


def test_hyperparameters_are_selected_on_validation_data(tmp_path, tiny, evaluated):
    assert call(tmp_path, "table5") == 0
    of_tiny = Study(TINY, tmp_path / "store")
    assert of_tiny.chosen("cifar10/0", "adap_ln")["lam"] == 4.0  # λ = 1 is best for seed 0 alone
    alone_first = Study(TINY, tmp_path / "store", search_seeds=1)
    assert alone_first.chosen("cifar10/0", "adap_ln")["lam"] == 4.0
    shown = {Path(arguments[0]).name for arguments in evaluated.asked}
    assert len(shown) == len(evaluated.asked) == 5 * 2 * 2
    assert "cifar10-airplane-adap_ln-gamma1_0.1-gamma2_0.9-lam_4-learning_rate_0.001-seed1" in shown
    table = lines(tmp_path / "out" / "table5.csv")
    cell = table["", "AdAP_LN", "CIFAR-10 (average)", "Robust"]
    # classes 0.2 and 0.3, half a hundredth more for the second seed; under PGD half of it
    assert float(cell["value"]) == pytest.approx((0.25 + 0.005) / 2)
    assert float(cell["std"]) == pytest.approx(0.0025)
    assert float(cell["difference"]) == pytest.approx(0.1275 - 0.2949)
    assert cell["instead"].endswith(
        "cifar10/0, cifar10/1 was run in the place of " + ", ".join(f"cifar10/{k}" for k in range(10))
    )
    assert table["", "AdAP_LN", "CIFAR-100 (average)", "Robust"]["value"] == ""


def test_what_starts_from_another_run_or_is_attacked_by_one(tmp_path, tiny, evaluated):
    assert call(tmp_path, "table4") == 0
    order = list(dict.fromkeys(config.method for config in tiny.taken))
    assert order[:2] == ["ce", "ap"]
    started = next(config for config in tiny.taken if config.method == "ap" and config.seed == 1)
    assert started.init_from == str(tmp_path / "store" / f"cifar10-{started.positive}-ce-learning_rate_0.001-seed1")
    for arguments in evaluated.asked:
        run, attacker = Path(arguments[0]).name, Path(arguments[arguments.index("--attacker") + 1]).name
        data, positive, *_ = run.split("-")
        assert attacker == f"{data}-{positive}-ce-learning_rate_0.001-{run[-5:]}"
    settings, *_ = parse(evaluated.asked[0])
    found = limits(settings, tiny.taken[-1].resolved())
    assert settings.names == ("clean", "pgd", "apgd", "transfer")
    assert (found.eps, found.steps, found.step_size, found.keep, found.restarts) == (8 / 255, 10, 0.007, "last", 1)
    assert (settings.transfer_steps, found.transfer_step_size) == (20, pytest.approx(0.003))
    assert call(tmp_path, "table2") == 0  # needs the ce runs besides, and nothing again
    assert len(evaluated.asked) == (6 + 1) * 4
    assert "--attacker" not in evaluated.asked[-1]
    assert set(tiny.begun.values()) == {1}


def test_an_evaluation_without_the_attack_is_done_again_with_it(tmp_path, tiny, evaluated):
    assert call(tmp_path, "table5") == 0
    before = {Path(arguments[0]).name for arguments in evaluated.asked}
    assert not any("--attacker" in arguments for arguments in evaluated.asked)
    assert call(tmp_path, "table4") == 0
    asked = Counter(Path(arguments[0]).name for arguments in evaluated.asked)
    twice = {name for name in before if "-adap_ln-" in name or "-adap_lpn-" in name}
    assert {name for name, count in asked.items() if count > 1} == twice


def test_an_evaluation_with_other_settings_is_done_again(tmp_path, tiny, evaluated):
    assert call(tmp_path, "table5") == 0
    asked, of_tiny = len(evaluated.asked), Study(TINY, tmp_path / "store")
    run, left = evaluated.asked[0][0], unevaluated(of_tiny, ENTRIES["table5"])
    evaluated([run, "--out", f"{run}/evaluation", "--strict"])
    assert unevaluated(of_tiny, ENTRIES["table5"]) == left + 1
    assert call(tmp_path, "table5") == 0
    assert [arguments[0] for arguments in evaluated.asked[asked:]] == [run, run]


def test_a_killed_call_goes_on_without_a_run_twice(tmp_path, tiny, evaluated, capsys):
    tiny.problem = lambda config: KeyboardInterrupt() if len(tiny.taken) == 5 else None
    assert call(tmp_path, "table10") == INTERRUPTED
    assert "interrupted; the same command goes on from here" in capsys.readouterr().err
    assert len(tiny.taken) == 5
    tiny.problem = lambda config: None
    assert call(tmp_path, "table10") == 0
    assert Counter(tiny.begun.values()) == {1: len(tiny.taken) - 1, 2: 1}
    taken, asked = len(tiny.taken), len(evaluated.asked)
    assert call(tmp_path, "table10", "table12", "table2") == 0  # which show the same runs
    assert (len(tiny.taken), len(evaluated.asked)) == (taken, asked)


def test_a_run_whose_numbers_are_not_finite_is_given_up(tmp_path, tiny, capsys):
    def problem(config):
        hopeless = config.method == "adap_pz" or (config.method == "adap_lpn" and config.lam == 4)
        return NonFiniteError("P at step 3") if hopeless else None

    tiny.problem = problem
    assert call(tmp_path, "table5") == 0
    table = lines(tmp_path / "out" / "table5.csv")
    assert table["", "AdAP_PZ", "CIFAR-10 (average)", "Clean"]["value"] == ""
    assert table["", "AdAP_LPN", "CIFAR-10 (average)", "Clean"]["value"]
    chosen = Study(TINY, tmp_path / "store").chosen("cifar10/0", "adap_lpn")
    assert chosen["lam"] == 1.0  # 0.455 on average, and λ = 8 gives 0.42
    assert "given up, numbers not finite: cifar10-airplane-adap_pz" in capsys.readouterr().out
    begun = sum(tiny.begun.values())
    assert call(tmp_path, "table5") == 0
    assert sum(tiny.begun.values()) == begun


def test_what_needs_a_run_that_was_given_up_is_given_up_too(tmp_path, tiny, evaluated, capsys):
    tiny.problem = lambda config: NonFiniteError("CE at step 3") if (config.method, config.seed) == ("ce", 1) else None
    assert call(tmp_path, "table2", "table4", "figure3") == 0
    assert not [config for config in tiny.taken if (config.method, config.seed) == ("ap", 1)]
    assert not [arguments for arguments in evaluated.asked if "-ap-" in arguments[0] and arguments[0].endswith("seed1")]
    white, black = (lines(tmp_path / "out" / f"{name}.csv") for name in ("table2", "table4"))
    for method, seeds in (("CE Min.", 1), ("AP Max.", 1), ("PGD", 2)):  # which need no attacker
        cell = white["", method, "CIFAR-10 (average)", "Robust"]
        assert (bool(cell["value"]), bool(cell["std"])) == (True, seeds > 1), method
    assert black["", "PGD", "CIFAR-10 (average)", "Robust"]["std"] == ""
    table2, table4, _ = capsys.readouterr().out.split("\n# ")[1:]
    given_up = [line for line in table2.splitlines() if line.startswith("- given up")]
    ce = [f"cifar10-{name}-ce-learning_rate_0.001-seed1" for name in ("airplane", "automobile")]
    assert given_up[0] == f"- given up, numbers not finite: {', '.join(ce)}"
    start = f"- given up, since {ce[0]} was, whose network is needed: cifar10-airplane-ap-gamma1_0.1-learning_rate"
    assert given_up[1].startswith(start)
    assert len(given_up) == 3
    assert table4.count("-seed1 was, whose network is needed: ") == 2
    assert "cifar10-airplane-pgd-learning_rate_0.001-seed1" in table4


def test_a_table_without_its_attackers_has_no_numbers(tmp_path, tiny):
    tiny.problem = lambda config: NonFiniteError("CE at step 3") if config.method == "ce" else None
    assert call(tmp_path, "table4", "figure1") == 0
    assert not any(line["value"] for line in lines(tmp_path / "out" / "table4.csv").values())


def test_a_store_can_be_moved_and_what_is_finished_needs_no_data(tmp_path, tiny, evaluated, monkeypatch):
    assert call(tmp_path, "table4", "table9") == 0
    taken, asked = len(tiny.taken), len(evaluated.asked)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").glob("*/scores.npz"):
        path.unlink()

    def gone(config, *_):
        raise UsageError(f"--data-dir: no {config.data} here")

    monkeypatch.setattr(study, "load_splits", gone)
    before = [(tmp_path / "out" / name).read_text() for name in ("table4.csv", "table9.csv")]
    assert call(tmp_path, "table4", "table9", "--store", str(tmp_path / "elsewhere")) == 0
    assert [(tmp_path / "out" / name).read_text() for name in ("table4.csv", "table9.csv")] == before
    assert "cifar10 is missing" not in (tmp_path / "out" / "table4.md").read_text()
    assert (len(tiny.taken), len(evaluated.asked)) == (taken, asked)


def test_what_is_not_evaluated_needs_data(tmp_path, tiny, monkeypatch, capsys):
    assert call(tmp_path, "table5") == 0
    monkeypatch.setattr(study, "load_splits", lambda config, *_: (_ for _ in ()).throw(UsageError("gone")))
    (path,) = (tmp_path / "store").glob("cifar10-airplane-adap_mm-*-seed0/evaluation/results.json")
    path.unlink()
    assert call(tmp_path, "table5") == 0
    table = lines(tmp_path / "out" / "table5.csv")
    assert table["", "AdAP_MM", "CIFAR-10 (average)", "Robust"]["value"] == ""
    assert table["", "AdAP_LN", "CIFAR-10 (average)", "Robust"]["value"]
    assert "- cifar10 is missing: gone" in capsys.readouterr().out


def test_fair_changes_the_baselines_alone(tmp_path, tiny):
    assert call(tmp_path, "table2", "--protocol", "fair") == 0
    assert {config.method for config in tiny.taken if config.sampling == "fair"} == {"ce", "pgd", "trades", "mart"}
    assert {config.method for config in tiny.taken if config.sampled_by != "positives"} == {"ce"}  # which attacks
    assert "all methods draw batches alike" in (tmp_path / "out" / "table2-fair.md").read_text()
    assert all("-fair" in path.name for path in (tmp_path / "store").glob("*-trades-*"))


def test_both_protocols_share_what_is_the_same_in_both(tmp_path, tiny, evaluated):
    assert call(tmp_path, "table2", "--protocol", "fair") == 0
    taken, asked = len(tiny.taken), len(evaluated.asked)
    assert call(tmp_path, "table2") == 0
    assert {config.method for config in tiny.taken[taken:]} == {"ap", "pgd", "trades", "mart"}
    assert len(evaluated.asked) - asked == 5 * 4  # these four's, and that of the ce networks which attack
    started = {config.init_from for config in tiny.taken if config.method == "ap"}
    assert len(started) == 2 * 4  # the two ap runs of a task and seed start from two ce runs, and lie apart
    assert sum("-fair-" in Path(each).name for each in started) == 4
    assert set(tiny.begun.values()) == {1}
    assert call(tmp_path, "table2", "--protocol", "fair") == 0
    assert len(evaluated.asked) == asked + 5 * 4


def test_a_search_with_one_seed_has_what_the_others_start_from_and_are_attacked_by(tmp_path, tiny, evaluated):
    assert call(tmp_path, "table4", "--search-seeds", "1") == 0
    assert {config.seed for config in tiny.taken if config.method == "ce"} == {0, 1}
    assert len([config for config in tiny.taken if config.method == "adap_ln"]) == 2 * (3 + 1)
    assert len(evaluated.asked) == 6 * 4


def test_a_run_of_other_settings_is_not_taken_for_one(tmp_path, tiny, capsys):
    assert call(tmp_path, "figure5") == 0
    (folder,) = (path for path in (tmp_path / "store").iterdir() if path.is_dir() and "-seed1" in path.name)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "margin": 1.0})
    assert call(tmp_path, "figure5") == 2
    assert f"error: --store: {folder} holds a run with another margin; remove it" in capsys.readouterr().err


def test_a_class_that_a_scale_does_not_run_is_left_out_or_stood_in_for(tmp_path, tiny):
    assert call(tmp_path, "table10", "table7") == 0
    columns = {key[2] for key in lines(tmp_path / "out" / "table10.csv")}
    assert columns == {"class_0", "class_1"}
    seconds = lines(tmp_path / "out" / "table7.csv")
    assert float(seconds["", "MART", "Run 2", "Seconds"]["value"]) == 11
    assert float(seconds["", "MART", "Average", "Seconds"]["value"]) == 10.5
    assert seconds["", "MART", "Run 3", "Seconds"]["value"] == ""
    stand_in = Cell("PGD", "a column", ("cifar10/9",), "PGD")
    assert gather.instead_of(stand_in, Study(TINY, tmp_path)) == "a column: cifar10/0 was run in the place of cifar10/9"


def test_trade_offs_are_drawn_of_the_last_epoch(tmp_path, tiny, evaluated):
    assert call(tmp_path, "table9", "figure2") == 0
    assert all(arguments[0].endswith("network.keras") for arguments in evaluated.asked)
    names = ("figure2-CIFAR10_cls_1.png", "figure2-CIFAR10_cls_1-published.png")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == sorted(names)
    table = lines(tmp_path / "out" / "table9.csv")
    assert table["CIFAR10(cls_1)", "TRADES", "λ = 0.01", "Robust"]["value"]
    assert table["CIFAR100(cls_2)", "TRADES", "λ = 1", "Robust"]["published"] == "0.3090"


def test_curves_and_sweeps(tmp_path, tiny):
    assert call(tmp_path, "figure5", "figure4") == 0
    (config,) = {(c.lam, c.gamma1, c.gamma2, c.epochs) for c in tiny.taken if c.epochs != 60}
    assert config == (1.0, 0.1, 0.1, 120)
    assert {c.batch_size for c in tiny.taken} == {32, 64, 128, 256, 512}
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"figure5-CIFAR10_cls_1.png", "figure4.png"}
    found = lines(tmp_path / "out" / "figure5.csv")
    assert float(found["", "AdAP_LN", "CIFAR10(cls_1)", "λR"]["value"]) == 0.25


def test_the_moving_averages_rates_are_compared_on_validation_data(tmp_path, tiny, evaluated):
    assert call(tmp_path, "table8") == 0
    assert {(c.lam, c.gamma1, c.gamma2) for c in tiny.taken if c.gamma1 == 0.3} == {
        (4.0, 0.3, rate) for rate in (0.1, 0.3, 0.5, 0.7, 0.9)
    }
    cell = lines(tmp_path / "out" / "table8.csv")["CIFAR10 (average)", "γ1 = 0.3", "γ2 = 0.7", "Robust"]
    assert float(cell["value"]) == 0.5
    assert cell["published"] == "0.2733"
    assert not evaluated.asked


# The command


def test_missing_data_are_named_and_the_other_columns_come(tmp_path, tiny, capsys):
    assert call(tmp_path, "table5") == 0
    told = capsys.readouterr()
    assert "note: table5 goes without cifar100: --data-dir: no cifar100 here; docs/data.md says how" in told.err
    assert "bdd100k is missing: --data-dir: no bdd100k here" in told.out


def test_data_are_looked_for_where_the_user_says(tmp_path, tiny):
    assert call(tmp_path, "figure5", "--data-dir", f"cifar10={tmp_path}", "--download") == 0
    assert {(config.data_dir, config.download) for config in tiny.taken} == {(str(tmp_path), True)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table16", "--scale", "smoke"], "NAME: invalid choice: 'table16'"),
        (["table2", "--scale", "huge"], "--scale: invalid choice: 'huge'"),
        (["table2"], "the following arguments are required: --scale"),
        (["table2", "--scale", "smoke", "--protocol", "unfair"], "--protocol: invalid choice: 'unfair'"),
        (["table2", "--scale", "smoke", "--workers", "0"], "--workers: 0 is not accepted"),
        (["table2", "--scale", "smoke", "--search-seeds", "0"], "--search-seeds: 0 is not accepted"),
        (["table2", "--scale", "smoke", "--dry-run", "--seconds-per-step", "-1"], "--seconds-per-step: -1.0 is not"),
        (
            ["table2", "--scale", "smoke", "--data-dir", "bdd=x"],
            "--data-dir: 'bdd=x' is not understood; it takes NAME=DIR",
        ),
    ],
)
def test_mistakes(arguments, message, capsys):
    assert command.main(arguments) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in error


@pytest.mark.parametrize("name", ["out", "store"])
def test_folders_are_no_files(tmp_path, tiny, name, capsys):
    (tmp_path / name).touch()
    assert call(tmp_path, "table1") == 2
    assert f"error: --{name}: {tmp_path / name} is a file; give a folder" in capsys.readouterr().err
    (tmp_path / name).unlink()
    (tmp_path / "file").touch()
    assert call(tmp_path, "table1", f"--{name}", str(tmp_path / "file" / "x")) == 2
    assert f"error: --{name}: cannot make {tmp_path / 'file' / 'x'}: Not a directory" in capsys.readouterr().err


def test_what_another_process_is_at_is_left_to_it(tmp_path, runs):
    folder, done = RunFolder(tmp_path / "run"), []
    job = work.Job("run", folder, lambda: bool(done), lambda: pytest.fail("it was done twice"))
    locked = threading.Event()

    def elsewhere():
        with folder.alone():
            locked.set()
            time.sleep(0.2)
            done.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    locked.wait()
    work.finish([job])
    thread.join()


def test_what_another_process_has_just_done_is_not_done_again(tmp_path, runs):
    looks = iter([False, True, True])  # not yet, and then, under the lock, done
    work.finish([work.Job("run", RunFolder(tmp_path / "run"), lambda: next(looks), lambda: pytest.fail("twice"))])


def test_helpers_run_the_same_command_and_end_with_it(tmp_path, monkeypatch):
    started = []

    class Process:
        def __init__(self, command, **_):
            started.append(self)
            self.command, self.threads, self.ended = command, threads(), False

        def terminate(self):
            self.ended = True

        def wait(self):
            assert self.ended

    def threads():
        return [os.environ[f"TF_NUM_{which}_THREADS"] for which in ("INTRAOP", "INTEROP")]

    for which in ("INTRAOP", "INTEROP"):
        monkeypatch.setenv(f"TF_NUM_{which}_THREADS", "8")
    monkeypatch.setattr(work.os, "cpu_count", lambda: 6)
    monkeypatch.setattr(work.subprocess, "Popen", Process)
    with work.helpers(0, [], tmp_path):
        assert threads() == ["8", "8"]
    with work.helpers(2, ["table2", "--scale", "mini"], tmp_path):
        assert [each.command[-4:] for each in started] == [["table2", "--scale", "mini", "--helper"]] * 2
        assert [each.threads for each in started] == [["2", "2"]] * 2
        assert threads() == ["2", "2"]  # this process' share, too
        assert not any(each.ended for each in started)
    assert all(each.ended for each in started)


def test_every_entry_is_complete(tmp_path):
    for name, entry in ENTRIES.items():
        for scale in SCALES.values():
            assert not entry.cells or Study(scale, tmp_path).cells(entry, anyway=True), (name, scale.name)
        assert entry.measure in (command.SHEETS if not entry.cells else gather.MEASURES), name
        assert not entry.drawing or entry.drawing in drawings.DRAWINGS, name
    assert {f"table{k}" for k in range(1, 16)} | {f"figure{k}" for k in range(1, 10)} | {"theorem1"} == set(ENTRIES)


@pytest.mark.slow
def test_all_names_at_smoke(tmp_path):
    out = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    arguments = [*ENTRIES, "--scale", "smoke", "--workers", "2", *out]
    subprocess.run([sys.executable, "-m", "experiments", *arguments], cwd=ROOT, check=True, capture_output=True)
    for name in ENTRIES:
        assert all((tmp_path / "out" / f"{name}.{suffix}").stat().st_size for suffix in ("md", "csv", "tex")), name
        without = {key for key, line in lines(tmp_path / "out" / f"{name}.csv").items() if not line["value"]}
        assert all(name == "table7" and column in ("Run 2", "Run 3") for _, _, column, _ in without), (name, without)
    assert "digits stand in for all data: the differences mean nothing" in (tmp_path / "out" / "table2.md").read_text()
    data = lines(tmp_path / "out" / "table6.csv")
    assert float(data["", "BDD100K(rainy)", "Train", "Examples"]["value"]) == 1078
    errors = {key[1:]: float(line["value"]) for key, line in lines(tmp_path / "out" / "theorem1.csv").items()}
    for row, column, part in errors:
        if part == "R_rob":
            parts = errors[row, column, "R_nat"] + errors[row, column, "R_bdy"]
            assert errors[row, column, part] == pytest.approx(parts), (row, column)
    drawn = {path.stem.split("-")[0] for path in (tmp_path / "out").glob("*.png")}
    assert drawn == {f"figure{k}" for k in range(1, 10)}
