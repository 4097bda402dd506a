"""The command that exports a run: the SavedModel, the card, thresholds, and what it refuses."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score, precision_score, recall_score

from train import evaluate, export_run, main, sources, thresholds
from train.card import further_attacks
from train.card_text import card_text
from train.errors import UsageError

SHORT = ["--epochs", "1", "--batch-size", "16", "--eval-steps", "2", "--attack-steps", "2", "--baseline", "none"]

# As the run scored its test data: in batches of 256, the last filled up with its last example.
READER = """
import sys
sys.modules["adap_tf"] = sys.modules["train"] = None
import numpy as np
import tensorflow as tf
loaded, image = tf.saved_model.load(sys.argv[1]), np.load(sys.argv[2])
size = min(256, len(image))
places = np.minimum(np.arange(-(-len(image) // size) * size), len(image) - 1).reshape(-1, size)
for name, dtype in (("serving_default", "uint8"), ("float", "float32")):
    if name == "float" or image.dtype == "uint8":
        given = (image / np.float32(255) if image.dtype == "uint8" else image) if name == "float" else image
        serve = loaded.signatures[name]
        found = np.concatenate([serve(image=tf.constant(given[at]))["score"] for at in places])
        np.save(f"{sys.argv[3]}/{name}.npy", found[: len(image)])
"""


def run(*arguments):
    assert main.main([*SHORT, *map(str, arguments)]) == 0


def export(*arguments):
    assert export_run.main(list(map(str, arguments))) == 0


def failed(capsys, *arguments):
    """The one line that a mistake gives."""
    capsys.readouterr()
    assert export_run.main(list(map(str, arguments))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


def card_of(out):
    return json.loads((out / "model_card.json").read_text())


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def made_up(path, count=400):
    """Images of 8 bits, one in five brighter on the left, though not by much."""
    rng = np.random.default_rng(5)
    label = (np.arange(count) % 5 == 0).astype(float)
    image = rng.integers(0, 180, (count, 8, 8, 1))
    image[:, :, :4] += (20 * label).astype(int)[:, None, None, None]
    np.savez(path, image=image.astype(np.uint8), label=label)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of images of 8 bits, and the folder where its data are."""
    folder = tmp_path_factory.mktemp("npz")
    data = made_up(folder / "mine.npz")
    run("--data", "npz", "--data-dir", data, "--out", folder / "run", "--learning-rate", "0.01")
    return folder / "run", data


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """That run exported, with thresholds."""
    out = tmp_path_factory.mktemp("models") / "mine" / "1"
    levels = ["--at-precision", "0.5", "--at-recall", "0.8", "--at-recall", "0.5", "--at-recall", "0.8"]
    export(finished[0], "--out", out, *levels)
    return out


def splits_of(folder):
    """The data of a run."""
    config = json.loads((folder / "config.json").read_text())
    options = {name: config[name] for name in sources.DataOptions.__dataclass_fields__}
    return sources.load_splits(sources.DataOptions(**options), config["seed"])


def scores_elsewhere(model, image, folder):
    """The scores by signature that a process finds that has TensorFlow alone."""
    np.save(folder / "image.npy", image)
    command = [sys.executable, "-c", READER, str(model), str(folder / "image.npy"), str(folder)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return {path.stem: np.load(path) for path in folder.glob("*.npy") if path.stem != "image"}


@pytest.mark.slow
def test_a_fresh_process_gives_the_stored_scores_bit_for_bit(finished, exported, tmp_path):
    image = splits_of(finished[0]).test.image
    stored = np.load(finished[0] / "scores.npz")["clean"]
    for number, model in enumerate((exported, finished[0] / "export")):
        (tmp_path / str(number)).mkdir()
        found = scores_elsewhere(model, image, tmp_path / str(number))
        assert set(found) == {"serving_default", "float"}
        for scores in found.values():
            np.testing.assert_array_equal(scores, stored)


@pytest.mark.slow
def test_a_run_on_two_replicas_is_exported_alike(tmp_path):
    run("--replicas", "2", "--out", tmp_path / "run", "--backbone", "small_cnn", "--batch-size", "128")
    export(tmp_path / "run", "--out", tmp_path / "1")
    image = splits_of(tmp_path / "run").test.image
    assert len(image) == 359  # two batches
    found = scores_elsewhere(tmp_path / "1", image, tmp_path)["float"]
    np.testing.assert_array_equal(found, np.load(tmp_path / "run" / "scores.npz")["clean"])


def test_an_export_holds_the_network_alone(finished, exported):
    network = keras.models.load_model(finished[0] / "best" / "network.keras")
    shapes = sorted(tuple(each.shape) for each in tf.saved_model.load(str(exported)).variables)
    assert shapes == sorted(tuple(each.shape) for each in network.weights)
    assert {path.name for path in exported.parent.iterdir()} == {"1"}


@pytest.mark.slow
def test_the_signatures_are_listed(exported):
    tool = Path(sys.executable).with_name("saved_model_cli")
    command = [str(tool), "show", "--dir", str(exported), "--all"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in ("serving_default", "encoded", "float"):
        assert f"signature_def['{name}']" in found
    for line in ("shape: (-1, -1, -1, 1)", "shape: (-1, 8, 8, 1)", "dtype: DT_STRING", "shape: (-1, 1)"):
        assert line in found


# The card


def test_the_card_is_complete(finished, exported):
    card, results = card_of(exported), json.loads((finished[0] / "results.json").read_text())
    assert list(card) == [
        *("format", "name", "input", "tasks", "data", "prevalence", "method", "threat", "ap", "confidence"),
        *("thresholds", "versions"),
    ]
    assert (card["format"], card["name"], card["confidence"]) == (1, "run", 0.95)
    assert card["input"] == {"kind": "image", "shape": [8, 8, 1]}
    assert card["tasks"] == results["tasks"] == ["positive"]
    assert card["data"]["splits"] == results["splits"]
    assert card["data"]["fingerprints"] == json.loads((finished[0] / "data.json").read_text())
    assert card["prevalence"] == {"positive": 16 / 80}
    assert card["method"]["name"] == "adap_lpn"
    assert {"lam", "gamma1", "gamma2", "margin"} <= set(card["method"]["hyperparameters"])
    assert "peek" not in card["method"]["hyperparameters"]  # its attack is on cross-entropy
    assert set(card["threat"]) == {"training", "evaluation"}
    assert card["threat"]["evaluation"] == {
        **{"attack": "pgd", "eps": pytest.approx(8 / 255), "steps": 2},
        **{"step_size": pytest.approx(0.007), "norm": "linf", "mask": None},
        **dict.fromkeys(("eps_positives", "eps_negatives"), pytest.approx(8 / 255)),
    }
    assert card["versions"] == results["versions"]


def test_the_cards_ap_is_that_of_scikit_learn(finished, exported):
    stored = np.load(finished[0] / "scores.npz")
    assert set(card_of(exported)["ap"]) == {"clean", "pgd"}
    for threat, tasks in card_of(exported)["ap"].items():
        found = tasks["positive"]
        wanted = average_precision_score(stored["label"][:, 0], stored[threat][:, 0])
        assert found["ap"] == pytest.approx(wanted, abs=1e-12)
        assert 0 <= found["low"] < found["ap"] < found["high"] <= 1


def test_the_card_reads_as_its_numbers(exported):
    text, card = (exported / "model_card.md").read_text(), card_of(exported)
    assert text.startswith("# run\n")
    for threat in ("clean", "pgd"):
        of = card["ap"][threat]["positive"]
        assert f"| positive | {threat} | {of['ap']:.4f} | {of['low']:.4f} to {of['high']:.4f} | 0.2000 |" in text
    for each in card["thresholds"]:
        assert f"| positive | {each['at']} {each['level']:g} | {each['threshold']:.6g} |" in text
    tables = [block.splitlines() for block in text.strip().split("\n\n") if block.startswith("|")]
    assert len(tables) == 6
    for lines in tables:  # each row has as many cells as its head
        assert len({line.count("|") for line in lines}) == 1


def test_a_bar_in_a_name_does_not_end_a_cell(exported):
    card = card_of(exported) | {"prevalence": {"a|b": 0.2}, "ap": {"clean": {"a|b": {"ap": 1, "low": 1, "high": 1}}}}
    assert r"| a\|b | clean | 1.0000 |" in card_text(card)


def test_thresholds_are_chosen_on_validation_and_measured_on_test_data(finished, exported):
    found = card_of(exported)["thresholds"]
    assert [(each["at"], each["level"]) for each in found] == [("precision", 0.5), ("recall", 0.8), ("recall", 0.5)]
    part = splits_of(finished[0]).validation
    network = tf.saved_model.load(str(exported)).signatures["serving_default"]
    scores, label = network(image=tf.constant(part.image))["score"].numpy()[:, 0], part.label[:, 0]
    test = np.load(finished[0] / "scores.npz")
    for each in found:
        best = None
        for threshold in sorted(scores.astype(float)):
            called = scores >= threshold
            values = {"precision": label[called].mean(), "recall": label[called].sum() / label.sum()}
            key = (values["recall"] if each["at"] == "precision" else 0, threshold)
            if values[each["at"]] >= each["level"] and (best is None or key > best):
                best = key
        assert each["threshold"] == pytest.approx(best[1], abs=1e-5)
        for threat in ("clean", "pgd"):
            called = test[threat][:, 0] >= each["threshold"]
            for name, measure in (("precision", precision_score), ("recall", recall_score)):
                assert each[threat][name] == pytest.approx(measure(test["label"][:, 0], called))


@pytest.mark.slow
def test_further_threats_come_from_the_runs_evaluation(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    np.save(tmp_path / "mask.npy", np.ones((8, 8, 1)))
    asked = ["--threats", "clean,fgsm,square", "--queries", "3", "--quick", "--bootstrap", "10"]
    asked += ["--eps", "0.1", "--eps-positives", "0", "--features", str(tmp_path / "mask.npy")]
    assert evaluate.main([str(tmp_path / "run"), *asked]) == 0
    export(tmp_path / "run", "--out", tmp_path / "1")
    card = card_of(tmp_path / "1")
    assert list(card["ap"]) == ["clean", "pgd", "fgsm", "square", "worst"]
    assert list(card["threat"]) == ["training", "evaluation", "fgsm", "square"]
    assert card["threat"]["fgsm"] == {
        **{"attack": "fgsm", "eps": 0.1, "steps": None, "step_size": None, "norm": "linf"},
        **{"eps_positives": 0, "eps_negatives": 0.1, "mask": "mask.npy"},
    }
    text = (tmp_path / "1" / "model_card.md").read_text()
    assert "| fgsm | fgsm | 0.1 | none | none | linf | 0.0 | 0.1 | mask.npy |" in text
    stored = np.load(tmp_path / "run" / "evaluation" / "scores-run.npz")
    wanted = average_precision_score(stored["label"][:, 0], stored["square"][:, 0])
    assert card["ap"]["square"]["positive"]["ap"] == pytest.approx(wanted)
    assert evaluate.main([str(tmp_path / "run"), *asked, "--examples", "40"]) == 0  # of others it says nothing
    export(tmp_path / "run", "--out", tmp_path / "1")
    assert list(card_of(tmp_path / "1")["ap"]) == ["clean", "pgd"]


def test_an_evaluation_of_another_version_is_one_line(tmp_path):
    evaluation = SimpleNamespace(folder=tmp_path)
    for settings, limits in (({"other": 1}, {}), ({"eps": -1.0}, {}), ({}, {"other": 1})):
        evaluated = SimpleNamespace(settings=settings, entry={"limits": limits}, evaluation=evaluation)
        with pytest.raises(UsageError, match=r"results\.json is damaged or missing"):
            further_attacks(SimpleNamespace(evaluated=evaluated))


# Tables, with several tasks and unknown labels


def test_a_table_is_exported_in_its_own_units(tmp_path):
    rng = np.random.default_rng(3)
    one, other = (np.arange(300) % n == 0 for n in (5, 4))
    amount, age = rng.uniform(0, 100, 300) + 40 * one, rng.integers(18, 70, 300) + 30 * other
    lines = [
        f"{np.float32(a)!s},{b},{int(c)},{'' if n % 7 == 0 else int(d)}"
        for n, (a, b, c, d) in enumerate(zip(amount, age, one, other, strict=True))
    ]
    (tmp_path / "t.csv").write_text("amount,age,fraud,late\n" + "\n".join(lines))
    mine = ["--data", "csv", "--data-dir", tmp_path / "t.csv", "--labels", "fraud,late", "--positive", "all"]
    run(*mine, "--method", "ce", "--changeable", "amount", "--out", tmp_path / "run")
    export(tmp_path / "run", "--out", tmp_path / "1", "--at-recall", "0.9")
    card, stored = card_of(tmp_path / "1"), np.load(tmp_path / "run" / "scores.npz")
    assert card["input"] == {"kind": "features", "shape": [2], "columns": ["amount", "age"], "changeable": ["amount"]}
    assert "An adversary can change: amount." in (tmp_path / "1" / "model_card.md").read_text()
    assert card["threat"]["training"] is None  # ce trains on clean data
    assert card["method"] == {"name": "ce", "hyperparameters": {}}
    assert [each["task"] for each in card["thresholds"]] == ["fraud", "late"]
    for number, task in enumerate(("fraud", "late")):
        known = np.isfinite(stored["label"][:, number])
        label = stored["label"][known, number]
        assert known.all() == (task == "fraud")
        assert card["prevalence"][task] == pytest.approx(label.mean())
        wanted = average_precision_score(label, stored["pgd"][known, number])
        assert card["ap"]["pgd"][task]["ap"] == pytest.approx(wanted)
        threshold = card["thresholds"][number]
        called = stored["clean"][known, number] >= threshold["threshold"]
        assert threshold["clean"]["precision"] == pytest.approx(precision_score(label, called))
    features = json.loads((tmp_path / "run" / "features.json").read_text())
    test = splits_of(tmp_path / "run").test.image
    low, high = (np.array([features[name][end] for name in ("amount", "age")]) for end in ("low", "high"))
    for model in (tmp_path / "1", tmp_path / "run" / "export"):
        serve = tf.saved_model.load(str(model)).signatures["serving_default"]
        found = serve(features=tf.constant(low + test * (high - low), tf.float32))["score"]
        np.testing.assert_allclose(found, stored["clean"], atol=1e-5)


# What is refused


def test_mistakes_are_one_line_and_write_nothing(finished, capsys, tmp_path):
    folder, out = finished[0], tmp_path / "1"
    assert "no such folder" in failed(capsys, tmp_path / "none", "--out", out)
    assert "no run folder" in failed(capsys, tmp_path, "--out", out)
    for level in ("0", "1.5", "nan", "-1"):
        error = failed(capsys, folder, "--out", out, "--at-precision", level)
        assert "--at-precision: " in error
        assert "a number above 0 and up to 1" in error
    assert "--at-recall: invalid float value: 'much'" in failed(capsys, folder, "--out", out, "--at-recall", "much")
    assert "--onnx: " in failed(capsys, folder, "--out", out, "--onnx", tmp_path / "model.pb")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    (tmp_path / "thesis" / "model_card.json").write_text('{"format": 1}')  # and no SavedModel
    for place in ("thesis", "thesis/thesis.tex"):
        assert "exists and is no earlier export" in failed(capsys, folder, "--out", tmp_path / place)
    assert "exists and is no earlier export" in failed(capsys, folder, "--out", folder)
    below = failed(capsys, folder, "--out", tmp_path / "thesis" / "thesis.tex" / "1")
    assert "--out: cannot write" in below
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model_card.json", "thesis", "thesis.tex"]


def test_an_unfinished_run_is_not_exported(finished, capsys, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    assert "the run is not finished" in failed(capsys, tmp_path / "run", "--out", tmp_path / "1")
    shutil.copy(finished[0] / "results.json", tmp_path / "run")
    (tmp_path / "run" / "best" / "network.keras").write_bytes(b"damaged")
    assert "cannot be read" in failed(capsys, tmp_path / "run", "--out", tmp_path / "1")
    assert not (tmp_path / "1").exists()


def test_what_no_threshold_gives_is_said(finished, capsys, tmp_path, monkeypatch):
    def never(*_):
        raise ValueError("the highest precision of any threshold is 0.5000")

    monkeypatch.setattr(thresholds, "threshold_at", never)
    error = failed(capsys, finished[0], "--out", tmp_path / "1", "--at-precision", "0.99")
    assert "--at-precision: no threshold gives 0.99 for 'positive' on the validation data: the highest" in error
    assert not list(tmp_path.iterdir())


def test_a_card_without_thresholds_needs_no_data(finished, capsys, tmp_path):
    folder, data = finished
    away = data.rename(data.with_name("away.npz"))
    try:
        export(folder, "--out", tmp_path / "1")
        assert card_of(tmp_path / "1")["thresholds"] == []
        assert "## Thresholds" not in (tmp_path / "1" / "model_card.md").read_text()
        assert "--data-dir: " in failed(capsys, folder, "--out", tmp_path / "2", "--at-recall", "0.9")
        made_up(data, 300)
        assert "have changed" in failed(capsys, folder, "--out", tmp_path / "2", "--at-recall", "0.9")
    finally:
        away.rename(data)
    assert not (tmp_path / "2").exists()


def test_an_earlier_export_is_replaced_whole_or_not_at_all(finished, tmp_path, monkeypatch):
    folder, out = finished[0], tmp_path / "1"
    export(folder, "--out", out)
    (out / "more").touch()
    before = contents(out)

    def breaks(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(export_run, "card_text", breaks)
        assert export_run.main([str(folder), "--out", str(out)]) == 130
    assert contents(out) == before
    rename = Path.rename

    def full(path, target):
        if path.name == ".part-1":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", full)
        assert export_run.main([str(folder), "--out", str(out)]) == 2
    assert contents(out) == before
    assert os.listdir(tmp_path) == ["1"]
    export(folder, "--out", out)
    assert not (out / "more").exists()
    assert os.listdir(tmp_path) == ["1"]


def test_the_runs_own_export_can_be_replaced(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    export(tmp_path / "run", "--out", tmp_path / "run" / "export")
    assert card_of(tmp_path / "run" / "export")["name"] == "run"


def test_onnx_lies_beside(finished, capsys, tmp_path):
    pytest.importorskip("tf2onnx")
    export(finished[0], "--out", tmp_path / "1", "--onnx", tmp_path / "1" / "model.onnx")
    assert re.search(r"^ONNX +\S+model.onnx$", capsys.readouterr().out, re.MULTILINE)
    assert (tmp_path / "1" / "model.onnx").stat().st_size > 1000


def test_onnx_without_its_converter_is_a_mistake(finished, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(export_run.importlib.util, "find_spec", lambda name: None)
    error = failed(capsys, finished[0], "--out", tmp_path / "1", "--onnx", tmp_path / "model.onnx")
    assert "pip install tf2onnx" in error
    assert not list(tmp_path.iterdir())
