"""Seconds of a training step: `python -m benchmarks.step --method adap_lpn --tasks 40 --versus "--tasks 1"`."""

import argparse
import shlex
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from adap_tf import METHODS, AdversarialModel
from adap_tf.backbones import find_backbone
from adap_tf.data import Examples, Sampler, training_batches
from benchmarks.timing import report, timed

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step",
        description="Times training steps on random colour images of 32×32, the attack included, input excluded. Two "
        "variants are timed in turn, and their ratio is taken pair by pair.",
    )
    parser.add_argument("--method", default="adap_ln", choices=list(METHODS))
    parser.add_argument("--backbone", default="resnet18", help="(%(default)s)")
    parser.add_argument("--precision", default="float32", choices=list(POLICIES))
    parser.add_argument("--tasks", type=int, default=1, help="logits of the network (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(%(default)s)")
    parser.add_argument("--repeats", type=int, default=12, help="timed steps of each variant (%(default)s)")
    parser.add_argument("--versus", metavar="OPTIONS", help="the same with these options changed, in one string")
    parser.add_argument("--json", action="store_true", help="the last line is JSON")
    given = parser.parse_args(arguments)
    variants = [given]
    if given.versus is not None:
        variants.append(parser.parse_args(shlex.split(given.versus), argparse.Namespace(**vars(given))))
    report(timed([stepper(variant) for variant in variants], given.repeats), given.json)


def stepper(given: argparse.Namespace) -> Callable[[], None]:
    """A step that can be taken again and again, on the same batch."""
    rng = np.random.default_rng(0)
    size = 4 * given.batch_size
    label = rng.uniform(size=(size, given.tasks)) < 0.3
    examples = Examples(rng.uniform(size=(size, 32, 32, 3)).astype(np.float32), label)
    keras.config.set_dtype_policy(POLICIES[given.precision])
    network = find_backbone(given.backbone)((32, 32, 3), given.tasks)
    keras.config.set_dtype_policy("float32")
    model = AdversarialModel(network, given.method, examples.positives, examples=size, l2=2e-4)
    model.compile(keras.optimizers.Adam(1e-4, epsilon=1e-8))
    sampler = Sampler(examples.label, given.batch_size, given.batch_size // 2)
    batch = next(iter(training_batches(examples, sampler)))
    step = tf.function(model.train_step)

    def take() -> None:
        float(step(batch)["loss"])

    return take


if __name__ == "__main__":
    main()
