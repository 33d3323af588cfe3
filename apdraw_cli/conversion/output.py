"""Writes the files of one photo into the output folder, and replaces nothing there that is not ours."""

import errno
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.storage import Storage
from engines.errors import PhotoError, UnfitError

_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))


def write_files(output: Storage, files: Mapping[str, bytes]) -> None:
    """Writes all files of a photo, or none.

    A file that does not bear this program's mark is never replaced, whatever the manifest says of it, unless it is
    empty.

    Args:
        output: the output folder.
        files: content by name, at least one; a name's ending tells its format.

    Raises:
        PhotoError: `name_taken` or `write_failed`.
        UnfitError: no file at all can be written any more.
    """
    try:
        for name in files:
            if output.exists(name) and not _may_be_replaced(output, name):
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


def remove_files(output: Storage, names: Sequence[str]) -> None:
    """Removes drawings that newer ones of the same photo have replaced under other names.

    Names that lead out of the output folder, and files without this program's mark, are left alone.
    """
    for name in names:
        remove_own_drawing(output, name)


def is_own_drawing(output: Storage, name: str) -> bool:
    """Whether a file of the output folder, and no link to one, is a drawing of this program in any format."""
    try:
        with output.open_own(name) as file:
            return _is_ours(file, name)
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


def _is_ours(file: BinaryIO, name: str) -> bool:
    """Whether an open file bears our mark, as files of formats with its ending do."""
    return any(each.is_ours(file) for each in FORMATS.values() if name.lower().endswith(each.suffix))


def _may_be_replaced(output: Storage, name: str) -> bool:
    """Whether a file is a drawing of this program, or holds nothing; a link to one is neither."""
    try:
        with output.open_own(name) as file:
            if not file.read(1):
                return True
            file.seek(0)
            return _is_ours(file, name)
    except OSError:
        return False
