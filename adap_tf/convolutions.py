"""Convolutions in other words: the same sums, as operations that are faster where maps or channels are few."""

import itertools
import math
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf
from keras import layers

FEW = 16  # channels of a block of pixels up to which blocks are faster: a colour image's at stride 2 are 12


class Form(Protocol):
    """A way to compute a convolution without bias."""

    def ready(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel `[k, k, C, C']` as this form wants it."""

    def __call__(self, x: tf.Tensor, ready: tf.Tensor) -> tf.Tensor:
        """The map `[B, H', W', C']` of a map `[B, H, W, C]`."""


@dataclass(frozen=True)
class Axis:
    """One of the two axes along which a kernel moves.

    Attributes:
        size: of the map before any padding.
        out: size of the map that comes out.
        kernel: number of taps.
        stride: of the kernel.
        before: zeros before the map.
    """

    size: int
    out: int
    kernel: int
    stride: int
    before: int

    @property
    def seen_whole(self) -> bool:
        """Whether each output has a tap on every input."""
        return (self.out - 1) * self.stride <= self.before and self.size - 1 + self.before < self.kernel

    @property
    def firsts(self) -> list[int]:
        """The tap through which each output sees the first input."""
        return [self.before - self.stride * place for place in range(self.out)]

    @property
    def blocks(self) -> int:
        """Blocks of as many pixels as the stride that the kernel covers."""
        return -(-self.kernel // self.stride)

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and after the map with which blocks come out even; negative if pixels would be left out."""
        return self.before, self.stride * (self.out - 1 + self.blocks) - self.size - self.before


@dataclass(frozen=True)
class Direct:
    """As it is written."""

    conv: layers.Conv2D
    pad: layers.ZeroPadding2D | None

    def ready(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel."""
        return kernel

    def __call__(self, x: tf.Tensor, ready: tf.Tensor) -> tf.Tensor:
        """The convolution. Padding is an operation of its own: with explicit zeros oneDNN leaves the gradient out."""
        x = x if self.pad is None else self.pad(x)
        return tf.nn.conv2d(x, ready, self.conv.strides, self.conv.padding.upper())


@dataclass(frozen=True)
class Product:
    """A matrix product, where every output sees every input: taps that only ever lie on zeros are left out."""

    rows: Axis
    columns: Axis

    def ready(self, kernel: tf.Tensor) -> tf.Tensor:
        """The matrix `[H·W·C, H'·W'·C']`, by `tf.slice`, since the gradient of an index is slow."""
        size = [self.rows.size, self.columns.size, *kernel.shape[2:]]
        places = itertools.product(self.rows.firsts, self.columns.firsts)
        seen = [tf.slice(kernel, [*first, 0, 0], size) for first in places]
        return tf.reshape(tf.stack(seen, axis=3), [math.prod(size[:3]), len(seen) * size[3]])

    def __call__(self, x: tf.Tensor, ready: tf.Tensor) -> tf.Tensor:
        """The product."""
        inputs, outputs = ready.shape
        places = self.rows.out, self.columns.out
        return tf.reshape(tf.reshape(x, [-1, inputs]) @ ready, [-1, *places, outputs // math.prod(places)])


@dataclass(frozen=True)
class Blocks:
    """A convolution of stride 1 on blocks of pixels, as large as the stride was: more channels, a smaller map."""

    rows: Axis
    columns: Axis

    def ready(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel of blocks `[⌈k/s⌉, ⌈k/s⌉, s·s·C, C']`."""
        axes, step = (self.rows, self.columns), self.rows.stride
        kernel = tf.pad(kernel, [*([0, axis.blocks * step - axis.kernel] for axis in axes), [0, 0], [0, 0]])
        high, wide = (axis.blocks for axis in axes)
        parts = tf.reshape(kernel, [high, step, wide, step, *kernel.shape[2:]])
        return tf.reshape(tf.transpose(parts, [0, 2, 1, 3, 4, 5]), [high, wide, -1, kernel.shape[3]])

    def __call__(self, x: tf.Tensor, ready: tf.Tensor) -> tf.Tensor:
        """The convolution."""
        x = tf.pad(x, [[0, 0], self.rows.padding, self.columns.padding, [0, 0]])
        return tf.nn.conv2d(tf.nn.space_to_depth(x, self.rows.stride), ready, 1, "VALID")


def form_of(conv: layers.Conv2D, pad: layers.ZeroPadding2D | None) -> Form:
    """The form of a convolution that is fastest, padded by a layer before it or not."""
    found = axes(conv, pad)
    if found is None:
        return Direct(conv, pad)
    if all(axis.seen_whole for axis in found):
        return Product(*found)
    step, other = conv.strides
    few = step == other > 1 and step * other * conv.input.shape[-1] <= FEW
    if few and all(axis.kernel > 1 and min(axis.padding) >= 0 for axis in found):
        return Blocks(*found)
    return Direct(conv, pad)


def axes(conv: layers.Conv2D, pad: layers.ZeroPadding2D | None) -> tuple[Axis, Axis] | None:
    """The two axes of a convolution, None if their sizes are not known."""
    around = ((0, 0), (0, 0)) if pad is None else pad.padding
    shapes = zip(conv.input.shape[1:3], conv.output.shape[1:3], conv.kernel_size, conv.strides, around, strict=True)
    found = []
    for padded, out, kernel, stride, (before, after) in shapes:
        if padded is None:
            return None
        missing = max((out - 1) * stride + kernel - padded, 0) if conv.padding == "same" else 0
        found.append(Axis(padded - before - after, out, kernel, stride, before + missing // 2))
    return found[0], found[1]
