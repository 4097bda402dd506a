"""Archives: what is unpacked, and what is refused."""

import io
import stat
import tarfile
import zipfile

import pytest

from adap_tf.data import archives
from adap_tf.data.archives import unpacked
from adap_tf.data.problems import DataError

KINDS = {".zip": "", ".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}


def files_in(folder):
    """Every file below a folder, with its text."""
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def write_tar(path, members, mode="w"):
    """A tar file of `(name, text)`, or of members as they are."""
    with tarfile.open(path, mode) as archive:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                archive.addfile(each)
            else:
                member = tarfile.TarInfo(each[0])
                member.size = len(each[1])
                archive.addfile(member, io.BytesIO(each[1].encode()))
    return path


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members:
            archive.writestr(name, text)
    return path


def write(path, members):
    suffix = next(each for each in KINDS if path.name.lower().endswith(each))
    return write_zip(path, members) if suffix == ".zip" else write_tar(path, members, KINDS[suffix])


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("suffix", [*KINDS, ".ZIP", ".Tar.GZ"])
def test_an_archive_is_unpacked_beside_itself(tmp_path, suffix):
    path = write(tmp_path / f"my.data{suffix}", [("cat/1.txt", "one"), ("dog/2.txt", "two")])
    folder = unpacked(path)
    assert folder == tmp_path / "my.data"
    assert files_in(folder) == {"cat/1.txt": "one", "dog/2.txt": "two"}
    assert sorted(tmp_path.iterdir()) == sorted([folder, path])
    (tmp_path / "plain").mkdir()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_is_taken_as_it_is(tmp_path):
    (tmp_path / "set" / "mine").mkdir(parents=True)
    assert unpacked(tmp_path / "set") == tmp_path / "set"
    path = write_zip(tmp_path / "set.zip", [("other", "")])
    assert unpacked(path) == tmp_path / "set"
    assert [each.name for each in (tmp_path / "set").iterdir()] == ["mine"]


def refused(path, match):
    """The archive is refused, and nothing of it is left anywhere."""
    before = sorted(path.parent.parent.rglob("*"))
    with pytest.raises(DataError, match=match) as error:
        unpacked(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(path.parent.parent.rglob("*")) == before


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("name", ["../evil", "cat/../../evil", "/evil", "..", "..\\evil", "C:\\evil", "C:evil"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, suffix, name):
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / f"bad{suffix}", [("good", "x"), (name, "x")])
    refused(path, f"{name!r} would be written outside".replace("\\", "\\\\"))


@pytest.mark.parametrize(
    "members",
    [
        [link("l", "/etc")],
        [link("l", "..")],
        [link("cat/l", "../../x")],
        [link("a", "."), link("s/x", "../a/..")],
        [link("s/x", "../a/.."), link("a", ".")],
        [link("h", "../x", tarfile.LNKTYPE)],
        [link("h", "/etc/passwd", tarfile.LNKTYPE)],
    ],
)
def test_a_link_that_points_outside_is_refused(tmp_path, members):
    (tmp_path / "in").mkdir()
    path = write_tar(tmp_path / "in" / "bad.tar", [("good", "x"), *members])
    refused(path, "is a link that points outside")


def test_what_is_written_through_a_link_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    path = write_tar(tmp_path / "in" / "bad.tar", [link("cat", "dog"), ("cat/1", "x")])
    refused(path, "'cat/1' would be written through a link")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(tmp_path, kind):
    (tmp_path / "in").mkdir()
    refused(write_tar(tmp_path / "in" / "bad.tar", [link("d", "", kind)]), "'d' is a device")


def test_a_link_in_a_zip_file_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    member = zipfile.ZipInfo("l")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(write_zip(tmp_path / "in" / "bad.zip", [(member, "/etc")]), "'l' is a link")


def test_a_link_that_stays_inside_is_unpacked(tmp_path):
    members = [
        ("cat/1", "one"),
        link("dog/2", "../cat/1"),
        link("dog/3", "cat/1", tarfile.LNKTYPE),
        link("./c", "./cat"),
    ]
    folder = unpacked(write_tar(tmp_path / "good.tar", members))
    assert {"cat/1", "dog/2", "dog/3"} <= files_in(folder).keys()
    assert (folder / "dog" / "2").read_text() == (folder / "dog" / "3").read_text() == "one"
    assert (folder / "c" / "1").read_text() == "one"


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("left", [0, 10, 0.4, 0.7])
def test_a_damaged_archive(tmp_path, suffix, left):
    (tmp_path / "in").mkdir()
    text = "".join(chr(33 + (each * each) % 89) for each in range(3000))
    path = write(tmp_path / "in" / f"bad{suffix}", [(f"{each}", text) for each in range(20)])
    whole = path.read_bytes()
    path.write_bytes(whole[: left if left in (0, 10) else int(left * len(whole))])
    refused(path, "damaged")


def test_a_tar_file_cut_off_between_two_members(tmp_path):
    (tmp_path / "in").mkdir()
    path = write_tar(tmp_path / "in" / "bad.tar", [("1", "x"), ("2", "x")])
    path.write_bytes(path.read_bytes()[: 2 * tarfile.BLOCKSIZE])
    refused(path, "it was cut off")


def test_a_changed_byte_in_a_zip_file(tmp_path):
    (tmp_path / "in").mkdir()
    path = write_zip(tmp_path / "in" / "bad.zip", [("1", "unchanged")])
    path.write_bytes(path.read_bytes().replace(b"unchanged", b"unchanGed"))
    refused(path, "CRC")


def test_no_archive(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match=r"absent\.zip is missing; name the folder or the archive of the data$"):
        unpacked(tmp_path / "absent.zip")
    path = tmp_path / "in" / "set.rar"
    path.write_text("x")
    refused(path, r"neither a folder nor an archive; archives end in \.zip, ")


def test_an_empty_archive_is_an_empty_folder(tmp_path):
    assert files_in(unpacked(write_zip(tmp_path / "one.zip", []))) == {}
    assert files_in(unpacked(write_tar(tmp_path / "two.tar", []))) == {}


def test_an_interrupted_extraction_leaves_nothing(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "set.tar", [("1", "x"), ("2", "x")])
    extract = tarfile.TarFile.extractall

    def interrupted(self, *args, **options):
        extract(self, *args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(tarfile.TarFile, "extractall", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpacked(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_has_the_folders_name(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "set").write_text("x")
    refused(write_zip(tmp_path / "in" / "set.zip", [("1", "x")]), "cannot be unpacked: .*unpack it yourself")


def claim(name, size):
    """A tar file whose one member is said to have that size."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf() + bytes(2 * tarfile.BLOCKSIZE)


@pytest.mark.parametrize("suffix", KINDS)
def test_an_archive_that_is_much_larger_unpacked(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(archives, "FREE", 10**5)
    monkeypatch.setattr(archives, "RATIO", 2)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"bad{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("1", bytes(10**6))
    elif suffix == ".tar":  # packs nothing: what a member claims is what counts
        path.write_bytes(claim("1", 10**6))
    else:
        write(path, [(str(each), "x" * 20_000) for each in range(6)])
    refused(path, r"would unpack to more than 100,000 bytes; unpack it yourself and name the folder$")


def test_a_large_archive_may_be_as_many_times_larger_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 0)
    assert files_in(unpacked(write_tar(tmp_path / "set.tar", [("1", "x")]))) == {"1": "x"}


def test_many_empty_members_count_too(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 10**4)
    monkeypatch.setattr(archives, "RATIO", 2)
    (tmp_path / "in").mkdir()
    path = write_tar(tmp_path / "in" / "bad.tar.xz", [(str(each), "") for each in range(20)], "w:xz")
    refused(path, "would unpack to more than 10,000 bytes")
