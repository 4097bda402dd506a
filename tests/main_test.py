"""The command: what it accepts, refuses, writes, and how it goes on."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from adap_tf.data import Examples
from train import config, main, monitor, sources
from train.config import PRESETS, UsageError, parse

COMMAND = str(Path(main.__file__))
SHORT = ["--epochs", "3", "--backbone", "mlp"]


def failed(capsys, *arguments):
    """The one line that a mistake gives."""
    assert main.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


def test_options_change_the_preset():
    command = parse(
        [
            "--preset",
            "digits",
            "--data",
            "digits",
            "--data-dir",
            "/data",
            "--positive",
            "3",
            "--method",
            "adap_ln",
            "--lam",
            "0.4",
            "--gamma1",
            "0.9",
            "--gamma2",
            "0.2",
            "--margin",
            "0.5",
            "--epochs",
            "7",
            "--batch-size",
            "32",
            "--positives-per-batch",
            "8",
            "--learning-rate",
            "0.01",
            "--weight-decay",
            "0",
            "--backbone",
            "mlp",
            "--precision",
            "bfloat16",
            "--seed",
            "5",
            "--out",
            "there",
            "--baseline",
            "none",
        ]
    )
    assert (command.out, command.baseline) == ("there", None)
    found = command.config
    assert (found.lam, found.gamma1, found.gamma2, found.margin, found.weight_decay) == (0.4, 0.9, 0.2, 0.5, 0.0)
    assert (found.positive, found.method, found.backbone, found.precision) == ("3", "adap_ln", "mlp", "bfloat16")
    assert (found.epochs, found.batch_size, found.positives_per_batch, found.seed) == (7, 32, 8, 5)
    assert parse([]).config == PRESETS["digits"]
    assert parse([]).baseline == "ce"
    assert parse(["--method", "ce"]).baseline is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--method sgd", "--method: 'sgd' is not accepted; it takes one of ce, adap_ln, adap_lpn"),
        ("--preset imagenet", "--preset: unknown preset 'imagenet'; it takes one of digits"),
        ("--data faces", "--data: 'faces' is not accepted; it takes one of digits"),
        ("--backbone vgg", "--backbone: 'vgg' is not accepted; it takes one of small_cnn, mlp"),
        ("--precision int8", "--precision: 'int8' is not accepted; it takes one of float32, bfloat16"),
        ("--baseline sgd", "--baseline: unknown method 'sgd'"),
        ("--lam nan", "--lam: nan is not accepted; it takes a number of at least 0"),
        ("--gamma1 0", "--gamma1: 0.0 is not accepted; it takes a number above 0 and up to 1"),
        ("--gamma2 1.5", "--gamma2: 1.5"),
        ("--margin -1", "--margin: -1.0"),
        ("--learning-rate inf", "--learning-rate: inf"),
        ("--weight-decay -0.1", "--weight-decay: -0.1"),
        ("--epochs 0", "--epochs: 0 is not accepted; it takes a whole number of at least 1"),
        ("--batch-size two", "--batch-size: invalid int value: 'two'"),
        ("--positives-per-batch 0", "--positives-per-batch: 0"),
        ("--seed -1", "--seed: -1 is not accepted"),
        ("--eps 0", "--eps: 0.0"),
        ("--lamda 3", "unrecognized arguments: --lamda 3"),
    ],
)
def test_bad_options_are_refused(arguments, words):
    with pytest.raises(UsageError) as caught:
        parse(arguments.split())
    assert words in str(caught.value)


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in ("preset", "out", "baseline", *config.Config.__dataclass_fields__):
        assert config.flag(name) in text


def test_a_mistake_is_one_line_from_any_folder(tmp_path):
    for arguments in (["--positive", "cat"], ["--method", "sgd"]):
        found = subprocess.run([sys.executable, COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert found.returncode == 2
        lines = [line for line in found.stderr.splitlines() if line.startswith(("error:", "Traceback"))]
        assert lines == [found.stderr.splitlines()[-1]]
        assert arguments[0] in lines[0]
    assert not list(tmp_path.iterdir())  # nothing half-written


def test_mistakes_that_the_data_show(capsys, tmp_path, monkeypatch):
    out = str(tmp_path / "run")
    assert "--batch-size: 4000 is more than the 1078" in failed(capsys, "--batch-size", "4000", "--out", out)
    assert "--positives-per-batch: 65 is more" in failed(capsys, "--positives-per-batch", "65", "--out", out)
    assert "--positive: unknown class 'x'; classes: 0, 1" in failed(capsys, "--positive", "x", "--out", out)
    assert "--batch-size: 63 cannot be divided among 2" in failed(
        capsys, "--batch-size", "63", "--replicas", "2", "--out", out
    )

    def without_positives(positive, seed):
        part = Examples(np.zeros((4, 2)), [1, 0, 0, 1])
        return sources.Splits(part, Examples(np.zeros((2, 2)), [0, 0]), part)

    monkeypatch.setitem(sources.SOURCES, "digits", without_positives)
    assert "--positive: class '8' has no example in the validation split" in failed(capsys, "--out", out)
    assert not (tmp_path / "run").exists()


def test_folders_that_will_not_do(capsys, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    assert "is not a run folder" in failed(capsys, "--out", str(tmp_path / "full"))
    assert "is not a run folder" in failed(capsys, "--out", str(tmp_path / "full" / "thesis.tex"))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text('{"lam": ')
    assert "config.json is damaged" in failed(capsys, "--out", str(tmp_path / "damaged"))
    below = str(tmp_path / "full" / "thesis.tex" / "run")
    assert "--out: cannot write" in failed(capsys, "--out", below, "--baseline", "none")


def test_numbers_that_are_not_finite_end_the_run(capsys, tmp_path):
    error = failed(capsys, "--learning-rate", "1e38", "--baseline", "none", "--out", str(tmp_path / "run"), *SHORT)
    assert "was not finite at step" in error
    assert "last good checkpoint: none" in error


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main.main(["--out", str(out), *SHORT]) == 0
    return out


def test_end_to_end(finished):
    baseline = finished.with_name("run-ce")
    for folder, method in ((finished, "adap_lpn"), (baseline, "ce")):
        results = json.loads((folder / "results.json").read_text())
        assert {name: results[name] for name in ("method", "data", "positive", "seed")} == {
            "method": method,
            "data": "digits",
            "positive": "8",
            "seed": 0,
        }
        for threat in ("clean", "pgd"):
            entry = results["test"][threat]
            assert (entry["examples"], entry["positives"]) == (359, 35)
            assert 0 < entry["ap"] <= 1
        assert results["test"]["pgd"]["ap"] < results["test"]["clean"]["ap"]
        rows = (folder / "metrics.csv").read_text().splitlines()
        assert len(rows) == 4
        assert rows[0].startswith("epoch,loss")
        assert json.loads((folder / "config.json").read_text())["method"] == method
        assert list((folder / "tensorboard").iterdir())
        assert (folder / "figures" / "perturbations.png").read_bytes().startswith(b"\x89PNG")
    for name in ("pr_curves.png", "training.png"):
        assert (finished / "figures" / name).read_bytes().startswith(b"\x89PNG")


def test_the_export_gives_the_test_scores(finished):
    splits = sources.load_splits("digits", "8", 0)
    serve = tf.saved_model.load(str(finished / "export")).signatures["float"]
    stored = np.load(finished / "scores.npz")
    np.testing.assert_allclose(serve(image=tf.constant(splits.test.image))["score"], stored["clean"], atol=1e-4)
    np.testing.assert_array_equal(stored["label"], splits.test.label)


def test_selection_takes_the_best_validation_epoch(finished):
    rows = [line.split(",") for line in (finished / "metrics.csv").read_text().splitlines()]
    robust = [float(row[rows[0].index("robust_ap")]) for row in rows[1:]]
    selected = json.loads((finished / "results.json").read_text())["selected"]
    assert selected["epoch"] == 1 + int(np.argmax(robust))
    assert selected["robust_ap"] == pytest.approx(max(robust))


def test_a_finished_run_prints_its_results_and_is_not_touched(finished, capsys):
    before = (finished / "results.json").stat().st_mtime_ns
    assert main.main(["--out", str(finished), *SHORT]) == 0
    assert "is finished" in capsys.readouterr().out
    assert (finished / "results.json").stat().st_mtime_ns == before


def test_a_folder_of_another_run_is_refused_by_the_field(finished, capsys):
    assert "--lam: " in failed(capsys, "--out", str(finished), "--lam", "3", *SHORT)


def test_an_interrupted_run_goes_on_to_the_same_end(finished, tmp_path, monkeypatch):
    command = ["--out", str(tmp_path / "run"), "--baseline", "none", *SHORT]

    def interrupt(self, row, step, last):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(monitor.Monitor, "epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            main.main(command)
    assert main.main(command) == 0
    assert (tmp_path / "run" / "metrics.csv").read_text() == (finished / "metrics.csv").read_text()
    for one, other in zip(
        *(keras.models.load_model(run / "best" / "network.keras").weights for run in (finished, tmp_path / "run")),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
