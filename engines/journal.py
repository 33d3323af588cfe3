"""Journals: files of JSON objects, one a line, that are only appended to and can be read after a crash at any byte.

A line that was cut off, is longer than `LONGEST_LINE`, or is no JSON object was torn by a crash or is not ours: readers
pass it over, and whoever appends ends it first. `JournalIndex` finds lines in a journal that is too long for memory.
"""

import errno
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, Final

from engines.errors import UnfitError
from engines.regular_files import NotRegularError, is_regular, open_regular

LONGEST_LINE: Final = 2**24
"""Bytes; the line of a photo with a thousand faces takes 200,000."""

_APPEND: Final = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_APPEND
    | sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"))
)

_TABLES: Final = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE lines (name BLOB PRIMARY KEY, journal INTEGER, place INTEGER) WITHOUT ROWID",
    "CREATE TABLE aliases (alias BLOB PRIMARY KEY, name BLOB) WITHOUT ROWID",
    "BEGIN",  # never ended: what is temporary needs no end
)


class Journal:
    """A journal to append to; it is made where missing, and a line that was cut off is ended.

    Args:
        path: its file; a link is refused.

    Raises:
        OSError: it cannot be written, or is no regular file.
    """

    def __init__(self, path: Path) -> None:
        if os.path.lexists(path) and not is_regular(path):
            raise NotRegularError(path)
        self._file = FileIO(os.open(path, _APPEND, 0o666), "ab+")
        try:
            if not self._ends_whole():
                self._write(b"\n")
        except BaseException:
            self._file.close()
            raise

    def append(self, values: Mapping[str, Any]) -> int:
        """Appends a line, as a whole or not at all; returns the byte that it begins at.

        Raises:
            OSError: it cannot be written.
        """
        line = format_line(values)
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "it was removed")
        return self._write(line)

    def sync(self) -> None:
        """Makes sure that all lines are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, line: bytes) -> int:
        end = self._file.seek(0, os.SEEK_END)
        if self._file.write(line) != len(line):
            self._file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return end

    def _ends_whole(self) -> bool:
        if self._file.seek(0, os.SEEK_END) == 0:
            return True
        self._file.seek(-1, os.SEEK_END)
        return self._file.read(1) == b"\n"


def read_journal(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The whole lines of a journal, and the byte that each begins at.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path, follow_links=False) as file:
        place = 0
        while line := file.readline(LONGEST_LINE):
            values = parse_line(line)
            if values is not None:
                yield place, values
            place += len(line)


def format_line(values: Mapping[str, Any]) -> bytes:
    """A line of a journal, with its end."""
    try:
        return json.dumps(values, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a file name that is no UTF-8
        return json.dumps(values).encode() + b"\n"


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line; None for one that was torn or is not ours."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


class JournalIndex:
    """Finds lines of a journal by name, or of several journals that are one.

    Only where each begins is kept, in a temporary database on disk: memory does not grow with their number. It may be
    used from any thread.

    Args:
        paths: the journals; they need not exist yet.
        closed: is called when the index is closed.

    Raises:
        UnfitError: as in all methods, there is no room for temporary files.
    """

    def __init__(self, *paths: Path, closed: Callable[[], None] = lambda: None) -> None:
        self._paths = paths
        self._closed = closed
        self._files: dict[int, BufferedReader] = {}
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
            for statement in _TABLES:
                self._database.execute(statement)
        except sqlite3.Error as error:
            closed()
            raise self._no_room(error) from error

    def add(self, name: str, place: int, aliases: Iterable[str] = (), journal: int = 0) -> None:
        """Takes in a line.

        Args:
            name: it is found by; an earlier line of this name is found no more.
            place: byte that it begins at.
            aliases: it is found by too, until another name takes them.
            journal: which of the journals it is in.
        """
        key = os.fsencode(name)  # names may be no UTF-8
        with self._lock:
            try:
                self._database.execute("INSERT OR REPLACE INTO lines VALUES (?, ?, ?)", (key, journal, place))
                rows = [(os.fsencode(alias), key) for alias in aliases]
                self._database.executemany("INSERT OR REPLACE INTO aliases VALUES (?, ?)", rows)
            except sqlite3.Error as error:
                raise self._no_room(error) from error

    def find(self, name: str) -> dict[str, Any] | None:
        """The last line of a name."""
        return self._found("SELECT journal, place FROM lines WHERE name = ?", name)

    def find_alias(self, alias: str) -> dict[str, Any] | None:
        """The last line of the name that took an alias last."""
        return self._found("SELECT journal, place FROM aliases NATURAL JOIN lines WHERE alias = ?", alias)

    def close(self) -> None:
        """Frees the database."""
        self._database.close()
        for file in self._files.values():
            file.close()
        self._closed()

    def _found(self, query: str, name: str) -> dict[str, Any] | None:
        with self._lock:
            try:
                row = self._database.execute(query, (os.fsencode(name),)).fetchone()
            except sqlite3.Error as error:
                raise self._no_room(error) from error
            if row is None:
                return None
            journal, place = row
            if journal not in self._files:
                self._files[journal] = open_regular(self._paths[journal], follow_links=False)
            self._files[journal].seek(place)
            return parse_line(self._files[journal].readline(LONGEST_LINE))

    def _no_room(self, error: sqlite3.Error) -> UnfitError:
        return UnfitError(
            f"cannot keep account of {self._paths[0].name} in the folder for temporary files: {error}; what is "
            "finished is kept, make room there and run it again"
        )
