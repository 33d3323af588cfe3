"""Writes the files of one photo into the output folder, and replaces nothing there that is not ours."""

import contextlib
import errno
from collections.abc import Mapping, Sequence
from typing import Final

from apdraw_cli.conversion.formats import FORMATS, Format
from apdraw_cli.conversion.storage import Storage
from engines.errors import PhotoError, UnfitError

_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))


def write_files(output: Storage, files: Mapping[str, bytes], file_format: Format) -> None:
    """Writes all files of a photo, or none.

    A file that does not bear this program's mark is never replaced, whatever the manifest says of it, unless it is
    empty.

    Args:
        output: the output folder.
        files: content by name, at least one.
        file_format: tells our files from others.

    Raises:
        PhotoError: `name_taken` or `write_failed`.
        UnfitError: no file at all can be written any more.
    """
    try:
        for name in files:
            if output.exists(name) and not _may_be_replaced(output, name, file_format):
                raise PhotoError("name_taken", f"{name} is in the way, and no drawing of apdraw: name another --output")
        output.write(files)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise UnfitError(
                f"cannot write into {output.address}: {reason}; the drawings made so far are kept: "
                "make room and run the same command again"
            ) from error
        raise PhotoError("write_failed", f"{next(iter(files))} cannot be written: {reason}") from error


def remove_files(output: Storage, names: Sequence[str], file_format: Format) -> None:
    """Removes drawings that newer ones of the same photo have replaced under other names.

    Names that lead out of the output folder, and files without this program's mark, are left alone.
    """
    for name in names:
        with contextlib.suppress(OSError):
            if _is_ours(output, name, file_format):
                output.remove(name)


def is_own_drawing(output: Storage, name: str) -> bool:
    """Whether a file of the output folder, and no link to one, is a drawing of this program in any format."""
    try:
        return any(_is_ours(output, name, each) for each in FORMATS.values() if name.lower().endswith(each.suffix))
    except OSError:
        return False


def remove_own_drawing(output: Storage, name: str) -> bool:
    """Removes a file of which `is_own_drawing` holds; whether it is gone now."""
    if not is_own_drawing(output, name):
        return False
    try:
        output.remove(name)
    except OSError:
        return False
    return True


def _is_ours(output: Storage, name: str, file_format: Format) -> bool:
    with output.open_own(name) as file:
        return file_format.is_ours(file)


def _may_be_replaced(output: Storage, name: str, file_format: Format) -> bool:
    """Whether a file is a drawing of this program, or holds nothing; a link to one is neither."""
    try:
        with output.open_own(name) as file:
            if not file.read(1):
                return True
            file.seek(0)
            return file_format.is_ours(file)
    except OSError:
        return False
