"""What a data set holds, before anything is trained on it: `python train/main.py --describe`."""

from pathlib import Path

import numpy as np

from adap_tf.data import Examples, Images
from train import figures
from train.config import Config
from train.run_folder import RunFolder
from train.sources import Splits, load_splits

SHOWN = 8  # examples of each kind in the figure
LISTED = 3  # examples that were left out, in the note about them


def describe(config: Config, folder: RunFolder) -> None:
    """Prints what each split holds, and draws a few examples of it beside the folder where the run would go.

    Raises:
        UsageError: the data cannot be used.
    """
    splits = load_splits(config, config.seed, config.train_examples, config.validation_examples)
    report_skipped(splits)
    print(f"{config.data}: {kind_of(splits.train)}")
    width = max(len("positive of"), *map(len, splits.tasks)) + 2
    print(f"{'split':<12}{'examples':>10}  {'positive of':<{width}}{'positives':>10}{'share':>9}{'unknown':>9}")
    for name, part in splits.parts.items():
        for task, positives, known in zip(splits.tasks, part.positives, part.known, strict=True):
            counts = f"{positives:>10}{positives / known:>9.2%}{len(part) - known:>9}"
            print(f"{name:<12}{len(part):>10}  {task:<{width}}{counts}")
    if splits.features is not None:
        report_features(splits)
    path = folder.path.with_name(f"{folder.path.name}-data.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(splits, path)
    print(f"{'figure':<12}{path}")


def kind_of(examples: Examples) -> str:
    """The examples' shape and where they are, in words."""
    image = examples.image
    size = "×".join(map(str, image.shape[1:]))
    what = f"images of {size}" if len(image.shape) == 4 else f"{size} features"
    return f"{what}, {'read from disk when they are asked for' if isinstance(image, Images) else 'in memory'}"


def report_skipped(splits: Splits) -> None:
    """How many examples were left out, and why the first of them."""
    if splits.skipped:
        print(f"note: {len(splits.skipped)} examples were left out:")
        for problem in splits.skipped[:LISTED]:
            print(f"  {problem}")
        if len(splits.skipped) > LISTED:
            print("  …")


def report_features(splits: Splits) -> None:
    """A table's columns."""
    features = splits.features
    assert features is not None
    width = max(map(len, features.names)) + 2
    print(f"{'feature':<{width}}{'least':>12}{'largest':>12}  an adversary")
    for name, low, high, free in zip(features.names, features.low, features.high, features.changeable, strict=True):
        print(f"{name:<{width}}{low:>12.6g}{high:>12.6g}  {'can change it' if free else 'cannot'}")


def draw(splits: Splits, path: Path) -> None:
    """A few positives of each of the first tasks, and examples that are a positive of none."""
    train, positive = splits.train, splits.train.label == 1
    rows = {task: positive[:, number] for number, task in enumerate(splits.tasks[: figures.ROWS - 1])}
    rows["none of them" if len(splits.tasks) > 1 else f"not {splits.tasks[0]}"] = ~positive.any(axis=1)
    places = {name: np.flatnonzero(which) for name, which in rows.items() if which.any()}
    figures.examples({name: train.image[spread(found)] for name, found in places.items()}, path)


def spread(places: np.ndarray) -> np.ndarray:
    """A few of the places, at even distances."""
    return places[np.linspace(0, len(places) - 1, min(SHOWN, len(places))).astype(int)]
