"""A lock on a folder that is written: one run at a time, of this machine and of others that share the folder."""

import contextlib
import os
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from engines.regular_files import NotRegularError, is_regular

NAME: Final = ".apdraw.lock"


class FolderLock:
    """The lock of a folder. It ends with the process, however that ends.

    Args:
        folder: it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = FileLock(self._path, timeout=0, thread_local=False)

    def acquire(self) -> bool:
        """Takes the lock; False if another run has it. Where the file system has no locks, nobody is kept out.

        Raises:
            OSError: its file cannot be written.
        """
        if os.path.lexists(self._path) and not is_regular(self._path):
            raise NotRegularError(self._path)
        with contextlib.suppress(NotImplementedError):
            try:
                self._lock.acquire()
            except Timeout:
                return False
        return True

    def release(self) -> None:
        """Frees the folder, and takes the lock's file out of it."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # Windows does not remove what is open; the library does
                self._path.unlink()
            self._lock.release()
