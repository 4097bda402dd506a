"""Run folders and evaluations without a training, and files that claim too much, for tests of what reads them."""

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from adap_tf.evaluation import summary
from adap_tf.resampling import bootstrap
from train.measures import differences, measured, with_worst
from train.presets import PRESETS
from train.run_folder import RunFolder, write_json
from train.settings import Settings

EXAMPLES, POSITIVES, EPOCHS = 60, 12, 3
VERSIONS = {"python": "3.11.7", "tensorflow": "2.21.0"}
PRINTS = {"train": "1111", "validation": "2222", "test": "3333"}
SETTINGS = Settings(threats="clean,pgd,apgd", bootstrap=200, confidence=0.9)


def labels(tasks):
    """For each task the positives are other examples."""
    places = np.arange(EXAMPLES)[:, None] - POSITIVES * np.arange(tasks)
    return ((places >= 0) & (places < POSITIVES)).astype(np.float32)


def scores(label, seed, threats=("clean", "pgd")):
    """Scores that find most positives, fewer with each further threat."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=label.shape)
    return {threat: (label * (2 - number) + noise).astype(np.float32) for number, threat in enumerate(threats)}


def history(epochs):
    rng = np.random.default_rng(epochs)
    names = ("loss", "steps_skipped", "clean_ap", "robust_ap")
    return [{"epoch": k + 1.0, **dict(zip(names, rng.uniform(size=4).tolist(), strict=True))} for k in range(epochs)]


def run(path, tasks=("8",), finished=True, seed=0, **changes):
    """A run folder; its path."""
    folder = RunFolder(Path(path))
    given = {"positive": ",".join(tasks), "epochs": EPOCHS, "seed": seed, **changes}
    config = replace(PRESETS["digits"], **given)
    folder.open(config, PRINTS)
    folder.write_history(history(EPOCHS if finished else EPOCHS - 1))
    if finished:
        label = labels(len(tasks))
        found = scores(label, seed)
        folder.write_scores(label, found)
        write_json(folder.results, results(config, tasks, summary(found, label, tasks)))
    return folder.path


def results(config, tasks, test):
    return {
        "method": config.method,
        "tasks": list(tasks),
        "seed": config.seed,
        "splits": {"test": {"examples": EXAMPLES, "positives": POSITIVES * len(tasks)}},
        "skipped": 0,
        "selected": {"epoch": 2},
        "test": test,
        "steps_skipped": 0,
        "versions": VERSIONS,
    }


def evaluation(folder, runs, tasks=("8",), warnings=()):
    """An evaluation of runs, in a folder; its results."""
    folder.mkdir(parents=True, exist_ok=True)
    label, names = labels(len(tasks)), [path.name for path in runs]
    found = [with_worst(scores(label, 10 + k, SETTINGS.names), label) for k in range(len(runs))]
    samples = [bootstrap(each, label, SETTINGS.bootstrap) for each in found]
    measures = [measured(each, label, tasks, own, SETTINGS) for each, own in zip(found, samples, strict=True)]
    for name, each in zip(names, found, strict=True):
        np.savez(folder / f"scores-{name}.npz", label=label, **each)
    written = {
        "settings": SETTINGS.resolved(),
        "runs": {
            path.name: {
                "path": str(path),
                "tasks": list(tasks),
                "limits": {"eps": 0.1, "steps": 10, "step_size": 0.0225, "restarts": 1, "keep": "last"},
                "seed": 0,
                "threats": own,
                "twice_the_steps": {"apgd": 0.1234},
                "warnings": [{"sign": "unfinished", "text": text} for text in warnings],
                "notes": [],
            }
            for path, own in zip(runs, measures, strict=True)
        },
        "differences": differences(names, measures, samples, [set(measures[0])] * len(runs), SETTINGS),
        "versions": VERSIONS,
    }
    write_json(folder / "results.json", written)
    return written


def edited(path, change):
    """Changes a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def claiming(width, height):
    """A PNG file of a few bytes that is said to have so many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, b"IDAT" + zlib.compress(bytes(9)), b"IEND")
    )
