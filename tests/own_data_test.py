"""The user's own data by the command: one line trains on a folder, an npz file or a table, or says what is wrong."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from train import evaluate, main

SHORT = ["--epochs", "2", "--batch-size", "16", "--eval-steps", "2", "--attack-steps", "2", "--baseline", "none"]


@pytest.fixture
def photos(tmp_path, rng):
    """Two sub-folders of images of many sizes; one in ten is of the class that is brighter on the left."""
    for number in range(120):
        rare = number % 10 == 0
        height, width = rng.integers(20, 60, 2)
        image = rng.integers(0, 120, (height, width, 3), np.uint8)
        image[:, : width // 2] += 120 * rare
        folder = tmp_path / "photos" / ("defect" if rare else "fine")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.{'png' if number % 3 else 'jpg'}")
    return tmp_path / "photos"


def run(*arguments):
    return main.main(list(map(str, arguments)))


def failed(capsys, *arguments):
    """The one line that a mistake gives."""
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_folder_of_images_trains_with_one_command(photos, tmp_path, capsys):
    out = tmp_path / "run"
    assert run("--data", "folder", "--data-dir", photos, "--image-size", "16", "--out", out, *SHORT) == 0
    found = results(out)
    assert found["tasks"] == ["defect"]  # the rarest
    assert {name: part["examples"] for name, part in found["splits"].items()} == {
        "train": 72,
        "validation": 24,
        "test": 24,
    }
    assert {part["positives"] / part["examples"] for part in found["splits"].values()} <= {
        1 / 12,
        7 / 72,
        8 / 72,
        1 / 8,
    }
    assert found["skipped"] == 0
    capsys.readouterr()
    assert evaluate.main([str(out), "--threats", "clean,pgd", "--quick", "--bootstrap", "10"]) == 0
    again = results(out / "evaluation")["runs"]["run"]["threats"]
    for threat in ("clean", "pgd"):
        assert again[threat]["ap"] == pytest.approx(found["test"][threat]["ap"], abs=1e-6)


def test_arrays_in_a_file_train_with_one_command(tmp_path, rng):
    label = np.arange(100) % 10 == 0
    image = rng.uniform(0, 0.5, (100, 8, 8, 1)).astype("float32") + 0.5 * label[:, None, None, None]
    np.savez(tmp_path / "mine.npz", image=image, label=label)
    assert run("--data", "npz", "--data-dir", tmp_path / "mine.npz", "--out", tmp_path / "run", *SHORT) == 0
    assert results(tmp_path / "run")["tasks"] == ["positive"]
    flat = {"image": image.reshape(100, 64), "label": label}
    np.savez(tmp_path / "flat.npz", **flat)  # features: another network
    assert run("--data", "npz", "--data-dir", tmp_path / "flat.npz", "--out", tmp_path / "flat", *SHORT) == 0


def write_table(path, count=200):
    rng = np.random.default_rng(3)
    fraud = np.arange(count) % 10 == 0
    amount, age = rng.uniform(0, 100, count) + 50 * fraud, rng.integers(18, 90, count)
    lines = [f"{a},{b},{int(c)}" for a, b, c in zip(amount, age, fraud, strict=True)]
    path.write_text("amount,age,fraud\n" + "\n".join(lines) + "\n")
    return path


def test_a_table_trains_with_one_command_and_fixed_columns_stay(tmp_path, capsys):
    path = write_table(tmp_path / "payments.csv")
    (tmp_path / "bounds.json").write_text('{"amount": [0, 200]}')
    mine = ["--data", "csv", "--data-dir", path, "--labels", "fraud", "--changeable", "amount"]
    mine += ["--bounds", tmp_path / "bounds.json"]
    assert run(*mine, "--out", tmp_path / "run", *SHORT) == 0
    columns = json.loads((tmp_path / "run" / "features.json").read_text())
    assert columns["amount"] == {"low": 0, "high": 200, "changeable": True}
    assert columns["age"]["changeable"] is False
    assert evaluate.main([str(tmp_path / "run"), "--threats", "clean,pgd", "--quick", "--bootstrap", "10"]) == 0
    assert "50% of the features" in capsys.readouterr().out
    assert results(tmp_path / "run" / "evaluation")["runs"]["run"]["threats"]["pgd"]["ap"] == pytest.approx(
        results(tmp_path / "run")["test"]["pgd"]["ap"], abs=1e-6
    )


def test_describe_says_what_there_is_and_trains_nothing(photos, tmp_path, capsys):
    assert run("--data", "folder", "--data-dir", photos, "--describe", "--out", tmp_path / "run") == 0
    printed = capsys.readouterr().out
    assert "folder: images of 64×64×3, in memory" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith(("train", "validation", "test"))]
    assert [row[:3] for row in rows] == [
        ["train", "72", "defect"],
        ["validation", "24", "defect"],
        ["test", "24", "defect"],
    ]
    assert sum(int(row[3]) for row in rows) == 12
    assert (tmp_path / "run-data.png").stat().st_size > 5000
    assert not (tmp_path / "run").exists()
    table = write_table(tmp_path / "payments.csv")
    mine = ["--data", "csv", "--data-dir", table, "--labels", "fraud", "--changeable", "age"]
    assert run(*mine, "--describe", "--out", tmp_path / "table") == 0
    printed = capsys.readouterr().out
    assert "csv: 2 features, in memory" in printed
    assert any(line.split()[0] == "amount" and line.endswith("cannot") for line in printed.splitlines() if line.strip())
    assert run("--positive", "all", "--describe", "--out", tmp_path / "digits") == 0
    assert "images of 8×8×1" in capsys.readouterr().out


def test_bad_examples_stop_or_are_left_out(photos, tmp_path, capsys):
    broken = photos / "fine" / "1.png"
    broken.write_bytes(broken.read_bytes()[:100])
    mine = ["--data", "folder", "--data-dir", photos, "--image-size", "16"]
    error = failed(capsys, *mine, "--out", tmp_path / "run")
    assert error.startswith(f"error: --data-dir: {broken} cannot be read as an image")
    assert error.endswith("or leave such examples out with --skip-bad-examples\n")
    assert not (tmp_path / "run").exists()
    assert run(*mine, "--skip-bad-examples", "--out", tmp_path / "run", *SHORT) == 0
    assert "note: 1 examples were left out:" in capsys.readouterr().out
    assert results(tmp_path / "run")["skipped"] == 1


def test_data_that_have_changed_are_not_taken_for_those_of_the_run(photos, tmp_path, capsys, monkeypatch):
    mine = ["--data", "folder", "--image-size", "16", "--out", tmp_path / "run", *SHORT]
    assert run(*mine, "--data-dir", photos) == 0
    monkeypatch.chdir(tmp_path)  # from any folder
    look = [str(tmp_path / "run"), "--threats", "clean", "--bootstrap", "10", "--out", str(tmp_path / "out")]
    assert evaluate.main(look) == 0
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    assert "--data-dir: " in failed(capsys, *mine, "--data-dir", other)  # they are what lies at their path
    next((photos / "fine").iterdir()).unlink()
    for extra in ([], ["--skip-bad-examples"]):
        assert evaluate.main([*look, *extra]) == 2
        assert "have changed, so its test data may hold what it was trained on" in capsys.readouterr().err
    assert evaluate.main([*look, "--data-dir", str(other)]) == 0
    (tmp_path / "run" / "results.json").unlink()
    assert "data are not those that" in failed(capsys, *mine, "--data-dir", photos)


def test_what_was_left_out_is_reported_by_the_evaluation_too(photos, tmp_path, capsys):
    (photos / "fine" / "1.png").write_bytes(b"")
    mine = ["--data", "folder", "--data-dir", photos, "--image-size", "16", "--skip-bad-examples"]
    assert run(*mine, "--out", tmp_path / "run", *SHORT) == 0
    capsys.readouterr()
    look = [str(tmp_path / "run"), "--threats", "clean", "--bootstrap", "10"]
    assert evaluate.main(look) == 0
    assert "note: 1 examples were left out" in capsys.readouterr().out
    assert results(tmp_path / "run" / "evaluation")["runs"]["run"]["skipped"] == 1


def test_options_that_would_be_ignored_are_refused(tmp_path, capsys):
    for data, option in (("npz", "--image-size=8"), ("digits", "--labels=a"), ("folder", "--changeable=a")):
        error = failed(capsys, "--data", data, "--data-dir", tmp_path, option, "--out", tmp_path / "run")
        assert f"{option.partition('=')[0]}: {data} does not take it" in error


def test_an_image_that_breaks_during_training_is_named(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("adap_tf.data.images.IN_MEMORY", 0)
    broken = photos / "defect" / "10.png"
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 255
    broken.write_bytes(data)
    mine = ["--data", "folder", "--data-dir", photos, "--image-size", "16", "--split-seed", "1"]
    error = failed(capsys, *mine, "--out", tmp_path / "run", *SHORT)
    assert f"{broken} cannot be read as an image" in error


def test_other_mistakes_are_one_line(photos, tmp_path, capsys):
    out = ["--out", tmp_path / "run"]
    assert "--data-dir: folder needs it" in failed(capsys, "--data", "folder", *out)
    assert f"--data-dir: {tmp_path / 'no'}" in failed(capsys, "--data", "folder", "--data-dir", tmp_path / "no", *out)
    assert "--positive: unknown class 'cat'; classes: defect, fine" in failed(
        capsys, "--data", "folder", "--data-dir", photos, "--positive", "cat", *out
    )
    (tmp_path / "one").mkdir()
    (photos / "defect").rename(tmp_path / "one" / "defect")
    assert "--data-dir: " in failed(capsys, "--data", "folder", "--data-dir", tmp_path / "one", *out)
    assert "--data-dir: " in failed(capsys, "--data", "tfds:no_such_data_set", "--data-dir", tmp_path, *out)
    assert not (tmp_path / "run").exists()
