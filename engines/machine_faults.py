"""Tells errors that are the fault of the machine: too little memory, a full disk, too few processes or open files."""

import errno
import os
from typing import Final

_WORDS_OF_MEMORY: Final = (
    "bad_alloc",
    "insufficient memory",
    "out of memory",
    "not enough memory",
    "cannot allocate memory",
    "memory allocation",
    "failed to allocate",
    "failed to map segment",
    "can't alloc",
)

_WORDS_OF_THREADS: Final = ("can't start new thread", "resource temporarily unavailable")
"""What Python and the system say where no further thread or process can be had."""


def is_want_of_memory(error: BaseException) -> bool:
    """Whether an error of any library says that this machine had too little memory."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error).lower()
    return any(words in text for words in _WORDS_OF_MEMORY)


def machine_fault(error: BaseException) -> str | None:
    """What is wrong with this machine, and what to do, in a line; None if an error says nothing of the kind."""
    if is_want_of_memory(error):
        return "there is too little memory: close other programs, or allow apdraw more"
    if any(words in str(error).lower() for words in _WORDS_OF_THREADS):
        return "no more threads or processes can be started: allow more memory, or more of them (ulimit -u)"
    if not isinstance(error, OSError):
        return None
    match error.errno:
        case errno.EMFILE | errno.ENFILE:
            return "too many files are open: allow more (ulimit -n 1024)"
        case errno.ENOSPC | errno.EDQUOT | errno.EROFS | errno.EFBIG:
            where = "" if error.filename is None else f" {os.fsdecode(error.filename)}"
            return f"cannot write{where}: {error.strerror}; make room, or name another folder"
    return None
