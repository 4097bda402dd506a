"""Archives: unpacked once beside themselves, and only if all that they hold stays in its folder."""

import itertools
import lzma
import posixpath
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from adap_tf.data.problems import DataError

FREE, RATIO = 2**30, 100  # what an archive may unpack to, in bytes and in its own sizes: the larger of both
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")
# RuntimeError: a zip file with a password, or packed in a way that Python cannot unpack
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


def unpacked(path: Path) -> Path:
    """The folder that an archive holds, unpacked beside it under its name; a folder is returned as it is.

    A folder of that name which is there already is taken as it is.

    Args:
        path: a folder, or an archive with one of the `SUFFIXES`.

    Raises:
        DataError: it is missing, damaged or neither of both, a member would be written outside of the folder, or it is
            much larger unpacked.
    """
    if path.is_dir():
        return path
    if not path.is_file():
        raise DataError(f"{path} is missing; name the folder or the archive of the data")
    suffix = next((each for each in SUFFIXES if path.name.lower().endswith(each)), None)
    if suffix is None:
        raise DataError(f"{path} is neither a folder nor an archive; archives end in {', '.join(SUFFIXES)}")
    folder = path.with_name(path.name[: -len(suffix)])
    if not folder.is_dir():
        _unpack(path, folder)
    return folder


def _unpack(path: Path, folder: Path) -> None:
    """Unpacks an archive into a folder that is there only when it is whole."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=path.parent) as place:
            whole = Path(place, "whole")
            whole.mkdir()  # with the rights of any other folder, which the temporary one has not
            (_extract_zip if path.suffix.lower() == ".zip" else _extract_tar)(path, whole)
            whole.rename(folder)
    except DataError:
        raise
    except DAMAGE as error:
        what = str(error).partition("\n")[0].rstrip(":")
        raise DataError(f"{path} is damaged or cannot be unpacked: {what}; fetch it again") from None
    except OSError as error:
        if not folder.is_dir():  # else another process was faster
            raise DataError(f"{path} cannot be unpacked: {error}; unpack it yourself and name the folder") from None


def _extract_zip(path: Path, folder: Path) -> None:
    """Extracts a zip file, links excepted: they would become files that hold the name of what they point at."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refusal(path, member.filename, "is a link or a device")
        _check_names(path, archive.namelist())
        _check_size(path, (member.file_size for member in archive.infolist()))  # Python unpacks no more than these
        archive.extractall(folder)  # noqa: S202  # of a zip file, whose members were checked


def _extract_tar(path: Path, folder: Path) -> None:
    """Extracts a tar file, packed or not."""
    with tarfile.open(path) as archive:
        # before anything else: the whole of a bomb takes long to read
        _check_size(path, (member.size + tarfile.BLOCKSIZE for member in archive))
        members = archive.getmembers()
        _check_names(path, [member.name for member in members])
        _check_links(path, members)
        _check_end(path, archive)
        archive.extractall(folder, filter="data")


def _check_size(path: Path, sizes: Iterable[int]) -> None:
    """Makes sure that a small file does not fill the disk: images and tables shrink tenfold, a bomb a thousandfold."""
    most = max(FREE, RATIO * path.stat().st_size)
    if any(total > most for total in itertools.accumulate(sizes)):
        raise DataError(f"{path} would unpack to more than {most:,} bytes; unpack it yourself and name the folder")


def _check_names(path: Path, names: Iterable[str]) -> None:
    """Makes sure that no member's path leaves the folder."""
    for name in names:
        # as Windows reads it too, which knows two kinds of slashes and drives
        if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts:
            raise _refusal(path, name, "would be written outside of its folder")


def _check_links(path: Path, members: Iterable[tarfile.TarInfo]) -> None:
    """Makes sure that members are files, folders or links to such, and that none is reached through a link.

    Python's own check is made while members are extracted, and before 3.11.13 long chains of links got past it.
    """
    links = {PurePosixPath(member.name) for member in members if member.issym()}
    for member in members:
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise _refusal(path, member.name, "is a device")
        if (member.issym() or member.islnk()) and _leads_out(member):
            raise _refusal(path, member.name, "is a link that points outside of its folder")
        if links.intersection(PurePosixPath(member.name).parents):
            raise _refusal(path, member.name, "would be written through a link")


def _leads_out(link: tarfile.TarInfo) -> bool:
    """Whether a link may point outside: what follows `..` after a name depends on where that name leads."""
    target = PurePosixPath(link.linkname)
    start = PurePosixPath(link.name).parent if link.issym() else PurePosixPath()
    whole = PurePosixPath(posixpath.normpath(start / target))
    return whole.is_absolute() or ".." in whole.parts or posixpath.normpath(target) != str(target)


def _check_end(path: Path, archive: tarfile.TarFile) -> None:
    """Makes sure that the block of zeros is there which ends a tar file; Python takes one that was cut off as whole."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{path} is damaged: it was cut off; fetch it again")


def _refusal(path: Path, member: str, what: str) -> DataError:
    return DataError(f"{path}: member {member!r} {what}; nothing was unpacked: get the archive from another place")
