"""Batches for training: step → indices → images, labels and rows → augmentation; a batch or two ahead of the step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from adap_tf.data.augmentations import Augmentation
from adap_tf.data.examples import Examples, as_unit_range, checked_labels
from adap_tf.data.images import Array
from adap_tf.data.sampler import Sampler

AHEAD = 2  # batches in the making, and as many that wait: memory is bounded whatever the data set's size

Batch = dict[str, tf.Tensor]


def training_batches(
    examples: Examples,
    sampler: Sampler,
    first_step: int = 0,
    parts: int = 1,
    augmentation: Augmentation | None = None,
    worker: int = 0,
    workers: int = 1,
) -> tf.data.Dataset:
    """Endless batches from a step on, each cut into equal parts that follow one another.

    A batch is a function of the sampler's seed and the step alone. Of images that stay on disk only those are read that
    the parts hold.

    Args:
        examples: the training set.
        sampler: draws the batches.
        first_step: the step to begin with.
        parts: number of replicas on all workers; must divide the batch size.
        augmentation: changes the images.
        worker: number of the worker whose parts these are, its share of each batch.
        workers: number of workers; must divide the parts.

    Returns:
        Dicts of `image` `[b, ...]`, `label` `[b, C]`, `row` `[b, C]` with `b = B / parts`; where the sampler draws
        anchors apart from candidates, with `candidate` `[b]`, 1 or 0, too, and no rows for the candidates.
    """
    if sampler.batch_size % parts:
        raise ValueError(f"a batch of {sampler.batch_size} cannot be divided among {parts} replicas")
    if parts % workers or not 0 <= worker < workers:
        raise ValueError(f"worker {worker} of {workers} cannot have a share of {parts} replicas")
    with tf.device("CPU"):  # where they are read
        gather, label, row = _gatherer(examples.image), tf.constant(examples.label), tf.constant(examples.rows)
    # as numbers: Keras' distribution of a data set cannot add booleans
    candidate, size = tf.constant(sampler.candidate, tf.float32), sampler.batch_size // parts
    own = parts // workers

    def assemble(turn: tf.Tensor) -> Batch:
        step, first = turn // own, (worker * own + turn % own) * size
        places = tf.ensure_shape(sampler.indices(step)[first : first + size], [size])
        drawn = gather(places)
        if augmentation is not None:  # random numbers for the whole batch, so that parts do not matter
            key = tf.stack([tf.constant(sampler.seed, tf.int64), step])
            uniform = tf.random.stateless_uniform([sampler.batch_size, augmentation.draws], key)
            drawn = augmentation(drawn, uniform[first : first + size])
        batch = {"image": as_unit_range(drawn), "label": tf.gather(label, places), "row": tf.gather(row, places)}
        if sampler.separate:
            compared = tf.ensure_shape(candidate[first : first + size], [size])
            batch |= {
                "candidate": compared,
                "row": tf.where(compared[:, None] > 0, tf.constant(-1, tf.int64), batch["row"]),
            }
        return batch

    turns = tf.data.Dataset.counter(start=first_step * own)  # step · own + part
    return turns.map(assemble, num_parallel_calls=AHEAD).prefetch(AHEAD)


def _gatherer(image: Array) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function of places `[b]` that gives their images `[b, ...]`."""
    if isinstance(image, np.ndarray):
        held = tf.constant(image)
        return lambda places: tf.gather(held, places)

    def read(places: tf.Tensor) -> tf.Tensor:
        found = tf.numpy_function(image.__getitem__, [places], image.dtype, stateful=False)
        return tf.ensure_shape(found, [*places.shape, *image.shape[1:]])

    return read


def batches(
    x: Any,
    y: Any,
    batch_size: int = 128,
    positives_per_batch: int | None = -1,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    first_step: int = 0,
    separate: bool = False,
) -> tf.data.Dataset:
    """Endless batches for `AdversarialModel.fit` from arrays.

    Give `fit` its `steps_per_epoch` too, usually `len(x) // batch_size`, or the first epoch does not end. Whoever
    iterates over them sees the same batches, from `first_step` on.

    Args:
        x: images `[n, ...]`, float in [0, 1] or uint8; an array, or `Images` that stay on disk.
        y: labels `[n]` or `[n, C]`, 0, 1 or NaN for unknown.
        batch_size: examples in a batch.
        positives_per_batch: positives in a batch, by default half of it; None takes them as they come.
        seed: of the order.
        augmentation: changes the images, such as `CropAndFlip()`.
        first_step: the step to begin with, if the training goes on from `initial_epoch`.
        separate: whether the positives are anchors alone, and the rest candidates alone, drawn from all examples.

    Returns:
        Dicts as the step takes them.
    """
    examples = Examples(x, y)
    asked = max(batch_size // 2, 1) if positives_per_batch == -1 else positives_per_batch
    sampler = Sampler(examples.label, batch_size, asked, seed, separate)
    return training_batches(examples, sampler, first_step, augmentation=augmentation)


def with_rows(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Numbers the positives of a data set of your own, so that `fit` knows which is which.

    Args:
        dataset: single examples (image in [0, 1], label), in the same order every time it is gone through: call
            this before `shuffle`, and `batch(…, drop_remainder=True)` after it.

    Returns:
        Dicts of `image`, `label` `[C]` and `row` `[C]`.

    >>> pairs = tf.data.Dataset.from_tensor_slices((np.zeros((4, 8, 8, 1)), [1, 0, 0, 1]))
    >>> [int(example["row"][0]) for example in with_rows(pairs)]
    [0, -1, -1, 1]
    """
    tasks = tf.TensorShape(dataset.element_spec[1].shape).num_elements()

    def number(seen: tf.Tensor, image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, Batch]:
        label = checked_labels(tf.reshape(tf.cast(label, tf.float32), [tasks]))
        row = tf.where(label == 1, seen, -1)
        return tf.where(label == 1, seen + 1, seen), {"image": image, "label": label, "row": row}

    return dataset.scan(tf.zeros([tasks], tf.int64), lambda seen, element: number(seen, *element))
