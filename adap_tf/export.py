"""The scorer alone as a SavedModel, readable without this package."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from adap_tf.data.sources import Features

LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)
"""What pixels become. A division by 255 would not do: TensorFlow makes it a product, with other last digits."""

DECODED = (1, 3)  # numbers of channels that JPEG and PNG have
OPSET = 18  # of ONNX


class _Signature(NamedTuple):
    """What a signature takes, and the network's own input `[B, ...]` from it."""

    spec: tf.TensorSpec
    prepared: Callable[[tf.Tensor], tf.Tensor]


def export_saved_model(network: keras.Model, path: str | Path, features: Features | None = None) -> None:
    """Writes the network as a SavedModel without estimators, optimizer or attack.

    Signatures, each with a dynamic batch size, to `score` (logits `[B, C]`) and `probability`:

    - `serving_default`, images: `image` uint8 `[B, height, width, channels]` in 0…255, of any height and width;
    - `serving_default`, with `features`: `features` float32 `[B, F]` in the columns' own units. What lies out of a
      column's bounds counts as the bound;
    - `encoded`, images of one or three channels: `image` `[B]`, the bytes of JPEG or PNG files of any size;
    - `float`: `image` float32 in [0, 1], of the network's own shape; differentiable by the image.

    An image of the network's height and width is not resampled. Others are resized as Pillow does it, with all the
    pixels that fall into one, and rounded. Features that are missing, NaN or infinite, such pixels, and bytes that
    are no image are refused with an `InvalidArgumentError`.

    Args:
        network: built Keras model with one input of images or features in [0, 1]; a subclassed one that was called.
        path: folder to write.
        features: the columns, of a network for tables.

    Raises:
        ValueError: the network is not built, has several inputs, or is the trainer.
    """
    signatures = _signatures(_input_shape(network), features)
    archive = keras.export.ExportArchive()
    archive.track(network)
    for name, signature in signatures.items():
        archive.add_endpoint(name, _endpoint(network, signature), input_signature=[signature.spec])
    archive.write_out(str(path), verbose=False)


def onnx_model(network: keras.Model, features: Features | None = None) -> bytes:
    """The network as an ONNX model, of one signature: that for `features`, else `float`, whose names it has.

    It resizes nothing and refuses nothing; ONNX has neither the resampling nor the check.

    Args:
        network: as `export_saved_model` takes it.
        features: likewise.

    Raises:
        ImportError: tf2onnx is not installed.
        ValueError: as `export_saved_model`, or the network computes in bfloat16, which ONNX's convolutions do not.
    """
    import tf2onnx  # of those who ask for it

    if any(layer.compute_dtype == "bfloat16" for layer in network.layers):
        raise ValueError("the network computes in bfloat16, which ONNX's convolutions do not")
    signature = _signatures(_input_shape(network), features)["float" if features is None else "serving_default"]
    function = tf.function(lambda given: _outputs(network(signature.prepared(given), training=False)), autograph=False)
    model, _ = tf2onnx.convert.from_function(function, input_signature=[signature.spec], opset=OPSET)
    return model.SerializeToString()


def _input_shape(network: keras.Model) -> tuple[int | None, ...]:
    """The shape of an example. A subclassed network knows none, but remembers what it was built on."""
    shape = getattr(network, "input_shape", None) or (network.get_build_config() or {}).get("input_shape")
    if not shape or not all(side is None or isinstance(side, int) for side in shape):
        raise ValueError("give a network that is built and has one input; of an AdversarialModel, its network")
    return tuple(shape[1:])


def _endpoint(network: keras.Model, signature: _Signature) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """The function of a signature."""
    scores = network.compute_output_spec(keras.KerasTensor((None, *_input_shape(network))))

    def serve(given: tf.Tensor) -> dict[str, tf.Tensor]:
        given = tf.ensure_shape(given, signature.spec.shape)  # nobody else looks: a loaded signature takes any
        # Nothing is no work; and oneDNN's strided convolutions give an empty batch their input's shape.
        score = tf.cond(
            tf.shape(given)[0] > 0,
            lambda: network(signature.prepared(given), training=False),
            lambda: tf.zeros((0, scores.shape[-1]), scores.dtype),
        )
        return _outputs(score)

    return serve


def _outputs(score: tf.Tensor) -> dict[str, tf.Tensor]:
    """What every signature gives."""
    return {"score": score, "probability": tf.sigmoid(score)}


def _signatures(shape: tuple[int | None, ...], features: Features | None) -> dict[str, _Signature]:
    """The signatures by name, of a network for examples of that shape."""
    found = {"float": _Signature(tf.TensorSpec((None, *shape), tf.float32, "image"), _finite)}
    if features is not None:
        spec = tf.TensorSpec((None, *shape), tf.float32, "features")
        return {**found, "serving_default": _Signature(spec, lambda given: _scaled(given, features))}
    sized = len(shape) == 3 and None not in shape
    spec = tf.TensorSpec((None, None, None, shape[-1]) if sized else (None, *shape), tf.uint8, "image")
    found["serving_default"] = _Signature(spec, lambda given: _unit(_fitted(given, shape) if sized else given))
    if sized and shape[-1] in DECODED:
        spec = tf.TensorSpec((None,), tf.string, "image")
        found["encoded"] = _Signature(spec, lambda given: _unit(_decoded(given, shape)))
    return found


def _unit(image: tf.Tensor) -> tf.Tensor:
    """Pixels in [0, 1], bit for bit those that the network was trained with."""
    return tf.gather(LEVELS, tf.cast(image, tf.int32))


def _fitted(image: tf.Tensor, shape: tuple[int | None, ...]) -> tf.Tensor:
    """Images uint8 `[B, ...]` of that shape, from any height and width."""
    size = tf.constant(shape[:2])

    def resized() -> tf.Tensor:
        return tf.cast(tf.round(tf.image.resize(image, size, antialias=True)), tf.uint8)

    fits = tf.reduce_all(tf.shape(image)[1:3] == size)
    return tf.ensure_shape(tf.cond(fits, lambda: image, resized), (None, *shape))


def _decoded(encoded: tf.Tensor, shape: tuple[int | None, ...]) -> tf.Tensor:
    """Images uint8 `[B, ...]` of that shape, from the bytes of files."""

    def one(content: tf.Tensor) -> tf.Tensor:
        # Of PNG too. The default is a faster transform, a few levels away from what Pillow gave in training.
        image = tf.io.decode_jpeg(content, channels=shape[-1], dct_method="INTEGER_ACCURATE")
        return _fitted(image[None], shape)[0]

    return tf.map_fn(one, encoded, fn_output_signature=tf.TensorSpec(shape, tf.uint8))


def _scaled(given: tf.Tensor, features: Features) -> tf.Tensor:
    """Features in [0, 1], from the columns' own units."""
    finite = tf.reduce_all(tf.math.is_finite(given), axis=0)
    missing = tf.boolean_mask(features.names, ~finite)
    with tf.control_dependencies([_refused(~finite, "features are missing, NaN or infinite in the columns", missing)]):
        wide = tf.cast(given, tf.float64)  # as the table was; last digits do not survive the rounding
    return tf.cast(tf.clip_by_value(features.shares(wide), 0, 1), tf.float32)


def _finite(image: tf.Tensor) -> tf.Tensor:
    """The same images, all of them numbers: a ReLU may turn NaN into 0, and no score would show it."""
    with tf.control_dependencies([_refused(~tf.math.is_finite(image), "image holds NaN or infinity")]):
        return tf.identity(image)


def _refused(bad: tf.Tensor, *what: str | tf.Tensor) -> tf.Operation:
    """What fails if anything is bad. Unlike `check_numerics`, it does not look at gradients."""
    return tf.debugging.Assert(~tf.reduce_any(bad), list(what))
