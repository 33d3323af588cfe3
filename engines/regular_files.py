"""Opens regular files only, and joins a name to a folder only where the result lies inside it.

Names and files that are read back (a manifest, an index, a folder somebody sent) are not trusted. A name may be
absolute, climb out with `..`, or pass through a link; a file may be a named pipe, which waits for a writer, or a
device, which may do anything when it is opened. Both are refused here as `OSError`, so that every reader reports them
as it reports a file without permission.
"""

# A path may be a str with undecodable bytes just as well.
# ruff: noqa: PTH116, PTH118

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, TypeGuard

_READ: Final = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"))
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)


class NotRegularError(OSError):
    """A folder, named pipe, device or socket where a regular file is wanted."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(errno.EINVAL, "not a regular file", os.fspath(path))


class OutsideError(OSError):
    """A name that does not stay inside its folder."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.EPERM, "it leads out of the folder", name)


def is_name(name: object) -> TypeGuard[str]:
    """Whether a value is the name of something inside a folder: relative, with forward slashes and without `..`.

    A backslash is a letter like others but on Windows, where `C:` and `name:stream` are no names either.
    """
    if not isinstance(name, str) or "\0" in name or not is_text(name):
        return False
    if os.name == "nt" and ("\\" in name or ":" in name):
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is text that the operating system could have given; JSON can hold half a character."""
    if not isinstance(value, str):
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def inside(folder: Path, name: str) -> Path:
    """The path of a name inside a folder.

    Args:
        folder: may be a link itself.
        name: with forward slashes; its last part need not exist and may be a link, its folders must not lead out.

    Raises:
        OutsideError: the name is absolute, climbs out, or passes through a link that leads out.
    """
    if not is_name(name):
        raise OutsideError(name)
    path = folder / name
    if "/" not in name:
        return path
    real, parent = os.path.realpath(folder), os.path.realpath(path.parent)
    if parent != real and not parent.startswith(os.path.join(real, "")):
        raise OutsideError(name)
    return path


def is_regular(path: str | Path) -> bool:
    """Whether there is a regular file of this name, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_empty(path: str | Path) -> bool:
    """Whether there is a regular file of this name, and no link to one, that holds no byte."""
    try:
        return is_regular(path) and os.lstat(path).st_size == 0
    except OSError:
        return False


def open_regular(path: str | Path, *, follow_links: bool = True) -> BufferedReader:
    """Opens a regular file to read; never waits for one that is something else.

    Raises:
        NotRegularError: it is no regular file.
        OSError: it cannot be opened.
    """
    _check(os.stat(path, follow_symlinks=follow_links), path)  # first, since some devices act when they are opened
    descriptor = os.open(path, _READ | (0 if follow_links else _NO_LINK))
    try:
        _check(os.fstat(descriptor), path)  # again, since another may have taken its place
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, limit: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        limit: bytes it may hold at most.

    Raises:
        NotRegularError: it is no regular file.
        OSError: it cannot be read, or is larger.
    """
    with open_regular(path) as file:
        data = file.read(-1 if limit is None else limit + 1)
    if limit is not None and len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", os.fspath(path))
    return data


def read_start(file: BinaryIO, most: int) -> bytes:
    """The first bytes of an open file: at most `most` of them.

    `file.read(most)` would first take memory for all of `most`, however short the file is.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return file.read(min(most, size))


def check_regular(path: str | Path) -> None:
    """Makes sure that a library which opens a path by itself finds a regular file there.

    Raises:
        NotRegularError: it is no regular file.
        OSError: there is nothing, or it cannot be looked at.
    """
    _check(os.stat(path), path)


def _check(found: os.stat_result, path: str | Path) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(found.st_mode):
        raise NotRegularError(path)
