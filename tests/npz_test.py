"""Arrays in npz files: images, features and labels, and what is wrong with them."""

import zipfile

import numpy as np
import pytest

from adap_tf.data import npz
from adap_tf.data.problems import DataError, Problems

IMAGE = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
UNIT = IMAGE / np.float64(255)
LABEL = np.array([0, 1, 1, 0])
NAN = np.nan


def save(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def fails(match, path, problems=None):
    with pytest.raises(DataError, match=match) as error:
        npz.load(path, problems)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("image", "label"), [("image", "label"), ("x", "y"), ("image_train", "y_train")])
def test_a_task(tmp_path, image, label):
    parts = npz.load(str(save(tmp_path, **{image: IMAGE, label: LABEL})))
    source = parts["train"]
    assert (list(parts), source.tasks, source.kind) == (["train"], ("positive",), None)
    np.testing.assert_array_equal(source.image, IMAGE[..., None])
    assert (source.image.dtype, source.label.dtype) == (np.uint8, np.float32)
    assert source.label.tolist() == [[0], [1], [1], [0]]


@pytest.mark.parametrize(
    "image", [UNIT[:, 0], UNIT.reshape(4, 2, 3, 1), UNIT[:, 0].astype(np.float16), UNIT[:, 0] > 0.01]
)
def test_floats_stay_as_they_are(tmp_path, image):
    found = npz.load(save(tmp_path, image=image, label=LABEL))["train"].image
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, image.astype(np.float32))


@pytest.mark.parametrize("label", [np.array([0, 1, NAN, 1]), np.array([[0.0], [1], [NAN], [1]], np.float32)])
def test_an_unknown_label(tmp_path, label):
    source = npz.load(save(tmp_path, image=IMAGE, label=label))["train"]
    np.testing.assert_array_equal(source.label, [[0], [1], [NAN], [1]])


def test_several_tasks(tmp_path):
    label = np.array([[0, 1], [1, NAN], [1, 0], [0, 0]])
    assert npz.load(save(tmp_path, image=IMAGE, label=label))["train"].tasks == ("0", "1")
    source = npz.load(save(tmp_path, image=IMAGE, label=label, tasks=np.array(["grey", "bald"])))["train"]
    assert source.tasks == ("grey", "bald")
    np.testing.assert_array_equal(source.label, label)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_classes(tmp_path, shape, dtype):
    label = np.array([2, 0, 10, 0], dtype).reshape(shape)
    source = npz.load(save(tmp_path, image=IMAGE, label=label))["train"]
    assert (source.tasks, source.kind.tolist()) == (("0", "2", "10"), [1, 0, 2, 0])
    np.testing.assert_array_equal(source.label[0], [0, 1, 0])


def test_classes_with_names(tmp_path):
    source = npz.load(save(tmp_path, image=IMAGE, label=LABEL, classes=np.array(["owl", "cat"])))["train"]
    assert (source.tasks, source.kind.tolist()) == (("owl", "cat"), [0, 1, 1, 0])
    path = save(tmp_path, image=IMAGE, label=LABEL * 2, classes=np.array([b"owl", b"cat", b"dog"]))
    assert npz.load(path)["train"].tasks == ("owl", "dog")
    fails(
        "there is a class 2, and names for 0 to 1 in classes", save(tmp_path, x=IMAGE, y=LABEL * 2, classes=["a", "b"])
    )


def test_parts(tmp_path):
    path = save(
        tmp_path,
        x_train=IMAGE,
        y_train=LABEL,
        x_test=IMAGE[:1],
        y_test=[2],
        x_validation=IMAGE[:2],
        y_validation=[1, 0],
    )
    parts = npz.load(path)
    assert {part: source.kind.tolist() for part, source in parts.items()} == {
        "train": [0, 1, 1, 0],
        "validation": [1, 0],
        "test": [2],
    }
    assert {source.tasks for source in parts.values()} == {("0", "1", "2")}


@pytest.mark.parametrize("value", [NAN, np.inf, -np.inf])
def test_pixels_that_are_no_numbers(tmp_path, value):
    image = UNIT.copy()
    image[2, 1, 1] = value
    path = save(tmp_path, image=image, label=LABEL)
    fails(r"image\[2\] holds NaN or infinity; mend it, or leave", path)
    problems = Problems(skip=True)
    source = npz.load(path, problems)["train"]
    assert source.label.ravel().tolist() == [0, 1, 0]
    np.testing.assert_allclose(source.image[..., 0], UNIT[[0, 1, 3]], rtol=1e-6)
    assert problems.found == [f"{path}: image[2] holds NaN or infinity"]


def test_an_unknown_class_is_left_out(tmp_path):
    path = save(tmp_path, x_train=IMAGE, y_train=[0, 1, 2, NAN])
    fails(r"y_train\[3\] is NaN among classes", path)
    problems = Problems(skip=True)
    assert npz.load(path, problems)["train"].kind.tolist() == [0, 1, 2]
    assert len(problems.found) == 1


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({}, r"needs the arrays image and label, .*; there is none"),
        ({"pixels": IMAGE, "label": LABEL}, r"has label, but not its images; there are: pixels, label"),
        ({"x_train": IMAGE}, r"has x_train, but not its labels; there are: x_train"),
        ({"x_test": IMAGE, "y_test": LABEL}, r"needs the arrays .* there are: x_test, y_test"),
        ({"x": IMAGE, "image": IMAGE, "y": LABEL}, r"has both image and x; leave one out"),
        ({"x": IMAGE, "y": LABEL[:3]}, r"x has 4 examples and y 3; they must be as many"),
        ({"x": IMAGE[:0], "y": LABEL[:0]}, r"x is 0x2x3; give .*n above 0"),
        ({"x": np.float32(1), "y": LABEL}, r"x is a single number; give"),
        ({"x": LABEL / 1, "y": LABEL}, r"x is 4; give \[n, height, width, channels\] or \[n, features\]"),
        ({"x": IMAGE.astype(int), "y": LABEL}, r"x is of int64; save it as uint8 in 0…255, or as float in \[0, 1\]"),
        ({"x": IMAGE.astype(float), "y": LABEL}, r"x lies in \[0, 23\]; scale floats to \[0, 1\]"),
        ({"x": UNIT - 0.5, "y": LABEL}, r"x lies in \[-0\.5, -0\.409\d+\]; scale floats"),
        ({"x": UNIT * NAN, "y": LABEL}, r"x\[0\] holds NaN"),
        ({"x": IMAGE, "y": LABEL * 2 - 1}, r"y\[0\] is -1; write 0 for a negative, not -1"),
        ({"x": IMAGE, "y": LABEL / 2}, r"y\[1\] is 0\.5; write 0"),
        ({"x": IMAGE, "y": LABEL / [1, 1, 1, 0.5] + [0, 0, 0, np.inf]}, r"y\[3\] is inf; write 0"),
        ({"x": IMAGE, "y": np.eye(4) * 2}, r"y\[0, 0\] is 2; write 0"),
        ({"x": IMAGE, "y": np.array(["a", "b", "a", "b"])}, r"y is <U1 with 1 axes; give numbers"),
        ({"x": IMAGE, "y": np.zeros((4, 2, 2))}, r"y is float64 with 3 axes"),
        ({"x": IMAGE, "y": np.array([0, None, 1, 1], object)}, r"y is an array of objects; save numbers"),
        ({"x": IMAGE, "y": LABEL, "tasks": np.array(["a", "b"])}, r"tasks has 2 names for 1 columns of labels"),
        ({"x": IMAGE, "y": np.eye(4)[:, :2], "tasks": np.array(["a", "a"])}, r"tasks must be an array \[n\] of text"),
        ({"x": IMAGE, "y": LABEL, "classes": np.array([1, 2])}, r"classes must be an array \[n\] of text"),
        ({"x": IMAGE, "y": LABEL * 0}, r"task 'positive' has no positive \(1\); add some"),
        ({"x": IMAGE, "y": LABEL * 0 + 1}, r"task 'positive' has no negative \(0\)"),
        ({"x": IMAGE, "y": LABEL, "x_test": IMAGE[:, 0], "y_test": LABEL}, r"examples of x and x_test differ in shape"),
        ({"x": IMAGE, "y": LABEL, "x_test": IMAGE, "y_test": np.eye(4)}, r"examples of y and y_test differ in shape"),
    ],
)
def test_arrays_that_will_not_do(tmp_path, arrays, match):
    fails(match, save(tmp_path, **arrays))


def test_nothing_that_can_be_used(tmp_path):
    fails(r"no example of x can be used", save(tmp_path, x=UNIT * NAN, y=LABEL), Problems(skip=True))


def test_files_that_will_not_do(tmp_path):
    fails(r"is missing, or no file", tmp_path / "absent.npz")
    fails(r"is missing, or no file", tmp_path)
    path = save(tmp_path, x=IMAGE, y=LABEL)
    whole = path.read_bytes()
    for bad in (b"", b"x", b"no npz file at all", whole[: len(whole) // 2], whole.replace(bytes(IMAGE[0]), bytes(6))):
        path.write_bytes(bad)
        fails(r"is damaged, or no npz file", path)
    np.save(tmp_path / "one.npy", IMAGE)
    fails(r"is damaged, or no npz file; write it with numpy\.savez", tmp_path / "one.npy")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"text", r"a\.npz: x is no array; write the file with numpy\.savez"),
        (b"\x93NUMPY\1\0\x20\0{'descr': '|u1', 'shape': (" + b" " * 9, r"is damaged, or no npz file"),
        (b"\x93NUMPY\1\0\x20\0", r"is damaged, or no npz file"),
    ],
)
def test_what_begins_as_no_array(tmp_path, content, match):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    fails(match, tmp_path / "a.npz")


def test_an_array_that_claims_more_than_there_is_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive, archive.open("x.npy", "w") as file:
        claimed = {"descr": "|u1", "fortran_order": False, "shape": (10**14,)}
        np.lib.format.write_array_header_1_0(file, claimed)
    fails(r"huge\.npz: x does not fit into memory", tmp_path / "huge.npz")
