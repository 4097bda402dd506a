"""Scores of files, held against those of the network itself."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
import tensorflow as tf
from PIL import Image

import adap_tf
from adap_tf.data import Features, files, pixels
from train import inputs, listing, predict
from train.card import CARD, FORMAT
from train.run_folder import write_json
from train.served import load_served

SIZE = (8, 8, 3)
COLUMNS = ["hour", "amount"]


def export(path, network, features=None, **card):
    """An export with a card, as `train/export_run.py` makes it."""
    adap_tf.export_saved_model(network, path, features)
    write_json(path / CARD, {"format": FORMAT, "name": path.name, **card})
    return path


def threshold(task, at, level, score):
    return {"task": task, "at": at, "level": level, "threshold": score, "clean": {}, "pgd": {}}


def image_export(path, network, tasks, thresholds=()):
    card = {"input": {"kind": "image", "shape": list(SIZE)}, "tasks": tasks, "thresholds": list(thresholds)}
    return export(path, network, **card)


@pytest.fixture(scope="module")
def networks():
    """Networks of one task, of two, and of features."""
    keras.utils.set_random_seed(1)
    shapes = {"one": (SIZE, 1), "two": (SIZE, 2), "features": ((2,), 1)}
    return {name: adap_tf.BACKBONES["mlp"](shape, tasks=tasks) for name, (shape, tasks) in shapes.items()}


@pytest.fixture(scope="module")
def exports(tmp_path_factory, networks):
    """A run folder with its own export; exports with cards of one task, of two, and of features."""
    folder = tmp_path_factory.mktemp("exports")
    (folder / "run").mkdir()
    write_json(folder / "run" / "config.json", {})
    adap_tf.export_saved_model(networks["one"], folder / "run" / "export")
    image_export(folder / "one", networks["one"], ["rust"], [threshold("rust", "precision", 0.9, 0.0)])
    levels = [("precision", 0.9, 0.1), ("recall", 0.5, -0.1)]
    two = [threshold(task, *level) for task in ("rust", "crack") for level in levels]
    image_export(folder / "two", networks["two"], ["rust", "crack"], [*two, threshold("rust", "recall", 0.9, None)])
    card = {"input": {"kind": "features", "shape": [2], "columns": COLUMNS}, "tasks": ["fraud"]}
    features = Features(tuple(COLUMNS), np.zeros(2), np.array([24.0, 1000.0]), np.ones(2))
    export(folder / "features", networks["features"], features, **card)
    return folder


def random_pixels(count=6, shape=SIZE):
    return np.random.default_rng(3).integers(0, 256, (count, *shape), np.uint8)


def score_of(network, array):
    return keras.ops.convert_to_numpy(network(array.astype("float32") / 255))


@pytest.fixture
def tree(tmp_path):
    """Six PNG files at two depths, and what is in them, in order."""
    arrays, names = random_pixels(), ["a/0.png", "a/1.png", "a/b/2.png", "c/3.png", "c/4.png", "c/5.png"]
    for name, array in zip(names, arrays, strict=True):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)
    return tmp_path / "photos", arrays


@pytest.fixture
def run(capsys):
    """Runs the command; its status, lines of stdout and text of stderr."""

    def call(*arguments):
        status = predict.main([str(each) for each in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def rows(run):
    """Runs the command for csv; its status, rows by name and text of stderr."""

    def call(*arguments):
        status, out, err = run(*arguments, "--format", "csv")
        return status, list(csv.DictReader(io.StringIO(out))), err

    return call


def numbers(rows, name="score"):
    return np.array([float(row[name]) for row in rows])


# Kinds of input


@pytest.mark.parametrize("name", ["run", "run/export", "one"])
def test_images_of_a_folder(exports, networks, tree, rows, name):
    folder, arrays = tree
    status, found, err = rows(exports / name, folder, "--batch-size", "4")
    assert status == 0
    assert [str(Path(row["input"]).relative_to(folder)) for row in found] == [
        "a/0.png", "a/1.png", "a/b/2.png", "c/3.png", "c/4.png", "c/5.png",
    ]  # fmt: skip
    wanted = score_of(networks["one"], arrays)[:, 0]
    np.testing.assert_allclose(numbers(found), wanted, atol=1e-5)
    np.testing.assert_allclose(numbers(found, "probability"), 1 / (1 + np.exp(-wanted)), atol=1e-5)
    assert all(("positive" in told) == (name == "one") for told in (err, *found))  # the card has one threshold


def test_files_and_folders_stay_in_order(exports, networks, tree, rows):
    folder, arrays = tree
    _, found, _ = rows(exports / "one", folder / "c" / "5.png", folder / "a", folder / "c" / "3.png")
    np.testing.assert_allclose(numbers(found), score_of(networks["one"], arrays[[5, 0, 1, 2, 3]])[:, 0], atol=1e-5)


def test_images_are_read_as_in_training(exports, networks, tmp_path, rows):
    """Another size, grey, and on its side."""
    array = random_pixels(1, (20, 30, 3))[0]
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = 6
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(array[..., 0]).save(tmp_path / "grey.png")
    paths = [tmp_path / "turned.png", tmp_path / "grey.png"]
    _, found, _ = rows(exports / "one", *paths)
    wanted = np.stack([pixels.Form(*SIZE).decode(path.read_bytes()) for path in paths])
    np.testing.assert_allclose(numbers(found), score_of(networks["one"], wanted)[:, 0], atol=1e-5)


@pytest.mark.parametrize("key", ["image", "x"])
def test_arrays(exports, networks, tmp_path, rows, key):
    arrays = random_pixels()
    np.savez(tmp_path / "a.npz", **{key: arrays}, label=np.zeros(6))
    status, found, _ = rows(exports / "one", tmp_path / "a.npz", "--batch-size", "4")
    assert status == 0
    assert [row["input"] for row in found] == [f"{tmp_path / 'a.npz'}[{place}]" for place in range(6)]
    np.testing.assert_allclose(numbers(found), score_of(networks["one"], arrays)[:, 0], atol=1e-5)


def test_arrays_of_floats_take_the_signature_for_them(exports, networks, tmp_path, rows):
    arrays = random_pixels()
    np.savez(tmp_path / "a.npz", x=arrays / 255)
    _, found, _ = rows(exports / "run", tmp_path / "a.npz")
    np.testing.assert_allclose(numbers(found), score_of(networks["one"], arrays)[:, 0], atol=1e-5)
    np.savez(tmp_path / "b.npz", x=arrays[:, :7] / 255)
    assert "b.npz holds examples of 7×8×3, and the network takes 8×8×3" in rows(exports / "run", tmp_path / "b.npz")[2]


def test_floats_where_there_is_no_signature_for_them(tmp_path, rows):
    @tf.function(input_signature=[tf.TensorSpec([None, *SIZE], tf.uint8, name="image")])
    def serve(image):
        score = tf.reduce_mean(tf.cast(image, tf.float32), (1, 2, 3))[:, None]
        return {"score": score, "probability": tf.sigmoid(score)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "export"), {"serving_default": serve})
    np.savez(tmp_path / "a.npz", x=random_pixels() / 255)
    status, found, err = rows(tmp_path / "export", tmp_path / "a.npz")
    assert (status, found) == (1, [])
    assert "a.npz holds float32, and the network takes uint8" in err


def table(path, **columns):
    if path.suffix == ".parquet":
        pa_parquet.write_table(pa.table(columns), path)
    else:
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_tables(exports, networks, tmp_path, rows, name):
    """The columns come in another order and with others, which are ignored."""
    amount, hour = [500.0, 20.0, 0.0], [1, 12, 23]
    path = table(tmp_path / name, Id=["x", "y", "z"], amount=amount, colour=["red"] * 3, hour=hour, label=[0, 1, 0])
    status, found, _ = rows(exports / "features", path, "--batch-size", "2")
    assert status == 0
    assert [row["input"] for row in found] == [f"{path}:{row}" for row in (1, 2, 3)]
    assert [row["id"] for row in found] == ["x", "y", "z"]
    x = np.stack([np.array(hour) / 24, np.array(amount) / 1000], axis=1)
    np.testing.assert_allclose(numbers(found), networks["features"](x.astype("float32"))[:, 0], atol=1e-5)


def test_features_in_an_array(exports, networks, tmp_path, rows):
    np.savez(tmp_path / "a.npz", x=np.array([[12, 500], [1, 20]]))
    status, found, _ = rows(exports / "features", tmp_path / "a.npz")
    x = np.array([[0.5, 0.5], [1 / 24, 0.02]], "float32")
    np.testing.assert_allclose(numbers(found), networks["features"](x)[:, 0], atol=1e-5)
    assert (status, [row["id"] for row in found]) == (0, ["", ""])


# Ranking, thresholds, tasks


def test_the_table_is_ranked(exports, networks, tree, run):
    folder, arrays = tree
    status, out, _ = run(exports / "run", folder)
    scores = score_of(networks["one"], arrays)[:, 0]
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["rank", "input", "score", "probability"]
    assert [line[0] for line in lines[1:]] == list("123456")
    assert [int(Path(line[1]).stem) for line in lines[1:]] == np.argsort(-scores).tolist()
    np.testing.assert_allclose([float(line[2]) for line in lines[1:]], -np.sort(-scores), atol=1e-4)
    assert status == 0


@pytest.mark.parametrize("top", [1, 2, 10])
def test_the_top_of_the_table_is_that_of_the_whole(exports, tree, run, top):
    folder, _ = tree
    whole, part = (run(exports / "run", folder, "--batch-size", 1, *more)[1] for more in ([], ["--top", top]))
    whole, part = ([line.split() for line in each.splitlines()] for each in (whole, part))
    assert part == whole[: top + 1]


def test_equal_scores_stay_in_order():
    table = listing.Table(["input", "score"], io.StringIO(), 1, 3)
    for rows in ([("a", 1.0), ("b", 2.0)], [("c", 1.0), ("d", 2.0)], [("e", 1.0)]):
        table.add(rows)
    table.end()
    assert [line.split()[1] for line in table.stream.getvalue().splitlines()] == ["input", "b", "d", "a"]


@pytest.mark.parametrize(("options", "column"), [([], 0), (["--task", "rust"], 0), (["--task", "crack"], 1)])
def test_one_of_several_tasks_ranks(exports, networks, tree, run, options, column):
    folder, arrays = tree
    _, out, err = run(exports / "two", folder, *options)
    scores = score_of(networks["two"], arrays)
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == [
        "rank",
        "input",
        "score",
        "rust",
        "probability",
        "rust",
        "score",
        "crack",
        "probability",
        "crack",
    ]
    assert [int(Path(line[1]).stem) for line in lines[1:]] == np.argsort(-scores[:, column]).tolist()
    assert ("--task names another of rust, crack" in err) == (not options)


@pytest.mark.parametrize(
    ("goal", "level"), [("precision=0.9", 0.1), ("precision=.90", 0.1), ("recall=0.5", -0.1), (None, None)]
)
def test_thresholds(exports, networks, tree, rows, goal, level):
    folder, arrays = tree
    _, found, err = rows(exports / "two", folder, *([] if goal is None else ["--at", goal]))
    scores = score_of(networks["two"], arrays)
    for task, score in zip(("rust", "crack"), scores.T, strict=True):
        if goal is None:  # there are two of each task
            assert f"positive {task}" not in found[0]
        else:
            assert [row[f"positive {task}"] for row in found] == ["yes" if each >= level else "no" for each in score]
            assert f"positive: {task} with a score of at least {level}" in err


def test_a_score_at_the_threshold_is_positive(exports):
    number = np.float32(0.1)
    layout = listing.Layout(["t"], [listing.Threshold("t", "recall", 0.5, float(number))], False)
    below = np.nextafter(number, np.float32(0))
    found = layout.rows(inputs.Batch(["a", "b"], None, np.zeros(2)), np.array([[number], [below]]), np.zeros((2, 1)))
    assert [row[-1] for row in found] == ["yes", "no"]


def test_a_threshold_that_only_one_task_has(exports, tree, rows, tmp_path, networks):
    only = [threshold("rust", "recall", 0.9, 0.0), threshold("crack", "recall", 0.9, None)]
    path = image_export(tmp_path / "export", networks["two"], ["rust", "crack"], only)
    _, found, _ = rows(path, tree[0])
    assert "positive rust" not in found[0]
    _, found, _ = rows(path, tree[0], "--at", "recall=0.9")
    assert "positive rust" in found[0]
    assert "positive crack" not in found[0]


# What is written


def test_lines_of_json_and_csv_say_the_same(exports, tree, run, rows, tmp_path):
    out = tmp_path / "out.jsonl"
    status, printed, _ = run(exports / "two", tree[0], "--format", "jsonl", "--out", out, "--at", "recall=0.5")
    assert (status, printed.split()) == (0, ["scores", str(out)])
    found = [json.loads(line) for line in out.read_text().splitlines()]
    _, wanted, _ = rows(exports / "two", tree[0], "--at", "recall=0.5")
    assert [{name: str(value) for name, value in row.items()} for row in found] == wanted
    assert np.float32(found[0]["score rust"]) == numbers(wanted, "score rust")[0].astype(np.float32)


def test_names_with_commas_quotes_and_line_breaks(exports, tmp_path, rows, run):
    path = tmp_path / 'a "b", \n\x1b[1m.png'
    Image.fromarray(random_pixels(1)[0]).save(path, format="png")
    assert rows(exports / "run", path)[1][0]["input"] == str(path)
    _, out, _ = run(exports / "run", path)
    assert r"\n\x1b[1m.png" in out
    assert len(out.splitlines()) == 2
    path = path.rename(path.with_suffix(".txt"))
    _, _, err = run(exports / "run", path)
    assert r"\n\x1b[1m.txt is of no kind that is read" in err


def test_a_name_that_is_no_text(exports, tmp_path, run):
    path, out = tmp_path / os.fsdecode(b"\xff.png"), tmp_path / "out"
    Image.fromarray(random_pixels(1)[0]).save(path)
    status, printed, _ = run(exports / "run", path, "--format", "csv")
    assert (status, r"\udcff.png" in printed) == (0, True)
    assert run(exports / "run", path, "--format", "csv", "--out", out)[0] == 0
    assert b"/\xff.png," in out.read_bytes()
    assert run(exports / "run", path, "--format", "jsonl", "--out", out)[0] == 0
    assert json.loads(out.read_text())["input"] == str(path)
    assert r"\udcff.png" in run(exports / "run", path)[1]


def test_rows_are_written_as_they_come(exports, tree, monkeypatch, tmp_path):
    """The second batch is not asked for before the first is written; at most one more is read ahead."""
    out, seen = tmp_path / "out.csv", []
    scores = load_served(str(exports / "run")).__class__.__call__

    def spied(served, examples):
        seen.append(len(out.read_text().splitlines()) if out.exists() else 0)
        return scores(served, examples)

    monkeypatch.setattr(predict.Served, "__call__", spied)
    arguments = [exports / "run", tree[0], "--format", "csv", "--batch-size", "2", "--out", out]
    assert predict.main([str(each) for each in arguments]) == 0
    assert seen[1:] == [3, 5]


def test_a_table_is_written_whole(exports, tree, run, tmp_path, monkeypatch):
    out = tmp_path / "out.txt"
    out.write_text("before")
    monkeypatch.setattr(listing.Table, "end", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(exports / "run", tree[0], "--out", out)
    assert out.read_text() == "before"
    monkeypatch.undo()
    assert run(exports / "run", tree[0], "--out", out)[0] == 0
    assert out.read_text().startswith("rank")
    assert not list(tmp_path.glob(".part*"))


# What cannot be read


def test_damaged_files_are_told_and_the_rest_goes_on(exports, networks, tree, rows):
    folder, arrays = tree
    Image.fromarray(random_pixels(1, (64, 64, 3))[0]).save(folder / "c" / "3b.jpg")
    whole = (folder / "c" / "3b.jpg").read_bytes()
    (folder / "c" / "3b.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "a" / "0b.png").write_text("no image")
    (folder / "c" / "z.png").write_bytes(b"")
    status, found, err = rows(exports / "run", folder, "--batch-size", "3")
    assert status == 1
    np.testing.assert_allclose(numbers(found), score_of(networks["one"], arrays)[:, 0], atol=1e-5)
    told = err.splitlines()
    assert told[0] == f"{folder}/a/0b.png is no image"
    assert told[1].startswith(f"{folder}/c/3b.jpg cannot be read as an image: ")
    assert told[2] == f"{folder}/c/z.png is no image"
    assert len(told) == 3


def test_an_image_with_too_many_pixels(exports, tree, rows, monkeypatch):
    monkeypatch.setattr(pixels, "MOST_PIXELS", 100)
    Image.new("L", (11, 10)).save(tree[0] / "d.png")
    status, found, err = rows(exports / "run", tree[0])
    assert (status, len(found)) == (1, 6)
    assert "d.png has more than" in err


def unreadable_below(folder):
    scandir = os.scandir

    def scanned(path):
        if Path(path) == folder / "a" / "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    return scanned


def test_a_folder_that_cannot_be_read(exports, tree, rows, monkeypatch):
    walk, told = files.os.walk, []

    def failing(folder, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return walk(folder, onerror=onerror, followlinks=followlinks)

    monkeypatch.setattr(files.os, "walk", failing)
    assert len(list(files.images_below(tree[0], told.append))) == 6
    assert told[0].filename == str(tree[0])
    monkeypatch.undo()
    monkeypatch.setattr(files.os, "scandir", unreadable_below(tree[0]))
    status, found, err = rows(exports / "run", tree[0])
    assert (status, len(found)) == (1, 5)
    assert err == f"{tree[0] / 'a' / 'b'} cannot be read: Permission denied\n"


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.array([{}, 1], object)}, "a.npz: x is an array of objects"),
        ({"x": random_pixels(2, (8, 8, 1))}, "a.npz holds examples of 8×8×1, and the network takes ?×?×3"),
        ({"x": random_pixels(2, (8, 8))}, "a.npz holds examples of 8×8×1, and the network takes ?×?×3"),
        ({"x": np.zeros((2, 8, 8, 3), np.int64)}, "a.npz: x is of int64; save it as uint8"),
        ({"x": np.full((2, 8, 8, 3), 9.0)}, "a.npz: x lies in [9, 9]"),
        ({"y": np.zeros(3)}, "a.npz needs an array image or x; there are: y"),
        ({"x": random_pixels(), "image": random_pixels()}, "a.npz has both image and x"),
        ({"x": random_pixels(0)}, "a.npz: x is 0x8x8x3"),
    ],
)
def test_arrays_that_will_not_do(exports, tree, tmp_path, rows, arrays, told):
    np.savez(tmp_path / "a.npz", **arrays)
    (tmp_path / "b.npz").write_text("no arrays")
    status, found, err = rows(exports / "run", tmp_path / "a.npz", tmp_path / "b.npz", tree[0])
    assert (status, len(found)) == (1, 6)
    first, second = err.splitlines()
    assert told in first
    assert "b.npz is damaged, or no npz file" in second


def test_arrays_of_any_size_where_the_signature_takes_them(exports, tmp_path, rows):
    np.savez(tmp_path / "a.npz", x=random_pixels(2, (9, 7, 3)))
    assert len(rows(exports / "one", tmp_path / "a.npz")[1]) == 2


def test_values_that_are_missing(exports, tmp_path, rows):
    path = table(tmp_path / "t.csv", hour=[1, "", "nan", 4, 5], amount=[1, 2, 3, "1e300", 5])
    status, found, err = rows(exports / "features", path)
    assert (status, [row["input"] for row in found]) == (1, [f"{path}:1", f"{path}:5"])
    assert err.splitlines() == [
        f"{path}: row 2, column 'hour' is missing, NaN or infinite",
        f"{path}: row 3, column 'hour' is missing, NaN or infinite",
        f"{path}: row 4, column 'amount' is missing, NaN or infinite",
    ]


def test_values_that_are_missing_in_arrays(exports, tmp_path, rows):
    np.savez(tmp_path / "a.npz", x=np.array([[1, 2], [np.nan, 2], [3, 4], [1e300, 2]]))
    status, found, err = rows(exports / "features", tmp_path / "a.npz")
    assert (status, [row["input"][-3:] for row in found]) == (1, ["[0]", "[2]"])
    assert err.splitlines() == [f"{tmp_path / 'a.npz'}: x[{place}] holds NaN or infinity" for place in (1, 3)]


def test_a_table_where_columns_have_no_names(tmp_path, networks, run):
    adap_tf.export_saved_model(networks["features"], tmp_path / "export", Features(tuple(COLUMNS), *np.eye(3, 2)))
    status, _, err = run(tmp_path / "export", table(tmp_path / "t.csv", hour=[1], amount=[2]))
    assert (status, len(err.splitlines())) == (2, 1)
    assert "t.csv: the network takes features, from npz; it knows no names of columns: export its run with" in err


def test_a_file_larger_than_the_memory(exports, tmp_path, rows, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    np.savez(tmp_path / "a.npz", x=random_pixels())
    monkeypatch.setattr(inputs, "read_images", full)
    status, found, err = rows(exports / "one", tmp_path / "a.npz")
    assert (status, found) == (1, [])
    assert "a.npz is larger than the memory; divide it" in err


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"hour": [1]}, "t.csv lacks 'amount'; there are hour"),
        ({"hour": [1], "amount": ["much"]}, "t.csv: column 'amount' is text; encode it as numbers\n"),
        ({"hour": [""], "amount": [1]}, "t.csv: column 'hour' is empty; fill it"),
        ({"hour": [], "amount": []}, "t.csv has no rows"),
    ],
)
def test_tables_that_will_not_do(exports, tmp_path, rows, columns, told):
    good = table(tmp_path / "good.csv", hour=[1], amount=[2])
    status, found, err = rows(exports / "features", table(tmp_path / "t.csv", **columns), good)
    assert (status, len(found)) == (1, 1)
    assert told in err


def test_scores_that_are_not_finite(capsys):
    def served(examples):
        return np.array([[0.0, 1], [np.nan, 1], [2, 3], [4, np.inf]]), np.zeros((4, 2))

    batch, told = inputs.Batch(list("abcd"), list("ABCD"), np.arange(4)), inputs.Told()
    ((kept, score, probability),) = predict.scored(served, iter([batch]), told)
    assert (kept.names, kept.ids, kept.examples.tolist()) == (["a", "c"], ["A", "C"], [0, 2])
    assert (score.tolist(), probability.shape) == ([[0, 1], [2, 3]], (2, 2))
    wanted = ["b has a score that is not finite", "d has a score that is not finite"]
    assert (told.count, capsys.readouterr().err.splitlines()) == (2, wanted)


# The user's mistakes


@pytest.mark.parametrize(
    ("export", "given", "told"),
    [
        (
            "one",
            ["photos", "--at", "precision=0.5"],
            "--at: there is no threshold for precision=0.5; the card has prec",
        ),
        ("two", ["photos", "--at", "often"], "no threshold for often; the card has precision=0.9, recall=0.5"),
        ("run", ["photos", "--at", "recall=0.9"], "no threshold for recall=0.9; the card has none"),
        ("two", ["photos", "--task", "dent"], "--task: there is no task 'dent'; the network has rust, crack"),
        ("one", ["photos", "--top", "0"], "--top: 0 is not accepted"),
        ("one", ["photos", "--batch-size", "no"], "--batch-size"),
        ("one", ["photos", "--format", "xml"], "--format: 'xml' is not accepted; it takes one of table, csv, jsonl"),
        ("one", ["photos", "--format", "csv", "--top", "2"], "--top: csv is not ranked"),
        ("one", ["photos", "--format", "jsonl", "--task", "rust"], "--task: jsonl is not ranked"),
        ("one", ["photos", "--out", "no/where"], "--out: there is no folder no"),
        ("one", ["photos", "--out", "photos"], "--out: photos is no file"),
        ("one", ["photos/a/0.png", "--out", "photos/a/0.png"], "--out: photos/a/0.png is what is read"),
        ("one", ["nowhere"], "nowhere is missing"),
        ("one", ["photos", "empty"], "empty holds no image"),
        ("one", ["notes.txt"], "notes.txt is of no kind that is read; files end in .bmp"),
        ("one", ["t.csv"], "t.csv: the network takes image, from image files or npz"),
        ("features", ["photos"], "photos: the network takes features, from npz or csv and parquet"),
        ("one", [], "INPUT"),
        ("no", ["photos"], "no saved_model.pb there"),
    ],
)
def test_mistakes_are_one_line(exports, tree, run, tmp_path, monkeypatch, export, given, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("notes.txt", "t.csv"):
        (tmp_path / name).write_text("a\n1\n")
    status, out, err = run(exports / export, *given)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("error: ")
    assert told in err
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "empty", "notes.txt", "t.csv"}


def test_a_run_that_is_not_finished(run, tmp_path, tree):
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "config.json", {})
    status, _, err = run(tmp_path / "run", tree[0])
    assert (status, "the run has no export" in err) == (2, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "has the format 2, and 1 is read"),
        ({"tasks": ["a", "b"]}, "it gives 1 scores, and model_card.json names 2 tasks"),
        ({"input": {}}, "model_card.json is damaged (KeyError('shape'))"),
        ({"input": {"shape": list(SIZE), "columns": COLUMNS}}, "features, and model_card.json names 2 columns"),
        ({"thresholds": [{}]}, "model_card.json is damaged"),
        (None, "model_card.json is damaged"),
    ],
)
def test_cards_that_will_not_do(run, tmp_path, networks, tree, change, told):
    path = image_export(tmp_path / "export", networks["one"], ["rust"])
    card = json.loads((path / CARD).read_text())
    (path / CARD).write_text("{" if change is None else json.dumps(card | change))
    status, _, err = run(path, tree[0])
    assert (status, len(err.splitlines()), told in err) == (2, 1, True)


def test_models_that_will_not_do(run, tmp_path, tree):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "saved_model.pb").write_bytes(b"no model")
    status, _, err = run(tmp_path / "export", tree[0])
    assert (status, len(err.splitlines()), "cannot be read" in err) == (2, 1, True)
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    status, _, err = run(tmp_path / "other", tree[0])
    assert (status, "has no signature 'serving_default'" in err) == (2, True)


@pytest.mark.slow
def test_a_reader_that_goes_is_no_error(exports, tree):
    program = f"{sys.executable} {predict.__file__} {exports / 'run'} {tree[0]} --format csv --batch-size 1 | head -1"
    found = subprocess.run(program, shell=True, cwd=tree[0], capture_output=True, text=True, check=False)
    assert (found.stdout, "Error" in found.stderr) == ("input,score,probability\n", False)
