"""The data sets of the application; on real images where `TFDS_DATA_DIR` has them."""

import dataclasses
import os

import numpy as np
import pytest

from train.errors import UsageError
from train.presets import PRESETS
from train.sources import DataOptions, load_splits

DATA = os.environ.get("TFDS_DATA_DIR")
needs_cifar10 = pytest.mark.skipif(
    DATA is None or not os.path.isdir(os.path.join(DATA, "cifar10")), reason="no CIFAR-10 in TFDS_DATA_DIR"
)


def load(data, positive, seed, data_dir=None, *cut, **options):
    return load_splits(DataOptions(data=data, positive=positive, data_dir=data_dir, **options), seed, *cut)


def table(splits):
    return [(len(part), sum(part.positives)) for part in splits.parts.values()]


def hashes(examples):
    return {image.tobytes() for image in examples.image}


def test_digits_are_split_60_20_20():
    assert table(load("digits", "8", 0)) == [(1078, 104), (360, 35), (359, 35)]


def test_fewer_examples_keep_the_shares_and_are_among_the_rest():
    whole = load("digits", "8", 3)
    cut = load("digits", "8", 3, None, 500, 90)
    assert [len(part) for part in cut.parts.values()] == [500, 90, 359]
    assert abs(sum(cut.train.positives) - 500 * 104 / 1078) < 1
    assert hashes(cut.train) < hashes(whole.train)
    assert hashes(cut.test) == hashes(whole.test)


def test_too_many_examples_are_refused():
    with pytest.raises(UsageError, match=r"^--train-examples: 1079 asked for, and the split has 1078"):
        load("digits", "8", 0, None, 1079)
    with pytest.raises(UsageError, match=r"^--validation-examples: 400 asked for, and the split has 360"):
        load("digits", "8", 0, None, None, 400)


def test_a_cut_that_leaves_no_positive_is_refused():
    with pytest.raises(UsageError, match=r"^--positive: class '8' has no example in the validation split"):
        load("digits", "8", 0, None, None, 1)


def test_missing_data_are_named_with_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r"^--data-dir: no CIFAR-10 in .*: name the folder that holds it, or add"):
        load("cifar10", "cat", 0, str(tmp_path))
    assert not list(tmp_path.iterdir())


@needs_cifar10
def test_cifar10_is_split_as_in_the_papers_table_6():
    splits = load("cifar10", "automobile", 0, DATA)
    assert table(splits) == [(40_000, 4_000), (10_000, 1_000), (10_000, 1_000)]
    assert splits.train.image.shape[1:] == (32, 32, 3)
    # The channels' means over the official training images, as published.
    mean = (4 * splits.train.image.mean(axis=(0, 1, 2)) + splits.validation.image.mean(axis=(0, 1, 2))) / 5 / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=1e-4)
    other = load("cifar10", "automobile", 1, DATA)
    assert table(other) == table(splits)
    assert (other.test.image == splits.test.image).all()
    assert (other.train.image != splits.train.image).any()


@needs_cifar10
def test_the_mini_preset_draws_the_same_images_whatever_the_seed():
    config = PRESETS["cifar10-mini"]
    asked = dataclasses.replace(config, data_dir=DATA)
    splits = load_splits(asked, 5, config.train_examples, config.validation_examples)
    assert table(splits) == [(20_000, 2_000), (5_000, 500), (10_000, 1_000)]
    assert not hashes(splits.train) & hashes(splits.validation)


@needs_cifar10
def test_an_unknown_class_of_cifar10_is_named():
    with pytest.raises(UsageError, match=r"^--positive: unknown class 'car'; classes: airplane, automobile, bird"):
        load("cifar10", "car", 0, DATA)
