"""Image files: what there is in a folder, and whether it is whole."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from adap_tf.data.images import Array, StoredImages, each
from adap_tf.data.pixels import FORMATS, NO_IMAGE, Form, reason, shape_of
from adap_tf.data.problems import DataError, Problems

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
TAIL = 64  # bytes: some programs write a few more after the end
MIXED = 64  # pixels: the height and width of images that differ in theirs, where nobody asks for another


def read_file(path: str) -> bytes:
    """The bytes of a file."""
    return Path(path).read_bytes()


def images_below(folder: Path, unread: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """The image files in a folder and those below it, by name, a folder's own first; hidden ones are left out.

    Args:
        folder: where they are.
        unread: told of folders that cannot be read, which are left out.
    """
    entered: set[str] = set()  # each folder once: links may lead back to one, and round for ever
    for place, folders, names in os.walk(folder, onerror=unread, followlinks=True):
        if (real := os.path.realpath(place)) in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(place, name)


def load_images(
    paths: Sequence[str | Path], form: Form | None, problems: Problems, size: tuple[int, int] | None = None
) -> tuple[Array, np.ndarray]:
    """The images in files, uint8 `[k, height, width, channels]`, and their places among the paths `[k]`.

    Small data sets are decoded and kept in memory, larger ones are read when they are asked for. Of each file the
    beginning and the end are looked at here.

    Args:
        paths: the files.
        form: what the images become; if None, that follows from what they are.
        problems: takes files that are missing, cut off or no images.
        size: height and width without a form; if None, what the images have, or 64×64 pixels if they differ.

    Raises:
        DataError: a file will not do, and such are not to be left out; or there is none.
    """
    names = np.array([str(path) for path in paths])
    whole, shapes = each(lambda path: glance(path, form), names, problems)
    if not shapes:
        where = f" among the {len(names)} from {names[0]} on" if len(names) else ""
        raise DataError(f"there is no image that can be used{where}")
    images, kept = StoredImages(read_file, names[whole], form or common_form(shapes, size)).checked(problems)
    return images, whole[kept]


def glance(path: str, form: Form | None = None) -> tuple[int, int, int]:
    """Height, width and channels of an image file, from its first bytes; its last ones tell whether it is whole.

    Raises:
        DataError: it is missing, cut off, no image, or not what the form wants.
    """
    try:
        with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
            shape, kind = shape_of(image), image.format
            if form is not None:
                form.check(shape)
            file.seek(-min(TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
            if ENDS.get(kind or "", b"") not in file.read():
                Form(*shape).decode(read_file(path))  # cut off, or with an unusual end
            return shape
    except (ValueError, *NO_IMAGE) as error:
        raise DataError(f"{path} {reason(error)}") from None


def common_form(shapes: Sequence[tuple[int, int, int]], size: tuple[int, int] | None = None) -> Form:
    """What images of those shapes become: of that size, of their own, or, if that differs, of 64×64 pixels."""
    sizes = {shape[:2] for shape in shapes}
    own = next(iter(sizes)) if len(sizes) == 1 else (MIXED, MIXED)
    return Form(*(size or own), max(shape[2] for shape in shapes))
