"""Writes files that are there whole or not at all: under a random new name beside their place, then renamed.

The new file is opened exclusively and through no link, so that nothing that lies in the folder can turn the writing
elsewhere. What a killed program leaves behind has names of one pattern, `.apdraw-RUN-RANDOM.part`, and is removed by
`sweep`.
"""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from engines.errors import FileWriteError
from engines.regular_files import is_regular

_RUN: Final = secrets.token_hex(4)
_PART: Final = re.compile(r"\.apdraw-(?P<run>[0-9a-f]{8})-[0-9a-f]{16}\.part|\.apdraw-\d+-\d+\.part")
_NEW: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW"))
)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Writes a file under a temporary name beside it, then renames it.

    Raises:
        FileWriteError: the file cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise FileWriteError(
            f"cannot write {path}: {error.strerror or error}; check its folder and the space there"
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes a path's place, on the disk as a whole, when the context is left without an error.

    Raises:
        OSError: the file cannot be written.
    """
    part, file = new_part(path.parent)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def new_part(folder: Path) -> tuple[Path, BinaryIO]:
    """A new file in a folder, to be renamed when it is whole.

    Raises:
        OSError: it cannot be made.
    """
    part = folder / f".apdraw-{_RUN}-{secrets.token_hex(8)}.part"
    return part, os.fdopen(os.open(part, _NEW, 0o666), "wb")


def sweep(folder: Path, seconds: float = 0.0) -> None:
    """Removes what killed programs left in a folder; this process' own files stay.

    Args:
        folder: where it lies.
        seconds: what is younger stays too, where other programs may be writing.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            found = _PART.fullmatch(path.name)
            if found and found["run"] != _RUN and is_regular(path):
                with contextlib.suppress(OSError):
                    if not seconds or time.time() - path.stat().st_mtime > seconds:
                        path.unlink()
