"""A lock on a folder that is written: one run at a time, of this machine and of others that share the folder."""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from filelock import FileLock, Timeout

from engines.regular_files import NotRegularError, is_regular

NAME: Final = ".apdraw.lock"

SHARD_SECONDS: Final = 30.0
"""How long a shard waits for others that begin too: each has the folder for itself while it does."""

_SHARD: Final = re.compile(r"\.apdraw-\d+-of-(?P<count>\d+)\.lock")


class FolderLock:
    """The lock of a folder. It ends with the process, however that ends.

    Args:
        folder: it exists.
        name: name of the lock's file.
    """

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self._path = folder / name
        self._lock = FileLock(self._path, timeout=0, thread_local=False)

    def acquire(self, seconds: float = 0.0) -> bool:
        """Takes the lock; False if another run has it. Where the file system has no locks, nobody is kept out.

        Args:
            seconds: how long to wait for it.

        Raises:
            OSError: its file cannot be written.
        """
        if os.path.lexists(self._path) and not is_regular(self._path):
            raise NotRegularError(self._path)
        with contextlib.suppress(NotImplementedError):
            try:
                self._lock.acquire(timeout=seconds)
            except Timeout:
                return False
        return True

    def release(self) -> None:
        """Frees the folder, and takes the lock's file out of it."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # Windows does not remove what is open; the library does
                self._path.unlink()
            self._lock.release()


class Lock(Protocol):
    """A lock that one run has at a time."""

    def acquire(self, seconds: float = 0.0) -> bool:
        """Takes it, waiting for so long; False if another run has it."""
        ...

    def release(self) -> None:
        """Gives it up, if it is held."""
        ...


@contextlib.contextmanager
def locked(
    open_lock: Callable[[str], Lock],
    names: Callable[[], Iterable[str]],
    shard: tuple[int, int] | None,
    prepare: Callable[[], None],
) -> Iterator[bool]:
    """Keeps other runs out of a tree; of a shard, all but the other shards of as many.

    Args:
        open_lock: opens the lock of a name in the tree's top.
        names: tells what is there, locks among it.
        shard: which, and of how many; None for a whole run.
        prepare: is called first, while no other run begins and none but those shards is at work.

    Yields:
        False if another run is in it.

    Raises:
        OSError: the tree cannot be written.
    """
    with contextlib.ExitStack() as held:
        beginning = open_lock(NAME)
        taken = beginning.acquire(SHARD_SECONDS if shard else 0.0)
        held.callback(beginning.release)
        taken = taken and not any(_is_held(open_lock(name)) for name in _shards(names(), shard))
        if taken and shard is not None:
            own = open_lock(f".apdraw-{shard[0]}-of-{shard[1]}.lock")
            taken = own.acquire()
            held.callback(own.release)
        if taken:
            prepare()
        if shard is not None:
            beginning.release()
        yield taken


def _shards(names: Iterable[str], shard: tuple[int, int] | None) -> Iterator[str]:
    """The locks of shards that a run cannot be beside."""
    for name in names:
        found = _SHARD.fullmatch(name)
        if found and (shard is None or int(found["count"]) != shard[1]):
            yield name


def _is_held(lock: Lock) -> bool:
    if not lock.acquire():
        return True
    lock.release()
    return False
