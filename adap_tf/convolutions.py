"""Convolutions in other words: the same sums, as operations that are faster where maps or channels are few."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf
from keras import layers

FEW = 16  # channels of a block of pixels up to which blocks are faster: a colour image's at stride 2 are 12
LARGER = 2  # how many times as large as its kernel a matrix may be: from 2×2 to 2×2 at 3×3 taps it is 16 to 9


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


def form_of(conv: layers.Conv2D, given: Sequence[Any], found: Sequence[Any], pad: layers.ZeroPadding2D | None) -> Form:
    """The form of a convolution that is fastest.

    Args:
        conv: the layer.
        given: shape `[B, H, W, C]` of what it takes, None where it is not known.
        found: shape of what it gives.
        pad: what has padded the former, if there is anything.
    """
    if None in (*given[1:], *found[1:]):
        return Direct(conv, pad)
    around = ((0, 0), (0, 0)) if pad is None else pad.padding
    rows, columns = (
        _axis(*of_axis, same=conv.padding == "same")
        for of_axis in zip(given[1:3], found[1:3], conv.kernel_size, conv.strides, around, strict=True)
    )
    places = math.prod(each for axis in (rows, columns) for each in (axis.size, axis.out))
    if rows.seen_whole and columns.seen_whole and places <= LARGER * math.prod(conv.kernel_size):
        return Product(rows, columns)
    few = rows.stride == columns.stride > 1 and rows.stride * columns.stride * given[3] <= FEW
    if few and all(axis.kernel > 1 and min(axis.padding) >= 0 for axis in (rows, columns)):
        return Blocks(rows, columns)
    return Direct(conv, pad)


def _axis(padded: int, out: int, kernel: int, stride: int, around: tuple[int, int], same: bool) -> Axis:
    """An axis of a map that is padded already, and again if the convolution's padding is "same"."""
    missing = max((out - 1) * stride + kernel - padded, 0) if same else 0
    return Axis(padded - sum(around), out, kernel, stride, around[0] + missing // 2)
