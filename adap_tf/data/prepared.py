"""What TensorFlow Datasets (TFDS) has prepared: examples in TFRecord files, which are read where they stand."""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tqdm import tqdm

from adap_tf.data.images import AT_ONCE
from adap_tf.data.pixels import reason
from adap_tf.data.problems import DataError
from adap_tf.data.sources import Source

HEADER = struct.Struct("<QI")  # before an example: its length, and the checksum of that
CHECKSUM = 4  # bytes after it
AGAIN = "delete the folder and prepare it again with --download"
ERRORS = (
    AssertionError,
    ImportError,
    OSError,
    ValueError,
    tfds.download.DownloadError,
    tfds.download.download_manager.NonMatchingChecksumError,
)  # what TFDS raises for names that it does not know, and downloads that fail


def builder_of(name: str, data_dir: str | None, download: bool, title: str | None = None) -> tfds.core.DatasetBuilder:
    """A data set that is prepared.

    Args:
        name: as TFDS writes it, `NAME[/CONFIG][:VERSION]`.
        data_dir: folder of TFDS; by default TFDS_DATA_DIR, else `~/tensorflow_datasets`.
        download: whether to fetch and prepare the data where they are missing.
        title: what to call it in an error; the name by default.

    Raises:
        FileNotFoundError: the data are not there; the message says how to get them.
        DataError: TFDS knows no such data set, or cannot fetch it.
    """
    with _said(f"TensorFlow Datasets cannot give {name!r}", "look the name up in its catalog"):
        builder = tfds.builder(name, data_dir=data_dir)
    if download:
        with _said(f"{title or name} cannot be prepared", "see to that and start again"):
            builder.download_and_prepare()
    if not builder.is_prepared():
        what = title or name
        raise FileNotFoundError(f"no {what} in {builder.data_dir}: name the folder that holds it, or add --download")
    return builder


@contextmanager
def _said(what: str, remedy: str) -> Iterator[None]:
    """An error of TFDS in one line, of the many that it writes."""
    try:
        yield
    except ERRORS as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(f"{what}: {first}; {remedy}") from None


@contextmanager
def _readable(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """TensorFlow's error about a damaged file, in one line that names the folder."""
    try:
        yield
    except tf.errors.OpError as error:
        what = error.message.split("}} ")[-1].split(" [Op:")[0].splitlines()[0]
        raise DataError(f"{builder.data_dir} cannot be read: {what}; {AGAIN}") from None


@dataclass(frozen=True, slots=True)
class Record:
    """Where an example stands; the text is what errors call it.

    Attributes:
        path: of the file.
        place: number of the example in it, from 0.
        offset: of its first byte.
        length: in bytes.
    """

    path: str
    place: int
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.path}:{self.place}"


def records(builder: tfds.core.DatasetBuilder, split: str) -> list[Record]:
    """The examples of a split, in the order of its files. Only what stands between them is read.

    Raises:
        DataError: the files are not TFRecords, one is missing or cut off, or there are too few examples.
    """
    info = builder.info.splits[split]
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        kind = builder.info.file_format.value
        raise DataError(f"{builder.data_dir} holds files of the kind {kind}, not tfrecord; prepare it as tfrecord")
    found = [record for path in info.filepaths for record in _scan(os.fspath(path))]
    if len(found) != info.num_examples:
        said = f"{info.num_examples} examples in its dataset_info.json, and {len(found)} in its files"
        raise DataError(f"{builder.data_dir}: the {split} split has {said}; {AGAIN}")
    return found


def _scan(path: str) -> Iterator[Record]:
    """The examples of a file.

    Raises:
        DataError: it is missing, cut off or no TFRecord file.
    """
    place = offset = 0
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            while offset < size:
                file.seek(offset)
                header = file.read(HEADER.size)
                length = HEADER.unpack(header)[0] if len(header) == HEADER.size else size
                record = Record(path, place, offset + HEADER.size, length)
                place, offset = place + 1, record.offset + length + CHECKSUM
                if offset > size:
                    raise DataError(f"{record} is cut off; {AGAIN}")
                yield record
    except OSError as error:
        raise DataError(f"{path} {reason(error)}; {AGAIN}") from None


def labels(builder: tfds.core.DatasetBuilder, split: str, features: Sequence[str]) -> np.ndarray:
    """The whole numbers in features of a split's examples, int64 `[n, L]`, in the order of `records`.

    One pass over the files, in which TensorFlow checks their sums; the images are not decoded.

    Args:
        builder: of prepared data.
        split: its name.
        features: `L` names; of nested ones `OUTER/INNER`.

    Raises:
        DataError: a file is damaged, or an example lacks a feature.
    """
    wanted = {name: tf.io.FixedLenFeature((), tf.int64) for name in features}
    paths = [os.fspath(path) for path in builder.info.splits[split].filepaths]
    batches = tf.data.TFRecordDataset(paths).batch(AT_ONCE).map(lambda batch: tf.io.parse_example(batch, wanted))
    found = [np.empty((0, len(features)), np.int64)]
    with _readable(builder):
        for rows in tqdm(batches.as_numpy_iterator(), "reading labels", leave=False, delay=1, disable=None):
            found.append(np.stack([rows[name] for name in features], axis=1))
    return np.concatenate(found)


def encoded(feature: str) -> Callable[[Record], bytes]:
    """A function that gives the encoded image of an example, in any thread.

    Args:
        feature: name of the image.
    """

    def read(record: Record) -> bytes:
        with open(record.path, "rb") as file:
            file.seek(record.offset)
            data = file.read(record.length)
        try:
            return tf.train.Example.FromString(data).features.feature[feature].bytes_list.value[0]
        except (DecodeError, IndexError):
            raise ValueError(f"holds no image {feature!r}; {AGAIN}") from None

    return read


def in_memory(builder: tfds.core.DatasetBuilder, split: str, label: str) -> Source:
    """The images and classes of a split, in the order of the examples' ids, which no reader of files can change.

    Args:
        builder: of prepared data with the features `id` and `image`.
        split: its name.
        label: the feature that tells the class.

    Raises:
        DataError: an id is there twice, or a file is damaged.
    """
    with _readable(builder):
        found = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
    ids, order, count = np.unique(found["id"], return_index=True, return_counts=True)
    if len(ids) < len(found["id"]):
        twice = ids[np.argmax(count > 1)].decode()
        raise DataError(f"{builder.data_dir}: the {split} split has two examples with the id {twice!r}; {AGAIN}")
    return Source.of_classes(found["image"][order], found[label][order], builder.info.features[label].names)
