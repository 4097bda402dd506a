"""CIFAR-10 (Krizhevsky, 2009) as TensorFlow Datasets prepares it: 60,000 colour images of 32×32, ten classes."""

import numpy as np
import tensorflow_datasets as tfds

from adap_tf.data.sources import Source


def load(data_dir: str | None = None, download: bool = False) -> tuple[Source, Source]:
    """The official training and test images, 50,000 and 10,000, `[n, 32, 32, 3]` uint8 in the order of their ids.

    Args:
        data_dir: folder of TensorFlow Datasets; by default TFDS_DATA_DIR, else `~/tensorflow_datasets`.
        download: whether to fetch and prepare the data (163 MB) where they are missing.

    Raises:
        FileNotFoundError: the data are not there; the message says how to get them.
    """
    builder = tfds.builder("cifar10:3.*.*", data_dir=data_dir)
    if download:
        builder.download_and_prepare()
    if not builder.is_prepared():
        raise FileNotFoundError(f"no CIFAR-10 in {builder.data_dir}: name the folder that holds it, or add --download")
    classes = tuple(builder.info.features["label"].names)
    train, test = (_sorted(builder, split, classes) for split in ("train", "test"))
    return train, test


def _sorted(builder: tfds.core.DatasetBuilder, split: str, classes: tuple[str, ...]) -> Source:
    """A split in an order that no reader of files can change."""
    found = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
    order = np.argsort(found["id"])
    return Source(found["image"][order], found["label"][order], classes)
