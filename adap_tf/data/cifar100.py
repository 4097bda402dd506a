"""CIFAR-100 (Krizhevsky, 2009) as TensorFlow Datasets prepares it: 60,000 colour images of 32×32, 20 superclasses."""

from adap_tf.data.prepared import builder_of, in_memory
from adap_tf.data.sources import Parts

PAPER_TASKS = (
    "aquatic_mammals",
    "fish",
    "flowers",
    "food_containers",
    "fruit_and_vegetables",
    "household_electrical_devices",
    "household_furniture",
    "insects",
    "large_carnivores",
    "large_man-made_outdoor_things",
)
"""The first ten superclasses, each of which is a task of the paper's (section 5.1)."""


def load(data_dir: str | None = None, download: bool = False) -> Parts:
    """The official training and test images, 50,000 and 10,000, `[n, 32, 32, 3]` uint8 in the order of their ids.

    The tasks are the superclasses of five classes each, as in the paper (section 5.1).

    Args:
        data_dir: folder of TensorFlow Datasets; by default TFDS_DATA_DIR, else `~/tensorflow_datasets`.
        download: whether to fetch and prepare the data (161 MB) where they are missing.

    Raises:
        FileNotFoundError: the data are not there; the message says how to get them.
        DataError: they are damaged, or an id is there twice.
    """
    builder = builder_of("cifar100:3.*.*", data_dir, download, "CIFAR-100")
    return {split: in_memory(builder, split, "coarse_label") for split in ("train", "test")}
