"""Images that stay on disk: what is read, and what is said of those that cannot be."""

import numpy as np
import pytest
from PIL import Image

from adap_tf.data import DataError, Examples, Problems, Sampler, files, images, same_images, training_batches
from adap_tf.data.files import common_form, glance, images_below, load_images
from adap_tf.data.images import StoredImages
from adap_tf.data.pixels import Form
from made_up import claiming


def pixels(number, height=6, width=5, channels=3):
    """Every image another one."""
    return np.random.default_rng(number).integers(0, 256, (height, width, channels), np.uint8)


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.squeeze()).save(path, **options)
    return str(path)


@pytest.fixture
def tree(tmp_path):
    """Ten PNG files, and what is in them."""
    arrays = np.stack([pixels(number) for number in range(10)])
    return [write(tmp_path / f"{number}.png", array) for number, array in enumerate(arrays)], arrays


@pytest.fixture
def nothing_fits(monkeypatch):
    """No data set is small enough to be kept in memory."""
    monkeypatch.setattr(images, "IN_MEMORY", 0)


def test_files_are_read_when_they_are_asked_for(tree, nothing_fits):
    paths, arrays = tree
    found, kept = load_images(paths, None, Problems())
    assert isinstance(found, StoredImages)
    assert (found.shape, found.dtype, len(found)) == ((10, 6, 5, 3), np.uint8, 10)
    np.testing.assert_array_equal(kept, np.arange(10))
    np.testing.assert_array_equal(found[np.array([7, 0, 7])], arrays[[7, 0, 7]])
    np.testing.assert_array_equal(found[3], arrays[3])
    np.testing.assert_array_equal(found[np.array([], int)], arrays[:0])
    part = found.take(np.array([9, 4]))
    np.testing.assert_array_equal(part[np.arange(2)], arrays[[9, 4]])
    assert same_images(part, found.take(np.array([9, 4])))
    assert not same_images(part, found)
    assert not same_images(part, arrays[[9, 4]])


def test_a_small_data_set_is_kept_in_memory(tree):
    paths, arrays = tree
    found, _ = load_images(paths, None, Problems())
    np.testing.assert_array_equal(found, arrays)


def test_batches_from_disk_are_those_from_memory(tree, nothing_fits):
    paths, arrays = tree
    label = np.arange(10) % 3 == 0
    stored, _ = load_images(paths, None, Problems())
    sampler = Sampler(label, 4, 2)
    for parts in (1, 2):
        memory, disk = (training_batches(Examples(x, label), sampler, 1, parts).take(4) for x in (arrays, stored))
        for one, other in zip(memory, disk, strict=True):
            assert one["image"].shape == other["image"].shape
            np.testing.assert_array_equal(one["image"], other["image"])
    assert Examples(stored, label).take(np.array([2, 3])).image.shape == (2, 6, 5, 3)


def test_a_worker_reads_its_own_share(tree, nothing_fits):
    paths, _ = tree
    asked = []

    def read(path):
        asked.append(path)
        return files.read_file(path)

    label, stored = np.arange(10) % 3 == 0, StoredImages(files.read_file, paths, Form(6, 5))
    sampler = Sampler(label, 8, 2)
    whole = list(training_batches(Examples(stored, label), sampler, 3, parts=4).take(8))
    shares = [
        list(training_batches(Examples(stored, label), sampler, 3, 4, None, worker, 2).take(4)) for worker in (0, 1)
    ]
    wanted = [[0, 1, 4, 5], [2, 3, 6, 7]]  # of each step's four parts the first two, and the last two
    for share, numbers in zip(shares, wanted, strict=True):
        for batch, number in zip(share, numbers, strict=True):
            np.testing.assert_array_equal(batch["image"], whole[number]["image"])
            np.testing.assert_array_equal(batch["row"], whole[number]["row"])
    counted = StoredImages(read, paths, Form(6, 5))
    next(iter(training_batches(Examples(counted, label), sampler, 0, 4, None, 1, 2).take(2).batch(2)))
    assert len(asked) < 2 * 8
    for worker, workers in ((0, 3), (2, 2), (-1, 2)):
        with pytest.raises(ValueError, match=rf"worker {worker} of {workers} cannot have a share of 4"):
            training_batches(Examples(stored, label), sampler, 0, 4, None, worker, workers)


def test_an_image_becomes_what_is_asked_for(tmp_path):
    grey = write(tmp_path / "grey.png", pixels(1, channels=1))
    wide = write(tmp_path / "wide.jpg", pixels(2, 40, 80))
    clear = write(tmp_path / "clear.png", pixels(3, channels=4))
    stored = StoredImages(files.read_file, [grey, wide, clear], Form(8, 8))
    assert stored[np.arange(3)].shape == (3, 8, 8, 3)
    as_grey = StoredImages(files.read_file, [grey], Form(6, 5, 1))
    np.testing.assert_array_equal(as_grey[0], pixels(1, channels=1))
    flat = write(tmp_path / "flat.png", np.full((9, 7, 3), 77, np.uint8))
    assert (StoredImages(files.read_file, [flat], Form(4, 4))[0] == 77).all()


def test_a_photograph_stands_upright(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90° to the right
    array = np.zeros((4, 8, 3), np.uint8)
    array[:, :4] = 255  # white on the left, and so on top once it is upright
    path = write(tmp_path / "phone.png", array, exif=turned)
    upright = StoredImages(files.read_file, [path], Form(8, 4))[0]
    assert upright[:3].min() == 255
    assert upright[-3:].max() == 0
    assert glance(path) == (8, 4, 3)  # as it stands, so that it differs from one that lies
    for size in ((4, 4), (6, 6)):  # a square hides that it was turned
        corners = np.eye(2, dtype=np.uint8).repeat(2, 0).repeat(2, 1) * 255
        square = write(tmp_path / "square.png", corners, exif=turned)
        found = StoredImages(files.read_file, [square], Form(*size, 1))[0][:, :, 0]
        assert found[0, 0] < 128 < found[0, -1]


def test_images_of_one_size_stay_and_others_meet():
    assert common_form([(6, 5, 1), (6, 5, 1)]) == Form(6, 5, 1)
    assert common_form([(6, 5, 1), (6, 5, 3)]) == Form(6, 5, 3)
    assert common_form([(6, 5, 3), (7, 5, 3)]) == Form(64, 64, 3)


def cut(path):
    """Only the first half of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".webp"])
def test_every_usual_kind_is_read(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", pixels(0, 16, 16))
    assert glance(path)[:2] == (16, 16)
    assert StoredImages(files.read_file, [path], Form(16, 16))[0].shape == (16, 16, 3)
    assert list(images_below(tmp_path)) == [tmp_path / f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_that_is_cut_off_is_seen_at_its_end(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path, pixels(0, 64, 64))
    assert glance(str(path)) == (64, 64, 3)
    cut(path)
    with pytest.raises(DataError, match=f"a{suffix} cannot be read as an image"):
        glance(str(path))


def test_what_follows_the_end_of_a_jpeg_does_no_harm(tmp_path):
    path = tmp_path / "a.jpg"
    write(path, pixels(0, 16, 16))
    path.write_bytes(path.read_bytes() + b"\0" * 500)
    assert glance(str(path)) == (16, 16, 3)


def test_bad_files_stop_or_are_counted(tree, tmp_path, monkeypatch):
    paths, arrays = tree
    (tmp_path / "3.png").unlink()
    cut(tmp_path / "5.png")
    (tmp_path / "6.png").write_text("no image")
    (tmp_path / "8.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"3\.png is missing; mend it, or leave such examples out with --skip-bad"):
        load_images(paths, None, Problems())
    for limit in (images.IN_MEMORY, 0):
        monkeypatch.setattr(images, "IN_MEMORY", limit)
        problems = Problems(skip=True)
        found, kept = load_images(paths, None, problems)
        assert kept.tolist() == [0, 1, 2, 4, 7, 9]
        np.testing.assert_array_equal(found[np.arange(6)], arrays[kept])
        assert [problem.split()[0][-5:] for problem in problems.found] == ["3.png", "5.png", "6.png", "8.png"]
    with pytest.raises(DataError, match="no image that can be used"):
        load_images([tmp_path / "3.png"], None, Problems(skip=True))
    with pytest.raises(DataError, match="no image that can be used"):
        load_images([], None, Problems())


def test_one_that_only_decoding_shows_is_left_out_too(tmp_path, nothing_fits):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        write(path, pixels(number, 64, 64))
    data = bytearray(paths[1].read_bytes())
    data[len(data) // 2] ^= 255  # whole at both ends
    paths[1].write_bytes(data)
    stored, kept = load_images(paths, None, Problems())
    assert len(kept) == 3
    with pytest.raises(DataError, match=r"1\.png cannot be read as an image"):
        stored[np.arange(3)]
    problems = Problems(skip=True)
    assert load_images(paths, None, problems)[1].tolist() == [0, 2]
    assert len(problems.found) == 1


def test_an_exact_form_refuses_other_sizes_and_channels(tmp_path):
    form = Form(6, 5, 3, exact=True)
    fine = write(tmp_path / "fine.png", pixels(0))
    assert glance(fine, form) == (6, 5, 3)
    for name, array, words in (
        ("small.png", pixels(0, 5, 5), "has 5×5×3 pixels and channels, and must have 6×5×3"),
        ("grey.png", pixels(0, channels=1), "has 6×5×1"),
    ):
        path = write(tmp_path / name, array)
        with pytest.raises(DataError, match=f"{name} {words}"):
            glance(path, form)
        with pytest.raises(ValueError, match=words):
            form.decode(files.read_file(path))


def test_more_than_eight_bits_are_refused(tmp_path):
    path = write(tmp_path / "deep.png", np.arange(30, dtype=np.uint16).reshape(6, 5))
    with pytest.raises(DataError, match=r"deep\.png has pixels of the kind I;16; convert it to 8 bits, or give arrays"):
        glance(path)


def test_folders_are_looked_through_in_order(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a/x/3.png", ".hidden/4.png", "a/.5.png"):
        write(tmp_path / name, pixels(0), format="PNG")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    assert [str(path.relative_to(tmp_path)) for path in images_below(tmp_path)] == ["a/x/3.png", "b/1.JPG", "b/2.png"]


def test_bytes_that_are_no_image_say_so():
    with pytest.raises(ValueError, match=r"^is no image$"):
        Form(2, 2).decode(b"")


@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 10_000), (8192, 8193)])  # an error, a warning, and none
def test_an_image_with_too_many_pixels(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(claiming(*size))
    with pytest.raises(DataError, match=r"bomb\.png has more than 67,108,864 pixels; scale it down$"):
        glance(str(tmp_path / "bomb.png"))
    with pytest.raises(ValueError, match=r"^has more than 67,108,864 pixels; scale it down$"):
        Form(8, 8).decode(claiming(*size))


def test_an_image_with_as_many_pixels_as_may_be(tmp_path):
    (tmp_path / "large.png").write_bytes(claiming(8192, 8192))
    assert glance(str(tmp_path / "large.png")) == (8192, 8192, 3)


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA"])
def test_other_kinds_are_no_images(tmp_path, kind):
    path = write(tmp_path / "a.png", pixels(0), format=kind)
    with pytest.raises(DataError, match=r"a\.png is no image"):
        glance(path)
    with pytest.raises(ValueError, match="is no image"):
        Form(6, 5).decode(files.read_file(path))


def test_links_that_lead_round_are_followed_once(tmp_path):
    write(tmp_path / "a" / "1.png", pixels(0))
    (tmp_path / "a" / "b").mkdir()
    for name in ("round", "b/up"):
        (tmp_path / "a" / name).symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "c").symlink_to("a", target_is_directory=True)
    assert list(images_below(tmp_path / "a")) == [tmp_path / "a" / "1.png"]
    assert list(images_below(tmp_path / "c")) == [tmp_path / "c" / "1.png"]
