"""The way of one photo, in four stations: read it, draw its portraits, encode pages of the drawings, write the files.

Each station is a plain function over frozen values. `convert_photo` runs them one after the other; an executor may run
them in different processes and threads. What goes wrong with one photo becomes its outcome, at whichever station it
was; only an `ApdrawError`, for which no photo is to blame, is raised.
"""

import contextlib
import functools
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

import numpy as np

from apdraw_cli.conversion.drawing_names import LONGEST_NAME, fitting
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.memory import NO_MEMORY
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.outcome import Outcome, status_of
from apdraw_cli.conversion.output import remove_files, write_files
from apdraw_cli.conversion.overview import SUFFIX as OVERVIEW
from apdraw_cli.conversion.overview import overview
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.portraits import Extractor, Prepared, prepare_file
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.render import render
from apdraw_cli.conversion.storage import Storage
from apdraw_cli.timing import timed
from engines.base import Engine
from engines.errors import ApdrawError, PhotoError, UnfitError, in_one_line
from engines.machine_faults import is_want_of_memory
from engines.portrait import SIZE, Image, PortraitBatch

if TYPE_CHECKING:
    from apdraw_cli.faces.extract import DetectedPortrait

NOT_RECORDED: Final = frozenset(("name_taken", "exists"))
"""Codes of failures that the manifest is not told of: it would forget whose drawing has the name."""

TRIED_SIDE: Final = 64
"""Height and width of the black photo that an extractor is tried on: small, so that photos need not wait for it."""

P = ParamSpec("P")
T = TypeVar("T")

Seconds = dict[str, float]
"""Seconds that a photo took, by stage."""


def reason_of(error: Exception) -> PhotoError:
    """What an error at one of the stations says of a photo."""
    if isinstance(error, PhotoError):
        return PhotoError(error.code, error.message)  # the one caught keeps the photo in memory
    if is_want_of_memory(error):
        return PhotoError("out_of_memory", NO_MEMORY)
    return PhotoError("internal", f"an error in apdraw, please report it: {in_one_line(error)}")


def failed(step: Step, error: Exception, seconds: Seconds) -> Outcome:
    """What becomes of a photo that could not be drawn."""
    reason = reason_of(error)
    trace = "".join(traceback.format_exception(error)) if reason.code == "internal" else ""
    return Outcome(
        step.source,
        status_of(reason.code),
        step.recipe_sha256,
        error=reason,
        seconds=seconds,
        trace=trace,
        recorded=reason.code not in NOT_RECORDED,
    )


def station(
    function: Callable[Concatenate[Step, Seconds, P], T],
) -> Callable[Concatenate[Step, Seconds, P], T | Outcome]:
    """Makes a function return the photo's outcome where it raises an error that is the photo's alone."""

    @functools.wraps(function)
    def guarded(step: Step, seconds: Seconds, /, *arguments: P.args, **named: P.kwargs) -> T | Outcome:
        try:
            return function(step, seconds, *arguments, **named)
        except ApdrawError:
            raise
        except Exception as error:
            return failed(step, error, seconds)

    return guarded


@dataclass(frozen=True)
class PhotoReader:
    """The first station with all that it needs, to be sent to worker processes.

    Attributes:
        open_extractor: opens the face extractor; is called once in each process; can be pickled.
        recipe: decides which faces become portraits.
    """

    open_extractor: Callable[[FaceOptions], Extractor]
    recipe: Recipe

    def check(self) -> None:
        """Opens the extractor and tries it on a black photo, so that it can be trusted with the real ones.

        Raises:
            ApdrawError: it cannot be used here.
        """
        side = SIZE if self.recipe.faces.aligned else TRIED_SIDE
        try:
            with contextlib.suppress(PhotoError):
                self.extractor.extract(np.zeros((side, side, 3), np.uint8), {})
        except ApdrawError:
            raise
        except Exception as error:
            raise UnfitError(f"the face detector cannot be used: {error}; see apdraw doctor") from error

    @property
    def extractor(self) -> Extractor:
        """The extractor of this process."""
        return _opened(self.open_extractor, self.recipe.faces)

    def read(self, step: Step) -> Prepared | Outcome:
        """Runs the station for a photo.

        Raises:
            ApdrawError: no photo at all can be prepared here.
        """
        return read_photo(step, {}, self)


@lru_cache(maxsize=1)
def _opened(opener: Callable[[FaceOptions], Extractor], options: FaceOptions) -> Extractor:
    return opener(options)


@station
def read_photo(step: Step, seconds: Seconds, reader: PhotoReader) -> Prepared:
    """The first station: from a photo's file to portraits."""
    return prepare_file(
        step.source.storage,
        step.source.name,
        reader.recipe.faces,
        reader.extractor,
        seconds,
        keep_photo=reader.recipe.shows_photo,
        data=step.data,
    )


def draw_portraits(portraits: "Sequence[DetectedPortrait]", engine: Engine) -> list[Image]:
    """The second station: from portraits, at most a batch, to drawings, uint8 [512, 512] each.

    Raises:
        UnfitError: the engine failed, which no portrait is to blame for.
    """
    try:
        return list(engine.draw(PortraitBatch.of([each.portrait for each in portraits])))
    except ApdrawError:
        raise
    except Exception as error:
        raise UnfitError(f"drawing failed: {error or type(error).__name__}") from error


def draw_prepared(prepared: Prepared, engine: Engine) -> list[Image]:
    """Draws all portraits of a photo, in batches; otherwise as `draw_portraits`."""
    drawings: list[Image] = []
    for first in range(0, len(prepared.portraits), engine.batch_size):
        drawings += draw_portraits(prepared.portraits[first : first + engine.batch_size], engine)
    return drawings


@dataclass(frozen=True)
class DrawnPhoto:
    """A photo after the second station.

    Attributes:
        step: what is to be done with it.
        prepared: its portraits, of which the photos are not needed any more.
        drawings: uint8 [512, 512], one for each portrait.
        engine: name of the engine that drew them.
        seconds: what it took until here, by stage.
    """

    step: Step
    prepared: Prepared
    drawings: Sequence[Image]
    engine: str
    seconds: Seconds


@dataclass(frozen=True)
class Pages:
    """A photo after the third station.

    Attributes:
        files: content by name, at least one; names of drawings come first, as in the outcome.
        seconds: what it took until here, by stage.
    """

    files: dict[str, bytes]
    seconds: Seconds


def encode_pages(drawn: DrawnPhoto, recipe: Recipe) -> Pages | Outcome:
    """The third station: from drawings to the content of files."""
    return _encode(drawn.step, dict(drawn.seconds), drawn, recipe)


@station
def _encode(step: Step, seconds: Seconds, drawn: DrawnPhoto, recipe: Recipe) -> Pages:
    file_format = FORMATS[recipe.format]
    pages = render(drawn.drawings, drawn.prepared, recipe)
    with timed(seconds, "encode"):
        names = [step.source.drawing, *(f"{step.source.drawing}.{number}" for number in range(2, len(pages) + 1))]
        files = {
            name + file_format.suffix: file_format.encode(page, recipe) for name, page in zip(names, pages, strict=True)
        }
        if recipe.page.overview:
            folder, _, name = step.source.drawing.rpartition("/")
            name = fitting(name, LONGEST_NAME - len(OVERVIEW)) + OVERVIEW
            files[f"{folder}/{name}" if folder else name] = overview(
                drawn.prepared, [PurePosixPath(file).name for file in files], recipe.page.dpi
            )
    return Pages(files, seconds)


def write_pages(drawn: DrawnPhoto, pages: Pages, output: Storage) -> Outcome:
    """The last station: from the content of files to files in the output folder."""
    return _write(drawn.step, pages.seconds, drawn, pages, output)


@station
def _write(step: Step, seconds: Seconds, drawn: DrawnPhoto, pages: Pages, output: Storage) -> Outcome:
    with timed(seconds, "write"):
        write_files(output, pages.files)
        remove_files(output, [old for old in step.replaced if old not in pages.files])
    return Outcome(
        step.source,
        "done",
        step.recipe_sha256,
        tuple(pages.files),
        faces=tuple(each.face for each in drawn.prepared.portraits),
        transforms=tuple(each.transform for each in drawn.prepared.portraits),
        warnings=drawn.prepared.warnings,
        seconds=seconds,
        engine=drawn.engine,
    )


def convert_photo(step: Step, reader: PhotoReader, engine: Engine, output: Storage) -> Outcome:
    """The whole way of one photo.

    Raises:
        ApdrawError: no photo at all can be drawn here.
    """
    seconds: Seconds = {}
    prepared = read_photo(step, seconds, reader)
    if isinstance(prepared, Outcome):
        return prepared
    with timed(seconds, "draw"):
        drawings = draw_prepared(prepared, engine)
    drawn = DrawnPhoto(step, prepared, drawings, engine.name, seconds)
    pages = encode_pages(drawn, reader.recipe)
    return pages if isinstance(pages, Outcome) else write_pages(drawn, pages, output)
