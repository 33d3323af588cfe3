"""A bucket, or whatever else fsspec opens, as a storage.

Its files are objects: each is written whole, by one request, and nothing can be appended to one. A journal is therefore
a folder of pieces, `apdraw-manifest.jsonl/000001.jsonl`, and a lock an object that only one run can make. S3 lists
names page by page and in their order, which is made use of; other systems are listed folder by folder.
"""

import contextlib
import errno
import functools
import hashlib
import io
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from apdraw_cli.conversion.shard import Shard
from apdraw_cli.conversion.storage.base import Listing, Version
from apdraw_cli.folder_lock import locked
from engines.errors import UnfitError, in_one_line
from engines.installed import pip_install
from engines.journal import JournalIndex, format_line, parse_line, read_journal
from engines.regular_files import OutsideError, is_name

PIECE_BYTES: Final = 4 * 2**20
"""So long a piece of a journal gets."""

SYNC_SECONDS: Final = 5.0
"""Lines of a journal wait so long at most for the next line that takes them along."""

STALE_SECONDS: Final = 180.0
"""A lock that nobody has renewed for so long was left behind."""

RENEWAL_SECONDS: Final = 45.0

REQUESTS: Final = 64
"""Connections to a bucket at once."""

ATTEMPTS: Final = 8
"""So often a request is made that is throttled or fails on its way, after longer and longer pauses."""


_LAST: Final = chr(0x10FFFF)
"""No name sorts after it."""


class BucketStorage:
    """The objects below a URL.

    Args:
        address: the URL, without a slash at its end.
    """

    flat = True

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._page = _Page("", "", {})
        self._spools: dict[str, _Spool] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BucketStorage) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self._address)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return BucketStorage, (self._address,)

    @property
    def address(self) -> str:
        """The URL."""
        return self._address

    def keys(self) -> Iterator[tuple[str, Version]]:
        """All files with their versions; those of a folder one after the other, in the order of their names."""
        if self._is_s3:
            yield from self._beginning("")
            return
        folders = [""]
        while folders:
            folder = folders.pop()
            found = sorted(self._ls(folder), key=lambda each: str(each["name"]))
            names = [(self._name(each["name"]), each) for each in found]
            yield from ((name, _version(each)) for name, each in names if each["type"] == "file")
            folders += reversed([name for name, each in names if each["type"] == "directory"])

    def listing(self, folder: str) -> Listing:
        """The names in a folder."""
        found = [(self._name(each["name"]), each["type"]) for each in self._ls(folder)]
        names = [(name.rpartition("/")[2], kind) for name, kind in found]
        shown = [(name, kind) for name, kind in names if name and not name.startswith(".")]
        return Listing(
            sorted(name for name, kind in shown if kind == "file"),
            sorted(name for name, kind in shown if kind == "directory"),
            frozenset(),
        )

    def identity(self, name: str) -> str:
        """The URL itself: no object has two."""
        return self.leads_to(name)

    def leads_to(self, name: str) -> str:
        """The URL of a name."""
        return f"{self._address}/{name}" if name else self._address

    def exists(self, name: str) -> bool:
        """Whether there is an object or folder of that name."""
        with _as_os_errors(name):
            return bool(self._fs.exists(self._path(name)))

    def version(self, name: str) -> Version:
        """Size and version of an object; on S3 from a page of names, of which the last one is kept."""
        if not self._is_s3:
            return self._looked_up(name)
        with self._lock:
            if not self._page.first < name <= self._page.last:
                self._page = self._page_at(name)
            found = self._page.versions.get(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return found

    def read(self, name: str, most: int) -> bytes:
        """The first bytes of an object."""
        with _as_os_errors(name):
            try:
                return bytes(self._fs.cat_file(self._path(name), start=0, end=most))
            except FileNotFoundError:
                raise
            except OSError:
                if self._looked_up(name).size == 0:  # no range of an empty object can be had
                    return b""
                raise

    def open_own(self, name: str) -> BinaryIO:
        """An object's content."""
        with _as_os_errors(name):
            return io.BytesIO(self._fs.cat_file(self._own(name)))

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes objects, one after the other; where one fails, those before it are removed."""
        paths = [self._own(name) for name in files]
        written: list[str] = []
        try:
            for path, (name, data) in zip(paths, files.items(), strict=True):
                with _as_os_errors(name):
                    self._fs.pipe_file(path, data)
                written.append(path)
        except OSError:
            for path in written:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(path)
            raise

    def remove(self, name: str) -> None:
        """Removes an object, or a journal."""
        self._own(name)
        found = [key for key, _ in self._beginning(name) if key == name or key.startswith(f"{name}/")]
        if not found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        for key in found:
            with _as_os_errors(name):
                self._fs.rm_file(self._path(key))

    @contextlib.contextmanager
    def lock(self, shard: Shard | None = None, prepare: Callable[[], None] = lambda: None) -> Iterator[bool]:
        """Keeps other runs out of what lies below the URL."""
        one_of = None if shard is None else (shard.index, shard.count)
        with locked(self._open_lock, self._lock_names, one_of, prepare) as taken:
            yield taken

    def journals(self, beginning: str) -> list[str]:
        """The names of journals that begin so."""
        folder = beginning.rpartition("/")[0]
        depth = folder.count("/") + 2 if folder else 1
        names = {"/".join(name.split("/")[:depth]) for name, _ in self._beginning(beginning)}
        return sorted(name for name in names if name.endswith(".jsonl"))

    def open_journal(self, name: str) -> "BucketJournal":
        """Opens a journal to append pieces to it."""
        self._own(name)
        return BucketJournal(self, name, len(self._pieces(name)) + 1)

    def read_journal(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The whole lines of all pieces of a journal."""
        self._own(name)
        spool = self._spools.get(name)
        if spool is not None and spool.filled:
            yield from read_journal(spool.path)
            return
        pieces = self._pieces(name)
        if not pieces:
            if spool is not None:
                spool.filled = True
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        place = 0
        for piece in pieces:
            with _as_os_errors(piece):
                data = bytes(self._fs.cat_file(self._path(piece)))
            data += b"" if data.endswith(b"\n") else b"\n"
            if spool is not None:
                spool.write(data)
            for line in data.splitlines(keepends=True):
                values = parse_line(line)
                if values is not None:
                    yield place, values
                place += len(line)
        if spool is not None:
            spool.filled = True

    def journal_index(self, *names: str) -> JournalIndex:
        """An empty index of journals, which are copied here as they are read, until it is closed."""
        folder = tempfile.TemporaryDirectory(prefix="apdraw-", ignore_cleanup_errors=True)
        spools = {name: _Spool(Path(folder.name) / f"{number}.jsonl") for number, name in enumerate(names)}

        def forget() -> None:
            for name, spool in spools.items():
                if self._spools.get(name) is spool:
                    del self._spools[name]
            folder.cleanup()

        self._spools |= spools
        return JournalIndex(*(spool.path for spool in spools.values()), closed=forget)

    def keep(self, name: str, line: bytes) -> int:
        """Adds a line of a journal to its copy here, if there is one; returns the byte that it begins at."""
        spool = self._spools.get(name)
        return 0 if spool is None else spool.write(line)

    def put(self, name: str, data: bytes) -> None:
        """Writes an object, whatever was there."""
        with _as_os_errors(name):
            self._fs.pipe_file(self._own(name), data)

    @functools.cached_property
    def _opened(self) -> tuple[Any, str]:
        return _open(self._address)

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self._opened[1].rstrip("/")

    @property
    def _is_s3(self) -> bool:
        return self._address.startswith(("s3://", "s3a://"))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _own(self, name: str) -> str:
        if not is_name(name):
            raise OutsideError(name)
        return self._path(name)

    def _name(self, path: str) -> str:
        """The name of what fsspec calls a path."""
        return path.lstrip("/").removeprefix(self._root.lstrip("/")).strip("/")

    def _looked_up(self, name: str) -> Version:
        with _as_os_errors(name):
            info = self._fs.info(self._path(name))
            if info["type"] != "file":
                raise FileNotFoundError(name)
            return _version(info)

    def _ls(self, folder: str) -> list[dict[str, Any]]:
        with _as_os_errors(folder):
            return list(self._fs.ls(self._path(folder), detail=True))

    def _beginning(self, beginning: str) -> Iterator[tuple[str, Version]]:
        """All objects whose names begin so, in order."""
        if self._is_s3:
            page, more = self._listed(beginning, None)
            yield from page
            while more:
                page, more = self._listed(beginning, page[-1][0])
                yield from page
            return
        folder = beginning.rpartition("/")[0]
        try:
            found = sorted(self._ls(folder), key=lambda each: str(each["name"]))
        except FileNotFoundError:
            return
        for each in found:
            name = self._name(each["name"])
            if name.startswith(beginning):
                with _as_os_errors(name):
                    below = self._fs.find(each["name"], detail=True) if each["type"] == "directory" else {"": each}
                yield from ((self._name(one["name"]), _version(one)) for one in below.values())

    def _listed(self, beginning: str, after: str | None) -> tuple[list[tuple[str, Version]], bool]:
        """A page of S3's names that begin so, and whether there are more."""
        bucket, _, root = self._root.partition("/")
        prefix = f"{root}/{beginning}" if root else beginning
        start = {} if after is None else {"StartAfter": f"{root}/{after}" if root else after}
        with _as_os_errors(beginning):
            page = self._fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **start)
        skipped = len(root) + 1 if root else 0
        names = [(each["Key"][skipped:], _version(each)) for each in page.get("Contents", [])]
        return names, bool(page.get("IsTruncated"))

    def _page_at(self, name: str) -> "_Page":
        """The page of names that begins at one, or shortly before it."""
        found, more = self._listed("", name[:-1] or None)
        return _Page(name[:-1], found[-1][0] if more else _LAST, dict(found))

    def _pieces(self, name: str) -> list[str]:
        return [key for key, _ in self._beginning(name) if key == name or key.startswith(f"{name}/")]

    def _lock_names(self) -> Iterable[str]:
        return [name for name, _ in self._beginning(".apdraw")]

    def _open_lock(self, name: str) -> "BucketLock":
        return BucketLock(self._fs, self._path(name), self.leads_to(name))


@dataclass
class _Page:
    """What is known of the names after `first`, and to `last`."""

    first: str
    last: str
    versions: dict[str, Version]


@dataclass
class _Spool:
    """A copy of a journal on this machine, in which lines are looked up."""

    path: Path
    filled: bool = False

    def write(self, data: bytes) -> int:
        """Appends to it; returns the byte that it begins at."""
        with self.path.open("ab") as file:
            place = file.tell()
            file.write(data)
        return place


class BucketJournal:
    """A journal that is appended to, as pieces of a few megabytes.

    Args:
        storage: where it lies.
        name: its name.
        number: number of the first piece to write.
    """

    def __init__(self, storage: BucketStorage, name: str, number: int) -> None:
        self._storage = storage
        self._name = name
        self._number = number
        self._piece = bytearray()
        self._written = 0
        self._synced = time.monotonic()

    def append(self, values: Mapping[str, Any]) -> int:
        """Appends a line, and now and then writes the piece; returns the byte of the whole that the line begins at.

        Raises:
            OSError: it cannot be written.
        """
        line = format_line(values)
        place = self._storage.keep(self._name, line)
        self._piece += line
        if time.monotonic() - self._synced >= SYNC_SECONDS or len(self._piece) >= PIECE_BYTES:
            self.sync()
        return place

    def sync(self) -> None:
        """Writes what is not written yet."""
        if len(self._piece) > self._written:
            self._storage.put(f"{self._name}/{self._number:06}.jsonl", bytes(self._piece))
            self._written = len(self._piece)
        self._synced = time.monotonic()
        if self._written >= PIECE_BYTES:
            self._number += 1
            self._piece.clear()
            self._written = 0

    def close(self) -> None:
        """Writes what is not written yet."""
        self.sync()


class BucketLock:
    """A lock that is an object, which its holder renews; one that was left behind is taken over after a while.

    Args:
        fs: the file system of fsspec.
        path: path of the object, there.
        told: its URL.
    """

    def __init__(self, fs: Any, path: str, told: str) -> None:
        self._fs = fs
        self._path = path
        self._told = told
        self._token = secrets.token_hex(16).encode()
        self._released = threading.Event()
        self._held = False

    def acquire(self, seconds: float = 0.0) -> bool:
        """Takes the lock; False if another run has it.

        Args:
            seconds: how long to wait for it.

        Raises:
            OSError: it cannot be written, or the storage would let two have it.
        """
        end = time.monotonic() + seconds
        with _as_os_errors(self._told):
            while not (self._made() or self._taken_over()):
                if time.monotonic() >= end:
                    return False
                time.sleep(min(0.5, max(seconds, 0.0)))
            self._held = True
            if self._made():
                self.release()
                raise OSError(
                    errno.ENOTSUP, "this storage knows no conditional writes, so runs cannot be kept apart", self._told
                )
        threading.Thread(target=self._renew, name="lock", daemon=True).start()
        return True

    def release(self) -> None:
        """Removes the lock, if it is held."""
        self._released.set()
        if self._held:
            self._held = False
            with contextlib.suppress(Exception):
                if self._fs.cat_file(self._path) == self._token:
                    self._fs.rm_file(self._path)

    def _made(self) -> bool:
        try:
            self._fs.pipe_file(self._path, self._token, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EBUSY) and self._fs.exists(self._path):  # 412 and 409 of S3
                return False
            raise
        return True

    def _taken_over(self) -> bool:
        """Takes a lock over that nobody renews."""
        try:
            info = self._fs.info(self._path)
            if time.time() - _stamp(info) < STALE_SECONDS:
                return False
            self._fs.rm_file(self._path)
            if not self._made():
                return False
            time.sleep(1.0)  # another that saw the same may have removed ours, thinking it the old one
            return bool(self._fs.cat_file(self._path) == self._token)
        except FileNotFoundError:
            return False

    def _renew(self) -> None:
        while not self._released.wait(RENEWAL_SECONDS):
            with contextlib.suppress(Exception):
                if self._fs.cat_file(self._path) == self._token:
                    self._fs.pipe_file(self._path, self._token)


def _open(address: str) -> tuple[Any, str]:
    """The file system of fsspec for a URL, and its path there.

    Raises:
        UnfitError: a package is missing, or there is no such kind of storage.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UnfitError(f"{address} needs fsspec; install it with: {pip_install('storage')}") from error
    options: dict[str, Any] = {"use_listings_cache": False}
    if address.startswith(("s3://", "s3a://")):
        options["config_kwargs"] = {
            "max_pool_connections": REQUESTS,
            "retries": {"mode": "standard", "max_attempts": ATTEMPTS},
        }
    try:
        fs, path = url_to_fs(address, **options)
    except ImportError as error:
        raise UnfitError(f"{address} needs a package: {error}; see {pip_install('storage')}") from error
    except ValueError as error:
        raise UnfitError(f"{address} is no storage that fsspec knows: {error}") from error
    return fs, str(path)


@contextlib.contextmanager
def _as_os_errors(name: str) -> Iterator[None]:
    """Turns what libraries raise into an OSError with a number and one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from error
    except PermissionError as error:
        raise PermissionError(errno.EACCES, f"permission denied ({in_one_line(error)})", name) from error
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or in_one_line(error), name) from error
    except UnfitError:
        raise
    except Exception as error:  # of the storage's own library
        raise OSError(errno.EIO, in_one_line(error), name) from error


def _version(info: Mapping[str, Any]) -> Version:
    """Size and time of an object; where it has an etag, that is in the time too, as its fraction of a second."""
    etag = str(next((info[name] for name in ("ETag", "etag", "md5Hash") if info.get(name)), "")).strip('"')
    size, stamp = int(info.get("size", info.get("Size", 0))), _stamp(info)
    if not etag:
        return Version(size, round(stamp * 10**9))
    checksum = int.from_bytes(hashlib.sha256(etag.encode()).digest()[:8], "big") % 10**9
    return Version(size, int(stamp) * 10**9 + checksum)


def _stamp(info: Mapping[str, Any]) -> float:
    """When an object was written, in seconds since 1970; 0 if it is not told."""
    names = ("LastModified", "last_modified", "mtime", "updated", "created")
    found = next((info[name] for name in names if info.get(name)), 0.0)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    return found.timestamp() if isinstance(found, datetime) else float(found)
