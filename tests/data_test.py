"""Rows, splits, and batches as functions of the step."""

import numpy as np
import pytest
import tensorflow as tf

from adap_tf.data import (
    AUGMENTATIONS,
    AffineAndFlip,
    CropAndFlip,
    Examples,
    ResizedCrop,
    Sampler,
    Source,
    batches,
    digits,
    splits,
    training_batches,
    with_rows,
)
from adap_tf.data.augmentations import warped


def test_rows_are_places_among_the_positives():
    examples = Examples(np.zeros((4, 2)), np.array([[1, 0], [0, 1], [1, np.nan], [1, 1]]))
    np.testing.assert_array_equal(examples.rows, [[0, -1], [-1, 0], [1, -1], [2, 1]])
    assert examples.positives == (3, 2)
    np.testing.assert_array_equal(Examples(np.zeros((3, 2)), [True, False, True]).rows, [[0], [-1], [1]])


@pytest.mark.parametrize(
    ("image", "label", "words"),
    [
        (np.zeros((2, 1)), [1, -1], r"0 for a negative \(not -1\)"),
        (np.zeros((2, 1)), [1, 3], "1 for a positive or NaN"),
        (np.zeros((2, 1)), [1], "2 images and 1 labels"),
        (np.zeros((0, 1)), [], "above 0"),
        (np.full((2, 1), 1.5), [1, 0], r"floats in \[0, 1\]"),
        (np.full((2, 1), np.nan), [1, 0], r"floats in \[0, 1\]"),
        (np.full((2, 1), -0.1), [1, 0], r"floats in \[0, 1\]"),
        (np.full((2, 1), 255), [1, 0], r"uint8 in 0…255"),
    ],
)
def test_bad_examples_are_refused(image, label, words):
    with pytest.raises(ValueError, match=words):
        Examples(image, np.array(label))


def small():
    image = np.arange(20, dtype="float32").reshape(20, 1) / 20
    return Examples(image, np.arange(20) % 4 == 0)


def test_batches_hold_image_label_and_row_of_the_same_example():
    examples = small()
    batch = next(iter(training_batches(examples, Sampler(examples.label, 6, 3))))
    places = np.round(batch["image"].numpy()[:, 0] * 20).astype(int)
    np.testing.assert_array_equal(batch["label"], examples.label[places])
    np.testing.assert_array_equal(batch["row"], examples.rows[places])
    assert (batch["image"].dtype, batch["label"].dtype, batch["row"].dtype) == (tf.float32, tf.float32, tf.int64)


def test_batches_have_static_shapes():
    examples = small()
    for parts, size in ((1, 6), (2, 3)):
        spec = training_batches(examples, Sampler(examples.label, 6, 3), parts=parts).element_spec
        assert {name: tuple(of.shape) for name, of in spec.items()} == {
            "image": (size, 1),
            "label": (size, 1),
            "row": (size, 1),
        }


def test_batches_can_start_anywhere_and_be_cut_in_parts():
    examples = small()
    sampler = Sampler(examples.label, 6, 3)
    whole = [batch["image"].numpy() for batch in training_batches(examples, sampler).take(5)]
    later = next(iter(training_batches(examples, sampler, first_step=4)))
    np.testing.assert_array_equal(later["image"], whole[4])
    halves = [batch["image"].numpy() for batch in training_batches(examples, sampler, 2, parts=2).take(4)]
    np.testing.assert_array_equal(np.concatenate(halves), np.concatenate(whole[2:4]))
    with pytest.raises(ValueError, match="cannot be divided among 4 replicas"):
        training_batches(examples, sampler, parts=4)


def test_fit_batches_are_the_same_for_whoever_looks_and_can_start_anywhere():
    examples = small()
    dataset = batches(examples.image, examples.label, batch_size=6, seed=2)
    wanted = [batch["image"].numpy() for batch in training_batches(examples, Sampler(examples.label, 6, 3, 2)).take(6)]
    for _ in range(2):
        np.testing.assert_array_equal([batch["image"] for batch in dataset.take(6)], wanted)
    later = batches(examples.image, examples.label, batch_size=6, seed=2, first_step=4)
    np.testing.assert_array_equal(next(iter(later))["image"], wanted[4])


def test_fit_batches_can_take_positives_as_they_come():
    examples = small()
    first = next(iter(batches(examples.image, examples.label, 6, positives_per_batch=None)))
    wanted = next(iter(training_batches(examples, Sampler(examples.label, 6))))
    np.testing.assert_array_equal(first["image"], wanted["image"])


@pytest.mark.parametrize(
    ("label", "options", "words"),
    [
        ([1, 0, -1, 0], {"batch_size": 2}, r"0 for a negative \(not -1\)"),
        ([1, 0, 1, 0], {"batch_size": 5}, "batch_size"),
        ([1, 0, 1, 0], {"batch_size": 2, "positives_per_batch": 0}, "positives_per_batch"),
        ([0, 0, 0, 0], {"batch_size": 2}, "no positive"),
    ],
)
def test_bad_fit_batches_are_refused(label, options, words):
    with pytest.raises(ValueError, match=words):
        batches(np.zeros((4, 1)), label, **options)


def test_uint8_images_become_unit_range():
    dataset = batches(np.full((4, 2), 255, np.uint8), [1, 0, 0, 1], batch_size=2)
    image = next(iter(dataset))["image"]
    assert image.dtype == tf.float32
    np.testing.assert_array_equal(image, np.ones((2, 2)))


def test_with_rows_numbers_positives_in_order():
    dataset = with_rows(tf.data.Dataset.from_tensor_slices((np.zeros((5, 1)), [0, 1, 1, 0, 1])))
    for _ in range(2):  # the same each time it is gone through
        assert [int(element["row"][0]) for element in dataset] == [-1, 0, 1, -1, 2]


def test_with_rows_numbers_each_task_for_itself():
    label = np.array([[1, 0], [np.nan, 1], [1, 1]])
    dataset = with_rows(tf.data.Dataset.from_tensor_slices((np.zeros((3, 1)), label)))
    found = next(iter(dataset.batch(3)))
    np.testing.assert_array_equal(found["row"], Examples(np.zeros((3, 1)), label).rows)
    np.testing.assert_array_equal(found["label"], label)


def test_with_rows_refuses_labels_of_another_kind():
    dataset = with_rows(tf.data.Dataset.from_tensor_slices((np.zeros((2, 1)), [1.0, -1.0])))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"0 for a negative \(not -1\)"):
        list(dataset)


def test_stratified_keeps_every_class_share():
    target = np.repeat([0, 1, 2], [50, 30, 20])
    parts = splits.stratified(target, (0.6, 0.2, 0.2), seed=1)
    assert [np.bincount(target[part]).tolist() for part in parts] == [[30, 18, 12], [10, 6, 4], [10, 6, 4]]
    assert sorted(np.concatenate(parts)) == list(range(100))
    other = splits.stratified(target, (0.6, 0.2, 0.2), seed=2)
    assert parts[0].tolist() != other[0].tolist()


def test_stratified_classes_that_cannot_be_divided_evenly():
    target = np.repeat([0, 1, 2], [7, 1, 2])
    parts = splits.stratified(target, (0.6, 0.2, 0.2), seed=0)
    assert sorted(np.concatenate(parts)) == list(range(10))
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert (np.abs(np.bincount(target[part], minlength=3) - share * np.array([7, 1, 2])) < 1).all()


def test_stratified_can_leave_some_over_and_gives_exactly_what_is_asked():
    target = np.repeat([0, 1, 2], [70, 11, 19])
    for count in (1, 10, 37, 100):
        (part,) = splits.stratified(target, (count / 100,), seed=3)
        assert len(part) == len(set(part)) == count
        assert (np.abs(np.bincount(target[part], minlength=3) - count / 100 * np.array([70, 11, 19])) <= 1).all()


def test_digits_are_a_tenth_each():
    source = digits.load()["train"]
    examples = source.of_tasks(["8"]).examples
    assert examples.image.shape == (1797, 8, 8, 1)
    assert (examples.image.min(), examples.image.max()) == (0, 1)
    assert examples.positives == (174,)
    with pytest.raises(ValueError, match="unknown class 'cat'; classes: 0, 1"):
        source.of_tasks(["cat"])


def image_of(height, width, count=1):
    """Every pixel different, none black."""
    size = height * width * 2
    pixels = np.arange(1, count * size + 1).reshape(count, height, width, 2)
    return tf.constant(pixels, tf.int32)


def test_crop_and_flip_by_hand():
    image = tf.constant([[[1], [2], [3]], [[4], [5], [6]]])[None]  # 2×3 pixels
    augment = CropAndFlip(padding=1)
    for uniform, wanted in (
        ([0.5, 0.5, 0.4], [[1, 2, 3], [4, 5, 6]]),  # the middle of -1, 0, 1: not moved
        ([0.5, 0.5, 0.6], [[3, 2, 1], [6, 5, 4]]),  # mirrored
        ([0.0, 0.0, 0.4], [[0, 0, 0], [0, 1, 2]]),  # the window's corner is the padding's
        ([0.99, 0.99, 0.4], [[5, 6, 0], [0, 0, 0]]),
        ([0.99, 0.0, 0.6], [[5, 4, 0], [0, 0, 0]]),
    ):
        found = augment(image, tf.constant([uniform]))
        np.testing.assert_array_equal(found[0, :, :, 0], wanted)


def test_crop_and_flip_treats_each_image_by_its_own_numbers():
    image, uniform = image_of(5, 4, count=3), tf.random.stateless_uniform([3, 3], [1, 2])
    whole = CropAndFlip()(image, uniform)
    assert whole.shape == image.shape
    for place in range(3):
        one = CropAndFlip()(image[place : place + 1], uniform[place : place + 1])
        np.testing.assert_array_equal(one[0], whole[place])


def test_all_shifts_and_both_sides_come_about_as_often():
    image = image_of(1, 1, count=1)
    uniform = tf.random.stateless_uniform([9000, 3], [0, 0])
    found = CropAndFlip(padding=1)(tf.repeat(image, 9000, 0), uniform)[:, 0, 0, 0].numpy()
    assert abs((found > 0).mean() - 1 / 9) < 0.012  # the only pixel stays in view for one of nine shifts
    wide = CropAndFlip(padding=0)(tf.repeat(image_of(1, 2), 9000, 0), uniform)[:, 0, 0, 0].numpy()
    assert abs((wide == 1).mean() - 0.5) < 0.02


def pictures():
    image = np.random.default_rng(0).integers(1, 256, (20, 4, 4, 3), np.uint8)
    return Examples(image, np.arange(20) % 4 == 0)


def test_augmented_batches_depend_on_seed_and_step_and_on_no_parts():
    examples, augment = pictures(), CropAndFlip(1)

    def drawn_images(seed=5, first=0, parts=1, augmentation=augment):
        sampler = Sampler(examples.label, 8, 4, seed)
        dataset = training_batches(examples, sampler, first, parts, augmentation)
        return np.concatenate([batch["image"].numpy() for batch in dataset.take(3 * parts)]).reshape(3, 8, 4, 4, 3)

    whole = drawn_images()
    np.testing.assert_array_equal(drawn_images(parts=2), whole)
    np.testing.assert_array_equal(drawn_images(first=2)[0], whole[2])
    plain = drawn_images(augmentation=None)
    assert (whole != plain).any(axis=(2, 3, 4)).mean() > 0.8
    sampler = Sampler(examples.label, 8, 4, 5)
    for step in range(3):  # what `CropAndFlip` makes of the same examples
        uniform = tf.random.stateless_uniform([8, 3], [5, step])
        wanted = augment(tf.constant(examples.image[sampler.indices(step).numpy()]), uniform)
        np.testing.assert_array_equal(whole[step], tf.cast(wanted, tf.float32) / 255)
    assert len({step.tobytes() for step in (*whole, *drawn_images(seed=6))}) == 6


def test_fit_batches_can_be_augmented():
    examples = pictures()
    first = next(iter(batches(examples.image, examples.label, 8, augmentation=CropAndFlip())))
    sampler = Sampler(examples.label, 8, 4)
    wanted = next(iter(training_batches(examples, sampler, augmentation=CropAndFlip())))
    np.testing.assert_array_equal(first["image"], wanted["image"])


def warped_by_loops(image, middle, scale, degrees, upright):
    """Each pixel of the result from the four around the place that it comes from."""
    height, width = image.shape[:2]
    found = np.zeros(image.shape)
    angle = np.deg2rad(degrees)
    for row in range(height):
        for column in range(width):
            y, x = row - (height - 1) / 2, column - (width - 1) / 2
            x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
            y, x = y / scale[0], (x if upright else -x) / scale[1]
            y, x = y + middle[0] + (height - 1) / 2, x + middle[1] + (width - 1) / 2
            for i in (int(np.floor(y)), int(np.floor(y)) + 1):
                for j in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        found[row, column] += (1 - abs(y - i)) * (1 - abs(x - j)) * image[i, j]
    return found


def test_warped_against_loops(rng):
    image = rng.uniform(size=(6, 7, 9, 2)).astype("float32")
    middle, scale = rng.uniform(-2, 2, (6, 2)), rng.uniform(0.7, 1.5, (6, 2))
    degrees, upright = rng.uniform(-40, 40, 6), np.arange(6) % 2 == 0
    found = warped(*map(tf.constant, (image, middle.astype("f"), scale.astype("f"), degrees.astype("f"), upright)))
    for place in range(6):
        wanted = warped_by_loops(image[place], middle[place], scale[place], degrees[place], upright[place])
        np.testing.assert_allclose(found[place], wanted, atol=2e-5)


def test_warped_by_hand():
    image = tf.constant([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])[None, :, :, None]

    def moved(middle=(0, 0), scale=(1, 1), degrees=0, upright=True):
        numbers = (tf.constant([x], tf.float32) for x in (middle, scale, degrees))
        return warped(image, *numbers, tf.constant([upright]))[0, :, :, 0].numpy().round(4).tolist()

    assert moved() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert moved(upright=False) == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert moved(degrees=90) == [[3, 6, 9], [2, 5, 8], [1, 4, 7]]  # counterclockwise
    assert moved(middle=(1, 0)) == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert moved(scale=(2, 2))[1] == [4.5, 5, 5.5]


@pytest.mark.parametrize("name", ["affine_flip", "resized_crop"])
def test_the_other_augmentations_keep_shape_type_and_each_to_itself(name):
    augment = AUGMENTATIONS[name]
    image = tf.cast(image_of(6, 5, count=3), tf.uint8)
    uniform = tf.random.stateless_uniform([3, augment.draws], [1, 2])
    whole = augment(image, uniform)
    assert (whole.shape, whole.dtype) == (image.shape, tf.uint8)
    np.testing.assert_array_equal(augment(image[1:2], uniform[1:2])[0], whole[1])
    middle = tf.constant([[0.5] * (augment.draws - 1) + [0.0]])
    if name == "affine_flip":  # the middle of every range is no change
        np.testing.assert_array_equal(augment(image[:1], middle), image[:1])


def test_the_range_of_an_affine_change():
    image = tf.ones([1, 101, 101, 1])
    augment = AffineAndFlip(degrees=0, shift=0.1, scale=0)
    most = augment(image, tf.constant([[1.0, 0.5, 0.5, 0.5, 0.0]]))[0, :, :, 0].numpy()
    np.testing.assert_allclose(most.sum(0), 101 - 10.1, atol=1e-3)
    np.testing.assert_allclose(most.sum(1)[:90], 101, atol=1e-3)
    small = AffineAndFlip(degrees=0, shift=0, scale=0.2)(image, tf.constant([[0.5, 0.5, 0.0, 0.5, 0.0]]))
    assert abs(float(tf.reduce_sum(small)) ** 0.5 - 0.8 * 101) < 1.5


def test_a_resized_crop_shows_the_share_of_the_image_that_it_says():
    # columns count up, so the range of values is the width of the window
    ramp = tf.tile(tf.range(100.0)[None, None, :, None], [1, 100, 1, 1])
    crop = ResizedCrop(area=0.49, aspect=1.0, degrees=0)
    for place, first in ((0.0, 0.0), (1.0, 30.0)):
        found = crop(ramp, tf.constant([[0.0, 0.5, 0.5, place, 0.5, 0.0]]))[0, 50, :, 0].numpy()
        np.testing.assert_allclose(np.diff(found[1:-1]), 0.7, atol=1e-3)  # 70 columns on 100
        assert abs(found[1] - first - 0.55) < 1e-3
    whole = crop(ramp, tf.constant([[1.0, 0.5, 0.5, 0.5, 0.5, 0.0]]))
    np.testing.assert_allclose(whole, ramp, atol=1e-3)


def test_what_the_makers_did_not_split_is_split_here():
    source = Source.of_classes(np.zeros((100, 2), np.float32), np.arange(100) % 10 == 0, ("no", "yes"))
    for given, sizes in (
        (("train",), (60, 20, 20)),
        (("train", "test"), (80, 20, 100)),
        (("train", "validation"), (80, 100, 20)),
        (("train", "validation", "test"), (100, 100, 100)),
    ):
        parts = splits.in_three(dict.fromkeys(given, source), seed=0)
        assert list(parts) == ["train", "validation", "test"]
        assert tuple(len(part) for part in parts.values()) == sizes
        assert all(part.label[:, 1].mean() == pytest.approx(0.1) for part in parts.values())


def test_a_class_with_a_member_for_each_part_is_in_each():
    for members in (3, 4, 5, 8):
        for seed in range(5):
            target = np.concatenate([np.zeros(40), np.ones(members)])
            parts = splits.stratified(target, (0.6, 0.2, 0.2), seed)
            assert min(target[part].sum() for part in parts) >= 1
            assert sorted(np.concatenate(parts)) == list(range(40 + members))


def test_combinations_of_labels_that_are_too_rare_to_divide_are_dealt_together():
    target = np.concatenate([np.zeros(70), np.arange(1, 31)])  # thirty of a kind of their own
    parts = splits.stratified(target, (0.6, 0.2, 0.2), seed=0)
    assert [(target[part] > 0).sum() for part in parts] == [18, 6, 6]
    assert max(target[parts[0]]) > 18  # not the first of them


def test_a_source_is_stratified_by_its_kind_or_by_its_labels():
    label = np.array([[0, 1], [0, np.nan], [0, np.nan], [1, 1]])
    source = Source(np.zeros((4, 2)), label, ("a", "b"))
    a, b, c, d = source.strata
    assert b == c
    assert len({a, b, d}) == 3
    assert source.of_tasks(["a"]).strata.tolist() == [0, 0, 0, 1]
    classes = Source.of_classes(np.zeros((3, 2)), np.array([0, 2, 1]), ("x", "y", "z"))
    assert classes.of_tasks(["x"]).take(np.array([1, 2])).strata.tolist() == [2, 1]
    np.testing.assert_array_equal(classes.label, np.eye(3)[[0, 2, 1]])
