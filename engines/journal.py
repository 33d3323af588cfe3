"""Files of JSON lines that are only appended to, and can be read after a crash at any byte.

A line that does not end, is longer than `LONGEST_LINE`, or is no JSON was torn by a crash or is not ours: readers pass
it over.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from engines.regular_files import NotRegularError, is_regular

LONGEST_LINE: Final = 2**24
"""Bytes; a photo with a thousand faces takes 200,000."""

_APPEND: Final = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_APPEND
    | sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"))
)


def open_to_append(path: Path) -> BinaryIO:
    """Opens a journal, unbuffered, to append to and to read; it is made where missing.

    Raises:
        NotRegularError: there is something of that name that is no regular file, such as a link.
        OSError: it cannot be written.
    """
    if os.path.lexists(path) and not is_regular(path):
        raise NotRegularError(path)
    descriptor = os.open(path, _APPEND, 0o666)
    return os.fdopen(descriptor, "ab", buffering=0)


def whole_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a journal and the byte that each begins at; the longest are left out."""
    place = 0
    while line := file.readline(LONGEST_LINE):
        begins, place = place, place + len(line)
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            yield begins, line
            continue
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)
            place += len(line)
