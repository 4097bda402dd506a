"""Seconds of an attack on a set of images: `python -m benchmarks.attack --peer foolbox`.

PGD and the scores that it ends with, on one device in float32, as other libraries can do it too; `benchmarks.evaluate`
times the whole evaluation of this project.
"""

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from adap_tf import PGD, Evaluator
from adap_tf.backbones import find_backbone
from adap_tf.data import cifar10
from benchmarks.limit import Need, evaluation_passes, forward_operations, timed_with_limits
from benchmarks.timing import add_repeats, add_versus, report, variants

EPS, STEP_SIZE = 8 / 255, 0.007
Run = Callable[[], np.ndarray]  # scores of the attacked images, `[n]`


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attack",
        description="Times PGD in the L∞ ball of 8/255, with the scores of the perturbed images, on random colour "
        "images of 32×32 or on CIFAR-10; beside it the same attack of a peer, or another variant, in turn, with the "
        "ratio pair by pair, and the arithmetic limit.",
    )
    parser.add_argument("--backbone", default="resnet18", help="(%(default)s)")
    parser.add_argument("--images", type=int, default=2000, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="(%(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(%(default)s)")
    parser.add_argument("--data-dir", metavar="DIR", help="CIFAR-10 of TensorFlow Datasets; random images if not given")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--peer", choices=list(PEERS), help="another library, which has to be installed")
    add_versus(other)
    add_repeats(parser, 5)
    given = parser.parse_args(arguments)
    compared = variants(parser, given)
    names = ("adap_tf", given.peer or "versus")
    runs = [prepared(name, variant, ours) for name, variant in zip(names, compared, strict=False)]
    if given.peer is not None:
        runs.append(prepared(given.peer, given, PEERS[given.peer]))
    seconds, limits = timed_with_limits(runs, list(map(need, compared)), given.repeats, warm_up=1)
    report(seconds, given.json, names, limits)


def prepared(name: str, given: argparse.Namespace, make: Callable[..., Run]) -> Run:
    """An attack on a network and images that are the same for all; says how far it moves the scores."""
    keras.utils.set_random_seed(0)
    network = find_backbone(given.backbone)((32, 32, 3))
    image, label = images(given.images, given.data_dir)
    run = make(network, image, label, given.steps, given.batch_size)
    print(f"{name:<10} mean rise of the loss {rise(run(), network, image, label):.4f}")
    return run


def need(given: argparse.Namespace) -> Need:
    """The operations of the attack and the scores that it ends with."""
    operations = forward_operations(find_backbone(given.backbone)((32, 32, 3)))
    return Need(operations * given.images * evaluation_passes(pgd(given.steps)))


def images(count: int, data_dir: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Images in [0, 1] and labels of one class among ten."""
    if data_dir is None:
        rng = np.random.default_rng(0)
        return rng.uniform(size=(count, 32, 32, 3)).astype(np.float32), (np.arange(count) % 10 == 0).astype(np.float32)
    examples = cifar10.load(data_dir)["test"].of_tasks(["automobile"]).examples
    return examples.image[:count].astype(np.float32) / 255, examples.label[:count, 0]


def rise(scores: np.ndarray, network: keras.Model, image: np.ndarray, label: np.ndarray) -> float:
    """By how much the attack has moved the scores against the labels: peers of equal strength show the same."""
    clean = network.predict(image, verbose=0)[:, 0]
    return float(((1 - 2 * label) * (scores - clean)).mean())


def ours(network: keras.Model, image: np.ndarray, label: np.ndarray, steps: int, batch_size: int) -> Run:
    """The evaluator of this project."""
    evaluator = Evaluator(network, {"pgd": pgd(steps)}, batch_size)
    return lambda: evaluator.scores(image, label)["pgd"][:, 0]


def pgd(steps: int) -> PGD:
    """This project's attack."""
    return PGD(EPS, STEP_SIZE, steps)


def two_logits(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The network as the peers want it, two classes' logits; compiled, which makes them faster."""

    @tf.function
    def scores(x: tf.Tensor, training: bool = False) -> tf.Tensor:
        logit = network(x, training=False)
        return tf.concat([tf.zeros_like(logit), logit], axis=1)

    return scores


def by_foolbox(network: keras.Model, image: np.ndarray, label: np.ndarray, steps: int, batch_size: int) -> Run:
    """Foolbox' PGD, of two classes."""
    foolbox, scores = found("foolbox"), two_logits(network)
    model = foolbox.TensorFlowModel(scores, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=steps, random_start=True)

    def batch(first: int) -> np.ndarray:
        x = tf.constant(image[first : first + batch_size])
        y = tf.constant(label[first : first + batch_size], tf.int64)
        return scores(attack.run(model, x, foolbox.criteria.Misclassification(y), epsilon=EPS)).numpy()

    return lambda: np.concatenate([batch(first) for first in range(0, len(image), batch_size)])[:, 1]


def by_art(network: keras.Model, image: np.ndarray, label: np.ndarray, steps: int, batch_size: int) -> Run:
    """The Adversarial Robustness Toolbox' PGD, of two classes."""
    estimators = found("art.estimators.classification")
    evasion, scores = found("art.attacks.evasion"), two_logits(network)
    classifier = estimators.TensorFlowV2Classifier(
        model=scores,
        nb_classes=2,
        input_shape=image.shape[1:],
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0, 1),
    )
    attack = evasion.ProjectedGradientDescentTensorFlowV2(
        classifier, eps=EPS, eps_step=STEP_SIZE, max_iter=steps, batch_size=batch_size, num_random_init=1, verbose=False
    )
    classes = np.eye(2)[label.astype(int)]

    def run() -> np.ndarray:
        attacked = tf.constant(attack.generate(image, classes))
        parts = [scores(attacked[i : i + batch_size]) for i in range(0, len(image), batch_size)]
        return np.concatenate(parts)[:, 1]

    return run


def found(module: str) -> Any:
    """A peer's module.

    Raises:
        SystemExit: it is not installed.
    """
    package = {"foolbox": "foolbox", "art": "adversarial-robustness-toolbox"}[module.split(".")[0]]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SystemExit(f"{error}; pip install {package}") from None


PEERS: Mapping[str, Callable[..., Run]] = {"foolbox": by_foolbox, "art": by_art}
"""Other libraries' PGD, each in the fastest of its modes that works with this TensorFlow."""


if __name__ == "__main__":
    main()
