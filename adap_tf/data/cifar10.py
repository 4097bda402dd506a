"""CIFAR-10 (Krizhevsky, 2009) as TensorFlow Datasets prepares it: 60,000 colour images of 32×32, ten classes."""

from adap_tf.data.prepared import builder_of, in_memory
from adap_tf.data.sources import Parts


def load(data_dir: str | None = None, download: bool = False) -> Parts:
    """The official training and test images, 50,000 and 10,000, `[n, 32, 32, 3]` uint8 in the order of their ids.

    Args:
        data_dir: folder of TensorFlow Datasets; by default TFDS_DATA_DIR, else `~/tensorflow_datasets`.
        download: whether to fetch and prepare the data (163 MB) where they are missing.

    Raises:
        FileNotFoundError: the data are not there; the message says how to get them.
        DataError: they are damaged, or an id is there twice.
    """
    builder = builder_of("cifar10:3.*.*", data_dir, download, "CIFAR-10")
    return {split: in_memory(builder, split, "label") for split in ("train", "test")}
