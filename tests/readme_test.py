"""The Python code of README.md and docs/ runs as it stands, in a folder of its own."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adap_tf

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "In your own code"


def blocks(name):
    """The Python blocks of a Markdown file, each with the heading that it stands under."""
    parts = re.split(r"^#+ (.*)$", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield heading, code


def block(name, heading):
    (code,) = [code for under, code in blocks(name) if under == heading]
    return code


def digits_like(rng, positives=20, n=128):
    image = rng.uniform(0, 1, (n, 8, 8, 1)).astype(np.float32)
    return image, (np.arange(n) < positives).astype(np.float32)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_all_python_code_of_the_documents_is_run_here():
    files = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
    assert [(name, heading) for name in files for heading, _ in blocks(name)] == [
        ("README.md", "Evaluation"),
        ("README.md", "Several tasks"),
        ("README.md", LIBRARY),
        ("docs/data.md", "In the library"),
        ("docs/distributed.md", "Several devices"),
        ("docs/predicting.md", "In a program"),
        ("docs/tuning.md", "In a script of yours"),
    ]


def test_own_code_trains_evaluates_and_exports(capsys):
    code = block("README.md", LIBRARY)
    names = {}
    exec(code.replace("epochs=60", "epochs=2"), names)
    assert {path.name for path in Path().iterdir()} == {"best.weights.h5", "logs", "export"}
    found = names["model"].evaluate(names["x"], names["y"], return_dict=True, verbose=0)
    assert 0 < found["robust_ap"] < found["ap"] <= 1
    assert "val_robust_ap" in capsys.readouterr().out


@pytest.mark.slow
def test_own_code_learns():
    names = {}
    exec(block("README.md", LIBRARY), names)
    test = names["test"]
    found = names["model"].evaluate(names["x"][test], names["y"][test], return_dict=True, verbose=0)
    assert found["ap"] > 0.8
    assert found["robust_ap"] > 0.3


def test_a_program_that_predicts(rng):
    network, images = adap_tf.BACKBONES["mlp"]((8, 8, 1)), rng.integers(0, 256, (3, 8, 8, 1), np.uint8)
    adap_tf.export_saved_model(network, "runs/rust/export")
    names = {"images": images}
    exec(block("docs/predicting.md", "In a program"), names)
    assert names["score"].shape == (3, 1)


def test_evaluation(rng):
    images, labels = digits_like(rng)
    network, other = (adap_tf.BACKBONES["mlp"]((8, 8, 1)) for _ in range(2))
    names = {"adap_tf": adap_tf, "network": network, "other": other, "images": images, "labels": labels}
    exec(block("README.md", "Evaluation").replace("steps=40, restarts=3", "steps=2"), names)
    assert names["scores"].keys() == {"clean", "apgd", "transfer"}


def test_several_tasks():
    code = block("README.md", "Several tasks").replace(", …]", "]")  # where the reader's own go on
    names = {"np": np, "adap_tf": adap_tf}
    exec(code, names)
    assert names["model"].tasks == 3


def test_data_in_the_library(rng):
    for name, number in (("defect", 50), ("sound", 100)):
        (folder := Path("photos") / name).mkdir(parents=True)
        for place in range(number):
            Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(folder / f"{place}.png")
    names = {}
    exec(block("docs/data.md", "In the library"), names)
    batch = next(iter(names["batches"]))
    assert batch["image"].shape == (64, 64, 64, 3)
    assert batch["label"].numpy().sum() == 30


def test_search_in_a_script_of_ones_own(rng):
    (x, y), (x_val, y_val) = digits_like(rng), digits_like(rng)
    code = block("docs/tuning.md", "In a script of yours").replace("max_trials=20", "max_trials=1")
    names = {"x": x, "y": y, "x_val": x_val, "y_val": y_val}
    exec(code.replace("epochs=10", "epochs=1, verbose=0"), names)
    assert names["tuner"].get_best_hyperparameters()


SEVERAL_DEVICES = """
import numpy as np, tensorflow as tf, adap_tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
x, y = np.random.default_rng(0).uniform(0, 1, (128, 8, 8, 1)).astype("float32"), np.arange(128) < 20
"""


@pytest.mark.slow
def test_several_devices():  # elsewhere: one strategy a process
    code = block("docs/distributed.md", "Several devices").replace("epochs=10", "epochs=1")
    check = "\nassert strategy.num_replicas_in_sync == 2 and model.steps_taken.numpy() == 1\n"
    command = [sys.executable, "-c", SEVERAL_DEVICES + code + check]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
