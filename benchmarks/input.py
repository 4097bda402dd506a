"""What the input pipeline costs: `python -m benchmarks.input --images 200000`."""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from adap_tf import AdversarialModel
from adap_tf.backbones import find_backbone
from adap_tf.data import AUGMENTATIONS, Examples, Sampler, celeba, cifar10, training_batches
from benchmarks.timing import add_repeats, add_versus, ratios, report, timed, variants

DIFFERENT, HEIGHT, WIDTH = 2000, 218, 178
NAMES = ("run", "versus")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.input",
        description="Memory and speed of batches from a tree of JPEG files in CelebA's official layout, which it makes "
        "(2,000 different ones, the others links to them); or, with --data-dir, the share of its time that a training "
        "on CIFAR-10 waits for input. A run is many batches, since two are made ahead. Two variants run in turn, and "
        "their ratio is taken pair by pair.",
    )
    parser.add_argument("--images", type=int, default=20_000, help="JPEG files (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="batches or steps of training a run (%(default)s)")
    parser.add_argument("--augmentation", choices=list(AUGMENTATIONS), help="(affine_flip; of CIFAR-10 crop_flip)")
    parser.add_argument("--data-dir", metavar="DIR", help="CIFAR-10 of TensorFlow Datasets, to train on")
    parser.add_argument("--method", default="adap_lpn", help="of the training (%(default)s)")
    parser.add_argument("--backbone", default="resnet18", help="of the training (%(default)s)")
    add_versus(parser)
    add_repeats(parser, 5)
    given = parser.parse_args(arguments)
    (from_files if given.data_dir is None else while_training)(variants(parser, given))


def from_files(compared: Sequence[argparse.Namespace]) -> None:
    """Times runs of batches; says when the files are known to be whole too, and the memory that all this adds."""
    given = compared[0]
    with tempfile.TemporaryDirectory() as folder:
        make_celeba(Path(folder), given.images)
        next(batches(np.zeros((256, 8, 8, 3), np.uint8), given, "none"))  # what TensorFlow takes for itself
        before = peak_memory()
        started = time.perf_counter()
        train = celeba.load(folder)["train"].of_tasks(["Mustache"]).examples
        looked = time.perf_counter()
        seconds = timed([reading(train, variant) for variant in compared], given.repeats, warm_up=1)
        added = (peak_memory() - before) / 2**20
    found = {
        "look_seconds": looked - started,
        "images_per_second": given.steps * given.batch_size / statistics.median(seconds[0]),
        "added_mebibytes": added,
    }
    report(seconds, given.json, NAMES, more=found)


def while_training(compared: Sequence[argparse.Namespace]) -> None:
    """Times runs of training steps with their input, and says which share of them the steps wait for it."""
    given = compared[0]
    train = cifar10.load(given.data_dir)["train"].of_tasks(["automobile"]).examples
    waited: list[list[float]] = [[] for _ in compared]
    runs = [training(train, variant, found) for variant, found in zip(compared, waited, strict=True)]
    seconds = timed(runs, given.repeats, warm_up=1)
    found = {
        "step_seconds": statistics.median(seconds[0]) / given.steps,
        "waiting_share": statistics.median(ratios(waited[0][1:], seconds[0])),  # but for the warm-up
    }
    report(seconds, given.json, NAMES, more=found)


def reading(train: Examples, given: argparse.Namespace) -> Callable[[], None]:
    """A run of batches from files."""
    source = batches(train.image, given, given.augmentation or "affine_flip", train.label)

    def run() -> None:
        for _ in range(given.steps):
            next(source)

    return run


def training(train: Examples, given: argparse.Namespace, waited: list[float]) -> Callable[[], None]:
    """A run of training steps, which adds to a list the seconds that it has waited for batches."""
    network = find_backbone(given.backbone)((32, 32, 3))
    model = AdversarialModel(network, given.method, train.positives)
    model.compile(keras.optimizers.Adam(1e-3))
    step: Callable[[Any], Any] = tf.function(model.train_step)
    source = batches(train.image, given, given.augmentation or "crop_flip", train.label)

    def run() -> None:
        waited.append(0.0)
        for _ in range(given.steps):
            asked = time.perf_counter()
            batch = next(source)
            waited[-1] += time.perf_counter() - asked
            float(step(batch)["loss"])

    return run


def batches(image: Any, given: argparse.Namespace, augmentation: str, label: np.ndarray | None = None) -> Iterator[Any]:
    """Endless batches, half of each positives."""
    label = np.arange(len(image)) % 20 == 0 if label is None else label
    sampler = Sampler(label, given.batch_size, given.batch_size // 2)
    return iter(training_batches(Examples(image, label), sampler, augmentation=AUGMENTATIONS[augmentation]))


def make_celeba(folder: Path, count: int) -> None:
    """The official files: 80% training data, 10% validation and test data each; one in twenty has a moustache."""
    names = make_files(folder / celeba.IMAGES, count)
    rows = [f"{name} {1 if number % 20 == 0 else -1} -1" for number, name in enumerate(names)]
    (folder / celeba.ATTRIBUTES).write_text("\n".join([str(count), "Mustache Gray_Hair", *rows]) + "\n")
    parts = (f"{name} {max(number % 10 - 7, 0)}" for number, name in enumerate(names))
    (folder / celeba.PARTITION).write_text("\n".join(parts) + "\n")


def make_files(folder: Path, count: int) -> list[str]:
    """The names of JPEG files of smooth colours, about as large as photographs of that size."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    names = [f"{number:06d}.jpg" for number in range(1, count + 1)]
    paths = [folder / name for name in names]
    for path in paths[:DIFFERENT]:
        coarse = Image.fromarray(rng.integers(0, 256, (14, 12, 3), np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(path, quality=90)
    for number, path in enumerate(paths[DIFFERENT:]):
        os.link(paths[number % DIFFERENT], path)
    return names


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    main()
