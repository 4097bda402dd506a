"""The command that evaluates: what it finds, writes and refuses."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import adap_tf
from adap_tf import PGD, Threat
from adap_tf.resampling import interval
from train import evaluate, main
from train.errors import UsageError
from train.settings import THREATS, Settings, parse
from train.threats import limits, make_reach, make_threats

RUN = ["--epochs", "3", "--backbone", "mlp"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run and its baseline."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main.main(["--out", str(out), *RUN]) == 0
    return out, out.with_name("run-ce")


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def found(runs, tmp_path_factory):
    """The results of all threats on both runs, and where they are."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    threats = ["--threats", "clean,fgsm,pgd,apgd,square,surrogate,listwise", "--queries", "20", "--bootstrap", "50"]
    assert evaluate.main([*map(str, runs), *threats, "--attacker", str(runs[1]), "--out", str(out)]) == 0
    return results_of(out), out


def failed(capsys, *arguments):
    """The one line that a mistake gives."""
    assert evaluate.main(list(map(str, arguments))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


def test_every_threat_is_there_and_agrees_with_the_run(runs, found):
    results, _ = found
    assert list(results["runs"]) == ["run", "run-ce"]
    for run in runs:
        entry, own = results["runs"][run.name], results_of(run)
        assert set(entry["threats"]) == {*THREATS, "worst"}
        for threat in ("clean", "pgd"):
            assert entry["threats"][threat]["ap"] == pytest.approx(own["test"][threat]["ap"], abs=1e-6)
        ap = {threat: measures["ap"] for threat, measures in entry["threats"].items()}
        assert ap["worst"] <= min(ap.values())
        assert ap["apgd"] < ap["clean"]
        assert entry["method"] == own["method"]


def test_each_measure_follows_from_the_scores(found):
    results, out = found
    with np.load(out / "scores-run.npz") as stored:
        scores = dict(stored)
    label = scores.pop("label")[:, 0]
    for threat, logits in scores.items():
        measures = results["runs"]["run"]["threats"][threat]
        assert measures["ap"] == pytest.approx(average_precision_score(label, logits[:, 0]))
        low, high = measures["interval"]
        assert 0 <= low <= measures["ap"] <= high <= 1
        assert set(measures["precision_at_recall"]) == {"0.5", "0.9"}
        assert measures["ap_at_prevalence"]["0.01"] == pytest.approx(
            adap_tf.average_precision(logits, label[:, None], 0.01)[0]
        )
        if threat == "clean":
            continue
        errors = measures["theorem_1"]["8"]
        assert errors["robust"] == pytest.approx(errors["natural"] + errors["boundary"])
        curve = measures["budget"]["8"]
        assert len(curve["ap"]) == len(curve["examples"]) + 1
        assert curve["ap"][0] == pytest.approx(results["runs"]["run"]["threats"]["clean"]["ap"])
        if curve["examples"]:
            first = curve["examples"][0]
            changed = scores["clean"][:, 0].copy()
            changed[first["example"]] = first["attacked_score"]
            assert curve["ap"][1] == pytest.approx(average_precision_score(label, changed))
            assert first["label"] == label[first["example"]]


def test_runs_are_compared_in_pairs(found):
    results, _ = found
    ap = [{t: m["ap"] for t, m in run["threats"].items()} for run in results["runs"].values()]
    assert {pair["threat"] for pair in results["differences"]} == {*THREATS, "worst"}
    for pair in results["differences"]:
        assert pair["runs"] == ["run", "run-ce"]
        assert pair["difference"] == pytest.approx(ap[0][pair["threat"]] - ap[1][pair["threat"]])
        assert pair["interval"][0] <= pair["interval"][1]


def test_figures_are_drawn(found):
    _, out = found
    names = {path.name for path in (out / "figures").iterdir()}
    each = {f"{run}-{what}.png" for run in ("run", "run-ce") for what in ("pr", "shift", "ranked", "images")}
    assert names == {*each, "budget.png"}
    assert all((out / "figures" / name).stat().st_size > 5000 for name in names)


def test_an_export_and_a_keras_file_give_what_their_run_gives(runs, found, tmp_path, capsys):
    wanted = found[0]["runs"]["run"]["threats"]
    bare = tmp_path / "bare.keras"
    shutil.copy(runs[0] / "best" / "network.keras", bare)
    shutil.copytree(runs[0] / "export", tmp_path / "bare-export")
    own = ["--data", "digits", "--positive", "8", "--eps", "0.1", "--step-size", "0.0225"]
    for path, options in (
        (runs[0] / "export", []),
        (runs[0] / "best" / "network.keras", []),
        (bare, own),
        (tmp_path / "bare-export", own),
    ):
        out = tmp_path / f"out-{path.stem}-{len(options)}"
        command = [path, "--threats", "clean,pgd", "--quick", "--bootstrap", "10", "--out", out, *options]
        assert evaluate.main(list(map(str, command))) == 0
        (entry,) = results_of(out)["runs"].values()
        for threat in ("clean", "pgd"):
            assert entry["threats"][threat]["ap"] == pytest.approx(wanted[threat]["ap"], abs=1e-4)
    assert "--data: " in failed(capsys, bare, "--out", tmp_path / "x")
    assert "--positive: " in failed(capsys, bare, "--data", "digits", "--out", tmp_path / "x")


def test_replicas_give_the_same_scores(runs, tmp_path):
    command = [str(runs[0] / "export"), "--threats", "clean,fgsm", "--attacker", str(runs[1]), "--bootstrap", "10"]
    for replicas in ("1", "2"):
        assert evaluate.main([*command, "--replicas", replicas, "--out", str(tmp_path / replicas)]) == 0
    one, two = (np.load(tmp_path / replicas / "scores-run-export.npz") for replicas in ("1", "2"))
    assert set(one) == {"label", "clean", "fgsm", "transfer", "worst"}
    for threat, scores in one.items():
        np.testing.assert_array_equal(two[threat], scores)


def test_strict_is_at_least_as_strong_and_never_above_clean(runs, found, tmp_path):
    loose = found[0]["runs"]["run"]["threats"]
    command = [str(runs[0]), "--strict", "--quick", "--bootstrap", "10", "--out", str(tmp_path / "out")]
    assert evaluate.main(command) == 0
    (entry,) = results_of(tmp_path / "out")["runs"].values()
    for threat in ("pgd", "apgd"):
        assert entry["threats"][threat]["ap"] <= min(loose[threat]["ap"], entry["threats"]["clean"]["ap"])
    assert (entry["limits"]["restarts"], entry["limits"]["steps"], entry["limits"]["keep"]) == (3, 40, "best")


def test_a_saturating_head_is_warned_of_and_a_sound_one_is_not(runs, tmp_path, capsys):
    network = keras.models.load_model(runs[0] / "best" / "network.keras")
    saturating = keras.Sequential([network, keras.layers.Rescaling(1e4), keras.layers.Activation("sigmoid")])
    saturating.build((None, 8, 8, 1))
    saturating.save(tmp_path / "saturating.keras")
    own = [
        "--data",
        "digits",
        "--positive",
        "8",
        "--eps",
        "0.03",
        "--bootstrap",
        "10",
        "--threats",
        "clean,fgsm,pgd,square",
    ]
    for name, path in (("saturating", tmp_path / "saturating.keras"), ("network", runs[0] / "best" / "network.keras")):
        assert evaluate.main([str(path), *own, "--queries", "100", "--out", str(tmp_path / name)]) == 0
        (entry,) = results_of(tmp_path / name)["runs"].values()
        signs = [warning["sign"] for warning in entry["warnings"]]
        printed = capsys.readouterr().out
        if name == "saturating":
            assert "zero_gradients" in signs
            assert entry["zero_gradients"] > 0.5
            assert "warning: " in printed
        else:
            assert signs == []
            assert "warning" not in printed


def test_several_tasks_have_their_own_curves(tmp_path):
    assert main.main(["--positive", "3,8", "--baseline", "none", "--out", str(tmp_path / "two"), *RUN]) == 0
    command = ["--threats", "clean,pgd", "--quick", "--bootstrap", "10", "--examples", "100"]
    assert evaluate.main([str(tmp_path / "two"), *command]) == 0
    (entry,) = results_of(tmp_path / "two" / "evaluation")["runs"].values()
    pgd = entry["threats"]["pgd"]
    assert entry["tasks"] == ["3", "8"] == list(pgd["budget"]) == list(pgd["theorem_1"]) == list(pgd["ap_by_task"])
    assert pgd["examples"] == 100
    assert main.main(["--positive", "3,8", "--baseline", "none", "--out", str(tmp_path / "two"), *RUN]) == 0


def test_runs_on_other_examples_are_not_subtracted(runs, tmp_path, capsys):
    other = tmp_path / "other"
    assert main.main(["--seed", "1", "--baseline", "none", "--out", str(other), *RUN]) == 0
    command = [runs[0], other, "--threats", "clean", "--bootstrap", "10", "--out", tmp_path / "out"]
    assert evaluate.main(list(map(str, command))) == 0
    assert results_of(tmp_path / "out")["differences"] == []
    assert "note: other has other examples than run" in capsys.readouterr().out
    command = [runs[0], other, "--threats", "clean,pgd", "--quick", "--seed", "1", "--split-seed", "0", "--bootstrap"]
    assert evaluate.main(list(map(str, [*command, "200", "--out", tmp_path / "same"]))) == 0
    both = results_of(tmp_path / "same")
    paired(both, tmp_path / "same")
    assert evaluate.main(list(map(str, [*command[:5], *command[7:], "200", "--out", tmp_path / "own"]))) == 0
    assert [run["seed"] for run in results_of(tmp_path / "own")["runs"].values()] == [0, 1]
    paired(results_of(tmp_path / "own"), tmp_path / "own")


def paired(results, out):
    """The differences' intervals are those of one set of resamples."""
    scores = {run: dict(np.load(out / f"scores-{run}.npz")) for run in ("run", "other")}
    label = scores["run"].pop("label")
    for pair in results["differences"]:
        both = {run: scores[run][pair["threat"]] for run in scores}
        samples = adap_tf.bootstrap(both, label, 200, results["settings"]["seed"] or 0)
        wanted = interval(samples["run"] - samples["other"], pair["difference"])
        np.testing.assert_allclose(pair["interval"], wanted, atol=1e-12)
    assert [pair["threat"] for pair in results["differences"]] == ["clean", "pgd"]


def test_runs_that_were_attacked_otherwise_are_not_subtracted(runs, tmp_path, capsys):
    other = tmp_path / "other"
    assert main.main(["--eps", "0.05", "--baseline", "none", "--out", str(other), *RUN]) == 0
    command = [runs[0], other, "--threats", "clean,pgd", "--bootstrap", "10", "--quick", "--out", tmp_path / "out"]
    assert evaluate.main(list(map(str, command))) == 0
    assert [pair["threat"] for pair in results_of(tmp_path / "out")["differences"]] == ["clean"]
    assert "note: other was attacked with other settings than run under pgd: their" in capsys.readouterr().out
    by_class = ["--eps-positives", "0.2", "--step-size", "0.02"]  # the same ball, other negatives
    assert evaluate.main(list(map(str, [*command, *by_class]))) == 0
    assert [pair["threat"] for pair in results_of(tmp_path / "out")["differences"]] == ["clean"]
    assert "other settings than run under pgd" in capsys.readouterr().out
    assert evaluate.main(list(map(str, [*command, "--eps", "0.1", "--step-size", "0.02"]))) == 0
    assert [pair["threat"] for pair in results_of(tmp_path / "out")["differences"]] == ["clean", "pgd"]
    assert "note:" not in capsys.readouterr().out


def test_apgd_is_at_least_as_strong_as_pgd(found):
    for run in found[0]["runs"].values():
        assert run["threats"]["apgd"]["ap"] <= run["threats"]["pgd"]["ap"] + 1e-3


def test_some_of_the_examples_are_attacked_as_all_of_them_are(runs, found, tmp_path):
    command = ["--threats", "clean,pgd,square", "--queries", "20", "--examples", "100", "--quick", "--bootstrap", "10"]
    assert evaluate.main([str(runs[0]), *command, "--start", "0.001", "--out", str(tmp_path / "out")]) == 0
    with np.load(tmp_path / "out" / "scores-run.npz") as some, np.load(found[1] / "scores-run.npz") as whole:
        places = np.abs(some["clean"] - whole["clean"][:, 0]).argmin(axis=1)  # some scores are close to each other
        np.testing.assert_allclose(some["clean"], whole["clean"][places], atol=1e-5)
        for threat in ("pgd", "square"):
            np.testing.assert_allclose(some[threat], whole[threat][places], atol=1e-3)


def test_transfer_from_the_network_itself_is_no_black_box(runs, tmp_path, capsys):
    export, out = str(runs[0] / "export"), str(tmp_path / "out")
    common = ["--threats", "clean,fgsm", "--transfer-steps", "60", "--quick", "--bootstrap", "10", "--out", out]
    for attacker in (str(runs[0]), export):
        assert evaluate.main([str(runs[0]), "--attacker", attacker, *common]) == 0
        (entry,) = results_of(tmp_path / "out")["runs"].values()
        assert entry["threats"]["transfer"]["ap"] < entry["threats"]["fgsm"]["ap"] - 0.01
        assert "black_box_stronger" not in [warning["sign"] for warning in entry["warnings"]]
        assert entry["notes"][0].startswith("transfer looks at the very network")
        assert "note: transfer looks at the very network" in capsys.readouterr().out
    assert evaluate.main([str(runs[0]), "--attacker", str(runs[1]), *common]) == 0
    assert next(iter(results_of(tmp_path / "out")["runs"].values()))["notes"] == []


def test_radii_by_class_stand_in_the_header(runs, tmp_path, capsys):
    command = [str(runs[0]), "--threats", "clean,pgd", "--quick", "--bootstrap", "10", "--out", str(tmp_path / "out")]
    assert evaluate.main([*command, "--eps-positives", "0.2"]) == 0
    assert "ε = 0.2 in L∞ (positives 0.2, negatives 0.1)" in capsys.readouterr().out


def test_without_a_radius_nothing_moves_and_nothing_complains(runs, tmp_path):
    out = tmp_path / "out"
    command = [str(runs[0]), "--threats", "clean,pgd", "--eps", "0", "--bootstrap", "10", "--out", str(out)]
    assert evaluate.main(command) == 0
    assert not (out / "figures" / "budget.png").exists()
    assert (out / "figures" / "run-images.png").exists()


def test_an_evaluation_takes_an_earlier_ones_place(runs, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    command = ["--threats", "clean", "--bootstrap", "10", "--out", str(out)]
    assert evaluate.main([str(runs[1]), *command]) == 0
    assert (out / "figures" / "run-ce-pr.png").exists()
    capsys.readouterr()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.evaluate.report", interrupted)
        assert evaluate.main([str(runs[0]), *command]) == 130
    ended = capsys.readouterr()
    assert ended.err == "interrupted; nothing was written unless its path stands above\n"
    assert "results" not in ended.out
    assert list(results_of(out)["runs"]) == ["run-ce"]
    with monkeypatch.context() as patch:
        patch.setattr("train.evaluate.draw", interrupted)
        assert evaluate.main([str(runs[0]), *command]) == 130
    assert f"results     {out / 'results.json'}" in capsys.readouterr().out
    assert list(results_of(out)["runs"]) == ["run"]
    assert sorted(path.name for path in out.rglob("*")) == ["figures", "results.json", "scores-run.npz"]


def test_mistakes_are_one_line_and_leave_nothing(runs, tmp_path, capsys):
    run, out = runs[0], ["--out", tmp_path / "out"]
    assert "nowhere: no trained network there" in failed(capsys, "nowhere", *out)
    (tmp_path / "broken.keras").write_text("no network")
    assert "broken.keras: cannot be read" in failed(capsys, tmp_path / "broken.keras", *out)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    assert "config.json is damaged" in failed(capsys, tmp_path / "damaged", *out)
    assert "--threats: transfer needs an --attacker" in failed(capsys, run, "--threats", "transfer", *out)
    assert "--threats: 'pgd,cw' is not accepted; it takes some of clean" in failed(
        capsys, run, "--threats", "pgd,cw", *out
    )
    assert "--norm: l2 needs an --eps" in failed(capsys, run, "--norm", "l2", *out)
    assert "--eps-positives: 0.2 is more than --eps" in failed(
        capsys, run, "--eps", "0.1", "--eps-positives", "0.2", *out
    )
    assert "--examples: 5000 asked for, and there are 359" in failed(capsys, run, "--examples", "5000", *out)
    np.save(tmp_path / "mask.npy", np.ones((3, 3)))
    assert "--features: " in failed(capsys, run, "--features", tmp_path / "mask.npy", *out)
    np.savez(tmp_path / "mask.npz", np.ones((8, 8, 1)))
    assert "it is an archive" in failed(capsys, run, "--features", tmp_path / "mask.npz", *out)
    np.save(tmp_path / "mask.npy", np.ones(0))
    assert "mask.npy does not fit images of shape (8, 8, 1): it is empty" in failed(
        capsys, run, "--features", tmp_path / "mask.npy", *out
    )
    (tmp_path / "mask.npy").write_bytes(b"")
    assert "--features: " in failed(capsys, run, "--features", tmp_path / "mask.npy", *out)
    assert "--examples: 3 of the test split hold no positive of '8'" in failed(capsys, run, "--examples", "3", *out)
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "positive": "3"}))
    assert "--attacker: " in (message := failed(capsys, run, "--attacker", other, *out))
    assert "was trained with --positive 3" in message
    broken = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    broken.layers[-1].set_weights([np.full((64, 1), 3e38), np.zeros(1)])
    broken.save(tmp_path / "infinite.keras")
    assert "infinite.keras: scores under clean are not finite" in failed(
        capsys, tmp_path / "infinite.keras", "--data", "digits", "--positive", "8", *out
    )
    assert "--recalls: '2' is not accepted" in failed(capsys, run, "--recalls", "2", *out)
    assert "RUN" in failed(capsys)
    wide = keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    wide.save(tmp_path / "wide.keras")
    own = ["--data", "digits", "--positive", "8"]
    assert "takes images of shape (9, 9, 1)" in failed(capsys, tmp_path / "wide.keras", *own, *out)
    assert "gives 1 scores, and the data have the tasks 3, 8" in failed(capsys, run, "--positive", "3,8", *out)
    assert "takes images of shape (9, 9, 1)" in failed(capsys, run, "--attacker", tmp_path / "wide.keras", *out)
    assert "is no evaluation's" in failed(capsys, run, "--out", run)
    assert not (tmp_path / "out").exists()


def test_it_runs_from_any_folder(runs, tmp_path):
    command = [sys.executable, evaluate.__file__, str(runs[0]), "--threats", "clean", "--bootstrap", "10"]
    found = subprocess.run([*command, "--out", "here"], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "run: test AP, 35 positives among 359 examples" in found.stdout
    assert (tmp_path / "here" / "results.json").exists()


def test_the_defaults_are_the_papers():
    settings, paths, out = parse(["run", "--attacker", "other"])
    assert (paths, out, settings.names) == (["run"], None, ("clean", "pgd", "apgd", "transfer"))
    made = make_threats(settings, limits(settings, {}), {}, "network")
    assert made["pgd"] == PGD(eps=8 / 255, step_size=0.007, steps=10, start=0.001)
    assert made["apgd"] == adap_tf.APGD(eps=8 / 255, steps=10)
    assert made["transfer"] == Threat(PGD(eps=8 / 255, step_size=0.003, steps=20), source="network")


def test_numbers_come_from_the_options_then_the_run_then_the_paper():
    run = {"eps": 0.1, "eval_steps": 7, "eval_step_size": 0.02}
    assert dataclasses.astuple(limits(Settings(), run))[:3] == (0.1, 7, 0.02)
    halved = limits(Settings(eps=0.05), run)
    assert (halved.eps, halved.step_size) == (0.05, pytest.approx(0.01))
    assert limits(Settings(eps=16 / 255), {}).transfer_step_size == pytest.approx(0.006)
    assert limits(Settings(steps=3, step_size=0.5), run).steps == 3
    classes = Settings(eps=0.2, eps_positives=0.0, eps_negatives=0.1)
    reach = make_reach(classes, limits(classes, run), (8, 8, 1))
    assert (reach.positives, reach.negatives) == (0.0, 0.5)
    margin = make_threats(Settings(threats="surrogate"), limits(Settings(), {}), {"margin": 0.3}, None)["surrogate"]
    assert margin.term.margin == 0.3


@pytest.mark.parametrize(
    ("given", "eps", "positives", "negatives"),
    [
        ({"eps_positives": 0.2}, 0.2, 0.2, 0.1),  # the other class keeps the run's own
        ({"eps_negatives": 0.05}, 0.1, 0.1, 0.05),
        ({"eps_positives": 0.02, "eps_negatives": 0.04}, 0.04, 0.02, 0.04),
        ({"eps": 0.3, "eps_positives": 0.15}, 0.3, 0.15, 0.3),
        ({"eps": 0.3}, 0.3, 0.3, 0.3),
        ({}, 0.1, 0.1, 0.1),
    ],
)
def test_a_class_without_a_radius_has_the_one_it_would_have_had(given, eps, positives, negatives):
    settings = Settings(**given)
    own = limits(settings, {"eps": 0.1})
    assert (own.eps, own.eps_positives, own.eps_negatives) == (eps, positives, negatives)
    reach = make_reach(settings, own, (8, 8, 1))
    assert (reach.positives * eps, reach.negatives * eps) == (pytest.approx(positives), pytest.approx(negatives))


def test_how_attacks_begin_and_end_is_an_option():
    own = ["--start", "anywhere", "--keep", "best", "--momentum", "0.5", "--rho", "0.6", "--area", "0.3"]
    settings, *_ = parse(["run", "--threats", ",".join(set(THREATS) - {"transfer"}), *own])
    made = make_threats(settings, limits(settings, {}), {}, None)
    pgd = PGD(eps=8 / 255, step_size=0.007, steps=10, start="anywhere", keep="best")
    assert made["pgd"] == pgd == made["surrogate"].attack
    assert made["apgd"] == adap_tf.APGD(eps=8 / 255, start="anywhere", momentum=0.5, rho=0.6)
    assert made["fgsm"] == adap_tf.FGSM(eps=8 / 255, start="anywhere")
    assert made["square"] == adap_tf.Square(eps=8 / 255, queries=1000, area=0.3)
    assert Settings(start="0.01").start_point == 0.01
    assert limits(Settings(strict=True, keep="last"), {}).keep == "last"


@pytest.mark.parametrize(
    "options",
    [
        {"start": "-1"},
        {"start": "somewhere"},
        {"keep": "first"},
        {"momentum": 0.0},
        {"rho": 2.0},
        {"area": 0.0},
        {"eps": -1.0},
        {"steps": 0},
        {"confidence": 1.0},
        {"prevalences": "0"},
        {"split": "train"},
        {"threats": "pgd,pgd"},
    ],
)
def test_settings_check_themselves(options):
    with pytest.raises(UsageError, match=f"^--{next(iter(options)).replace('_', '-')}: "):
        Settings(**options)


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    for spec in dataclasses.fields(Settings):
        assert f"--{spec.name.replace('_', '-')}" in text


def test_runs_of_one_name_are_told_apart():
    class Named:
        def __init__(self, name, parent):
            self.name, self.path = name, Path(parent) / name

    subjects = [Named("run", "a"), Named("run", "b"), Named("run", "b"), Named("other", "a")]
    assert evaluate.names(subjects) == ["run", "b-run", "run-2", "other"]
