"""The user's own arrays: an npz file of images or features, and of labels."""

import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adap_tf.data.problems import DataError, Problems
from adap_tf.data.sources import Parts, Source, with_both_values

SUFFIXES = {"train": ("", "_train"), "validation": ("_validation", "_val"), "test": ("_test",)}
IMAGE, LABEL = ("image", "x"), ("label", "y")
# TokenError: NumPy reads an array's header as Python's tokens, though it runs none of them
DAMAGE = (OSError, ValueError, EOFError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, NotImplementedError)
VALUES = "write 0 for a negative, not -1, 1 for a positive and NaN for unknown"
NOT_FINITE = "holds NaN or infinity"

Arrays = Mapping[str, np.ndarray]


class Pair(NamedTuple):
    """The names of a part's two arrays."""

    image: str
    label: str


def load(path: str | Path, problems: Problems | None = None) -> Parts:
    """The examples in an npz file.

    Its arrays are `image` and `label`, or `x` and `y`; of data that are split `image_train`, `label_train`,
    `image_validation`, `x_test` and so on. Images are uint8, or float in [0, 1]: `[n, height, width, channels]`,
    `[n, height, width]` for one channel, or `[n, F]` for features. Labels are `[n]`: 0, 1 and NaN (unknown) for the
    task "positive", or the numbers of more than two classes; or `[n, C]`: 0, 1 and NaN for the tasks "0", "1" and so
    on. Names come from the arrays of text `tasks` `[C]` and `classes`; with `classes`, `[n]` are always classes.

    Args:
        path: of the file.
        problems: takes examples with a pixel that is NaN or infinite, and those whose class is NaN.

    Raises:
        DataError: the file is missing or damaged, or its arrays will not do.
    """
    path, problems = Path(path), problems or Problems()
    arrays = _read(path)
    pairs = {part: pair for part in SUFFIXES if (pair := _pair(path, arrays, part))}
    if "train" not in pairs:
        raise DataError(f"{path} needs the arrays image and label, or image_train and label_train; {_there(arrays)}")
    images = {part: _image(path, pair.image, arrays[pair.image]) for part, pair in pairs.items()}
    labels = {part: _label(path, pair.label, arrays[pair.label]) for part, pair in pairs.items()}
    _check_shapes(path, pairs, images, labels)
    classes = _are_classes(arrays, labels)
    for part, pair in pairs.items():
        kept = _usable(path, pair, images[part], labels[part], classes, problems)
        images[part], labels[part] = _in_range(path, pair.image, images[part][kept]), labels[part][kept]
    return with_both_values(path, (_of_classes if classes else _of_tasks)(path, arrays, images, labels))


def read_images(path: Path, problems: Problems, own_units: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The images or features in a file whose labels do not matter: the array `image` or `x`.

    Args:
        path: of the file.
        problems: takes examples with a value that is NaN or infinite.
        own_units: whether any numbers will do, of which float32 are made; else uint8 and floats in [0, 1], as `load`.

    Returns:
        The examples `[k, ...]`, and their places in the array `[k]`.

    Raises:
        DataError: the file is missing or damaged, or the array will not do.
    """
    arrays = _read(path)
    if (name := _one(path, arrays, IMAGE, ("",))) is None:
        raise DataError(f"{path} needs an array image or x; {_there(arrays)}")
    given = arrays[name]
    image = _image(path, name, given.astype(np.float32) if own_units and given.dtype.kind in "iu" else given)
    finite = _finite(image)
    for place in np.flatnonzero(~finite):
        problems.note(f"{path}: {name}[{place}] {NOT_FINITE}")
    if not finite.any():
        raise DataError(f"{path}: no example of {name} can be used")
    image = image if finite.all() else image[finite]
    return image if own_units else _in_range(path, name, image), np.flatnonzero(finite)


def _read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file."""
    if not path.is_file():
        raise DataError(f"{path} is missing, or no file; name an npz file")
    try:
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as found:
                return {name: _array(path, name, found) for name in found.files}
    except DataError:
        raise
    except DAMAGE:
        pass
    raise DataError(f"{path} is damaged, or no npz file; write it with numpy.savez(file, image=..., label=...)")


def _array(path: Path, name: str, found: Mapping[str, np.ndarray]) -> np.ndarray:
    """An array of the file; one of objects holds programs, which are not run."""
    try:
        array = found[name]
    except MemoryError:
        raise DataError(f"{path}: {name} does not fit into memory") from None
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(f"{path}: {name} is an array of objects; save numbers, or an array of text") from None
    if not isinstance(array, np.ndarray):  # bytes, where no array begins
        raise DataError(f"{path}: {name} is no array; write the file with numpy.savez")
    return array


def _pair(path: Path, arrays: Arrays, part: str) -> Pair | None:
    """The names of a part's arrays, None if it is not there."""
    image, label = (_one(path, arrays, names, SUFFIXES[part]) for names in (IMAGE, LABEL))
    if image and label:
        return Pair(image, label)
    if image or label:
        raise DataError(f"{path} has {image or label}, but not its {'label' if image else 'image'}s; {_there(arrays)}")
    return None


def _one(path: Path, arrays: Arrays, names: Sequence[str], suffixes: Sequence[str]) -> str | None:
    """The one array of the file with one of those names, None if there is none."""
    found = [name + suffix for name in names for suffix in suffixes if name + suffix in arrays]
    if len(found) > 1:
        raise DataError(f"{path} has both {found[0]} and {found[1]}; leave one out")
    return found[0] if found else None


def _there(arrays: Arrays) -> str:
    return f"there are: {', '.join(arrays)}" if arrays else "there is none"


def _image(path: Path, name: str, image: np.ndarray) -> np.ndarray:
    """Images or features, uint8 or float32, with an axis of channels."""
    if image.ndim not in (2, 3, 4) or not image.size:
        what = "x".join(map(str, image.shape)) or "a single number"
        raise DataError(f"{path}: {name} is {what}; give [n, height, width, channels] or [n, features], and n above 0")
    if image.dtype != np.uint8 and image.dtype.kind not in "fb":
        raise DataError(f"{path}: {name} is of {image.dtype}; save it as uint8 in 0…255, or as float in [0, 1]")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and a fault
        image = image if image.dtype == np.uint8 else image.astype(np.float32)
    return image[..., None] if image.ndim == 3 else image


def _label(path: Path, name: str, label: np.ndarray) -> np.ndarray:
    """Labels as float `[n]` or `[n, C]`: whole numbers from 0, at most 1 in `[n, C]`, or NaN."""
    if label.dtype.kind not in "biuf" or label.ndim not in (1, 2):
        raise DataError(f"{path}: {name} is {label.dtype} with {label.ndim} axes; give numbers, [n] or [n, tasks]")
    label = label.astype(np.float64)
    label = label[:, 0] if label.shape[1:] == (1,) else label
    fine = np.isnan(label) | ((label >= 0) & (label == np.floor(label)) & (label < (np.inf if label.ndim == 1 else 2)))
    for place in np.argwhere(~fine)[:1]:
        raise DataError(f"{path}: {name}[{', '.join(map(str, place))}] is {label[tuple(place)]:g}; {VALUES}")
    return label


def _check_shapes(
    path: Path, pairs: Mapping[str, Pair], images: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> None:
    """Makes sure that labels are as many as images, and that parts are alike."""
    first = pairs["train"]
    for part, pair in pairs.items():
        if len(images[part]) != len(labels[part]):
            lengths = f"{pair.image} has {len(images[part])} examples and {pair.label} {len(labels[part])}"
            raise DataError(f"{path}: {lengths}; they must be as many")
        for found, one, other in ((images, first.image, pair.image), (labels, first.label, pair.label)):
            if found[part].shape[1:] != found["train"].shape[1:]:
                raise DataError(f"{path}: examples of {one} and {other} differ in shape; make them alike")


def _usable(
    path: Path, pair: Pair, image: np.ndarray, label: np.ndarray, classes: bool, problems: Problems
) -> np.ndarray:
    """`[n]`, which examples have finite pixels and, among classes, one of those."""
    finite = _finite(image)
    known = ~np.isnan(label) if classes else np.ones(len(label), bool)
    for place in np.flatnonzero(~(finite & known)):
        name, what = (pair.label, "is NaN among classes") if finite[place] else (pair.image, NOT_FINITE)
        problems.note(f"{path}: {name}[{place}] {what}")
    if not (finite & known).any():
        raise DataError(f"{path}: no example of {pair.image} can be used")
    return finite & known


def _finite(image: np.ndarray) -> np.ndarray:
    """`[n]`, which examples hold numbers alone."""
    return np.isfinite(image.reshape(len(image), -1)).all(axis=1)


def _in_range(path: Path, name: str, image: np.ndarray) -> np.ndarray:
    """The same images, uint8 or in [0, 1]."""
    low, high = image.min(), image.max()
    if image.dtype != np.uint8 and not 0 <= low <= high <= 1:
        raise DataError(f"{path}: {name} lies in [{low:g}, {high:g}]; scale floats to [0, 1], or save uint8 in 0…255")
    return image


def _are_classes(arrays: Arrays, labels: Mapping[str, np.ndarray]) -> bool:
    """Whether labels are numbers of classes."""
    return labels["train"].ndim == 1 and ("classes" in arrays or any((label > 1).any() for label in labels.values()))


def _of_classes(path: Path, arrays: Arrays, images: Arrays, labels: Arrays) -> Parts:
    """Each class that has an example against the rest."""
    numbers = np.unique(np.concatenate(list(labels.values()))).astype(np.int64)
    names = _names(path, arrays, "classes")
    if names is not None and numbers[-1] >= len(names):
        raise DataError(f"{path}: there is a class {numbers[-1]}, and names for 0 to {len(names) - 1} in classes")
    classes = [str(number) if names is None else names[number] for number in numbers]
    return {
        part: Source.of_classes(images[part], np.searchsorted(numbers, label), classes)
        for part, label in labels.items()
    }


def _of_tasks(path: Path, arrays: Arrays, images: Arrays, labels: Arrays) -> Parts:
    """Tasks by the names that the file gives them."""
    label = labels["train"]
    count = 1 if label.ndim == 1 else label.shape[1]
    default = ("positive",) if label.ndim == 1 else tuple(map(str, range(count)))
    tasks = _names(path, arrays, "tasks") or default
    if len(tasks) != count:
        raise DataError(f"{path}: tasks has {len(tasks)} names for {count} columns of labels; give one for each")
    return {
        part: Source(images[part], label.reshape(-1, count).astype(np.float32), tasks) for part, label in labels.items()
    }


def _names(path: Path, arrays: Arrays, name: str) -> tuple[str, ...] | None:
    """The text in an array, None if the file has no such array."""
    if name not in arrays:
        return None
    found = arrays[name]
    if found.dtype.kind not in "US" or found.ndim != 1 or len(set(found.tolist())) < len(found):
        raise DataError(f"{path}: {name} must be an array [n] of text, with another name in each place")
    return tuple(found.astype(str).tolist())
