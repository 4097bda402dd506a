"""BDD100K on small trees in its official layouts."""

import io
import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from adap_tf.data import DataError, Problems, bdd100k, images, splits
from adap_tf.data.images import StoredImages

KINDS = [("rainy", "tunnel"), ("partly cloudy", "residential"), ("undefined", "undefined"), ("clear", "highway"),
         ("foggy", "gas stations"), ("snowy", "undefined")]  # fmt: skip
SPLITS = {"train": range(6), "val": range(6, 9)}
TIME = {"timeofday": "night"}
BOX = {
    "category": "car",
    "name": "box",
    "attributes": {"occluded": True},
    "box2d": {"x1": 1.5, "y1": 2, "x2": 3, "y2": 4},
}


def kind(number):
    return KINDS[number % len(KINDS)]


def encoded(number):
    """A small picture of the official shape, another one for every number."""
    file = io.BytesIO()
    Image.new("RGB", (128, 72), (20 * number, 255 - 20 * number, 50)).save(file, "JPEG")
    return file.getvalue()


def entry(number, suffix=".jpg", **more):
    weather, scene = kind(number)
    return {"name": f"b{number:02d}{suffix}", "attributes": {"weather": weather, "scene": scene, **TIME}, **more}


def write_images(folder, place="images/100k"):
    for split, numbers in SPLITS.items():
        (folder / place / split).mkdir(parents=True)
        for number in (*numbers, 90):  # the last has no label
            (folder / place / split / f"b{number:02d}.jpg").write_bytes(encoded(number % 10))


def write_list(folder, place="labels/bdd100k_labels_images_{}.json", entries=None):
    for split, numbers in SPLITS.items():
        path = folder / place.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [entry(number, timestamp=10000, labels=[BOX] * 3) for number in numbers]
        path.write_text(json.dumps(entries(rows) if entries else rows, indent=4))


def write_each(folder):
    for split, numbers in SPLITS.items():
        place = folder / "labels" / "100k" / split
        place.mkdir(parents=True)
        for number in numbers:
            frames = [{"timestamp": 10000, "objects": [BOX]}]
            (place / f"b{number:02d}.json").write_text(json.dumps(entry(number, "", frames=frames)))


@pytest.fixture
def tree(tmp_path):
    write_images(tmp_path)
    write_list(tmp_path)
    return tmp_path


def check(folder):
    parts = bdd100k.load(str(folder), (36, 64))
    assert list(parts) == ["train", "test"]
    for part, numbers in zip(parts.values(), SPLITS.values(), strict=True):
        kinds = [tuple(name.removeprefix("partly ") for name in kind(number)) for number in numbers]
        assert part.tasks == bdd100k.TASKS
        np.testing.assert_array_equal(part.label, [[task in found for task in part.tasks] for found in kinds])
        assert part.image.shape == (len(numbers), 36, 64, 3)
        colours = part.image[np.arange(len(numbers))].mean(axis=(1, 2))
        np.testing.assert_allclose(colours, [(20 * number, 255 - 20 * number, 50) for number in numbers], atol=3)
    return parts


def test_the_lists_of_2018(tree):
    parts = check(tree)
    assert parts["train"].label.sum(axis=1).tolist() == [2, 2, 0, 2, 2, 1]
    assert parts["train"].kind.tolist() == [0, 29, 48, 19, 39, 13]
    assert parts["test"].kind.tolist() == [0, 29, 48]
    assert parts["train"].of_tasks(bdd100k.PAPER_TASKS).label.tolist() == [
        [1, 0, 1, 0], [0, 1, 0, 1], [0] * 4, [0] * 4, [0] * 4, [0] * 4
    ]  # fmt: skip


def test_pictures_are_read_when_they_are_asked_for(tree, monkeypatch):
    monkeypatch.setattr(images, "IN_MEMORY", 0)
    assert isinstance(check(tree)["train"].image, StoredImages)


@pytest.mark.parametrize("root", ["", "bdd100k"])
@pytest.mark.parametrize("place", ["images/100k", "images"])
@pytest.mark.parametrize("labels", ["labels/det_20/det_{}.json", None])
def test_the_other_layouts(tmp_path, root, place, labels):
    write_images(tmp_path / root, place)
    if labels:
        write_list(tmp_path / root, labels)
    else:
        write_each(tmp_path / root)
    check(tmp_path)


def test_images_and_labels_may_stand_in_different_roots(tmp_path):
    write_images(tmp_path / "bdd100k")
    write_list(tmp_path)
    check(tmp_path)


def test_the_official_size_is_the_default(tree):
    assert bdd100k.load(str(tree))["test"].image.shape == (3, *bdd100k.SIZE, 3) == (3, 224, 224, 3)


def test_the_papers_split():
    """Table 6: 55,890 and 13,973 of the 69,863 training pictures."""
    kind = np.random.default_rng(0).integers(0, 49, 69_863)
    assert [len(part) for part in splits.stratified(kind, (0.8, 0.2), 0)] == [55_890, 13_973]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_list_is_read_in_pieces(tree, monkeypatch, chunk):
    monkeypatch.setattr(bdd100k, "CHUNK", chunk)
    check(tree)


def test_boxes_take_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(bdd100k, "CHUNK", 2**16)
    path = tmp_path / "list.json"
    path.write_text(json.dumps([entry(number, labels=[BOX] * 500) for number in range(40)]))
    assert path.stat().st_size > 2e6
    tracemalloc.start()
    found = list(bdd100k._listed(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["name"] for _, row in found] == [f"b{number:02d}.jpg" for number in range(40)]
    assert found[3][0] == f"{path}:4"
    assert peak < path.stat().st_size / 3  # a few pieces of the text, and one entry


def test_missing_data_are_named_with_what_to_do(tmp_path):
    words = r"; unpack the official archives of BDD100K there$"
    with pytest.raises(DataError, match=rf"^no images/100k/train or images/train in {tmp_path}{words}"):
        bdd100k.load(str(tmp_path))
    write_images(tmp_path)
    names = r"labels/bdd100k_labels_images_train\.json or labels/det_20/det_train\.json or labels/100k/train"
    with pytest.raises(DataError, match=rf"^no {names} in {tmp_path}{words}"):
        bdd100k.load(str(tmp_path))


def of(**attributes):
    return lambda rows: [*rows[:1], {**rows[1], "attributes": {**rows[1]["attributes"], **attributes}}, *rows[2:]]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (lambda rows: [*rows[:2], rows[1], *rows[2:]], r":3: b01\.jpg is there a second time"),
        (
            lambda rows: [*rows, {**rows[0], "name": "far.jpg"}],
            r":7: names far\.jpg, which is not in .*/images/100k/train",
        ),
        (
            of(weather="hail"),
            r":2: b01\.jpg has the weather 'hail', and must have one of rainy, snowy, clear, overcast",
        ),
        (of(scene=None), r":2: b01\.jpg has the scene None, and must have one of tunnel, residential"),
        (of(scene=["tunnel"]), r":2: b01\.jpg has the scene \['tunnel'\], and must"),
        (lambda rows: [rows[0], {"name": "b01.jpg"}, *rows[2:]], r":2: has no name or no attributes"),
        (lambda rows: [rows[0], {**rows[1], "name": None}, *rows[2:]], r":2: has no name or no attributes"),
        (lambda rows: [rows[0], "b01.jpg", *rows[2:]], r":2: has no name or no attributes"),
    ],
)
def test_bad_entries_stop_or_are_counted(tmp_path, entries, words):
    write_images(tmp_path)
    write_list(tmp_path)
    path = tmp_path / "labels" / "bdd100k_labels_images_train.json"
    path.write_text(json.dumps(entries(json.loads(path.read_text()))))
    with pytest.raises(DataError, match=rf"^{path}{words}.*; mend it, or leave such examples out with --skip-bad"):
        bdd100k.load(str(tmp_path))
    problems = Problems(skip=True)
    train = bdd100k.load(str(tmp_path), problems=problems)["train"]
    assert len(problems.found) == 1
    assert train.kind.tolist() in ([0, 29, 48, 19, 39, 13], [0, 48, 19, 39, 13])
    assert (29 in train.kind) == ("second" in words or "far" in words)
    assert len(train.image) == len(train.kind)


def test_bad_pictures_stop_or_are_counted(tree):
    path = tree / "images" / "100k" / "train" / "b03.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"^{path} cannot be read as an image"):
        bdd100k.load(str(tree))
    problems = Problems(skip=True)
    train = bdd100k.load(str(tree), problems=problems)["train"]
    assert len(problems.found) == 1
    assert train.kind.tolist() == [0, 29, 48, 39, 13]
    np.testing.assert_allclose(train.image[3].mean(axis=(0, 1)), (80, 175, 50), atol=3)


def test_bad_files_of_single_pictures_stop_or_are_counted(tmp_path):
    write_images(tmp_path)
    write_each(tmp_path)
    path = tmp_path / "labels" / "100k" / "train" / "b02.json"
    path.write_text(path.read_text()[:30])
    with pytest.raises(DataError, match=rf"^{path} cannot be read: .*; mend it"):
        bdd100k.load(str(tmp_path))
    problems = Problems(skip=True)
    assert bdd100k.load(str(tmp_path), problems=problems)["train"].kind.tolist() == [0, 29, 19, 39, 13]
    assert len(problems.found) == 1


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda text: text[:-2], 6),  # the end alone
        (lambda text: text[: len(text) // 2], 2),
        (lambda text: text[:-1] + ", ]", 6),
        (lambda text: text.replace("},\n    {\n        \"name\": \"b01", "}\n    {\n        \"name\": \"b01"), 1),
        (lambda text: text + "x", 6),
        (lambda text: text[1:], 0),
        (lambda text: '{"name": "b01.jpg"}', 0),
        (lambda text: "", 0),
    ],
)  # fmt: skip
def test_a_list_that_is_not_whole(tree, change, count):
    path = tree / "labels" / "bdd100k_labels_images_train.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(
        DataError, match=rf"^{path} is cut off or no list in JSON, after {count} entries; get it again$"
    ):
        bdd100k.load(str(tree))


def test_a_list_without_entries(tree):
    path = tree / "labels" / "bdd100k_labels_images_train.json"
    for text in ("[]", " [\n]\n"):
        path.write_text(text)
        with pytest.raises(DataError, match=rf"^{path} names no picture in .* that can be used; get both again"):
            bdd100k.load(str(tree))
    path.write_bytes(b"[\xff")
    with pytest.raises(DataError, match=rf"^{path} .*; get it again"):
        bdd100k.load(str(tree))
