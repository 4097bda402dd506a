"""The command: what it refuses, what it writes, and how it goes on."""

import dataclasses
import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score

from adap_tf.data import Source
from summaries_test import read
from train import building, loop, main, monitor, sources
from train.presets import PRESETS
from train.run_folder import RunFolder

COMMAND = str(Path(main.__file__))
SHORT = ["--epochs", "3", "--backbone", "mlp"]


def failed(capsys, *arguments):
    """The one line that a mistake gives."""
    assert main.main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


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
    wanted = "--positives-per-batch: positives_per_batch must be from 1 to the batch size, 64, not 65"
    assert wanted in failed(capsys, "--positives-per-batch", "65", "--out", out)
    assert "--positive: unknown class 'x'; classes: 0, 1" in failed(capsys, "--positive", "x", "--out", out)
    assert "--batch-size: 63 cannot be divided among 2" in failed(
        capsys, "--batch-size", "63", "--replicas", "2", "--out", out
    )

    assert "--init-from: nowhere holds no trained" in failed(capsys, "--init-from", "nowhere", "--out", out)
    assert "--backbone: MobileNetV2: " in failed(capsys, "--backbone", "MobileNetV2", "--out", out)

    def without_positives(asked, problems):
        part = Source.of_classes(np.zeros((4, 2)), np.array([1, 0, 0, 1]), ("0", "8"))
        return {"train": part, "validation": part.take(np.array([1, 2])), "test": part}

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
    (tmp_path / "new-ce").touch()
    assert "new-ce exists and is not a run folder" in failed(capsys, "--out", str(tmp_path / "new"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "full", "new-ce"]  # nothing half-written


def test_numbers_that_are_not_finite_end_the_run(capsys, tmp_path):
    error = failed(capsys, "--learning-rate", "1e38", "--baseline", "none", "--out", str(tmp_path / "run"), *SHORT)
    assert re.search(r"(scores|term P|gradients)\b.* not finite at step [23] for every example of the batch", error)
    assert "last good checkpoint: none" in error
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.fixture
def poisoned(monkeypatch):
    """Makes an image of step 20 NaN, whoever asks for it; the example's place among the training data."""
    whole, spoilt = loop.training_batches, []

    def poison(examples, sampler, first_step=0, *arguments):
        def spoil(step, batch):
            first = tf.reshape(tf.range(len(batch["row"])) == 0, [-1, 1, 1, 1])
            return {**batch, "image": tf.where((step == 19) & first, np.nan, batch["image"])}

        spoilt[:] = sampler.indices(19).numpy()[:1]
        return whole(examples, sampler, first_step, *arguments).enumerate(first_step).map(spoil)

    monkeypatch.setattr(loop, "training_batches", poison)
    return spoilt


def test_step_term_and_example_are_named_and_the_last_good_checkpoint(capsys, tmp_path, poisoned):
    # small_cnn: a convolution's ReLU may turn NaN into 0, and then no score shows it
    out = tmp_path / "run"
    for network in (["--backbone", "mlp"], []):
        shutil.rmtree(out, ignore_errors=True)
        error = failed(capsys, "--baseline", "none", "--out", str(out), "--epochs", "3", *network)
        assert re.search(
            rf"error: images.* not finite at step 20 for training example {poisoned[0]} \(epoch 2\)", error
        )
        assert f"last good checkpoint: {out / 'checkpoints' / 'step-16'};" in error
        assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-16"]
        assert not (out / "results.json").exists()


def test_steps_that_are_not_finite_are_skipped_and_counted(capsys, tmp_path, poisoned):
    out = ["--baseline", "none", "--out", str(tmp_path / "run"), *SHORT]
    failed(capsys, *out)
    assert main.main([*out, "--skip-nonfinite"]) == 0  # goes on with the run that stopped
    assert "epoch 2/3  " in (printed := capsys.readouterr().out)
    assert "steps_skipped 1" in printed
    assert json.loads((tmp_path / "run" / "results.json").read_text())["steps_skipped"] == 1
    assert [row["steps_skipped"] for row in RunFolder(tmp_path / "run").history()] == [0, 1, 1]


def test_weights_that_are_not_finite_are_no_good_checkpoint(capsys, tmp_path, monkeypatch):
    # The last step of an epoch may leave them, and no step after it says so.
    finish = loop.Training._save

    def broken(self, step):
        if step == 32:
            self.model.network.weights[0].assign(np.nan * self.model.network.weights[0])
        finish(self, step)

    monkeypatch.setattr(loop.Training, "_save", broken)
    error = failed(capsys, "--baseline", "none", "--out", str(tmp_path / "run"), *SHORT)
    assert re.search(r"error: weights \S*kernel were not finite at step 32 \(epoch 2\)", error)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-16"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "scores.npz"), "No space left on device"),
        (
            tf.errors.ResourceExhaustedError(None, None, "{{node SaveV2}} state; No space left on device [Op:SaveV2]"),
            "error: No space left on device; make room and start the same command again",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9]\nand more"),
            "error: out of memory: OOM when allocating tensor with shape[9]; a smaller --batch-size needs less",
        ),
    ],
)
def test_want_of_room_is_one_line(capsys, tmp_path, monkeypatch, error, words):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(main, "keep", fail)
    command = ["--baseline", "none", "--out", str(tmp_path / "run"), "--epochs", "1", "--backbone", "mlp"]
    assert words in failed(capsys, *command)
    monkeypatch.setattr(main, "load_splits", lambda *_: 1 / 0)  # other errors are not hidden
    with pytest.raises(ZeroDivisionError):
        main.main(command)


def test_more_positives_a_batch_than_there_are_works_and_says_so(capsys):
    splits = sources.load_splits(PRESETS["digits"], 0)
    config = dataclasses.replace(PRESETS["digits"], batch_size=512, positives_per_batch=300)
    assert building.make_sampler(config, splits).positives_per_batch == 104
    assert "300 positives a batch asked for; with this data a batch holds 104" in capsys.readouterr().out
    building.make_sampler(PRESETS["digits"], splits)
    assert capsys.readouterr().out == ""


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
        of_epochs = {"speed/images_per_second", "optimizer/learning_rate", "perturbed", "selected/robust_ap"}
        assert of_epochs <= set(read(folder / "tensorboard"))
        assert (folder / "figures" / "perturbations.png").read_bytes().startswith(b"\x89PNG")
    for name in ("pr_curves.png", "training.png"):
        assert (finished / "figures" / name).read_bytes().startswith(b"\x89PNG")


def test_the_export_gives_the_test_scores(finished):
    splits = sources.load_splits(PRESETS["digits"], 0)
    serve = tf.saved_model.load(str(finished / "export")).signatures["float"]
    stored = np.load(finished / "scores.npz")
    np.testing.assert_allclose(serve(image=tf.constant(splits.test.image))["score"], stored["clean"], atol=1e-4)
    np.testing.assert_array_equal(stored["label"], splits.test.label)


def test_the_network_of_the_best_validation_epoch_is_kept(finished, tmp_path, monkeypatch):
    # A history whose second epoch is the best and whose third is not.
    found = iter([0.2, 0.6, 0.4])
    monkeypatch.setattr(loop, "summary", lambda *_: {"clean": {"ap": 1.0}, "robust": {"ap": next(found)}})
    out = tmp_path / "run"
    assert main.main(["--out", str(out), "--baseline", "none", *SHORT]) == 0
    selected = json.loads((out / "results.json").read_text())["selected"]
    assert (selected["epoch"], selected["robust_ap"]) == (2, 0.6)
    kept = keras.models.load_model(out / "best" / "network.keras").get_weights()
    second = [v for _, v in sorted(checkpointed(out / "checkpoints" / "step-32").items()) if v.dtype == np.float32]
    last = [v for _, v in sorted(checkpointed(out / "checkpoints" / "step-48").items()) if v.dtype == np.float32]
    for weight in kept:
        assert any(np.array_equal(weight, other) for other in second)
        assert not any(np.array_equal(weight, other) for other in last)


def checkpointed(path):
    reader = tf.train.load_checkpoint(str(path / "state"))
    return {name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map() if "/" in name}


def test_a_finished_run_prints_its_results_and_is_not_touched(finished, capsys, monkeypatch):
    monkeypatch.setattr(main, "Training", None)  # nobody may call it
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main.main(["--out", str(finished), *SHORT]) == 0
    printed = capsys.readouterr().out
    assert printed.count("is finished") == 2
    test = json.loads((finished / "results.json").read_text())["test"]
    assert re.search(rf"adap_lpn +{test['clean']['ap']:.4f} +{test['pgd']['ap']:.4f}", printed)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_several_tasks_at_once(tmp_path, capsys):
    out = tmp_path / "run"
    assert main.main(["--positive", "3,8", "--baseline", "none", "--out", str(out), *SHORT]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["tasks"] == ["3", "8"]
    stored = np.load(out / "scores.npz")
    for threat in ("clean", "pgd"):
        entry = results["test"][threat]
        each = [average_precision_score(stored["label"][:, t], stored[threat][:, t]) for t in range(2)]
        assert entry["ap_by_task"] == pytest.approx(dict(zip("38", each, strict=True)))
        assert entry["ap"] == pytest.approx(np.mean(each))
    printed = capsys.readouterr().out
    assert re.search(r"Test mAP over 2 tasks, 7\d positives among 359 examples", printed)
    assert re.search(rf"\n8 +{results['test']['clean']['ap_by_task']['8']:.4f} ", printed)
    assert "--positive: '3,3' names a class twice" in failed(capsys, "--positive", "3,3")


def test_ap_starts_from_a_network_that_ce_has_trained(tmp_path):
    assert main.main(["--method", "ap", "--out", str(tmp_path / "run"), *SHORT]) == 0
    kept = keras.models.load_model(tmp_path / "run-ce" / "best" / "network.keras").get_weights()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["init_from"] == str(tmp_path / "run-ce")
    ended = keras.models.load_model(tmp_path / "run" / "best" / "network.keras").get_weights()
    moved = [np.abs(old - new).max() for old, new in zip(kept, ended, strict=True)]
    assert max(moved[:-2]) < 0.1  # three epochs at 1e-3, 1e-4 and 1e-5 from there, not from another start


def test_every_row_says_how_its_estimators_are(finished):
    splits = sources.load_splits(PRESETS["digits"], 0)
    sampler = building.make_sampler(PRESETS["digits"], splits)
    positives, last = np.flatnonzero(splits.train.label[:, 0]), {}
    for row, first in zip(RunFolder(finished).history(), (0, 16, 32), strict=True):
        for step in range(first, first + 16):
            last |= dict.fromkeys(sampler.indices(step).numpy().tolist(), step)
        assert row["rows_visited"] == 1  # 104 positives, 32 a step
        assert row["row_age"] == pytest.approx(np.mean([first + 15 - last[place] for place in positives]))
        assert 0 < row["u_ratio"] < 1
    assert "rows_visited" not in RunFolder(finished.with_name("run-ce")).history()[0]


def test_a_folder_of_another_run_is_refused_by_the_field(finished, capsys):
    assert "--lam: " in failed(capsys, "--out", str(finished), "--lam", "3", *SHORT)


def test_an_interrupted_run_goes_on_to_the_same_end(finished, tmp_path, monkeypatch, capsys):
    command = ["--out", str(tmp_path / "run"), "--baseline", "none", *SHORT]

    def interrupt(self, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(monitor.Monitor, "epoch", interrupt)
        assert main.main(command) == 130
    assert "interrupted; the same command goes on from here" in capsys.readouterr().err
    assert main.main(command) == 0
    assert (tmp_path / "run" / "metrics.csv").read_text() == (finished / "metrics.csv").read_text()
    for one, other in zip(
        *(keras.models.load_model(run / "best" / "network.keras").weights for run in (finished, tmp_path / "run")),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_run_without_results_takes_them_from_its_checkpoints(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "run")
    (copy / "results.json").unlink()
    assert main.main(["--out", str(copy), "--baseline", "none", *SHORT]) == 0
    printed = capsys.readouterr().out
    assert "goes on from" in printed
    assert "epoch 1/" not in printed  # no training
    assert (copy / "metrics.csv").read_text() == (finished / "metrics.csv").read_text()
    found, wanted = (json.loads((run / "results.json").read_text()) for run in (copy, finished))
    for results in (found, wanted):
        del results["timing"]
    assert found == wanted
