"""Images that stay on disk until a batch asks for them."""

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from adap_tf.data.problems import DataError, Problems

MODES = {1: "L", 3: "RGB"}
CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF, and what there says that the image lies on its side
IN_MEMORY = 2**29  # bytes: data sets that are no larger are decoded once and kept
PIXELS = 2**27  # of the largest image that is decoded: a small file may claim to be far larger
AT_ONCE = 1024  # images that are looked at, before the next are
NO_IMAGE = (OSError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for what it cannot read
THREADS = (os.cpu_count() or 1) + 2  # Pillow decodes outside of Python's lock, but many threads wait for one another
END = object()  # of elements

Result = TypeVar("Result")
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="images")


class Images(ABC):
    """Examples by place, as an array gives them, that need not all be in memory.

    Attributes:
        shape: `(n, ...)`.
        dtype: of what is read: uint8 in 0…255, or float in [0, 1].
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, places: Any) -> np.ndarray:
        """The examples at those places `[k]`, `[k, ...]`."""

    @abstractmethod
    def take(self, places: np.ndarray) -> "Images":
        """Those examples alone, not read yet."""


Array = np.ndarray | Images
"""Examples that are in memory, or are not."""


def taken(images: Array, places: np.ndarray) -> Array:
    """The examples at those places, of an array or of images that are not in memory."""
    return images.take(places) if isinstance(images, Images) else images[places]


def same_images(one: Array, other: Array) -> bool:
    """Whether two sets of examples are the same, in the same order; those on disk by their keys."""
    if isinstance(one, StoredImages) and isinstance(other, StoredImages):
        return one.form == other.form and np.array_equal(one.keys, other.keys)
    return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.array_equal(one, other)


def ahead(elements: Iterator[Result]) -> Iterator[Result]:
    """The same elements; one is made while whoever asks is busy with the one before."""
    with ThreadPoolExecutor(1) as maker:
        waiting = maker.submit(next, elements, END)
        while (made := waiting.result()) is not END:
            waiting = maker.submit(next, elements, END)
            yield cast(Result, made)


def read_ahead(images: Array, batches: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places and the examples there, batch by batch; one is read while whoever asks is busy with the one before.

    Args:
        images: `[n, ...]`.
        batches: the places `[k]` of each batch.
    """
    return ahead((places, images[places]) for places in batches)


@dataclass(frozen=True)
class Form:
    """The array that an encoded image becomes.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: 1 for grey, 3 for colours.
        exact: whether an image of another size or number of channels is an error; else it is converted.
    """

    height: int
    width: int
    channels: int = 3
    exact: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the array."""
        return self.height, self.width, self.channels

    def check(self, shape: Sequence[int]) -> None:
        """Makes sure that an image of that shape will do.

        Raises:
            ValueError: it will not.
        """
        if self.exact and tuple(shape) != self.shape:
            wanted, found = ("×".join(map(str, each)) for each in (self.shape, shape))
            raise ValueError(f"has {found} pixels and channels, and must have {wanted}")

    def decode(self, encoded: bytes) -> np.ndarray:
        """The pixels, uint8 of `shape`.

        Raises:
            ValueError: it is no image, cut off, or will not do.
        """
        mode, size = MODES[self.channels], (self.width, self.height)
        try:
            with Image.open(io.BytesIO(encoded)) as image:
                self.check(shape_of(image))
                if image.size not in (size, size[::-1]):
                    image.draft(mode, (max(size), max(size)))  # a JPEG is decoded at half its size if that is enough
                pixels = ImageOps.exif_transpose(image).convert(mode)
                if pixels.size != size:
                    pixels = pixels.resize(size, Image.Resampling.BILINEAR)
        except NO_IMAGE as error:
            raise ValueError(reason(error)) from None
        return np.asarray(pixels).reshape(self.shape)


def shape_of(image: Image.Image) -> tuple[int, int, int]:
    """Height, width and channels of an image that stands upright, which it tells before it is decoded.

    Raises:
        ValueError: its pixels are not of 8 bits, or too many.
    """
    if image.width * image.height > PIXELS:
        raise ValueError(f"has {image.width}×{image.height} pixels; an image may have {PIXELS:,}")
    if image.mode not in CHANNELS:
        raise ValueError(f"has pixels of the kind {image.mode}; convert it to 8 bits, or give arrays in an npz file")
    exif = Image.Image.getexif(image)  # the base class's: that of PNG files decodes them to look behind the pixels
    height, width = image.size if exif.get(ORIENTATION) in TURNED else image.size[::-1]
    return height, width, CHANNELS[image.mode]


class StoredImages(Images):
    """Encoded images that are read and decoded, several at once, when they are asked for.

    Args:
        read: gives the encoded bytes of a key.
        keys: `[n]`, what `read` takes; their text is what errors call an image.
        form: the arrays that they become.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, read: Callable[[Any], bytes], keys: Sequence[Any] | np.ndarray, form: Form):
        self.read, self.keys, self.form = read, np.asarray(keys), form
        self.shape = (len(self.keys), *form.shape)

    def __getitem__(self, places: Any) -> np.ndarray:
        """The images at those places, uint8 `[k, height, width, channels]`.

        Raises:
            DataError: one cannot be read; the message names it.
        """
        keys = self.keys[places]
        if np.ndim(keys) == 0:
            return self.decoded(keys)
        found = np.empty((len(keys), *self.form.shape), np.uint8)
        for place, image in enumerate(_pool.map(self.decoded, keys)):
            found[place] = image
        return found

    def take(self, places: np.ndarray) -> "StoredImages":
        """Those images alone, not read yet."""
        return StoredImages(self.read, self.keys[places], self.form)

    def decoded(self, key: Any) -> np.ndarray:
        """An image by its key.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return self.form.decode(self.read(key))
        except (OSError, ValueError) as error:
            raise DataError(f"{key} {reason(error)}") from None

    def all(self, problems: Problems, quiet: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The images that can be decoded, uint8 `[k, height, width, channels]`, and their places `[k]`.

        Args:
            problems: takes what was wrong with the others.
            quiet: whether to show no progress bar.

        Raises:
            DataError: one cannot be decoded, and such are not to be left out.
        """
        kept, pixels = each(self.decoded, self.keys, problems, quiet)
        return np.reshape(pixels, (len(kept), *self.form.shape)).astype(np.uint8), kept

    def checked(self, problems: Problems) -> tuple[Array, np.ndarray]:
        """The images that can be decoded, and their places `[k]`.

        A small data set is decoded now and kept in memory. A larger one is decoded now only if bad images are to be
        left out; else the first of those stops whoever asks for it.

        Raises:
            DataError: one cannot be decoded, and such are not to be left out.
        """
        if np.prod(self.shape) <= IN_MEMORY:
            return self.all(problems)
        if problems.skip:
            kept, _ = each(lambda key: bool(self.decoded(key).size), self.keys, problems)
            return self.take(kept), kept
        return self, np.arange(len(self))


def each(
    look: Callable[[Any], Result], keys: Sequence[Any] | np.ndarray, problems: Problems, quiet: bool = False
) -> tuple[np.ndarray, list[Result]]:
    """The places of the keys that can be looked at, and what was found there; with a progress bar if it takes long.

    Args:
        look: function of a key, which raises `DataError` for a bad one.
        keys: what to look at, several at once.
        problems: takes what was wrong.
        quiet: whether to show no progress bar.

    Raises:
        DataError: a key is bad, and bad ones are not to be left out.
    """

    def tried(key: Any) -> Result | DataError:
        try:
            return look(key)
        except DataError as error:
            return error

    kept, found = [], []
    with tqdm(
        desc="looking at images", total=len(keys), unit="image", leave=False, delay=1, disable=quiet or None
    ) as bar:
        for first in range(0, len(keys), AT_ONCE):
            for place, result in enumerate(_pool.map(tried, keys[first : first + AT_ONCE]), first):
                bar.update()
                if isinstance(result, DataError):
                    problems.note(str(result))
                else:
                    kept.append(place)
                    found.append(result)
    return np.array(kept, np.int64), found


def reason(error: Exception) -> str:
    """What is wrong with a file, to follow its name."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, UnidentifiedImageError):
        return "is no image"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"cannot be read as an image: {error}" if isinstance(error, NO_IMAGE) else str(error)
