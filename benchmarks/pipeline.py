"""What the input pipeline costs: `python -m benchmarks.pipeline --images 200000`."""

import argparse
import json
import os
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

DIFFERENT, HEIGHT, WIDTH = 2000, 218, 178
WARM_UP = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline",
        description="Memory and speed of batches from a tree of JPEG files in CelebA's official layout, which it makes "
        "(2,000 different ones, the others links to them); or, with --data-dir, the share of its time that a training "
        "on CIFAR-10 waits for input.",
    )
    parser.add_argument("--images", type=int, default=20_000, help="JPEG files (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="batches, or steps of training (%(default)s)")
    parser.add_argument("--augmentation", choices=list(AUGMENTATIONS), help="(affine_flip; of CIFAR-10 crop_flip)")
    parser.add_argument("--data-dir", metavar="DIR", help="CIFAR-10 of TensorFlow Datasets, to train on")
    parser.add_argument("--method", default="adap_lpn", help="of the training (%(default)s)")
    parser.add_argument("--backbone", default="resnet18", help="of the training (%(default)s)")
    parser.add_argument("--json", action="store_true", help="the last line is JSON")
    given = parser.parse_args(arguments)
    found = from_files(given) if given.data_dir is None else while_training(given)
    for name, value in found.items():
        print(f"{name:<24}{value:.4g}")
    if given.json:
        print(json.dumps(found))


def from_files(given: argparse.Namespace) -> dict[str, float]:
    """Seconds until the files are known to be whole, images a second from them, and the memory that all this adds."""
    with tempfile.TemporaryDirectory() as folder:
        make_celeba(Path(folder), given.images)
        next(batches(np.zeros((256, 8, 8, 3), np.uint8), given, "none"))  # what TensorFlow takes for itself
        before = peak_memory()
        started = time.perf_counter()
        train = celeba.load(folder)["train"].of_tasks(["Mustache"]).examples
        looked = time.perf_counter()
        source = batches(train.image, given, given.augmentation or "affine_flip", train.label)
        for _ in range(WARM_UP):
            next(source)
        began = time.perf_counter()
        for _ in range(given.steps):
            next(source)
        seconds = time.perf_counter() - began
        return {
            "look_seconds": looked - started,
            "images_per_second": given.steps * given.batch_size / seconds,
            "added_mebibytes": (peak_memory() - before) / 2**20,
        }


def while_training(given: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step with its input, and the share of them that the step waits for it."""
    train = cifar10.load(given.data_dir)["train"].of_tasks(["automobile"]).examples
    network = find_backbone(given.backbone)((32, 32, 3))
    model = AdversarialModel(network, given.method, train.positives)
    model.compile(keras.optimizers.Adam(1e-3))
    step: Callable[[Any], Any] = tf.function(model.train_step)
    source = batches(train.image, given, given.augmentation or "crop_flip", train.label)
    for _ in range(WARM_UP):
        float(step(next(source))["loss"])
    waited, began = 0.0, time.perf_counter()
    for _ in range(given.steps):
        asked = time.perf_counter()
        batch = next(source)
        waited += time.perf_counter() - asked
        float(step(batch)["loss"])
    seconds = time.perf_counter() - began
    return {"step_seconds": seconds / given.steps, "waiting_share": waited / seconds}


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
