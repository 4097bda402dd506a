"""The user's own images: a folder with a sub-folder per class, or with a CSV file of paths and labels."""

import csv
from collections.abc import Container, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from adap_tf.data.archives import unpacked
from adap_tf.data.files import SUFFIXES, images_below, load_images
from adap_tf.data.problems import DataError, Problems
from adap_tf.data.sources import Parts, Source, with_both_values

PARTS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
NO_CLASS = "__MACOSX"  # what macOS adds to its archives
BINARY = {"0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0, "": np.nan}
SIGNS = ("-1", "-1.0")
VALUES = "write 0 for a negative, not -1, 1 for a positive and nothing for unknown"


class Row(NamedTuple):
    """A row of a CSV file: the number of its line, the path of an image, and the text of its labels."""

    line: int
    name: str
    labels: list[str]


def load(
    path: str | Path,
    labels: str | Path | None = None,
    size: tuple[int, int] | None = None,
    problems: Problems | None = None,
) -> Parts:
    """The images in a folder or an archive.

    Without `labels` the folder has a sub-folder per class, which holds its images or further folders of such; or it
    has the sub-folders train, test and validation (or val, valid), each with the sub-folders of the same classes.

    Args:
        path: of the folder, or of an archive, which is unpacked beside itself.
        labels: CSV file with a header, absolute or relative to the folder. Its first column is the path of an image
            relative to the folder. The others are tasks, of 0, 1 and nothing (unknown), or one is the name of a class.
        size: height and width that images are resized to; if None, they stay as they are, or become
            64×64 pixels if they differ.
        problems: takes images that cannot be read, rows without an image or with another label, images without a row.

    Raises:
        DataError: the folder or its labels will not do; the message names folder, file or line.
    """
    folder, problems = _root(Path(path)), problems or Problems()
    if labels is not None:
        parts = {"train": _labelled(folder, folder / labels, size, problems)}
    elif split := _split(folder):
        _check_no_images(folder)
        parts = _of_classes(split, size, problems)
    else:
        parts = _of_classes({"train": folder}, size, problems)
    return with_both_values(folder, parts)


def _root(path: Path) -> Path:
    """The folder, or what an archive has in the place of one: most hold a folder which holds all else."""
    folder = unpacked(path)
    if folder != path:
        inside = [each for each in folder.iterdir() if not _is_hidden(each)]
        return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
    return folder


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == NO_CLASS


def _folders(folder: Path) -> dict[str, Path]:
    """The sub-folders by their names, sorted."""
    return {each.name: each for each in sorted(folder.iterdir()) if each.is_dir() and not _is_hidden(each)}


def _split(folder: Path) -> dict[str, Path]:
    """The folders of the parts, empty if the sub-folders are classes.

    A class may be called train, so that alone tells nothing.
    """
    found = _folders(folder)
    parts = [name for name in found if name.lower() in PARTS]
    if len(parts) < len(found) and ("train" not in map(str.lower, parts) or len(parts) < 2):
        return {}
    for name in found:
        if name not in parts:
            raise DataError(f"{folder} is split, and holds {name} besides {', '.join(parts)}; move it elsewhere")
    split = {PARTS[name.lower()]: found[name] for name in parts}
    if len(split) < len(parts) or (split and "train" not in split):
        raise DataError(f"{folder} holds {', '.join(parts)}; it needs one train folder, and at most one of each other")
    return split


def _of_classes(folders: Mapping[str, Path], size: tuple[int, int] | None, problems: Problems) -> dict[str, Source]:
    """Parts with a sub-folder per class, all images of one form."""
    found = {part: _classes(folder) for part, folder in folders.items()}
    classes = list(found["train"])
    for part, others in found.items():
        for name in sorted(set(classes) ^ set(others)):
            there, absent = ("train", part) if name in classes else (part, "train")
            raise DataError(f"{folders[absent]} has no class {name!r}, and {folders[there]} has; give all the same")
    rows = [
        (path, part, number)
        for part, others in found.items()
        for number, name in enumerate(classes)
        for path in others[name]
    ]
    paths, part_of, target = zip(*rows, strict=True)
    image, kept = load_images(paths, None, problems, size)
    whole = Source.of_classes(image, np.array(target)[kept], classes)
    return {part: _part(whole, folder, np.array(part_of)[kept] == part) for part, folder in folders.items()}


def _part(whole: Source, folder: Path, inside: np.ndarray) -> Source:
    """The examples of a part."""
    if not inside.any():
        raise DataError(f"{folder} has no image that can be used")
    return whole.take(np.flatnonzero(inside))


def _check_no_images(folder: Path) -> None:
    """Makes sure that no image stands beside the sub-folders."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in SUFFIXES and not _is_hidden(path):
            raise DataError(f"{folder} holds the image {path.name}; put it in its class's folder, or give --labels")


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, in the order of the classes' names."""
    _check_no_images(folder)
    found = {name: list(images_below(inside)) for name, inside in _folders(folder).items()}
    for name, images in found.items():
        if not images and any(found.values()):
            raise DataError(f"{folder / name} holds no images; add some, or remove it if it is no class")
    if len(found) < 2 or not any(found.values()):
        what = f"the class {next(iter(found))!r} alone" if any(found.values()) else "no images"
        raise DataError(f"{folder} has {what}; give a sub-folder of images for each of two classes or more")
    return found


def _labelled(folder: Path, file: Path, size: tuple[int, int] | None, problems: Problems) -> Source:
    """The images that a CSV file names."""
    tasks, rows = _read(file)
    if _is_image(folder, tasks[0]):
        raise DataError(f"{file}: line 1 names the image {tasks[0]}; put a header above it, such as path,label")
    found = _usable(folder, file, tasks[1:], rows, problems)
    if not found:
        raise DataError(f"{file} has no row that can be used")
    image, kept = load_images([folder / name for name in found], None, problems, size)
    labels = np.array(list(found.values()))[kept]
    if _are_classes(tasks[1:], rows):
        classes, target = np.unique(labels[:, 0], return_inverse=True)
        return Source.of_classes(image, target, tuple(classes.tolist()))
    return Source(image, np.vectorize(BINARY.get, otypes=[np.float32])(labels), tuple(tasks[1:]))


def _read(file: Path) -> tuple[list[str], list[Row]]:
    """The header and the rows of a CSV file."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            rows = [Row(reader.line_num, *_cells(each)) for each in reader if any(map(str.strip, each))]
    except FileNotFoundError:
        raise DataError(f"{file} is missing; --labels names a CSV file, by its path from the folder on") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file} cannot be read: {error}; --labels names a CSV file in UTF-8") from None
    header = [rows[0].name, *rows[0].labels] if rows else []
    if len(header) < 2 or len(set(header)) < len(header) or not all(header[1:]):
        raise DataError(f"{file} needs a header of two columns or more, such as path,label, and no name twice")
    return header, rows[1:]


def _cells(row: Sequence[str]) -> tuple[str, list[str]]:
    """The path in a row, without a leading `./` and the like, and its labels."""
    name, *labels = map(str.strip, row)
    return str(PurePosixPath(name)), labels


def _are_classes(tasks: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether there is one column, with other values than those that labels of tasks have, or are taken to have."""
    return len(tasks) == 1 and any(label not in {*BINARY, *SIGNS} for row in rows for label in row.labels[:1])


def _usable(
    folder: Path, file: Path, tasks: Sequence[str], rows: Sequence[Row], problems: Problems
) -> dict[str, list[str]]:
    """The labels of each image that can be used."""
    found: dict[str, list[str]] = {}
    classes = _are_classes(tasks, rows)
    for row in rows:
        fault = _row_fault(folder, row, found) or _label_fault(tasks, row.labels, classes)
        if fault:
            problems.note(f"{file}: line {row.line}: {fault}")
        else:
            found[row.name] = row.labels
    named = {row.name for row in rows}
    for path in images_below(folder):
        if path.relative_to(folder).as_posix() not in named:
            problems.note(f"{path} has no row in {file}")
    return found


def _row_fault(folder: Path, row: Row, earlier: Container[str]) -> str | None:
    """What is wrong with the path in a row."""
    path = PurePosixPath(row.name)
    if path.is_absolute() or ".." in path.parts:
        return f"{row.name} leads out of {folder}"
    if row.name in earlier:
        return f"{row.name} has a row above"
    return None if _is_image(folder, row.name) else f"{row.name} is missing in {folder}"


def _is_image(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _label_fault(tasks: Sequence[str], labels: Sequence[str], classes: bool) -> str | None:
    """What is wrong with the labels in a row."""
    if len(labels) != len(tasks):
        return f"there are {len(labels)} labels for the {len(tasks)} of the header"
    if classes:
        return None if labels[0] else f"{tasks[0]} is empty"
    bad = next(((task, label) for task, label in zip(tasks, labels, strict=True) if label not in BINARY), None)
    return bad and f"{bad[0]} is {bad[1]!r}; {VALUES}"
