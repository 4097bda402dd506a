"""BDD100K (Yu et al., 2020): pictures from a driving car, 1280×720, each with its weather and scene.

Of 80,000 official training and validation pictures, 79,863 have them. The official test pictures have none in public.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adap_tf.data.files import load_images
from adap_tf.data.images import each
from adap_tf.data.pixels import Form, reason
from adap_tf.data.problems import DataError, Problems
from adap_tf.data.sources import Parts, Source

PAPER_TASKS = ("tunnel", "residential", "rainy", "cloudy")
SIZE = (224, 224)
SPLITS = {"train": "train", "test": "val"}
WEATHER = ("rainy", "snowy", "clear", "overcast", "partly cloudy", "foggy", "undefined")
SCENE = ("tunnel", "residential", "parking lot", "city street", "gas stations", "highway", "undefined")
# The paper's "cloudy" is "partly cloudy": 6.99% of the training and 7.38% of the validation pictures (Table 6).
TASKS = (*(name.removeprefix("partly ") for name in WEATHER[:-1]), *SCENE[:-1])
WANTED = frozenset({"name", "attributes", "weather", "scene"})
ROOTS = ("", "bdd100k")
IMAGES = ("images/100k/{}", "images/{}")
LABELS = ("labels/bdd100k_labels_images_{}.json", "labels/det_20/det_{}.json", "labels/100k/{}")
CHUNK = 2**22  # characters that are read at once
LONGEST = 2**26  # characters of an entry: where one seems longer, the file is broken
MARKS = {mark: re.compile(rf"\s*\{mark}\s*") for mark in "[,"}


def load(data_dir: str, size: tuple[int, int] = SIZE, problems: Problems | None = None) -> Parts:
    """The official training and validation pictures that have labels, 69,863 and 10,000, uint8 `[n, height, width, 3]`.

    "train" is the former and "test" the latter, as in the paper (section 5.1). Six kinds of weather and six of scenes
    are tasks; a picture whose weather or scene is "undefined" is a negative of all of them. The pictures stay on disk.

    Args:
        data_dir: folder of the official `images/` and `labels/`, or of a `bdd100k/` that holds them. The labels are
            one file for each split, of 2018 or 2020, or one for each picture.
        size: height and width to which the pictures are resized.
        problems: takes what is wrong with single pictures.

    Raises:
        DataError: the data are missing or cannot be used.
    """
    problems = problems or Problems()
    return {part: _load_split(Path(data_dir), split, Form(*size), problems) for part, split in SPLITS.items()}


def _load_split(folder: Path, split: str, form: Form, problems: Problems) -> Source:
    """An official split.

    Raises:
        DataError: it is missing, or has no picture that can be used.
    """
    images, labels = _find(folder, IMAGES, split), _find(folder, LABELS, split)
    codes = _codes(labels, images, problems)
    if not codes:
        raise DataError(f"{labels} names no picture in {images} that can be used; get both again")
    pictures, kept = load_images([images / name for name in codes], form, problems)
    weather, scene = np.array(list(codes.values()))[kept].T
    label = np.concatenate([weather[:, None] == np.arange(6), scene[:, None] == np.arange(6)], axis=1)
    return Source(pictures, label.astype(np.float32), TASKS, weather * len(SCENE) + scene)


def _find(folder: Path, patterns: Sequence[str], split: str) -> Path:
    """The first that there is.

    Raises:
        DataError: there is none.
    """
    names = [pattern.format(split) for pattern in patterns]
    for root in ROOTS:
        for name in names:
            if (path := folder / root / name).exists():
                return path
    raise DataError(f"no {' or '.join(names)} in {folder}; unpack the official archives of BDD100K there")


def _codes(labels: Path, images: Path, problems: Problems) -> dict[str, tuple[int, int]]:
    """The numbers of weather and scene of the pictures that are there. Those without labels are left out, as some are.

    Args:
        labels: a file with a list, or a folder with a file for each picture.
        images: folder of the pictures.
        problems: takes what is wrong with single pictures.

    Raises:
        DataError: labels cannot be read.
    """
    there = {path.name for path in images.iterdir()}
    codes: dict[str, tuple[int, int]] = {}
    for place, entry in _each_file(labels, problems) if labels.is_dir() else _listed(labels):
        try:
            name, code = _parsed(entry)
            if name in codes:
                raise ValueError(f"{name} is there a second time")
            if name not in there:
                raise ValueError(f"names {name}, which is not in {images}")
            codes[name] = code
        except ValueError as error:
            problems.note(f"{place}: {error}")
    return codes


def _parsed(entry: Any) -> tuple[str, tuple[int, int]]:
    """The name of a picture's file, and the numbers of its weather and scene.

    Raises:
        ValueError: they are not there, or not known.
    """
    name, attributes = (entry.get(key) for key in ("name", "attributes")) if isinstance(entry, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(attributes, dict):
        raise ValueError("has no name or no attributes")
    name = name if name.endswith(".jpg") else f"{name}.jpg"  # the files of single pictures leave it out
    return name, (_number(name, attributes, "weather", WEATHER), _number(name, attributes, "scene", SCENE))


def _number(name: str, attributes: dict[str, Any], key: str, values: Sequence[str]) -> int:
    """The number of an attribute's value.

    Raises:
        ValueError: it is none of those that there are.
    """
    if (value := attributes.get(key)) not in values:
        raise ValueError(f"{name} has the {key} {value!r}, and must have one of {', '.join(values)}")
    return values.index(value)


def _wanted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without what no task needs. It is called for the innermost first, so boxes are gone at once."""
    return {key: value for key, value in pairs if key in WANTED}


DECODER = json.JSONDecoder(object_pairs_hook=_wanted)


def _each_file(folder: Path, problems: Problems) -> Iterator[tuple[str, Any]]:
    """The entry of each file in a folder, with the file's path."""

    def read(path: str) -> Any:
        try:
            return DECODER.decode(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}") from None

    paths = np.array(sorted(str(path) for path in folder.glob("*.json")))
    kept, entries = each(read, paths, problems)
    return zip(paths[kept], entries, strict=True)


def _listed(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of a list in a file, with the place `file:number`, from 1.

    They are taken one by one, since the list of 2018 is 1.2 GB of boxes, and `json.load` would need several times that.

    Raises:
        DataError: the file is cut off, or no list in JSON.
    """
    text, number = "", 0
    try:
        with open(path, encoding="utf-8") as file:
            while len(text) < LONGEST and (added := file.read(CHUNK)):
                text, end = text + added, 0
                while (found := _entry(text, end, "," if number else "[")) is not None:
                    (entry, end), number = found, number + 1
                    yield f"{path}:{number}", entry
                text = text[end:]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} {reason(error)}; get it again") from None
    if "".join(text.split()) != ("]" if number else "[]"):
        raise DataError(f"{path} is cut off or no list in JSON, after {number} entries; get it again")


def _entry(text: str, start: int, mark: str) -> tuple[Any, int] | None:
    """The entry that follows a mark, and where it ends; None if the text has not all of it."""
    found = MARKS[mark].match(text, start)
    try:
        return None if found is None else DECODER.raw_decode(text, found.end())
    except json.JSONDecodeError:
        return None
