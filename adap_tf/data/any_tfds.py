"""Any data set of labelled images that TensorFlow Datasets (TFDS) has."""

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from adap_tf.data.files import common_form
from adap_tf.data.images import StoredImages, each
from adap_tf.data.pixels import FORMATS, NO_IMAGE, Form, reason, shape_of
from adap_tf.data.prepared import Record, builder_of, encoded, labels, records
from adap_tf.data.problems import DataError, Problems
from adap_tf.data.sources import Parts, Source

SPLITS = ("train", "validation", "test")
FINE = "give a data set of images with classes, or your own as folder, npz, csv or parquet"


class Columns(NamedTuple):
    """What is taken of the examples.

    Attributes:
        image: the feature that is the image.
        labels: the features that are the labels.
        classes: names of the classes if there is one label, whose classes are the tasks; None if labels are tasks.
    """

    image: str
    labels: tuple[str, ...]
    classes: tuple[str, ...] | None


def load(
    name: str,
    data_dir: str | None = None,
    download: bool = False,
    size: tuple[int, int] | None = None,
    problems: Problems | None = None,
) -> Parts:
    """The splits "train", "validation" and "test" of a data set, as far as it has them; uint8 `[n, height, width, C]`.

    The image and the class are those that the data set has for supervised learning; else its one image, and its one
    class or all labels with two values. One class gives a task for each of its values, two-valued labels a task each.

    Args:
        name: as TFDS writes it, `NAME[/CONFIG][:VERSION]`.
        data_dir: folder of TFDS; by default TFDS_DATA_DIR, else `~/tensorflow_datasets`.
        download: whether to fetch and prepare the data where they are missing.
        size: height and width to which the images are resized; if None, what they have, or 64×64 pixels if they differ.
        problems: takes what is wrong with single images.

    Raises:
        FileNotFoundError: the data are not there; the message says how to get them.
        DataError: they cannot be used.
    """
    problems = problems or Problems()
    builder = builder_of(name, data_dir, download)
    columns, splits = _columns(name, builder.info), _splits(name, builder.info)
    keys = {split: np.array(records(builder, split)) for split in splits}
    label = {split: labels(builder, split, columns.labels) for split in splits}
    form = _form(_flat(builder.info.features)[columns.image], size)
    if form is None:
        places, form = _looked_at(keys, columns.image, problems)
        keys, label = ({split: rows[places[split]] for split, rows in each.items()} for each in (keys, label))
    return {split: _part(keys[split], label[split], columns, form, problems) for split in splits}


def _flat(features: Mapping[str, Any], outer: str = "") -> dict[str, Any]:
    """The features in the order of their names, nested ones as `OUTER/INNER`: so the examples call them.

    The order in which a prepared data set gives them is not the same in every process.
    """
    found: dict[str, Any] = {}
    for name, feature in sorted(features.items()):
        nested = isinstance(feature, tfds.features.FeaturesDict)
        found |= _flat(feature, f"{outer}{name}/") if nested else {f"{outer}{name}": feature}
    return found


def _splits(name: str, info: tfds.core.DatasetInfo) -> list[str]:
    """The splits that are used; others, such as "extra" or "unlabeled", are not.

    Raises:
        DataError: there is no "train" among them.
    """
    if "train" not in info.splits:
        raise DataError(f"{name} has the splits {', '.join(info.splits)}; only data sets with train are taken")
    return [split for split in SPLITS if split in info.splits]


def _columns(name: str, info: tfds.core.DatasetInfo) -> Columns:
    """The image and the labels.

    Raises:
        DataError: it is not clear which, or there are none.
    """
    features = _flat(info.features)
    supervised = [key for key in info.supervised_keys or () if isinstance(key, str)]
    images = [key for key, feature in features.items() if _is_image(feature)]
    image = [key for key in images if key in supervised] or images
    if len(image) != 1:
        raise DataError(f"{name} has {len(image) or 'no'} images in each example, and must have one; {FINE}")
    classes = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    only = [key for key in classes if key in supervised] or classes
    if len(only) == 1:
        return Columns(image[0], tuple(only), tuple(features[only[0]].names))
    if not (tasks := [key for key, feature in features.items() if _is_binary(feature)]):
        said = f"the labels {', '.join(classes)}, of which none has two values" if classes else "no label"
        raise DataError(f"{name} has {said}; {FINE}")
    return Columns(image[0], tuple(tasks), None)


def _is_image(feature: Any) -> bool:
    """Whether it is a picture of 8 bits, and not a label for each pixel."""
    picture = isinstance(feature, tfds.features.Image) and not isinstance(feature, tfds.features.LabeledImage)
    return picture and feature.np_dtype == np.uint8


def _is_binary(feature: Any) -> bool:
    """Whether it is a label with two values."""
    if isinstance(feature, tfds.features.ClassLabel):
        return feature.num_classes == 2
    return isinstance(feature, tfds.features.Tensor) and feature.shape == () and feature.np_dtype == np.bool_


def _form(feature: Any, size: tuple[int, int] | None) -> Form | None:
    """What the images become, as far as it is known without a look at them."""
    height, width, channels = feature.shape
    height, width = size or (height, width)
    return None if height is None or width is None else Form(height, width, 1 if channels == 1 else 3)


def _looked_at(keys: Mapping[str, np.ndarray], image: str, problems: Problems) -> tuple[dict[str, np.ndarray], Form]:
    """The places of the images of each split whose first bytes can be read, and what they all become.

    Raises:
        DataError: one cannot be read, and such are not to be left out; or there is none.
    """
    read = encoded(image)

    def glance(key: Record) -> tuple[int, int, int]:
        try:
            with Image.open(io.BytesIO(read(key)), formats=FORMATS) as found:
                return shape_of(found)
        except (ValueError, *NO_IMAGE) as error:
            raise DataError(f"{key} {reason(error)}") from None

    found = {split: each(glance, part, problems) for split, part in keys.items()}
    if not (shapes := [shape for _, part in found.values() for shape in part]):
        raise DataError("there is no image that can be used")
    return {split: places for split, (places, _) in found.items()}, common_form(shapes)


def _part(keys: np.ndarray, label: np.ndarray, columns: Columns, form: Form, problems: Problems) -> Source:
    """A split. Classes below 0 are unknown: so TFDS writes those of test data without labels."""
    images, kept = StoredImages(encoded(columns.image), keys, form).checked(problems)
    label = label[kept]
    if columns.classes is None:
        return Source(images, np.where(label < 0, np.nan, label).astype(np.float32), columns.labels)
    source = Source.of_classes(images, label[:, 0], columns.classes)
    return replace(source, label=np.where(label < 0, np.float32(np.nan), source.label))
