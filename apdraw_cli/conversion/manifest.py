"""The manifest `apdraw-manifest.jsonl`: what became of every photo, in the output folder.

One JSON object a line and a photo, appended when the photo is through; a photo's last line counts. It can be
read after a crash at any point: a line that was cut off is passed over. Photos that are skipped keep the line
they have. `docs/manifest.md` tells what the fields mean, `apdraw_cli/schemas/manifest.schema.json` their form.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, get_args

from apdraw_cli.conversion.outcome import Outcome, Status
from apdraw_cli.conversion.sources import MANIFEST
from apdraw_cli.conversion.storage import Storage
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


class History:
    """The last record of every photo in a manifest. It may be used from any thread, and takes little memory."""

    def __init__(self, output: Storage, name: str = NAME) -> None:
        """Reads the manifest of an output folder, of this name; one that does not exist is empty.

        Raises:
            UsageError: it cannot be read.
            UnfitError: there is no room for temporary files.
        """
        self._index = output.journal_index(name)
        try:
            for place, record, _ in _records(output, name):
                self.add(record, place)
        except BaseException:
            self.close()
            raise

    def add(self, record: Record, place: int) -> None:
        """Takes in a newer record, whose line begins at a byte of the manifest."""
        self._index.add(record.source, place, record.outputs)

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
    for _, record, _ in _records(output, name):
        yield from record.outputs


def last_lines(output: Storage) -> dict[str, tuple[Record, dict[str, Any]]]:
    """What the manifest of a folder says last of each photo, by its source: the record, and the whole line.

    Of the line, only what the record holds is known to be what it should be.

    Raises:
        UsageError: it cannot be read.
    """
    return {record.source: (record, line) for _, record, line in _records(output)}


def _records(output: Storage, name: str = NAME) -> Iterator[tuple[int, Record, dict[str, Any]]]:
    try:
        for place, line in output.read_journal(name):
            record = _record(line)
            if record is not None:
                yield place, record, line
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"cannot read {_told(output, name)}: {error.strerror or error}; name another --output"
        ) from error


def _told(output: Storage, name: str) -> str:
    return f"{output.address}/{name}"


class Manifest:
    """The manifest of a conversion that is running; a context that keeps other conversions out of the folder.

    Attributes:
        history: what it knows.
    """

    def __init__(self, output: Storage, name: str = NAME) -> None:
        """Opens the manifest of an output folder, of this name; both are created where missing.

        Raises:
            UsageError: the folder cannot be written, or another conversion is using it.
        """
        self._told = _told(output, name)
        with contextlib.ExitStack() as opened:
            try:
                if not opened.enter_context(output.lock()):
                    raise UsageError(
                        f"another apdraw is converting into {output.address}: wait, or name another --output"
                    )
                self._journal = output.open_journal(name)
            except OSError as error:
                raise UsageError(
                    f"cannot write {error.filename or output.address}: {error.strerror or error}; name another --output"
                ) from error
            opened.callback(self._journal.close)
            self.history = History(output, name)
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
                f"cannot write {self._told}: {error.strerror or error}; drawings are kept, make room and run it again"
            ) from error
        record = _record(line)
        if record is not None:
            self.history.add(record, place)


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
        "transform": [[[round(float(x), 6) for x in row] for row in each] for each in outcome.transforms],
        "warnings": [{"code": each.code, "message": each.message} for each in outcome.warnings],
        "error": error and {"code": error.code, "message": error.message},
        "source_size": source.size,
        "source_mtime_ns": source.mtime_ns,
        "model": outcome.model_sha256,
        "options": outcome.recipe_sha256,
        "engine": outcome.engine,
        "seconds": {stage: round(seconds, 4) for stage, seconds in outcome.seconds.items()},
    }


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
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
    }
