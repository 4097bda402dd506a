"""CelebA (Liu et al., 2015): 202,599 photographs of faces, 218×178, each with 40 attributes that are there or not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from adap_tf.data.archives import unpacked
from adap_tf.data.files import images_below, load_images
from adap_tf.data.images import StoredImages
from adap_tf.data.pixels import Form
from adap_tf.data.prepared import builder_of, encoded, labels, records
from adap_tf.data.problems import DataError, Problems
from adap_tf.data.sources import Parts, Source

PAPER_TASKS = ("Gray_Hair", "Mustache")
FORM = Form(218, 178, 3, exact=True)
SPLITS = ("train", "validation", "test")
NUMBERS = ("0", "1", "2")  # what the official partition calls them
IMAGES, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
FOLDERS = ("", "Img", "Anno", "Eval")  # where the official download keeps them
VALUES = {"1": 1.0, "-1": 0.0}
PREFIX = "attributes/"  # of their names in TensorFlow Datasets

Rows = dict[str, np.ndarray | None]
"""The attributes `[T]` of each image, 1 or 0; None where they cannot be used."""


def load(data_dir: str | None = None, download: bool = False, problems: Problems | None = None) -> Parts:
    """The official training, validation and test images (162,770, 19,867 and 19,962), `[n, 218, 178, 3]` uint8.

    Every attribute is a task. The images stay on disk.

    Args:
        data_dir: folder of the official files (img_align_celeba/ or its zip, list_attr_celeba.txt,
            list_eval_partition.txt), or of TensorFlow Datasets; by default TFDS_DATA_DIR, else
            `~/tensorflow_datasets`.
        download: whether to fetch and prepare the data (1.4 GB) where they are missing.
        problems: takes what is wrong with single images.

    Raises:
        FileNotFoundError: the data are not there; the message says how to get them.
        DataError: they cannot be used.
    """
    problems = problems or Problems()
    if data_dir is not None and _find(Path(data_dir), ATTRIBUTES, IMAGES, ARCHIVE):
        return _official(Path(data_dir), problems)
    builder = builder_of("celeb_a", data_dir, download, "CelebA")
    return {split: _prepared(builder, split, problems) for split in SPLITS}


def _prepared(builder: tfds.core.DatasetBuilder, split: str, problems: Problems) -> Source:
    """A split that TensorFlow Datasets prepared."""
    tasks = tuple(sorted(builder.info.features["attributes"]))  # the official order, which is theirs
    label = labels(builder, split, [PREFIX + task for task in tasks])
    images, kept = StoredImages(encoded("image"), records(builder, split), FORM).checked(problems)
    return Source(images, label[kept].astype(np.float32), tasks)


def _find(folder: Path, *names: str) -> Path | None:
    """The first file or folder of those names, where the official download keeps it or all in one place."""
    places = (folder / place / name for name in names for place in FOLDERS)
    return next((path for path in places if path.exists()), None)


def _found(folder: Path, *names: str) -> Path:
    """The same.

    Raises:
        DataError: there is none.
    """
    if (path := _find(folder, *names)) is None:
        raise DataError(f"no {' or '.join(names)} in {folder}; put the official one there")
    return path


def _official(folder: Path, problems: Problems) -> Parts:
    """The official files.

    Raises:
        DataError: one is missing or bad.
    """
    attributes, partition = _found(folder, ATTRIBUTES), _found(folder, PARTITION)
    images = _image_folder(_found(folder, IMAGES, ARCHIVE))
    tasks, rows = _attributes(attributes, problems)
    rows = _there(rows, attributes, images, problems)
    names = _by_part(partition, rows, problems)
    return {split: _part(split, part, rows, tasks, images, problems) for split, part in zip(SPLITS, names, strict=True)}


def _image_folder(path: Path) -> Path:
    """The folder of the images, which may lie in one of the same name: so the archive has it, and copies of it do."""
    folder = path if path.is_dir() else unpacked(path)
    return folder / IMAGES if (folder / IMAGES).is_dir() else folder


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The place `file:line` and the text of each line that has any.

    Raises:
        DataError: the file cannot be read as text.
    """
    try:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip():
                yield f"{path}:{number}", line
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; get it again") from None


def _attributes(path: Path, problems: Problems) -> tuple[tuple[str, ...], Rows]:
    """The names of the attributes, and each image's row of them.

    Raises:
        DataError: the head is wrong, or the file cut off.
    """
    lines = list(_lines(path))
    count, tasks = (line.split() for _, line in (*lines[:2], ("", ""), ("", ""))[:2])
    if len(count) != 1 or not count[0].isdecimal() or not tasks:
        raise DataError(f"{path} must begin with the number of images and a line of attributes' names; get it again")
    if int(count[0]) != len(lines) - 2:
        said = f"says that it has {count[0]} images, and has {len(lines) - 2}"
        raise DataError(f"{path} {said}; get it again, or put {len(lines) - 2} in its first line")
    rows: Rows = {}
    for place, line in lines[2:]:
        name, *values = line.split()
        wrong = "is there a second time" if name in rows else _wrong(values, len(tasks))
        if wrong:
            problems.note(f"{place}: {name} {wrong}")
        rows.setdefault(name, None if wrong else np.array([VALUES[value] for value in values], np.float32))
    return tuple(tasks), rows


def _wrong(values: list[str], count: int) -> str | None:
    """What is wrong with an image's attributes, if something is."""
    if len(values) != count:
        return f"has {len(values)} values, and must have {count}"
    bad = next((value for value in values if value not in VALUES), None)
    return None if bad is None else f"has the value {bad!r}, and must have 1 or -1"


def _there(rows: Rows, attributes: Path, images: Path, problems: Problems) -> Rows:
    """The rows of images that are there. Images without a row are noted, as rows without an image are."""
    there = {path.name for path in images_below(images)}
    for name in sorted(there - rows.keys()):
        problems.note(f"{images / name} has no line in {attributes}")
    for name in rows:
        if name not in there:
            problems.note(f"{attributes} names {name}, which is not in {images}")
    return {name: row for name, row in rows.items() if name in there}


def _by_part(path: Path, rows: Rows, problems: Problems) -> list[list[str]]:
    """The names of each part's images that can be used, in the order of the file of attributes."""
    number: dict[str, str] = {}
    for place, line in _lines(path):
        name, *values = line.split()
        fine = name not in number and len(values) == 1 and values[0] in NUMBERS
        if not fine:
            problems.note(f"{place}: {line.strip()!r} must be a new image and 0, 1 or 2")
        number.setdefault(name, values[0] if fine else "")
    for name in rows:
        if name not in number:
            problems.note(f"{path} has no line for {name}")
    return [[name for name, row in rows.items() if row is not None and number.get(name) == part] for part in NUMBERS]


def _part(split: str, names: list[str], rows: Rows, tasks: tuple[str, ...], folder: Path, problems: Problems) -> Source:
    """A part of the official data.

    Raises:
        DataError: it has no image that can be used.
    """
    if not names:
        raise DataError(f"{PARTITION} has no usable image of the {split} split; get it and {ATTRIBUTES} again")
    images, kept = load_images([folder / name for name in names], FORM, problems)
    return Source(images, np.array([rows[names[place]] for place in kept]), tasks)
