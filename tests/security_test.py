"""What comes from elsewhere is read, not run; docs/security.md says what may still do anything."""

import pickle
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
import tensorflow as tf

from adap_tf.data.problems import DataError
from adap_tf.data.table import load as load_table
from made_up import claiming
from train import evaluate, export_run, main
from train.run_folder import RunFolder, write_json

ROOT = Path(__file__).parents[1]
TOPS = ("adap_tf", "train", "tuning", "experiments", "benchmarks")
CODE = [path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]
# Calls of Python that run what they are given are ruff's business: the rules S… in pyproject.toml.
UNSAFE = re.compile(r"allow_pickle=True|safe_mode=|enable_unsafe_deserialization|(?<!def )\bbind_all\b")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path):
    """Something that must not be unpickled, and a check that it was not."""
    sprung = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(sprung)))  # it would work
    sprung.unlink()
    yield Trap(sprung)
    assert not sprung.exists()


def failed(capsys, command, *arguments):
    """The one line that a mistake gives."""
    assert command.main(list(map(str, arguments))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_guard_is_lifted(path):
    assert not UNSAFE.findall(path.read_text(encoding="utf-8"))


# Arrays and tables


def test_an_array_of_objects_is_not_unpickled(tmp_path, trap, capsys):
    objects = np.array([trap, trap], object)
    np.savez(tmp_path / "mine.npz", image=objects, label=np.array([0, 1]))
    error = failed(capsys, main, "--data", "npz", "--data-dir", tmp_path / "mine.npz", "--out", tmp_path / "run")
    assert "mine.npz: image is an array of objects; save numbers" in error


def test_a_table_is_not_unpickled(tmp_path, trap):
    extension = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(trap)}
    amount = pa.field("amount", pa.float64(), metadata=extension)
    table = pa.table([[0.0, 1.0], [0, 1]], schema=pa.schema([amount, ("label", pa.int64())]))
    pa_parquet.write_table(table, tmp_path / "mine.parquet")
    load_table(tmp_path / "mine.parquet", ["label"])


def test_a_column_of_bytes_is_no_feature(tmp_path, trap):
    table = pa.table({"amount": [pickle.dumps(trap)] * 2, "label": [0, 1]})
    pa_parquet.write_table(table, tmp_path / "mine.parquet")
    with pytest.raises(DataError, match="amount"):
        load_table(tmp_path / "mine.parquet", ["label"])


# Networks


@pytest.fixture
def programmed(tmp_path):
    """A `.keras` file with a function in it, which would make a file."""
    sprung = str(tmp_path / "sprung")
    image = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(keras.layers.Lambda(lambda x, path=sprung: (open(path, "w").close(), x)[1])(image))
    keras.Model(image, keras.layers.Dense(1)(flat)).save(tmp_path / "programmed.keras")
    Path(sprung).unlink()
    yield tmp_path / "programmed.keras"
    assert not Path(sprung).exists()


@pytest.mark.parametrize(
    ("command", "before"),
    [(main, ["--baseline", "none", "--init-from"]), (evaluate, ["--data", "digits"])],
    ids=["init-from", "evaluate"],
)
def test_a_network_with_a_function_in_it_is_refused(programmed, tmp_path, capsys, command, before):
    error = failed(capsys, command, *before, programmed, "--out", tmp_path / "out")
    assert "programmed.keras" in error
    assert "it holds a Python function (of a Lambda layer, say), which could do anything and is not run\n" in error


@pytest.mark.parametrize(
    ("command", "before"), [(export_run, []), (evaluate, ["--data", "digits"])], ids=["export", "evaluate"]
)
def test_a_saved_model_in_place_of_a_runs_network_is_not_loaded(tmp_path, capsys, monkeypatch, command, before):
    monkeypatch.setattr(tf.saved_model, "load", lambda *_: pytest.fail("it was loaded"))
    run = tmp_path / "run"
    (run / "best" / "network.keras").mkdir(parents=True)
    (run / "best" / "network.keras" / "saved_model.pb").touch()
    write_json(run / "config.json", {})
    write_json(run / "results.json", {"any": 1})
    (run / "scores.npz").touch()
    monkeypatch.setattr(export_run, "read", lambda _: [SimpleNamespace(folder=RunFolder(run))])
    monkeypatch.setattr(export_run, "features_of", lambda _: None)
    error = failed(capsys, command, *before, run, "--out", tmp_path / "out")
    assert "no trained network there" in error


# Images, by the command


@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 10_000)])
def test_too_many_pixels_are_one_line(tmp_path, capsys, size):
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(claiming(*size))
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")  # as in a command; tests turn a warning into an error
        error = failed(capsys, main, "--data", "folder", "--data-dir", tmp_path / "photos", "--out", tmp_path / "run")
    assert "1.png has more than 67,108,864 pixels; scale it down" in error
    assert not shown
