"""Kills runs at random moments, and compares how they end: `python -m benchmarks.kills --kills 200 --replicas 2`."""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from train import main as command

RUN = ("--baseline", "none", "--epochs", "6", "--checkpoint-minutes", "0.01")
"""A run with BatchNorm and checkpoints within an epoch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; 0 if all runs ended as the one that nobody killed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kills",
        description="Lets a run of digits end by itself; then starts it again and again, and kills it (SIGKILL) at "
        "random moments until it ends. All variables, metrics and results have to be the same bit for bit.",
    )
    parser.add_argument("--kills", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--replicas", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    given = parser.parse_args(arguments)
    options = ("--replicas", str(given.replicas))
    with tempfile.TemporaryDirectory() as folder:
        untouched, seconds = timed_run(Path(folder) / "untouched", *options)
        ended = killed_runs(Path(folder), given.kills, seconds, np.random.default_rng(given.seed), *options)
        equal = [state(out) == untouched for out in ended]
    print(f"{given.kills} kills, {len(equal)} runs that ended, {sum(equal)} of them equal to the one left alone")
    return 0 if all(equal) else 1


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    """A process that trains."""
    words = [sys.executable, str(Path(command.__file__)), *RUN, "--out", str(out), *options]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(out: Path, *options: str) -> str:
    """Runs to the end; what it printed.

    Raises:
        RuntimeError: it failed; with its messages.
    """
    process = start(out, *options)
    printed, errors = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(errors)
    return printed


def timed_run(out: Path, *options: str) -> tuple[Any, float]:
    """How a run ends that nobody stops, and the seconds it takes."""
    started = time.monotonic()
    finish(out, *options)
    return state(out), time.monotonic() - started


def killed_runs(folder: Path, kills: int, seconds: float, rng: np.random.Generator, *options: str) -> list[Path]:
    """Runs that are killed so many times in all, each started again until it ends.

    Args:
        folder: where they go.
        kills: how many.
        seconds: that a run takes; a process lives for a random part of it.
        rng: draws the moments.
        *options: of the runs.

    Raises:
        RuntimeError: a run failed of itself; with its messages.
    """
    ended: list[Path] = []
    while kills or not ended:
        out = folder / f"killed-{len(ended)}"
        while kills:
            process = start(out, *options)
            try:
                _, errors = process.communicate(timeout=rng.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills -= 1
                continue
            if process.returncode:
                raise RuntimeError(errors)
            break
        else:
            finish(out, *options)
        ended.append(out)
    return ended


def state(out: Path) -> Any:
    """Hashes of all variables in the newest checkpoint and in the selected network, and the numbers on file."""
    newest = max((out / "checkpoints").glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    reader = tf.train.load_checkpoint(str(newest / "state"))
    names = [name for name in sorted(reader.get_variable_to_shape_map()) if name.startswith("variables/")]
    hashes = {name: hashlib.sha256(np.asarray(reader.get_tensor(name)).tobytes()).hexdigest() for name in names}
    results = json.loads((out / "results.json").read_text())
    del results["timing"]
    best = [weight.tobytes() for weight in keras.models.load_model(out / "best" / "network.keras").get_weights()]
    return {"step": newest.name, "metrics": (out / "metrics.csv").read_text(), **hashes}, results, best


if __name__ == "__main__":
    sys.exit(main())
