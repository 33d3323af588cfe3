"""The manifest `apdraw-manifest.jsonl`: what became of every photo, in the output folder.

One JSON object a line and a photo, appended when the photo is through; a photo's last line counts. It can be
read after a crash at any point: a line that was cut off is passed over. Photos that are skipped keep the line
they have.

    source           path relative to its root, with forward slashes
    root             absolute path of that root
    status           done, skipped, no_face or failed
    outputs          the drawings' paths relative to the output folder
    faces            list of box (x y w h), score, landmarks (5 x 2), in photo pixels
    error            null, or code and message
    source_size      bytes of the photo's file, null if unknown
    source_mtime_ns  its time of change, null if unknown
    model            sha256 of the generator's file
    options          sha256 of the options that decide what a drawing looks like
    engine           name of the engine that drew it, null if none did
    seconds          object of stage and seconds
"""

import contextlib
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, get_args

from apdraw_cli.conversion.outcome import Outcome, Status
from engines.errors import UnfitError, UsageError
from engines.journal import open_to_append, whole_lines
from engines.regular_files import is_name, is_text, open_regular

if TYPE_CHECKING:
    from apdraw_cli.faces.detect import Face

NAME: Final = "apdraw-manifest.jsonl"

STATUSES: Final = get_args(Status)

_INDEX: Final = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE photos (source BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID",
    "CREATE TABLE owners (output BLOB PRIMARY KEY, source BLOB) WITHOUT ROWID",
    "BEGIN",  # never ended: what is temporary needs no end
)


@dataclass(frozen=True, slots=True)
class Record:
    """What the manifest knows of a photo, as far as it decides what to do with it. See the module."""

    source: str
    root: str
    status: str
    outputs: tuple[str, ...]
    code: str
    message: str
    size: int | None
    mtime_ns: int | None
    model: str
    options: str


class History:
    """The last record of every photo in a manifest.

    Only where in the manifest it stands is kept, in a temporary database on disk: memory does not grow with the number
    of photos. It may be used from any thread.
    """

    def __init__(self, path: Path) -> None:
        """Reads a manifest; one that does not exist is empty.

        Raises:
            UsageError: it cannot be read.
            UnfitError: there is no room for temporary files.
        """
        self._path = path
        self._lines: BinaryIO | None = None
        self._lock = threading.Lock()
        self._index = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        for statement in _INDEX:
            self._index.execute(statement)
        try:
            with open_regular(path, follow_links=False) as lines:
                for place, line in whole_lines(lines):
                    record = _parsed(line)
                    if record is not None:
                        self.add(record, place)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}; name another --output") from error

    def add(self, record: Record, place: int) -> None:
        """Takes in a newer record, whose line begins at a byte of the manifest."""
        source = _key(record.source)
        with self._lock, _told():
            self._index.execute("INSERT OR REPLACE INTO photos VALUES (?, ?)", (source, place))
            owned = [(_key(output), source) for output in record.outputs]
            self._index.executemany("INSERT OR REPLACE INTO owners VALUES (?, ?)", owned)

    def of(self, source: str) -> Record | None:
        """The last record of a photo."""
        return self._found("SELECT place FROM photos WHERE source = ?", source)

    def owner(self, output: str) -> Record | None:
        """The last record of the photo that a drawing was last made of."""
        return self._found("SELECT place FROM owners NATURAL JOIN photos WHERE output = ?", output)

    def _found(self, query: str, name: str) -> Record | None:
        with self._lock, _told():
            row = self._index.execute(query, (_key(name),)).fetchone()
            if row is None:
                return None
            if self._lines is None:
                self._lines = open_regular(self._path, follow_links=False)
            self._lines.seek(row[0])
            return _parsed(self._lines.readline())

    def close(self) -> None:
        """Frees the database."""
        self._index.close()
        if self._lines is not None:
            self._lines.close()


class Manifest:
    """The manifest of a conversion that is running; a context that keeps other conversions out of the folder.

    Attributes:
        path: its file.
        history: what it knows.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the manifest of an output folder; both are created where missing.

        Raises:
            UsageError: the folder cannot be written, or another conversion is using it.
        """
        self.path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open_to_append(self.path)
        except OSError as error:
            raise UsageError(f"cannot write into {folder}: {error.strerror or error}; name another --output") from error
        try:
            if not _lock(self._file.fileno()):
                raise UsageError(f"another apdraw is converting into {folder}: wait, or name another --output")
            self.history = History(self.path)
            if not _ends_whole(self.path):
                self._write(b"\n")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.history.close()

    def append(self, outcome: Outcome, model: str) -> None:
        """Records what became of a photo.

        Raises:
            UnfitError: the line cannot be written.
        """
        source, error = outcome.source, outcome.error
        line = {
            "source": source.name,
            "root": source.root,
            "status": outcome.status,
            "outputs": outcome.outputs,
            "faces": [_face(face) for face in outcome.faces],
            "error": error and {"code": error.code, "message": error.message},
            "source_size": source.size,
            "source_mtime_ns": source.mtime_ns,
            "model": model,
            "options": outcome.options,
            "engine": outcome.engine,
            "seconds": {stage: round(seconds, 4) for stage, seconds in outcome.seconds.items()},
        }
        place = self._write(_encoded(line))
        self.history.add(_record(line), place)

    def _write(self, line: bytes) -> int:
        """Appends a line; returns where it begins."""
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) == len(line):
                return end
            self._file.truncate(end)
            reason = "no space is left"
        except OSError as error:
            reason = error.strerror or str(error)
        raise UnfitError(f"cannot write {self.path}: {reason}; drawings are kept, make room and run it again")


def _parsed(line: bytes) -> Record | None:
    try:
        record = _record(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # cut off, or not ours
        return None
    texts = (record.source, record.root, record.status, record.code, record.message, record.model, record.options)
    numbers = (record.size, record.mtime_ns)
    if not all(map(is_text, texts)) or not all(number is None or type(number) is int for number in numbers):
        return None
    return record if record.status in STATUSES and all(map(is_name, record.outputs)) else None


def _record(line: dict[str, Any]) -> Record:
    error = line["error"] or {"code": "", "message": ""}
    if not isinstance(line["outputs"], list | tuple):
        raise TypeError("outputs are a list")
    return Record(
        line["source"],
        sys.intern(line.get("root", "")),
        sys.intern(line["status"]),
        tuple(line["outputs"]),
        error["code"],
        error["message"],
        line["source_size"],
        line["source_mtime_ns"],
        sys.intern(line["model"]),
        sys.intern(line["options"]),
    )


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turns what the database says into one line."""
    try:
        yield
    except sqlite3.Error as error:
        raise UnfitError(
            f"cannot keep account of the photos in the folder for temporary files: {error}; drawings are kept, make "
            "room there and run it again"
        ) from error


def _key(name: str) -> bytes:
    return os.fsencode(name)  # names may be no UTF-8


def _encoded(line: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(line, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a file name that is no UTF-8
        return (json.dumps(line) + "\n").encode()


def _face(face: "Face") -> dict[str, Any]:
    return {
        "box": [round(float(value), 2) for value in face.box],
        "score": round(float(face.score), 4),
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
    }


def _ends_whole(path: Path) -> bool:
    with open_regular(path, follow_links=False) as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _lock(descriptor: int) -> bool:
    """Takes the lock that goes with the process; True also where the file system has none to give."""
    if sys.platform == "win32":
        import msvcrt

        try:
            os.lseek(descriptor, 2**31 - 2, os.SEEK_SET)  # beyond what is read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
