"""Plans what is to be done with each photo, from what the manifest and the output folder hold."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.manifest import History, Record
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import Outcome, status_of
from apdraw_cli.conversion.recipe import Recipe, landmarks_file
from apdraw_cli.conversion.sources import PassedOver, Source, SourceSet
from apdraw_cli.conversion.storage import Version, open_storage
from engines.errors import PhotoError

TRANSIENT_CODES: Final = frozenset(
    (
        "not_found",
        "unreadable",
        "needs_heif",
        "leads_out",
        "bad_landmarks",
        "name_taken",
        "exists",
        "write_failed",
        "out_of_memory",
        "worker_died",
        "internal",
    )
)
"""Codes of failures whose cause is not the photo itself, and may be gone: such photos are always tried again."""


@dataclass(frozen=True)
class Step:
    """What is to be done with a photo.

    Attributes:
        source: the photo.
        drawing: its drawing, or its first, as a path below the output folder.
        recipe_sha256: checksum of the recipe, and of landmarks beside an aligned portrait.
        settled: what has become of it already; None if it is to be drawn.
        replaced: drawings of an earlier version of the photo, which have no place after this one.
        data: the photo's file, if it was read ahead.
    """

    source: Source
    drawing: str
    recipe_sha256: str
    settled: Outcome | None = None
    replaced: tuple[str, ...] = ()
    data: bytes | None = field(default=None, repr=False)


class Planner:
    """Decides photo by photo. Nothing is written.

    Args:
        options: options of the conversion.
        sources: its photos.
        history: what the manifest knows.
        model_sha256: checksum of the generator's file.

    Attributes:
        passed_over: what was found beside the photos, as far as they are planned.
    """

    def __init__(self, options: ConvertOptions, sources: SourceSet, history: History, model_sha256: str) -> None:
        self._options = options
        self._sources = sources
        self._history = history
        self._model_sha256 = model_sha256
        self._output = open_storage(str(sources.output))
        self._recipe = Recipe.of(options)
        self.passed_over = PassedOver()
        self._suffix = FORMATS[self._recipe.format].suffix

    def steps(self, only: Collection[str] | None = None) -> Iterator[Step]:
        """Plans all photos, in the order of the sources; or `only` those with some paths, in folders."""
        for source in self._sources.photos(self._suffix, self._recipe.several, self.passed_over, only):
            yield self._step(source)

    def _step(self, source: Source) -> Step:
        checksum = self._recipe.checksum(_landmarks_of(source) if self._recipe.faces.aligned else None)
        drawing = source.drawing + self._suffix
        if source.error is not None:
            return Step(source, drawing, checksum, Outcome(source, "failed", checksum, error=source.error))
        record = self._history.of(source.name)
        known = record is not None and same_photo(record, source)
        if record is not None and known and record.recipe_sha256 == checksum:
            settled = self._settled_before(source, drawing, record)
            if settled is not None:
                return Step(source, drawing, checksum, settled)
        taken = self._why_name_is_taken(source, drawing, known)
        if taken is not None:
            outcome = Outcome(source, "failed", checksum, error=taken, recorded=False)
            return Step(source, drawing, checksum, outcome)
        return Step(source, drawing, checksum, replaced=self._replaced(record, checksum))

    def _settled_before(self, source: Source, drawing: str, record: Record) -> Outcome | None:
        """The outcome that the record tells of, if there is nothing to do about it."""
        if record.status == "done":
            current = record.model_sha256 == self._model_sha256 and self._holds(drawing, record)
            if self._options.run.existing == "skip" and current:
                return Outcome(source, "skipped", record.recipe_sha256, record.outputs, recorded=False)
        elif not self._options.run.retry_failed and record.code not in TRANSIENT_CODES:
            error = PhotoError(record.code, record.message)
            status = status_of(record.code)
            return Outcome(source, status, record.recipe_sha256, error=error, remembered=True, recorded=False)
        return None

    def _holds(self, drawing: str, record: Record) -> bool:
        """Whether the drawings that a record names are there, under the names they would get now."""
        return record.outputs[:1] == (drawing,) and all(
            self._history.owner(output) == record and self._has_content(output) for output in record.outputs
        )

    def _has_content(self, output: str) -> bool:
        try:
            return self._output.version(output).size > 0
        except OSError:
            return False

    def _replaced(self, record: Record | None, checksum: str) -> tuple[str, ...]:
        if record is None or record.recipe_sha256 != checksum:  # made otherwise: perhaps wanted beside the new ones
            return ()
        return tuple(output for output in record.outputs if self._history.owner(output) == record)

    def _why_name_is_taken(self, source: Source, drawing: str, known: bool) -> PhotoError | None:
        """Why a photo's drawing cannot be written, if its name is taken."""
        if self._options.run.existing == "error" and self._output.exists(drawing):
            return PhotoError("exists", f"{drawing} exists already")
        there = self._output.identity(drawing)
        if there is not None and there == source.storage.identity(source.name):
            return PhotoError("name_taken", "its drawing would replace it: name another --output")
        owner = self._history.owner(drawing)
        if owner is None or known or self._options.run.existing == "overwrite":
            return None
        if _is_another(owner, source) and self._output.exists(drawing):
            return PhotoError(
                "name_taken",
                f"{drawing} is the drawing of {_path(owner)}: name another --output, or use --existing overwrite",
            )
        return None


def _landmarks_of(source: Source) -> Version | None:
    try:
        return source.storage.version(landmarks_file(source.name))
    except OSError:
        return None


def same_photo(record: Record, source: Source) -> bool:
    """Whether a record of that name tells of this very photo, unchanged."""
    unchanged = (record.size, record.mtime_ns) == (source.size, source.mtime_ns)
    return unchanged and not _is_another(record, source)


def _is_another(record: Record, source: Source) -> bool:
    """Whether a record tells of another photo that is still there; one that is gone was moved here, or is no matter."""
    if record.root in ("", source.root) and record.source == source.name:
        return False
    return open_storage(record.root).exists(record.source)


def _path(record: Record) -> str:
    return os.path.join(record.root, record.source)  # noqa: PTH118
