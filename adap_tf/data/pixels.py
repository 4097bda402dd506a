"""An encoded image, and the array that it becomes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MODES = {1: "L", 3: "RGB"}
CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}
# of all that Pillow reads: an EPS file, whatever its name, would be run by Ghostscript
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 2**26  # of an image: 192 MiB in colours, for each thread; below 89 million, where Pillow begins to warn
TOO_LARGE = f"has more than {MOST_PIXELS:,} pixels; scale it down"
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF, and what there says that the image lies on its side
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # an error, where warnings are
NO_IMAGE = (OSError, SyntaxError, *BOMBS)  # what Pillow raises for what it cannot read


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
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
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
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(TOO_LARGE)
    if image.mode not in CHANNELS:
        raise ValueError(f"has pixels of the kind {image.mode}; convert it to 8 bits, or give arrays in an npz file")
    exif = Image.Image.getexif(image)  # the base class's: that of PNG files decodes them to look behind the pixels
    height, width = image.size if exif.get(ORIENTATION) in TURNED else image.size[::-1]
    return height, width, CHANNELS[image.mode]


def reason(error: Exception) -> str:
    """What is wrong with a file, to follow its name."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, UnidentifiedImageError):
        return "is no image"
    if isinstance(error, BOMBS):
        return TOO_LARGE
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"cannot be read as an image: {error}" if isinstance(error, NO_IMAGE) else str(error)
