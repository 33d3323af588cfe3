"""Records: what became of every photo and drawing; the journal while a run goes on, the index when it is through.

    .apdraw-prepare/journal.jsonl   a line for each photo as it is finished; can be read after a crash at any point
    index.jsonl                     one line a photo, and one for each drawing without a photo; written at the end

The folder `.apdraw-prepare` also holds files until they are whole, and is gone when a run is through.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from engines.errors import UnfitError, UsageError

INDEX: Final = "index.jsonl"
UNFINISHED: Final = ".apdraw-prepare"
LINES: Final = "lines"
FOLDERS: Final = ("photos", "drawings", "landmarks", "masks", "labels", LINES)
"""Of a data set; each holds one file a portrait, `lines` only of drawings made by filtering."""


@dataclass(frozen=True)
class Record:
    """What became of a photo, or of a drawing without one. The fields are those of a line of the index.

    Attributes:
        name: of the portrait's files.
        source: the photo's file; None for a drawing without a photo.
        split: `train` or `val`; None for a drawing without a photo.
        left_out: why it is no training pair; None if it is one.
        detail: more about that.
        drawing: the artist's drawing; None if there is none.
        agreement: of drawing and photo, -1 to 1.
        registered: whether the drawing was moved onto the photo; None if there is none.
        fingerprint: of the files it was made of; None to try it again.
        written: whether the portrait's files are there; one in a round frame or drawn badly has them and is left out.
    """

    name: str
    source: str | None
    split: str | None = None
    left_out: str | None = None
    detail: str | None = None
    drawing: str | None = None
    agreement: float | None = None
    registered: bool | None = None
    fingerprint: str | None = None
    written: bool = False


def file_of(dataset: Path, folder: str, name: str) -> Path:
    """Where a portrait's file of one of the `FOLDERS` is."""
    return dataset / folder / f"{name}{'.txt' if folder == 'landmarks' else '.png'}"


def write(dataset: Path, files: dict[Path, bytes]) -> None:
    """Writes files of a data set, each of which appears under its name only when it is whole.

    Raises:
        UnfitError: one cannot be written.
    """
    parts = {path: dataset / UNFINISHED / f"{os.getpid()}-{path.parent.name}-{path.name}" for path in files}
    path = dataset
    try:
        for path, content in files.items():
            parts[path].write_bytes(content)
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        raise UnfitError(
            f"cannot write {path} ({error.strerror}): make room or name another folder, and start again; "
            "what is finished is kept"
        ) from error


class Records:
    """The records of a data set in the making; a context that keeps other runs out of it.

    Args:
        dataset: its folder, made where missing.
        sources: folders that must not be written.
        folders: those of `FOLDERS` that its portraits have files in.

    Attributes:
        indexed: the records of the index that is there, by name.

    Raises:
        UsageError: the folder cannot be written, is one of the sources, or another run is at work in it.
    """

    def __init__(self, dataset: Path, sources: Iterable[Path], folders: Iterable[str]) -> None:
        self._dataset = dataset
        self._folders = tuple(folders)
        self._unfinished = dataset / UNFINISHED
        used = {source.resolve() for source in sources}
        for path in (dataset, *(dataset / folder for folder in FOLDERS)):
            if path.resolve() in used:
                raise UsageError(f"{path} would be written over: name another folder for the data set")
        try:
            for folder in (UNFINISHED, *self._folders):
                (dataset / folder).mkdir(parents=True, exist_ok=True)
            self._journal = (self._unfinished / "journal.jsonl").open("ab", buffering=0)
        except OSError as error:
            raise UsageError(
                f"the data set {dataset} cannot be made ({error.strerror}): name a folder that can be written"
            ) from error
        try:
            if not _lock(self._journal.fileno()):
                raise UsageError(f"another apdraw is preparing {dataset}: wait, or name another folder")
            self.indexed = {record.name: record for record in _read(dataset / INDEX)}
            self._known = {**self.indexed, **{r.name: r for r in _read(self._unfinished / "journal.jsonl")}}
            self._journal.write(b"\n")  # ends a line that was cut off
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()

    def known(self, name: str, fingerprint: str) -> Record | None:
        """The record of a portrait that was made, or refused, from the same files before."""
        record = self._known.get(name)
        if record is None or record.fingerprint != fingerprint:
            return None
        if record.left_out and not record.written:
            return record
        whole = all(_has_content(file_of(self._dataset, folder, name)) for folder in self._folders)
        return record if whole else None

    def add(self, record: Record) -> None:
        """Notes what became of a photo, so that a killed run need not do it again.

        Raises:
            UnfitError: the journal cannot be written.
        """
        try:
            self._journal.write(_line(record))
        except OSError as error:
            raise UnfitError(
                f"cannot write into {self._unfinished} ({error.strerror}): make room, and start again"
            ) from error

    def finish(self, records: Sequence[Record]) -> None:
        """Writes the index, then removes the files of earlier runs that do not belong to it.

        Raises:
            UnfitError: the index cannot be written, or a file not removed.
        """
        written = {record.name: record.written for record in records}
        write(self._dataset, {self._dataset / INDEX: b"".join(map(_line, records))})
        for name in {*self._known, *written}:
            for folder in FOLDERS:
                if not written.get(name) or folder not in self._folders:
                    self._remove(file_of(self._dataset, folder, name))
        self._journal.close()
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UnfitError(f"cannot remove {path} of an earlier run ({error.strerror}): remove it") from error


def _read(path: Path) -> Iterator[Record]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}): name another folder for the data set") from error
    fields = {field.name for field in dataclasses.fields(Record)}
    for line in lines:
        try:
            values: Any = json.loads(line)
            yield Record(**{key: value for key, value in values.items() if key in fields})
        except (ValueError, TypeError, AttributeError):  # cut off, or not ours
            continue


def _line(record: Record) -> bytes:
    return (json.dumps(dataclasses.asdict(record)) + "\n").encode("ascii")


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _lock(descriptor: int) -> bool:
    """Takes the lock that goes with the process; True also where there is none to take."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
