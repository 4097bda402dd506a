"""What prediction adds to the network's own time: `python -m benchmarks.predict`."""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from adap_tf import export_saved_model
from adap_tf.backbones import find_backbone
from benchmarks.timing import add_repeats, report, timed
from train.inputs import Told, batches_of
from train.listing import Csv, Layout
from train.predict import scored
from train.served import OUTPUTS, SERVING, Served


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.predict",
        description="Times train/predict.py from an npz file to lines of csv, without its start, beside bare calls of "
        "the same SavedModel on the same random images in memory, in turn, with the ratio pair by pair.",
    )
    parser.add_argument("--backbone", default="resnet18_cifar", help="(%(default)s)")
    parser.add_argument("--images", type=int, default=512, help="of 32×32 pixels, in colours (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=256, help="(%(default)s)")
    add_repeats(parser, 10)
    given = parser.parse_args(arguments)
    keras.utils.set_random_seed(0)
    image = np.random.default_rng(0).integers(0, 256, (given.images, 32, 32, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        export_saved_model(find_backbone(given.backbone)(image.shape[1:]), folder)
        loaded = tf.saved_model.load(folder)
        np.savez(Path(folder, "images.npz"), image=image)
        runs = [prediction(loaded, Path(folder, "images.npz"), given.batch_size), bare(loaded, image, given.batch_size)]
        seconds = timed(runs, given.repeats, warm_up=1)
    report(seconds, given.json, ("predict", "bare call"))


def prediction(loaded: Any, path: Path, size: int) -> Callable[[], None]:
    """The command's own way from a file to lines of csv, which nobody keeps."""
    served, problems = Served(loaded, {}), Told()
    layout = Layout(served.tasks, [], with_ids=False)

    def run() -> None:
        with open(os.devnull, "w") as stream:
            listing = Csv(layout.names, stream)
            for batch, *scores in scored(served, batches_of([path], served, size, problems), problems):
                listing.add(layout.rows(batch, *scores))

    return run


def bare(loaded: Any, image: np.ndarray, size: int) -> Callable[[], None]:
    """The signature alone, which gives scores and probabilities too."""
    serve = loaded.signatures[SERVING]

    def run() -> None:
        for first in range(0, len(image), size):
            found = serve(image=tf.constant(image[first : first + size]))
            for name in OUTPUTS:
                found[name].numpy()

    return run


if __name__ == "__main__":
    main()
