"""The scorer alone as a SavedModel, readable without this package."""

from pathlib import Path

import keras
import tensorflow as tf

from adap_tf.data.examples import as_unit_range


def export_saved_model(network: keras.Model, path: str | Path) -> None:
    """Writes the network as a SavedModel without estimators, optimizer or attack.

    Signatures, each with a dynamic batch size:

    - `serving_default`: `image` uint8 in 0…255, to `score` (logits `[B, C]`) and `probability`;
    - `float`: `image` float32 in [0, 1], to the same; differentiable by the image.

    Args:
        network: built Keras model with one input of images in [0, 1]; a subclassed one must have been called.
        path: folder to write.
    """
    # A subclassed model has no `input_shape`, but remembers what it was built on, a batch of some size.
    seen = getattr(network, "input_shape", None) or network.get_build_config()["input_shape"]
    shape = (None, *seen[1:])
    tasks = network.compute_output_spec(keras.KerasTensor(shape), training=False).shape[-1]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        # No image is no work; and oneDNN's strided convolutions give an empty batch their input's shape.
        score = tf.cond(
            tf.shape(image)[0] > 0,
            lambda: network(as_unit_range(image), training=False),
            lambda: tf.zeros((0, tasks)),
        )
        return {"score": score, "probability": tf.sigmoid(score)}

    archive = keras.export.ExportArchive()
    archive.track(network)
    for name, dtype in (("serving_default", tf.uint8), ("float", tf.float32)):
        archive.add_endpoint(name, serve, input_signature=[tf.TensorSpec(shape, dtype, name="image")])
    archive.write_out(str(path), verbose=False)
