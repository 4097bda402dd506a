"""CelebA on small trees in its official layout, and as TensorFlow Datasets prepares it."""

import io
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from adap_tf.data import DataError, Problems, celeba, images
from adap_tf.data.images import StoredImages
from prepared_test import store

TASKS = tuple(tfds.builder("celeb_a").info.features["attributes"])
PARTS = (0, 0, 2, 1, 0, 1, 2, 0)  # of images 1 to 8
IN_PART = {"train": [1, 2, 5, 8], "validation": [4, 6], "test": [3, 7]}


def encoded(number, height=218, width=178, channels=3):
    """A small JPEG, another one for every number."""
    pixels = np.full((height, width, channels), 25 * number, np.uint8)
    pixels[: 10 * number, :50] = 255 - 25 * number
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=95)
    return file.getvalue()


def decoded(number):
    return np.asarray(Image.open(io.BytesIO(encoded(number))))


def attributes(number):
    """1 or -1 for each task."""
    return np.where(np.random.default_rng(number).random(40) < 0.3, 1, -1)


def row(number):
    return f"{number:06d}.jpg  " + " ".join(f"{value:2d}" for value in attributes(number))


@pytest.fixture
def tree(tmp_path):
    """Eight images in the official files."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for number in range(1, 9):
        (folder / "img_align_celeba" / f"{number:06d}.jpg").write_bytes(encoded(number))
    head = ["8", " ".join(TASKS) + " "]
    (folder / "list_attr_celeba.txt").write_text("\n".join([*head, *map(row, range(1, 9))]) + "\n")
    lines = [f"{number:06d}.jpg {part}" for number, part in enumerate(PARTS, 1)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return folder


def check(parts):
    """What was written is what is read."""
    assert list(parts) == list(IN_PART)
    for split, numbers in IN_PART.items():
        part = parts[split]
        assert part.tasks == TASKS
        assert part.kind is None
        assert part.image.shape == (len(numbers), 218, 178, 3)
        np.testing.assert_array_equal(part.image[np.arange(len(numbers))], [decoded(number) for number in numbers])
        np.testing.assert_array_equal(part.label, [attributes(number) == 1 for number in numbers])


def edit(path, number, text):
    """Puts another line in the place of a line, or several, or none."""
    lines = path.read_text().splitlines()
    lines[number : number + 1] = [text] if isinstance(text, str) else text
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("limit", [0, images.IN_MEMORY])
def test_the_official_files(tree, monkeypatch, limit):
    monkeypatch.setattr(images, "IN_MEMORY", limit)
    parts = celeba.load(str(tree))
    assert isinstance(parts["train"].image, StoredImages) == (limit == 0)
    check(parts)
    assert parts["train"].of_tasks(celeba.PAPER_TASKS).tasks == ("Gray_Hair", "Mustache")


def test_the_folders_of_the_official_download(tree):
    for name, place in (
        ("img_align_celeba", "Img"),
        ("list_attr_celeba.txt", "Anno"),
        ("list_eval_partition.txt", "Eval"),
    ):
        (tree / place).mkdir()
        (tree / name).rename(tree / place / name)
    check(celeba.load(str(tree)))


def test_a_folder_in_one_of_its_name(tree):
    (tree / "img_align_celeba").rename(tree / "inner")
    (tree / "img_align_celeba").mkdir()
    (tree / "inner").rename(tree / "img_align_celeba" / "img_align_celeba")
    check(celeba.load(str(tree)))


def test_the_official_archive(tree):
    shutil.make_archive(str(tree / "img_align_celeba"), "zip", tree, "img_align_celeba")
    shutil.rmtree(tree / "img_align_celeba")
    check(celeba.load(str(tree)))
    assert (tree / "img_align_celeba" / "img_align_celeba" / "000001.jpg").is_file()
    check(celeba.load(str(tree)))


def test_what_tensorflow_datasets_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "IN_MEMORY", 0)
    features = {
        "image": tfds.features.Image(shape=(218, 178, 3), encoding_format="jpeg"),
        "attributes": dict.fromkeys(TASKS, np.bool_),
    }

    def example(number):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(encoded(number))  # a file's bytes are taken over as they are
        return {"image": str(path), "attributes": dict(zip(TASKS, attributes(number) == 1, strict=True))}

    splits = {split: [example(number) for number in numbers] for split, numbers in IN_PART.items()}
    folder = store(tmp_path / "data", splits, features, "celeb_a", version=str(tfds.builder("celeb_a").version))
    parts = celeba.load(folder)
    assert isinstance(parts["train"].image, StoredImages)
    check(parts)


def test_missing_data_are_named_with_what_to_do(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"^no CelebA in {tmp_path}/celeb_a/.*: name the folder that holds it"):
        celeba.load(str(tmp_path))
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (tree / name).rename(tree / "away")
        with pytest.raises(DataError, match=f"^no {name} in {tree}; put the official one there$"):
            celeba.load(str(tree))
        (tree / "away").rename(tree / name)
    shutil.rmtree(tree / "img_align_celeba")
    with pytest.raises(DataError, match=rf"^no img_align_celeba or img_align_celeba\.zip in {tree}; put the official"):
        celeba.load(str(tree))


@pytest.mark.parametrize(
    ("number", "text", "words"),
    [
        (0, "9", r"says that it has 9 images, and has 8; get it again, or put 8 in its first line"),
        (9, [], r"says that it has 8 images, and has 7; get it again"),
        (0, [], r"must begin with the number of images and a line of attributes' names; get it again"),
        (0, "eight", r"must begin with the number"),
    ],
)
def test_a_file_of_attributes_that_is_not_whole(tree, number, text, words):
    edit(tree / "list_attr_celeba.txt", number, text)
    with pytest.raises(DataError, match=rf"^{tree}/list_attr_celeba\.txt {words}"):
        celeba.load(str(tree), problems=Problems(skip=True))


def test_files_that_are_no_text_or_empty(tree):
    (tree / "list_attr_celeba.txt").write_bytes(b"")
    with pytest.raises(DataError, match=r"list_attr_celeba\.txt must begin with the number"):
        celeba.load(str(tree))
    (tree / "list_attr_celeba.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"list_attr_celeba\.txt cannot be read: .*; get it again"):
        celeba.load(str(tree))


@pytest.mark.parametrize(
    ("file", "number", "text", "words", "left"),
    [
        ("attr", 3, row(1), "list_attr_celeba.txt:4: 000001.jpg is there a second time", {1, 3, 4, 5, 6, 7, 8}),
        (
            "attr",
            3,
            row(2)[:-4],
            "list_attr_celeba.txt:4: 000002.jpg has 39 values, and must have 40",
            {*range(1, 9)} - {2},
        ),
        ("attr", 3, row(2)[:-2] + " 0", "000002.jpg has the value '0', and must have 1 or -1", {*range(1, 9)} - {2}),
        ("attr", 3, row(2).replace("000002", "000099"), "names 000099.jpg, which is not in ", {*range(1, 9)} - {2}),
        ("part", 1, [], "list_eval_partition.txt has no line for 000002.jpg", {*range(1, 9)} - {2}),
        (
            "part",
            1,
            "000002.jpg 3",
            "partition.txt:2: '000002.jpg 3' must be a new image and 0, 1 or 2",
            {*range(1, 9)} - {2},
        ),
        (
            "part",
            1,
            "000002.jpg",
            "partition.txt:2: '000002.jpg' must be a new image and 0, 1 or 2",
            {*range(1, 9)} - {2},
        ),
        ("part", 8, "000001.jpg 2", "partition.txt:9: '000001.jpg 2' must be a new image", {*range(1, 9)}),
    ],
)
def test_bad_lines_stop_or_are_counted(tree, file, number, text, words, left):
    edit(tree / {"attr": "list_attr_celeba.txt", "part": "list_eval_partition.txt"}[file], number, text)
    skipped(tree, words, left)


def skipped(tree, words, left):
    """Some problem stops; left out, it is told, and the other images stay."""
    with pytest.raises(DataError, match=r"; mend it, or leave such examples out with --skip-bad-examples$"):
        celeba.load(str(tree))
    problems = Problems(skip=True)
    parts = celeba.load(str(tree), problems=problems)
    assert any(words in problem for problem in problems.found)
    assert len(problems.found) <= 2
    for split, numbers in IN_PART.items():
        numbers = [number for number in numbers if number in left]
        np.testing.assert_array_equal(parts[split].image, [decoded(number) for number in numbers])
        np.testing.assert_array_equal(parts[split].label, [attributes(number) == 1 for number in numbers])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "names 000005.jpg, which is not in "),
        (encoded(5)[:900], "000005.jpg cannot be read as an image"),
        (encoded(5, 217), "000005.jpg has 217×178×3 pixels and channels, and must have 218×178×3"),
        (encoded(5, channels=1), "000005.jpg has 218×178×1 pixels and channels"),
    ],
)
def test_bad_images_stop_or_are_counted(tree, data, words):
    path = tree / "img_align_celeba" / "000005.jpg"
    path.unlink()
    if data:
        path.write_bytes(data)
    skipped(tree, words, {*range(1, 9)} - {5})


def test_an_image_without_a_line(tree):
    (tree / "img_align_celeba" / "000009.jpg").write_bytes(encoded(9))
    skipped(tree, f"000009.jpg has no line in {tree}/list_attr_celeba.txt", {*range(1, 9)})


def test_a_split_without_an_image(tree):
    path = tree / "list_eval_partition.txt"
    path.write_text(path.read_text().replace(" 1\n", " 0\n"))
    with pytest.raises(
        DataError, match=r"^list_eval_partition\.txt has no usable image of the validation split; get it"
    ):
        celeba.load(str(tree))
