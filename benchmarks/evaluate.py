"""Images a second of an evaluation: `python -m benchmarks.evaluate --threat apgd --versus "--threat pgd"`.

The whole of it on one or several replicas and in any precision, from arrays to average precision; `benchmarks.attack`
times PGD alone, on one device in float32, beside other libraries.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence

import keras

from adap_tf import APGD, Evaluator
from adap_tf.attacks import Attack
from adap_tf.evaluation import PGD10
from benchmarks.limit import Need, evaluation_passes, forward_operations, timed_with_limits
from benchmarks.step import add_network_options, built, random_examples
from benchmarks.timing import add_repeats, add_versus, report, show, variants
from train.workers import make_strategy

THREATS: Mapping[str, Attack | None] = {"clean": None, "pgd": PGD10, "apgd": APGD()}
"""Those of the evaluation command, ten steps each."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluate",
        description="Times the evaluation of a network under a threat, to average precision, on random colour images "
        "of 32×32. Two variants are timed in turn, and their ratio is taken pair by pair; so is that to the arithmetic "
        "limit.",
    )
    parser.add_argument("--threat", default="pgd", choices=list(THREATS), help="(%(default)s)")
    parser.add_argument("--images", type=int, default=1024, help="(%(default)s)")
    add_network_options(parser)
    add_versus(parser)
    add_repeats(parser, 5)
    given = parser.parse_args(arguments)
    compared = variants(parser, given)
    runs, needs = [evaluation(variant) for variant in compared], [need(variant) for variant in compared]
    seconds, limits = timed_with_limits(runs, needs, given.repeats, warm_up=1)
    names = ("evaluation", "versus")
    for name, variant, found in zip(names, compared, seconds, strict=False):
        show(name, [variant.images / each for each in found], "images a second")
    rate = given.images / statistics.median(seconds[0])
    report(seconds, given.json, names, limits, {"images_per_second": rate})


def evaluation(given: argparse.Namespace) -> Callable[[], object]:
    """The evaluation of one network on the same images, again and again."""
    keras.utils.set_random_seed(0)
    examples = random_examples(given.images, given.tasks)
    with make_strategy(given.replicas).scope():
        evaluator = Evaluator(built(given), {given.threat: THREATS[given.threat]}, given.batch_size // given.replicas)
    return lambda: evaluator.average_precision(examples.image, examples.label)


def need(given: argparse.Namespace) -> Need:
    """The operations of an evaluation."""
    passes = evaluation_passes(THREATS[given.threat])
    return Need(forward_operations(built(given)) * given.images * passes, given.precision)


if __name__ == "__main__":
    main()
