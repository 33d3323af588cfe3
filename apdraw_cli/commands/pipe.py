"""`apdraw convert` of one photo through a pipe: from standard input, to standard output, or both; no manifest."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apdraw_cli.commands.convert import generator_engine, retinaface_extractor, with_model
from apdraw_cli.conversion.decode import read
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.kinds import HEAD, is_picture
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
from apdraw_cli.conversion.output import write_files
from apdraw_cli.conversion.output_name import names_file
from apdraw_cli.conversion.pipeline import draw_prepared
from apdraw_cli.conversion.portraits import prepare_data
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.render import render
from apdraw_cli.conversion.storage import Place, open_storage
from engines.errors import OptionsError, UsageError
from engines.options import EngineOptions, spelled

if TYPE_CHECKING:
    from apdraw_cli.conversion.portraits import Extractor
    from engines.base import Engine

PIPE: Final = "-"
"""What names standard input among the sources, and standard output as the output."""


@dataclass(frozen=True)
class Piped:
    """A drawing of one photo.

    Attributes:
        data: the whole file.
        output: where it was written; None if it is to go to standard output.
    """

    data: bytes
    output: Path | None


def leads_through_pipe(output: Place | None, given: bytes) -> bool:
    """Whether one photo, its drawing, or both go through a pipe.

    Args:
        output: what was named as the output.
        given: what was on standard input, as far as it is a source.
    """
    return output is not None and (str(output) == PIPE or is_picture(given[:HEAD]))


def through_pipe(
    options: ConvertOptions,
    sources: Sequence[str],
    given: bytes,
    *,
    open_engine: "Callable[[EngineOptions, Path], Engine]" = generator_engine,
    open_extractor: "Callable[[FaceOptions], Extractor]" = retinaface_extractor,
) -> Piped:
    """Draws the one photo of a pipe, and writes the drawing if a file was named for it.

    Args:
        options: what to do; their output is a file, or `PIPE`, their sources do not count.
        sources: what was named: `PIPE`, or the photo's path.
        given: what was on standard input.
        open_engine: opens the engine.
        open_extractor: opens the face extractor.

    Raises:
        UsageError: that is not one photo and one drawing, or options make no sense for them.
        PhotoError: the photo cannot be read or drawn, or its drawing not be written.
        UnfitError: model, engine or detector cannot be used here.
    """
    for name in ("watch", "gallery", "prune"):
        if getattr(options.run, name):
            raise OptionsError(f"--{spelled(name)} is for photos in files: leave it out")
    if len(sources) != 1:
        raise UsageError("one drawing is of one photo: name one, or a folder with --output")
    if sources[0] == PIPE and not is_picture(given[:HEAD]):
        raise UsageError("standard input holds no picture: name a folder with --output for a list of photos")
    output = None
    if options.output is not None and str(options.output) != PIPE:
        if not names_file(options.output):
            raise UsageError(f"{options.output} does not end in the name of a format: name a file with -o me.png")
        output = options.output.absolute()
    photo = given if sources[0] == PIPE else read(Path(sources[0]))
    data = draw_picture(options, photo, open_engine=open_engine, open_extractor=open_extractor)
    if output is not None:
        write_files(open_storage(str(output.parent)), {output.name: data})
    return Piped(data, output)


def draw_picture(
    options: ConvertOptions,
    data: bytes,
    *,
    open_engine: "Callable[[EngineOptions, Path], Engine]" = generator_engine,
    open_extractor: "Callable[[FaceOptions], Extractor]" = retinaface_extractor,
) -> bytes:
    """Draws one photo that was read.

    Args:
        options: what to do; sources do not count.
        data: the whole file of the photo.
        open_engine: opens the engine.
        open_extractor: opens the face extractor.

    Returns:
        The file of its drawing.

    Raises:
        PhotoError: it cannot be drawn.
        UsageError: it has several drawings.
        UnfitError: model, engine or detector cannot be used here.
    """
    recipe = Recipe.of(options)
    prepared = prepare_data(data, options.faces, open_extractor(options.faces), {}, keep_photo=recipe.shows_photo)
    if len(prepared.portraits) > 1 and recipe.several:
        raise UsageError(
            f"{len(prepared.portraits)} faces have as many drawings: add --place photo for one, or name a folder"
        )
    with contextlib.closing(open_engine(options.engine, with_model(options).model.path)) as engine:
        drawings = draw_prepared(prepared, engine)
    return FORMATS[recipe.format].encode(render(drawings, prepared, recipe)[0], recipe)
