"""Images that stay on disk until a batch asks for them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numpy as np
from tqdm import tqdm

from adap_tf.data.pixels import Form, reason
from adap_tf.data.problems import DataError, Problems

IN_MEMORY = 2**29  # bytes: data sets that are no larger are decoded once and kept
AT_ONCE = 1024  # images that are looked at, before the next are
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
