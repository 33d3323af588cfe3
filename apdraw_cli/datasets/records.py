"""Records: what became of every photo and drawing; the journal while a run goes on, the index when it is through.

    .apdraw-prepare/journal.jsonl   a line for each photo as it is finished; can be read after a crash at any point
    index.jsonl                     one line a photo, and one for each drawing without a photo; written at the end

The folder `.apdraw-prepare` also holds files until they are whole, and is gone when a run is through.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from apdraw_cli.conversion.formats.mark import made_by_apdraw
from apdraw_cli.folder_lock import FolderLock
from engines.atomic_files import new_part, sweep
from engines.errors import UnfitError, UsageError
from engines.journal import Journal, read_journal
from engines.landmarks_file import read_landmarks
from engines.regular_files import OutsideError, inside, is_empty, is_name, is_regular, is_text
from train.artist.mesh import POINTS
from train.data.layout import FOLDERS, INDEX, MESHES, file_of

UNFINISHED: Final = ".apdraw-prepare"
JOURNAL: Final = "journal.jsonl"


@dataclass(frozen=True)
class PairRecord:
    """What became of a photo, or of a drawing without one. The fields are those of a line of the index.

    Attributes:
        name: name of the portrait's files.
        source: the photo's file; None for a drawing without a photo.
        split: `train` or `val`; None for a drawing without a photo.
        left_out: why it is no training pair; None if it is one.
        detail: more about that.
        drawing: the artist's drawing; None if there is none.
        agreement: how well drawing and photo agree, -1 to 1.
        registered: whether the drawing was moved onto the photo; None if there is none.
        fingerprint: fingerprint of the files it was made of; None to try it again.
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


def write(dataset: Path, files: dict[Path, bytes]) -> None:
    """Writes files of a data set, each of which appears under its name only when it is whole.

    Args:
        dataset: its folder.
        files: contents by path, inside that folder.

    Raises:
        UsageError: a file that this program did not write is in the way.
        UnfitError: one cannot be written.
    """
    parts: dict[Path, Path] = {}
    path = dataset
    try:
        for path, content in files.items():
            inside(dataset, path.relative_to(dataset).as_posix())
            if os.path.lexists(path) and not is_empty(path) and not is_ours(path):
                raise UsageError(
                    f"{path} is in the way, and not written by this version of apdraw: name another folder for the "
                    "data set"
                )
            part, file = new_part(dataset / UNFINISHED)
            parts[path] = part
            with file:
                file.write(content)
        for path, part in parts.items():
            part.replace(path)
        parts.clear()
    except OSError as error:
        raise UnfitError(
            f"cannot write {path} ({error.strerror}): make room or name another folder, and start again; "
            "what is finished is kept"
        ) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def is_ours(path: Path) -> bool:
    """Whether a file of a data set may be replaced or removed: a regular file that `prepare` wrote.

    Pictures carry the program's mark; an index is told by its first line, landmarks by being five points, a
    mesh by being 478.
    """
    try:
        if path.suffix == ".txt":
            return is_regular(path) and len(read_landmarks(path, POINTS if path.parent.name == MESHES else 5)) > 0
        if path.suffix == ".jsonl":
            first = next((line for _, line in read_journal(path)), None)
            return first is not None and _record(first) is not None
    except (OSError, ValueError):
        return False
    return made_by_apdraw(path)


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
        with contextlib.ExitStack() as opened:
            try:
                dataset.mkdir(parents=True, exist_ok=True)
                lock = FolderLock(dataset)
                if not lock.acquire():
                    raise UsageError(f"another apdraw is preparing {dataset}: wait, or name another folder")
                opened.callback(lock.release)
                for folder in (UNFINISHED, *self._folders):
                    (dataset / folder).mkdir(exist_ok=True)
                    inside(dataset, f"{folder}/file")  # or the folder is a link that leads out
                self._journal = Journal(self._unfinished / JOURNAL)
            except OSError as error:
                raise UsageError(
                    f"the data set {dataset} cannot be made ({error.strerror}): name a folder that can be written"
                ) from error
            opened.callback(self._journal.close)
            sweep(self._unfinished)
            self.indexed = {record.name: record for record in _read(dataset / INDEX)}
            self._known = {**self.indexed, **{r.name: r for r in _read(self._unfinished / JOURNAL)}}
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def known(self, name: str, fingerprint: str) -> PairRecord | None:
        """The record of a portrait that was made, or refused, from the same files before."""
        record = self._known.get(name)
        if record is None or record.fingerprint != fingerprint:
            return None
        if record.left_out and not record.written:
            return record
        whole = all(_has_content(file_of(self._dataset, folder, name)) for folder in self._folders)
        return record if whole else None

    def add(self, record: PairRecord) -> None:
        """Notes what became of a photo, so that a killed run need not do it again.

        Raises:
            UnfitError: the journal cannot be written.
        """
        try:
            self._journal.append(dataclasses.asdict(record))
        except OSError as error:
            raise UnfitError(
                f"cannot write into {self._unfinished} ({error.strerror}): make room, and start again"
            ) from error

    def finish(self, records: Sequence[PairRecord]) -> None:
        """Writes the index, then removes the files of earlier runs that do not belong to it.

        Raises:
            UnfitError: the index cannot be written, or a file not removed.
        """
        written = {record.name: record.written for record in records}
        write(self._dataset, {self._dataset / INDEX: b"".join(map(_line, records))})
        for name in filter(is_name, {*self._known, *written}):
            for folder in FOLDERS:
                if not written.get(name) or folder not in self._folders:
                    self._remove(file_of(self._dataset, folder, name))
        self._journal.close()
        with contextlib.suppress(OSError):
            (self._unfinished / JOURNAL).unlink()
            self._unfinished.rmdir()  # unless it holds what is not ours

    def _remove(self, path: Path) -> None:
        """Removes a file of an earlier run; one that is not ours, or lies behind a link that leads out, stays."""
        try:
            inside(self._dataset, path.relative_to(self._dataset).as_posix())
            if is_ours(path):
                path.unlink()
        except OutsideError:
            return
        except OSError as error:
            raise UnfitError(f"cannot remove {path} of an earlier run ({error.strerror}): remove it") from error


def _read(path: Path) -> Iterator[PairRecord]:
    try:
        yield from filter(None, (_record(line) for _, line in read_journal(path)))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}): name another folder for the data set") from error


def _record(line: dict[str, Any]) -> PairRecord | None:
    """The record in a line; None for one that is not ours."""
    try:
        record = PairRecord(**{key: value for key, value in line.items() if key in _FIELDS})
    except TypeError:
        return None
    optional = (record.split, record.left_out, record.detail, record.drawing, record.fingerprint, record.source)
    if not is_text(record.name) or not all(text is None or is_text(text) for text in optional):
        return None
    flags = type(record.written) is bool and (record.registered is None or type(record.registered) is bool)
    number = record.agreement is None or (type(record.agreement) in (int, float) and -2 < record.agreement < 2)
    return record if flags and number else None


_FIELDS: Final = frozenset(field.name for field in dataclasses.fields(PairRecord))


def _line(record: PairRecord) -> bytes:
    return (json.dumps(dataclasses.asdict(record)) + "\n").encode("ascii")


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
