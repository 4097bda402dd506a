"""Folders of images: classes, splits, CSV files of labels, and what is wrong with them."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from adap_tf.data import folder, images
from adap_tf.data.images import StoredImages
from adap_tf.data.problems import DataError, Problems


def write(root, *names, size=(4, 3)):
    """Grey images, each of one level: the number of its place among the names."""
    for level, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size, level).save(path)
    return root


def levels(source):
    """The grey level of each image."""
    return source.image[np.arange(len(source))][:, 0, 0, 0].tolist()


def fails(match, *args, **options):
    with pytest.raises(DataError, match=match) as error:
        folder.load(*args, **options)
    assert "\n" not in str(error.value)


def csv_of(root, text):
    (root / "labels.csv").write_text(text)
    return "labels.csv"


def test_a_sub_folder_is_a_class(tmp_path):
    write(tmp_path, "dog/1.png", "cat/x/deep.PNG", "dog/2.png", "cat/0.png", "owl/a.bmp")
    (tmp_path / "README.txt").write_text("no image")
    (tmp_path / "cat" / "note.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    parts = folder.load(tmp_path)
    source = parts["train"]
    assert (list(parts), source.tasks, source.image.shape) == (["train"], ("cat", "dog", "owl"), (5, 3, 4, 1))
    assert levels(source) == [3, 1, 0, 2, 4]
    assert source.kind.tolist() == [0, 0, 1, 1, 2]
    np.testing.assert_array_equal(source.label[:3], [[1, 0, 0], [1, 0, 0], [0, 1, 0]])


def test_images_are_resized_to_the_size(tmp_path):
    write(tmp_path, "a/1.png", "b/1.png")
    write(tmp_path, "b/2.png", size=(9, 9))
    assert folder.load(str(tmp_path), size=(5, 7))["train"].image.shape == (3, 5, 7, 1)
    assert folder.load(tmp_path)["train"].image.shape == (3, 64, 64, 1)


@pytest.mark.parametrize("name", ["validation", "val", "VALID"])
def test_parts_that_are_split_already(tmp_path, name):
    write(
        tmp_path, "train/a/0.png", "train/b/1.png", "test/a/2.png", "test/b/3.png", f"{name}/a/4.png", f"{name}/b/5.png"
    )
    parts = folder.load(tmp_path)
    assert {part: levels(source) for part, source in parts.items()} == {
        "train": [0, 1],
        "test": [2, 3],
        "validation": [4, 5],
    }
    assert all(source.tasks == ("a", "b") and source.kind.tolist() == [0, 1] for source in parts.values())


def test_parts_have_one_form(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "IN_MEMORY", 0)
    write(tmp_path, "train/a/0.png", "train/b/1.png")
    write(tmp_path, "test/a/2.png", "test/b/3.png", size=(2, 2))
    parts = folder.load(tmp_path)
    assert {part: source.image.shape for part, source in parts.items()} == {
        "train": (2, 64, 64, 1),
        "test": (2, 64, 64, 1),
    }
    assert isinstance(parts["test"].image, StoredImages)


def test_a_class_may_be_called_train(tmp_path):
    assert folder.load(write(tmp_path, "bus/0.png", "train/1.png"))["train"].tasks == ("bus", "train")


def test_an_archive_of_a_folder(tmp_path):
    write(tmp_path / "in" / "pets", "cat/0.png", "dog/1.png")
    (tmp_path / "in" / "__MACOSX").mkdir()
    outer = shutil.make_archive(tmp_path / "outer", "zip", tmp_path / "in")
    inner = shutil.make_archive(tmp_path / "inner", "gztar", tmp_path / "in" / "pets")
    for path in (outer, inner):
        assert folder.load(path)["train"].tasks == ("cat", "dog")


def test_classes_in_a_csv_file(tmp_path):
    write(tmp_path, "0.png", "sub/1.png", "2.png")
    labels = csv_of(tmp_path, "\ufeffpath,kind\n2.png,owl\n\n./sub/1.png, cat\n0.png,owl\n")
    source = folder.load(tmp_path, labels)["train"]
    assert (source.tasks, source.kind.tolist(), levels(source)) == (("cat", "owl"), [1, 0, 1], [2, 1, 0])
    assert folder.load(tmp_path, tmp_path / labels)["train"].tasks == ("cat", "owl")


def test_numbers_of_classes_in_a_csv_file(tmp_path):
    write(tmp_path, "0.png", "1.png", "2.png")
    source = folder.load(tmp_path, csv_of(tmp_path, "path,kind\n0.png,0\n1.png,1\n2.png,2\n"))["train"]
    assert (source.tasks, source.kind.tolist()) == (("0", "1", "2"), [0, 1, 2])


def test_tasks_in_a_csv_file(tmp_path):
    write(tmp_path, "0.png", "1.png", "2.png")
    labels = csv_of(tmp_path, "path,grey,bald\n0.png,1,0\n1.png,,1.0\n2.png,0.0,1\n")
    source = folder.load(tmp_path, labels)["train"]
    assert (source.tasks, source.kind, source.label.dtype) == (("grey", "bald"), None, np.float32)
    np.testing.assert_array_equal(source.label, [[1, 0], [np.nan, 1], [0, 1]])


def test_one_column_of_zeros_and_ones_is_a_task(tmp_path):
    write(tmp_path, "0.png", "1.png", "2.png")
    source = folder.load(tmp_path, csv_of(tmp_path, "path,sick\n0.png,1\n1.png,0\n2.png,\n"))["train"]
    assert source.tasks == ("sick",)
    np.testing.assert_array_equal(source.label, [[1], [0], [np.nan]])


def test_a_bad_image_is_left_out_of_its_part(tmp_path):
    write(tmp_path, *(f"{part}/{name}.png" for part in ("train", "test") for name in ("a/0", "a/1", "b/0", "b/1")))
    (tmp_path / "train" / "a" / "0.png").write_bytes(b"no image")
    fails(r"train/a/0\.png .*; mend it, or leave", tmp_path)
    problems = Problems(skip=True)
    parts = folder.load(tmp_path, problems=problems)
    assert {part: levels(source) for part, source in parts.items()} == {"train": [1, 2, 3], "test": [4, 5, 6, 7]}
    assert [parts["train"].kind.tolist(), parts["test"].kind.tolist()] == [[0, 1, 1], [0, 0, 1, 1]]
    assert len(problems.found) == 1


def test_a_part_without_usable_images(tmp_path):
    write(tmp_path, "train/a/0.png", "train/b/1.png", "test/a/2.png", "test/b/3.png")
    for name in ("a/2.png", "b/3.png"):
        (tmp_path / "test" / name).write_bytes(b"")
    fails(r"test has no image that can be used", tmp_path, problems=Problems(skip=True))


def test_a_class_without_usable_images(tmp_path):
    write(tmp_path, "a/0.png", "b/1.png", "c/2.png")
    (tmp_path / "b" / "1.png").write_bytes(b"")
    fails(r"task 'b' has no positive", tmp_path, problems=Problems(skip=True))


def test_one_class_alone(tmp_path):
    write(tmp_path, "cat/0.png")
    fails(r"has the class 'cat' alone; give a sub-folder of images for each of two classes", tmp_path)
    (tmp_path / "dog").mkdir()
    fails(r"dog holds no images; add some, or remove it", tmp_path)


def test_images_beside_the_classes(tmp_path):
    write(tmp_path, "0.png", "cat/1.png", "dog/2.png")
    fails(r"holds the image 0\.png; put it in its class's folder, or give --labels", tmp_path)


def test_an_empty_folder_and_none(tmp_path):
    fails(r"has no images; give a sub-folder", tmp_path)
    fails(r"absent is missing", tmp_path / "absent")
    write(tmp_path, "train/a/0.png", "train/b/1.png")
    (tmp_path / "test").mkdir()
    fails(r"test has no images; give a sub-folder", tmp_path)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/c/0.png"), r"test has no class 'b', and .*train has"),
        (("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png", "test/c/0.png"), r"train has no class 'c'"),
        (("train/a/0.png", "test/b/0.png", "more/b/0.png"), r"is split, and holds more besides test, train; move it"),
        (("val/a/0.png", "test/b/0.png"), r"holds test, val; it needs one train folder"),
        (("train/a/0.png", "val/b/0.png", "valid/b/0.png"), r"holds train, val, valid; .*at most one of each other"),
        (("0.png", "train/a/0.png", "test/b/0.png"), r"holds the image 0\.png"),
    ],
)
def test_parts_that_do_not_fit(tmp_path, names, match):
    fails(match, write(tmp_path, *names))


ROWS = "path,sick\n0.png,1\n1.png,0\n2.png,1\n"
BAD_ROWS = {
    "0.png,0\n": r"line 5: 0\.png has a row above",
    "./sub/../0.png,0\n": r"line 5: sub/\.\./0\.png leads out of ",
    "/etc/passwd,0\n": r"line 5: /etc/passwd leads out of ",
    "gone.png,0\n": r"line 5: gone\.png is missing in ",
    "3.png,-1\n": r"line 5: sick is '-1'; write 0 for a negative, not -1, 1 for a positive and nothing for unknown",
    "3.png\n": r"line 5: there are 0 labels for the 1 of the header",
    "3.png,1,1\n": r"line 5: there are 2 labels for the 1 of the header",
}


@pytest.mark.parametrize(("row", "match"), BAD_ROWS.items())
def test_a_bad_row(tmp_path, row, match):
    write(tmp_path, "0.png", "1.png", "2.png", *(["3.png"] if row.startswith("3") else []))
    labels = csv_of(tmp_path, ROWS + row)
    fails(match, tmp_path, labels)
    problems = Problems(skip=True)
    source = folder.load(tmp_path, labels, problems=problems)["train"]
    assert source.label[:, 0].tolist() == [1, 0, 1]
    assert [bool(re.search(match, each)) for each in problems.found] == [True]


def test_a_bad_label_among_several(tmp_path):
    write(tmp_path, "0.png", "1.png", "2.png")
    labels = csv_of(tmp_path, "path,a,b\n0.png,1,0\n1.png,0,1\n2.png,1,yes\n")
    fails(r"labels\.csv: line 4: b is 'yes'; write 0", tmp_path, labels)
    labels = csv_of(tmp_path, "path,kind\n0.png,owl\n1.png,cat\n2.png,\n")
    fails(r"line 4: kind is empty", tmp_path, labels)


def test_a_bad_image_is_left_out_with_its_row(tmp_path):
    write(tmp_path, "0.png", "1.png", "2.png")
    (tmp_path / "0.png").write_bytes(b"")
    labels = csv_of(tmp_path, ROWS)
    fails(r"0\.png .*; mend it, or leave", tmp_path, labels)
    problems = Problems(skip=True)
    source = folder.load(tmp_path, labels, problems=problems)["train"]
    assert (source.label[:, 0].tolist(), levels(source), len(problems.found)) == ([0, 1], [1, 2], 1)


def test_an_image_without_a_row(tmp_path):
    write(tmp_path, "0.png", "1.png", "2.png", "sub/3.png")
    labels = csv_of(tmp_path, ROWS)
    fails(r"sub/3\.png has no row in .*labels\.csv; mend it, or leave", tmp_path, labels)
    problems = Problems(skip=True)
    assert len(folder.load(tmp_path, labels, problems=problems)["train"]) == 3
    assert len(problems.found) == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0.png,1\n1.png,0\n", r"line 1 names the image 0\.png; put a header above it"),
        ("path\n0.png\n", r"needs a header of two columns or more"),
        ("path,a,a\n0.png,1,1\n", r"no name twice"),
        ("path,a,\n0.png,1,1\n", r"needs a header"),
        ("", r"needs a header"),
        ("path,a\n", r"has no row in"),
        ("path,a\n0.png,1\n1.png,1\n", r"task 'a' has no negative"),
        ("path,a\n0.png,\n1.png,\n", r"task 'a' has no positive"),
        ("path,a\n0.png,cat\n1.png,cat\n", r"task 'cat' has no negative"),
        ('path,a\n0.png,"1\n', r"cannot be read: .*--labels names a CSV file in UTF-8"),
    ],
)
def test_a_csv_file_that_will_not_do(tmp_path, text, match):
    write(tmp_path, "0.png", "1.png")
    fails(match, tmp_path, csv_of(tmp_path, text))


def test_a_csv_file_without_a_usable_row_or_none(tmp_path):
    write(tmp_path, "0.png")
    fails(r"has no row that can be used", tmp_path, csv_of(tmp_path, "path,a\n"), problems=Problems(skip=True))
    fails(r"gone\.csv is missing; --labels names a CSV file", tmp_path, "gone.csv")
    (tmp_path / "latin.csv").write_bytes("path,ä\n0.png,1\n".encode("latin-1"))
    fails(r"latin\.csv cannot be read: .*UTF-8", tmp_path, "latin.csv")
