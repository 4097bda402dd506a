"""What TensorFlow Datasets prepared, read where it stands: written here with its own tools, without a network."""

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from adap_tf.data import DataError, Problems, any_tfds, images, prepared
from adap_tf.data.images import StoredImages
from adap_tf.data.pixels import Form

IMAGE = tfds.features.Image(shape=(6, 5, 3))
CLASSES = {"image": IMAGE, "label": tfds.features.ClassLabel(names=["cat", "dog", "owl"])}


def picture(number, height=6, width=5, channels=3):
    return np.random.default_rng(number).integers(0, 256, (height, width, channels), np.uint8)


def store(folder, splits, features, name="pets", supervised=None, version="1.0.0"):
    """Prepares a data set as its users find it, in the order that is given."""
    splits = {split: list(enumerate(rows)) for split, rows in splits.items()}
    tfds.dataset_builders.store_as_tfds_dataset(
        name, version, tfds.features.FeaturesDict(features), splits, data_dir=folder, disable_shuffling=True
    )
    if supervised:
        place = next(folder.rglob("dataset_info.json"))
        keys = ", ".join(f'{{"featureKey": "{key}"}}' for key in supervised)
        said = f'"supervisedKeys": {{"tuple": {{"items": [{keys}]}}}},\n  "version"'
        place.write_text(place.read_text().replace('"version"', said, 1))
    return str(folder)


def pets(count, first=0):
    return [{"image": picture(first + k), "label": (first + k) % 3} for k in range(count)]


@pytest.fixture
def folder(tmp_path):
    return store(tmp_path, {"train": pets(7), "test": pets(2, 7)}, CLASSES)


@pytest.fixture
def nothing_fits(monkeypatch):
    monkeypatch.setattr(images, "IN_MEMORY", 0)


def shard(folder, split="train"):
    return next(
        os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if f"-{split}.tf" in name
    )


def test_each_example_is_read_where_it_stands(folder):
    builder = prepared.builder_of("pets", folder, False)
    keys = prepared.records(builder, "train")
    assert [str(key) for key in keys] == [f"{shard(folder)}:{place}" for place in range(7)]
    assert keys[-1].offset + keys[-1].length + prepared.CHECKSUM == os.path.getsize(shard(folder))
    stored = StoredImages(prepared.encoded("image"), keys, Form(6, 5))
    np.testing.assert_array_equal(stored[np.array([5, 0, 5])], [picture(5), picture(0), picture(5)])
    np.testing.assert_array_equal(stored[3], picture(3))
    assert prepared.labels(builder, "train", ["label"]).tolist() == [[k % 3] for k in range(7)]
    assert images.same_images(stored.take(np.array([1, 2])), stored.take(np.array([1, 2])))
    assert not images.same_images(stored.take(np.array([1, 2])), stored.take(np.array([2, 1])))


def test_several_files_follow_each_other(tmp_path, monkeypatch):
    folder = store(tmp_path, {"train": pets(3)}, CLASSES)
    builder = prepared.builder_of("pets", folder, False)
    other = str(tmp_path / "other.tfrecord")
    shutil.copy(shard(folder), other)
    info = builder.info.splits["train"]
    monkeypatch.setattr(type(info), "filepaths", property(lambda self: [shard(folder), other]))
    monkeypatch.setattr(type(info), "num_examples", property(lambda self: 6))
    assert [str(key) for key in prepared.records(builder, "train")][3:] == [f"{other}:{place}" for place in range(3)]
    assert prepared.labels(builder, "train", ["label"]).ravel().tolist() == [0, 1, 2, 0, 1, 2]


def test_threads_do_not_disturb_each_other(folder):
    keys = prepared.records(prepared.builder_of("pets", folder, False), "train")
    read, wrong = prepared.encoded("image"), []

    def look(place):
        for _ in range(50):
            if (Form(6, 5).decode(read(keys[place])) != picture(place)).any():
                wrong.append(place)

    threads = [threading.Thread(target=look, args=(place,)) for place in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_data_that_are_not_there_are_named_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"^no CIFAR-10 in {tmp_path}/.*: name the folder .* add --download$"):
        prepared.builder_of("cifar10", str(tmp_path), False, "CIFAR-10")
    with pytest.raises(DataError, match=r"^TensorFlow Datasets cannot give 'nosuch': Dataset nosuch not found; look"):
        prepared.builder_of("nosuch", str(tmp_path), False)
    with pytest.raises(DataError, match=r"cannot give 'cifar10:9\.\*\.\*': Failed to construct .* only: 3\.0\.2; look"):
        prepared.builder_of("cifar10:9.*.*", str(tmp_path), False)
    with pytest.raises(DataError, match=r"cannot give 'no name': [^\n]*; look"):
        prepared.builder_of("no name", str(tmp_path), False)
    assert not list(tmp_path.iterdir())


def test_a_download_that_fails_says_why(tmp_path, monkeypatch):
    def fail(self):
        raise ConnectionError("no way\nto anywhere")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(DataError, match=r"^CIFAR-10 cannot be prepared: no way; see to that and start again$"):
        prepared.builder_of("cifar10", str(tmp_path), True, "CIFAR-10")


def change(path, change):
    Path(path).write_bytes(change(Path(path).read_bytes()))


def test_damaged_files_are_named(folder):
    builder, path = prepared.builder_of("pets", folder, False), shard(folder)
    keys = prepared.records(builder, "train")
    whole = Path(path).read_bytes()
    for end in (keys[4].offset - 5, keys[4].offset + 3, keys[4].offset + keys[4].length + 3):
        change(path, lambda data, end=end: whole[:end])
        with pytest.raises(DataError, match=rf"^{path}:4 is cut off; delete the folder and prepare it again with --do"):
            prepared.records(builder, "train")
    change(path, lambda data: whole[: keys[4].offset - prepared.HEADER.size])
    with pytest.raises(
        DataError, match=r"the train split has 7 examples in its dataset_info\.json, and 4 in its files"
    ):
        prepared.records(builder, "train")
    change(path, lambda data: whole[:200] + b"?" + whole[201:])
    with pytest.raises(
        DataError, match=rf"^{folder}/pets/1\.0\.0 cannot be read: corrupted record at \d.*; delete the"
    ):
        prepared.labels(builder, "train", ["label"])
    change(path, lambda data: b"")
    with pytest.raises(DataError, match="7 examples in its dataset_info"):
        prepared.records(builder, "train")
    os.unlink(path)
    with pytest.raises(DataError, match=rf"^{path} is missing; delete the folder"):
        prepared.records(builder, "train")
    with pytest.raises(DataError, match=r"cannot be read: .*No such file"):
        prepared.labels(builder, "train", ["label"])


def test_an_example_without_an_image_or_a_label_says_so(folder):
    builder = prepared.builder_of("pets", folder, False)
    keys = prepared.records(builder, "train")
    stored = StoredImages(prepared.encoded("photo"), keys, Form(6, 5))
    with pytest.raises(DataError, match=rf"^{shard(folder)}:2 holds no image 'photo'; delete"):
        stored[2]
    with pytest.raises(DataError, match=r"cannot be read: .*age"):
        prepared.labels(builder, "train", ["age"])
    change(shard(folder), lambda data: data[: keys[2].offset] + b"\xff" * 9 + data[keys[2].offset + 9 :])
    with pytest.raises(DataError, match=rf"^{shard(folder)}:2 holds no image 'image'; delete"):
        StoredImages(prepared.encoded("image"), keys, Form(6, 5))[2]


def test_other_kinds_of_files_are_refused(tmp_path):
    folder = store(tmp_path, {"train": pets(3)}, CLASSES)
    place = next(tmp_path.rglob("dataset_info.json"))
    place.write_text(place.read_text().replace("tfrecord", "array_record"))
    with pytest.raises(DataError, match=r"holds files of the kind array_record, not tfrecord; prepare it as tfrecord$"):
        prepared.records(prepared.builder_of("pets", folder, False), "train")


def test_any_data_set_of_classes(folder, nothing_fits):
    parts = any_tfds.load("pets", folder)
    assert list(parts) == ["train", "test"]
    train = parts["train"]
    assert isinstance(train.image, StoredImages)
    assert train.tasks == ("cat", "dog", "owl")
    np.testing.assert_array_equal(train.label, np.eye(3)[np.arange(7) % 3])
    assert train.kind.tolist() == [0, 1, 2, 0, 1, 2, 0]
    np.testing.assert_array_equal(train.image[np.arange(7)], [picture(k) for k in range(7)])
    np.testing.assert_array_equal(parts["test"].image[np.arange(2)], [picture(7), picture(8)])
    assert any_tfds.load("pets", folder, size=(4, 3))["test"].image.shape == (2, 4, 3, 3)


def test_a_small_one_is_kept_in_memory(folder):
    train = any_tfds.load("pets", folder)["train"]
    np.testing.assert_array_equal(train.image, [picture(k) for k in range(7)])


def test_the_supervised_class_is_taken_of_several(tmp_path):
    features = {**CLASSES, "mood": tfds.features.ClassLabel(num_classes=4), "mask": IMAGE}
    rows = [{**row, "mood": 3, "mask": picture(99)} for row in pets(4)]
    folder = store(tmp_path, {"train": rows}, features, supervised=("image", "label"))
    train = any_tfds.load("pets", folder)["train"]
    assert train.tasks == ("cat", "dog", "owl")
    np.testing.assert_array_equal(train.image[2], picture(2))


def test_labels_with_two_values_are_tasks(tmp_path):
    features = {
        "image": IMAGE,
        "is": {"old": np.bool_, "wet": np.bool_},
        "kind": tfds.features.ClassLabel(num_classes=3),
        "sex": tfds.features.ClassLabel(names=["f", "m"]),
    }
    rows = [{"image": picture(k), "is": {"old": k == 1, "wet": k > 1}, "kind": 2, "sex": k % 2} for k in range(4)]
    train = any_tfds.load("pets", store(tmp_path, {"train": rows}, features))["train"]
    assert train.tasks == ("is/old", "is/wet", "sex")
    assert train.label.T.tolist() == [[0, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]]
    assert train.kind is None


def test_a_class_below_0_is_unknown(tmp_path):
    rows = [{"image": picture(k), "label": label} for k, label in enumerate((2, -1))]
    train = any_tfds.load("pets", store(tmp_path, {"train": rows}, CLASSES))["train"]
    np.testing.assert_array_equal(train.label, [[0, 0, 1], [np.nan] * 3])


def test_images_without_a_known_size_are_looked_at(tmp_path):
    features = {**CLASSES, "image": tfds.features.Image()}
    for name, width, shape in (("same", 5, (6, 5, 3)), ("mixed", 9, (64, 64, 3))):
        rows = [{"image": picture(k, 6, width if k else 5), "label": k} for k in range(3)]
        folder = store(tmp_path / name, {"train": rows, "test": rows[:1]}, features)
        parts = any_tfds.load("pets", folder)
        assert [part.image.shape for part in parts.values()] == [(3, *shape), (1, *shape)]
        assert any_tfds.load("pets", folder, size=(7, 8))["train"].image.shape == (3, 7, 8, 3)
    grey = {**CLASSES, "image": tfds.features.Image(shape=(None, None, 1))}
    folder = store(tmp_path / "grey", {"train": [{"image": picture(0, channels=1), "label": 0}]}, grey)
    np.testing.assert_array_equal(any_tfds.load("pets", folder)["train"].image[0], picture(0, channels=1))


@pytest.mark.parametrize("shape", [(6, 5, 3), (None, None, 3)])
def test_bad_images_stop_or_are_counted(tmp_path, shape):
    features = {**CLASSES, "image": tfds.features.Image(shape=shape)}
    folder = store(tmp_path, {"train": pets(4)}, features)
    rows = [row.numpy() for row in tf.data.TFRecordDataset(shard(folder))]
    with tf.io.TFRecordWriter(shard(folder)) as writer:  # with sums that are right
        for place, row in enumerate(rows):
            writer.write(row.replace(b"\x89PNG", b"????") if place == 1 else row)
    with pytest.raises(
        DataError, match=rf"^{shard(folder)}:1 (is no image|cannot be read).*; mend it, or leave .* --skip-bad"
    ):
        any_tfds.load("pets", folder)
    problems = Problems(skip=True)
    train = any_tfds.load("pets", folder, problems=problems)["train"]
    assert [problem.split()[0] for problem in problems.found] == [f"{shard(folder)}:1"]
    np.testing.assert_array_equal(train.image, [picture(k) for k in (0, 2, 3)])
    assert train.kind.tolist() == [0, 2, 0]


def test_data_sets_that_cannot_be_taken_say_why(tmp_path):
    def refused(name, features, row, words, splits=("train",)):
        folder = store(tmp_path / name, {split: [row] for split in splits}, features, name)
        with pytest.raises(DataError, match=words):
            any_tfds.load(name, folder)

    image, row = {"image": IMAGE}, {"image": picture(0)}
    refused(
        "words", {"text": tfds.features.Text()}, {"text": "a"}, "^words has no images in each example.*; give a data"
    )
    refused(
        "pairs", {**image, "other": IMAGE}, {**row, "other": picture(1)}, "^pairs has 2 images in each example, and"
    )
    refused("bare", image, row, "^bare has no label; give a data set of images with classes")
    several = {key: tfds.features.ClassLabel(num_classes=3) for key in "ab"}
    refused(
        "many", {**image, **several}, {**row, "a": 1, "b": 1}, "^many has the labels a, b, of which none has two val"
    )
    deep = {**CLASSES, "image": tfds.features.Image(shape=(6, 5, 1), dtype=np.uint16)}
    refused("deep", deep, {"image": np.zeros((6, 5, 1), np.uint16), "label": 0}, "^deep has no images")
    refused("half", CLASSES, pets(1)[0], "^half has the splits test; only data sets with train are taken", ("test",))


def test_splits_of_no_known_use_are_left_out(tmp_path):
    folder = store(tmp_path, {"train": pets(2), "extra": pets(1)}, CLASSES)
    assert list(any_tfds.load("pets", folder)) == ["train"]
