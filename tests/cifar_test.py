"""CIFAR-10 and CIFAR-100: as written here, and the real CIFAR-10 where `TFDS_DATA_DIR` has it."""

import os

import numpy as np
import pytest
import tensorflow_datasets as tfds

from adap_tf.data import DataError, cifar10, cifar100
from prepared_test import store

DATA = os.environ.get("TFDS_DATA_DIR")
needs_cifar10 = pytest.mark.skipif(
    DATA is None or not os.path.isdir(os.path.join(DATA, "cifar10")), reason="no CIFAR-10 in TFDS_DATA_DIR"
)
IMAGE = tfds.features.Image(shape=(32, 32, 3))
SUPERCLASSES = [*cifar100.PAPER_TASKS, *(f"other_{number}" for number in range(10, 20))]


def picture(number):
    return np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)


def rows(split, numbers, **labels):
    """Examples whose ids are not in the order of the files."""
    return [
        {"id": f"{split}_{k:05d}", "image": picture(k)} | {name: label(k) for name, label in labels.items()}
        for k in numbers
    ]


def tiny(folder, name, train=(2, 0, 3, 1)):
    features = {"id": tfds.features.Text(), "image": IMAGE}
    if name == "cifar10":
        features["label"] = tfds.features.ClassLabel(names=[f"class_{k}" for k in range(10)])
        labels = {"label": lambda k: k + 1}
    else:
        features["label"] = tfds.features.ClassLabel(num_classes=100)
        features["coarse_label"] = tfds.features.ClassLabel(names=SUPERCLASSES)
        labels = {"label": lambda k: 99 - k, "coarse_label": lambda k: 2 * k}
    splits = {"train": rows("train", train, **labels), "test": rows("test", (1, 0), **labels)}
    return store(folder, splits, features, name, version="3.0.2")


def test_cifar10_stands_in_the_order_of_its_ids(tmp_path):
    parts = cifar10.load(tiny(tmp_path, "cifar10"))
    assert list(parts) == ["train", "test"]
    assert parts["train"].tasks == tuple(f"class_{k}" for k in range(10))
    np.testing.assert_array_equal(parts["train"].image, [picture(k) for k in range(4)])
    assert parts["train"].image.dtype == np.uint8
    assert parts["train"].kind.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(parts["train"].label, np.eye(10)[[1, 2, 3, 4]])
    np.testing.assert_array_equal(parts["test"].image, [picture(0), picture(1)])


def test_the_tasks_of_cifar100_are_its_superclasses(tmp_path):
    parts = cifar100.load(tiny(tmp_path, "cifar100"))
    assert list(parts) == ["train", "test"]
    assert parts["train"].tasks == tuple(SUPERCLASSES)
    assert parts["train"].kind.tolist() == [0, 2, 4, 6]
    assert parts["train"].of_tasks(cifar100.PAPER_TASKS).label.shape == (4, 10)
    np.testing.assert_array_equal(parts["train"].image, [picture(k) for k in range(4)])


@pytest.mark.parametrize(("module", "name"), [(cifar10, "cifar10"), (cifar100, "cifar100")])
def test_what_is_wrong_is_said(tmp_path, module, name):
    title = name.replace("cifar", "CIFAR-")
    with pytest.raises(FileNotFoundError, match=rf"^no {title} in {tmp_path}/{name}/3\.0\.2: name the folder that hol"):
        module.load(str(tmp_path))
    folder = tiny(tmp_path, name, (0, 2, 1, 2))
    words = r"the train split has two examples with the id 'train_00002'; delete the folder and prepare it again"
    with pytest.raises(DataError, match=rf"^{tmp_path}/{name}/3\.0\.2: {words}"):
        module.load(folder)
    next(tmp_path.rglob("*-train.tfrecord*")).write_bytes(b"cut")
    with pytest.raises(DataError, match=rf"^{tmp_path}/{name}/3\.0\.2 cannot be read: .*; delete the folder"):
        module.load(folder)


@pytest.mark.slow
@needs_cifar10
def test_the_real_cifar10():
    parts = cifar10.load(DATA)
    assert [part.image.shape for part in parts.values()] == [(50_000, 32, 32, 3), (10_000, 32, 32, 3)]
    assert parts["train"].tasks[:3] == ("airplane", "automobile", "bird")
    for part, count in zip(parts.values(), (5_000, 1_000), strict=True):
        assert (part.label.sum(axis=0) == count).all()
    # The channels' means over the official training images, as published.
    mean = parts["train"].image.mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=1e-4)
