"""Seconds of a training step: `python -m benchmarks.step --method adap_lpn --tasks 40 --versus "--tasks 1"`."""

import argparse
import contextlib
import importlib.util
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from adap_tf import METHODS, AdversarialModel
from adap_tf.backbones import find_backbone
from adap_tf.data import Examples, Sampler, training_batches
from benchmarks.limit import Need, forward_operations, step_passes, timed_with_limits
from benchmarks.timing import add_repeats, add_versus, report, variants
from train.workers import make_strategy

SHAPE = (32, 32, 3)
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
RELEASED = {"ce": (0.19, 0.23), "pgd": (0.86, 0.96), "adap_ln": (1.12, 1.24)}
"""Seconds of a step of the authors' PyTorch code, by method: ResNet-18, 128 images, two cores."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step",
        description="Times training steps on random colour images of 32×32, the attack included, input excluded. Two "
        "variants are timed in turn, and their ratio is taken pair by pair; so is that to the arithmetic limit.",
    )
    add_options(parser)
    add_repeats(parser, 12, "timed steps of each variant")
    other = parser.add_mutually_exclusive_group()
    add_versus(other)
    other.add_argument("--peer", choices=["torch"], help=f"a step in PyTorch, of {', '.join(RELEASED)}")
    given = parser.parse_args(arguments)
    if given.peer is not None:
        return beside_torch(given)
    compared = variants(parser, given)
    steps, needs = [stepper(variant) for variant in compared], [need(variant) for variant in compared]
    seconds, limits = timed_with_limits(steps, needs, given.repeats)
    report(seconds, given.json, limits=limits)


def beside_torch(given: argparse.Namespace) -> None:
    """Times the step and PyTorch's in turn, and says whether that one is as fast as the authors' code."""
    with torch_step(given) as peer:
        seconds, limits = timed_with_limits([stepper(given), peer], [need(given)], given.repeats)
    if (given.backbone, given.batch_size) == ("resnet18", 128):
        print(judged(statistics.median(seconds[1]), *RELEASED[given.method]))
    report(seconds, given.json, ("step", "torch's step"), limits)


def judged(median: float, low: float, high: float) -> str:
    """Whether a peer's step is within 10% of the seconds that the released code takes on two cores."""
    within = "within" if 0.9 * low <= median <= 1.1 * high else "NOT within"
    return f"PyTorch's step is {within} 10% of the released code's, {low} to {high} s on two cores"


@contextlib.contextmanager
def torch_step(given: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """A step of the peer, in a process of its own: in one process two libraries' threads wait for each other.

    Raises:
        SystemExit: PyTorch is not installed, or has no such step.
    """
    if importlib.util.find_spec("torch") is None:
        raise SystemExit("PyTorch is missing; pip install torch --index-url https://download.pytorch.org/whl/cpu")
    if given.method not in RELEASED or given.tasks > 1:
        raise SystemExit(f"the peer has one task, and the methods {', '.join(RELEASED)}")
    options = ("--method", given.method, "--batch-size", str(given.batch_size), "--rows", str(given.rows))
    words = [sys.executable, "-m", "benchmarks.torch_peer", *options]
    root = Path(__file__).parents[1]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        yield lambda: answered(process)


def answered(process: subprocess.Popen[str]) -> None:
    """Lets the peer take a step, and waits until it has."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    if not process.stdout.readline():
        raise SystemExit("the peer has ended")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is trained, and on how many replicas."""
    parser.add_argument("--method", default="adap_ln", choices=list(METHODS))
    parser.add_argument("--rows", type=int, default=1000, help="positives of each task in a table (%(default)s)")
    add_network_options(parser)


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """A network, and what it computes with."""
    parser.add_argument("--backbone", default="resnet18", help="(%(default)s)")
    parser.add_argument("--precision", default="float32", choices=list(POLICIES))
    parser.add_argument("--tasks", type=int, default=1, help="logits of the network (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="of all replicas (%(default)s)")
    parser.add_argument("--replicas", type=int, default=1, help="devices; one number a process, and 1 (%(default)s)")


def stepper(given: argparse.Namespace) -> Callable[[], None]:
    """A step that can be taken again and again, on the same images; the rows lie anywhere in the table."""
    model, batch, strategy = prepared(given)

    def with_rows_anywhere(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        anywhere = tf.random.uniform(batch["row"].shape, maxval=given.rows, dtype=tf.int64)
        return model.train_step(batch | {"row": tf.where(batch["row"] >= 0, anywhere, -1)})

    step = tf.function(lambda batch: strategy.run(with_rows_anywhere, args=(batch,)))

    def take() -> None:
        float(strategy.experimental_local_results(step(batch)["loss"])[0])

    return take


def need(given: argparse.Namespace) -> Need:
    """The operations of a step."""
    return Need(forward_operations(built(given)) * given.batch_size * step_passes(given.method), given.precision)


def prepared(given: argparse.Namespace) -> tuple[AdversarialModel, Any, tf.distribute.Strategy]:
    """A model of these options, a batch of random images, and the strategy under which they meet."""
    keras.utils.set_random_seed(0)
    examples = random_examples(4 * given.batch_size, given.tasks)
    strategy = make_strategy(given.replicas)
    with strategy.scope():
        model = AdversarialModel(built(given), given.method, [given.rows] * given.tasks, l2=2e-4)
        model.compile(keras.optimizers.Adam(1e-4, epsilon=1e-8))
    sampler = Sampler(examples.label, given.batch_size, given.batch_size // 2)
    batches = strategy.distribute_datasets_from_function(
        lambda _: training_batches(examples, sampler, parts=given.replicas)
    )
    return model, next(iter(batches)), strategy


def built(given: argparse.Namespace) -> keras.Model:
    """The network of these options."""
    keras.config.set_dtype_policy(POLICIES[given.precision])
    network = find_backbone(given.backbone)(SHAPE, given.tasks)
    keras.config.set_dtype_policy("float32")
    return network


def random_examples(size: int, tasks: int) -> Examples:
    """Random images, three in ten of a positive of each task."""
    rng = np.random.default_rng(0)
    label = rng.uniform(size=(size, tasks)) < 0.3
    return Examples(rng.uniform(size=(size, *SHAPE)).astype(np.float32), label)


if __name__ == "__main__":
    main()
