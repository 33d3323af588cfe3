"""The manifest `apdraw-manifest.jsonl`: what became of every photo, in the output folder.

One JSON object a line and a photo, appended when the photo is through; a photo's last line counts. It can be
read after a crash at any point: a line that was cut off is passed over. Photos that are skipped keep the line
they have. A shard has a part of its own, `apdraw-manifest-0-of-3.jsonl`; all parts are read as one, and the next
run that is no shard of as many takes them into the manifest. `docs/manifest.md` tells what the fields mean,
`apdraw_cli/schemas/manifest.schema.json` their form.
"""

import contextlib
import heapq
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, get_args

from apdraw_cli.conversion.outcome import Outcome, Status
from apdraw_cli.conversion.shard import Shard
from apdraw_cli.conversion.sources import MANIFEST
from apdraw_cli.conversion.storage import Storage, below
from engines.errors import UnfitError, UsageError
from engines.regular_files import is_name, is_text

if TYPE_CHECKING:
    from apdraw_cli.faces.detect import Face

NAME: Final = MANIFEST

SCHEMA_VERSION: Final = 1
"""Of the lines here and of the JSON object of every command; to be raised where a field changes its meaning or goes."""

STATUSES: Final = get_args(Status)


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
    model_sha256: str
    recipe_sha256: str


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a manifest: the journal it is in, the byte it begins at, its record, and all of it."""

    journal: int
    place: int
    record: Record
    values: dict[str, Any]


class History:
    """The last record of every photo in a manifest. It may be used from any thread, and takes little memory.

    Attributes:
        journals: names of the manifest and its parts.
    """

    def __init__(self, output: Storage, name: str = NAME, own: str | None = None) -> None:
        """Reads the manifest of an output folder, of this name, with its parts; one that does not exist is empty.

        Args:
            output: the output folder.
            name: name of the manifest.
            own: name of the part that will be appended to.

        Raises:
            UsageError: it cannot be read.
            UnfitError: there is no room for temporary files.
        """
        self.journals = journals(output, name)
        if own is not None and own not in self.journals:  # a bucket holds no empty journal
            self.journals.append(own)
        self._index = output.journal_index(*self.journals)
        try:
            for line in _records(output, self.journals):
                self.add(line.record, line.place, line.journal)
        except BaseException:
            self.close()
            raise

    def add(self, record: Record, place: int, journal: int) -> None:
        """Takes in a newer record, whose line begins at a byte of one of the journals."""
        self._index.add(record.source, place, record.outputs, journal)

    def of(self, source: str) -> Record | None:
        """The last record of a photo."""
        return _record(self._index.find(source))

    def owner(self, output: str) -> Record | None:
        """The last record of the photo that a drawing was last made of."""
        return _record(self._index.find_alias(output))

    def close(self) -> None:
        """Frees the database."""
        self._index.close()


def every_output(output: Storage, name: str = NAME) -> Iterator[str]:
    """All drawings that the manifest of a folder ever told of, some more than once; none if there is no manifest.

    Raises:
        UsageError: it cannot be read.
    """
    for line in _records(output, journals(output, name)):
        yield from line.record.outputs


def last_lines(output: Storage) -> dict[str, tuple[Record, dict[str, Any]]]:
    """What the manifest of a folder says last of each photo, by its source: the record, and the whole line.

    Of the line, only what the record holds is known to be what it should be.

    Raises:
        UsageError: it cannot be read.
    """
    lines = _records(output, journals(output))
    return {line.record.source: (line.record, line.values) for line in lines}


def journals(output: Storage, name: str = NAME) -> list[str]:
    """The names of a manifest and its parts in a folder, the newer ones last; the manifest's own in any case.

    Raises:
        UsageError: the folder cannot be read.
    """
    return [name, *_parts(output, name)]


def has_manifest(output: Storage) -> bool:
    """Whether a folder holds a manifest, or a part of one."""
    return output.exists(NAME) or bool(_parts(output, NAME))


def part(name: str, shard: Shard | None) -> str:
    """The name of a shard's part of the manifest of a name."""
    return name if shard is None else f"{name.removesuffix('.jsonl')}-{shard}.jsonl"


def _parts(output: Storage, name: str, but: Shard | None = None) -> list[str]:
    """The names of all parts, in the order of the shards; without those of as many shards as there are of one."""
    stem = name.removesuffix(".jsonl")
    try:
        found = output.journals(f"{stem}-")
    except OSError as error:
        raise UsageError(f"cannot read {output.address}: {error.strerror or error}; name another --output") from error
    shards = {}
    for each in found:
        numbers = re.fullmatch(rf"{re.escape(stem)}-(\d{{1,6}})-of-(\d{{1,6}})\.jsonl", each)
        if numbers and (but is None or int(numbers[2]) != but.count):
            shards[each] = (int(numbers[2]), int(numbers[1]))
    return sorted(shards, key=lambda each: shards[each])


def _records(output: Storage, names: list[str]) -> Iterator[_Line]:
    """The lines of a manifest, and then those of its parts, in the order of a whole run as far as each part is."""
    yield from _lines(output, 0, names[0])
    parts = (_lines(output, number, name) for number, name in enumerate(names[1:], 1))
    yield from heapq.merge(*parts, key=_walked)


def _walked(line: _Line) -> list[tuple[bool, str]]:
    """By what lines sort as folders are walked: the photos of a folder before the folders in it."""
    *folders, photo = line.record.source.split("/")
    return [*((True, folder) for folder in folders), (False, photo)]


def _lines(output: Storage, journal: int, name: str) -> Iterator[_Line]:
    try:
        for place, values in output.read_journal(name):
            record = _record(values)
            if record is not None:
                yield _Line(journal, place, record, values)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"cannot read {below(output.address, name)}: {error.strerror or error}; name another --output"
        ) from error


class Manifest:
    """The manifest of a conversion that is running; a context that keeps other conversions out of the folder.

    A shard lets others of as many in. Parts of other runs are taken into the manifest first.

    Attributes:
        history: what it knows.
    """

    def __init__(self, output: Storage, name: str = NAME, shard: Shard | None = None) -> None:
        """Opens the manifest of an output folder, of this name, or a shard's part; both are created where missing.

        Raises:
            UsageError: the folder cannot be written, or another conversion is using it.
        """
        own = part(name, shard)
        self._file = below(output.address, own)

        def take_in() -> None:
            _take_in(output, name, _parts(output, name, but=shard))

        with contextlib.ExitStack() as opened:
            try:
                if not opened.enter_context(output.lock(shard, take_in)):
                    raise UsageError(
                        f"another apdraw is converting into {output.address}: wait, or name another --output"
                    )
                self._journal = output.open_journal(own)
            except OSError as error:
                raise UsageError(
                    f"cannot write {error.filename or output.address}: {error.strerror or error}; name another --output"
                ) from error
            opened.callback(self._journal.close)
            self.history = History(output, name, own)
            self._number = self.history.journals.index(own)
            opened.callback(self.history.close)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def append(self, outcome: Outcome) -> None:
        """Records what became of a photo.

        Raises:
            UnfitError: the line cannot be written.
        """
        line = line_of(outcome)
        try:
            place = self._journal.append(line)
        except OSError as error:
            raise UnfitError(
                f"cannot write {self._file}: {error.strerror or error}; drawings are kept, make room and run it again"
            ) from error
        self.history.add(_record_of(outcome), place, self._number)


def _take_in(output: Storage, name: str, parts: list[str]) -> None:
    """Moves the lines of parts into the manifest."""
    if not parts:
        return
    journal = output.open_journal(name)
    try:
        for line in heapq.merge(*(_lines(output, 0, each) for each in parts), key=_walked):
            journal.append(line.values)
        journal.sync()
    finally:
        journal.close()
    for each in parts:
        output.remove(each)


def line_of(outcome: Outcome) -> dict[str, Any]:
    """What the manifest tells of a photo."""
    source, error = outcome.source, outcome.error
    return {
        "schema_version": SCHEMA_VERSION,
        "source": source.name,
        "root": source.root,
        "status": outcome.status,
        "outputs": outcome.outputs,
        "faces": [_face(face) for face in outcome.faces],
        "transform": [[[round(x, 6) for x in row] for row in each.tolist()] for each in outcome.transforms],
        "warnings": [{"code": each.code, "message": each.message} for each in outcome.warnings],
        "error": error and {"code": error.code, "message": error.message},
        "source_size": source.size,
        "source_mtime_ns": source.mtime_ns,
        "model": outcome.model_sha256,
        "options": outcome.recipe_sha256,
        "engine": outcome.engine,
        "seconds": {stage: round(seconds, 4) for stage, seconds in outcome.seconds.items()},
    }


def _record_of(outcome: Outcome) -> Record:
    """The record in the line of an outcome."""
    source, error = outcome.source, outcome.error
    return Record(
        source.name,
        source.root,
        outcome.status,
        outcome.outputs,
        error.code if error else "",
        error.message if error else "",
        source.size,
        source.mtime_ns,
        outcome.model_sha256,
        outcome.recipe_sha256,
    )


def _record(line: dict[str, Any] | None) -> Record | None:
    """The record in a line; None for one that is not ours."""
    if line is None:
        return None
    try:
        return _checked(line)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _checked(line: dict[str, Any]) -> Record:
    error = line["error"] or {"code": "", "message": ""}
    record = Record(
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
    texts = (record.source, record.root, record.code, record.message, record.model_sha256, record.recipe_sha256)
    numbers = (record.size, record.mtime_ns)
    if not (
        all(map(is_text, texts))
        and all(number is None or type(number) is int for number in numbers)
        and record.status in STATUSES
        and isinstance(line["outputs"], list | tuple)
        and all(map(is_name, record.outputs))
    ):
        raise ValueError("not a line of a manifest")
    return record


def _face(face: "Face") -> dict[str, Any]:
    return {
        "box": [round(float(value), 2) for value in face.box],
        "score": round(float(face.score), 4),
        "landmarks": [[round(x, 2), round(y, 2)] for x, y in face.landmarks.tolist()],
    }
