"""The Python API: an `Artist` draws photo by photo, `convert_folder` whole folders.

    from apdraw import Artist, convert_folder

    artist = Artist()                                # the shipped model, in the fastest engine here
    for drawing in artist.draw("me.jpg"):            # a path, a picture of Pillow or an array
        print(drawing.face.box, drawing.image)       # image: uint8 [512, 512], 0 black to 255 white

    result = convert_folder("photos", "drawings", faces="all", on_photo=print)

Options have the names that they have on the command line, with underscores. Nothing here changes the process that it
runs in: no handlers of signals, filters of warnings or limits of other libraries.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image as Pillow

from apdraw_cli.commands.convert import convert, generator_engine, retinaface_extractor
from apdraw_cli.conversion.decode import pixels_of
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import ConvertResult, Outcome
from apdraw_cli.conversion.pipeline import draw_prepared
from apdraw_cli.conversion.portraits import Prepared, prepare, prepare_file
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.render import render, trimmed
from apdraw_cli.conversion.storage import open_storage, place
from apdraw_cli.faces.align import Transform
from apdraw_cli.faces.detect import Face
from apdraw_cli.faces.doubts import PhotoWarning
from engines.errors import PhotoError
from engines.portrait import Image, Landmarks

Photo = Image | Pillow.Image | str | os.PathLike[str]
"""An array, uint8 [H, W, 3], RGB, upright; a picture of Pillow in any mode; or the path of a photo's file."""


@dataclass(frozen=True)
class Drawing:
    """A drawing of one face.

    Attributes:
        image: uint8 [512, 512], 0 black to 255 white.
        face: the face, in pixels of the photo.
        transform: float64 [2, 3], from pixels of the photo (x, y, 1) to pixels of the drawing (x, y).
        warnings: why it should be looked at.
    """

    image: Image
    face: Face
    transform: Transform
    warnings: tuple[PhotoWarning, ...] = ()

    @property
    def picture(self) -> Pillow.Image:
        """The drawing as a picture of Pillow, 512 x 512, mode `L`."""
        return Pillow.fromarray(self.image)


class Artist:
    """Draws photos with a face extractor and an engine that are opened once; a context that closes them.

    It may be used from several threads, and then draws one photo after the other.

    Args:
        model: the generator, a `.onnx`, `.safetensors` or `.engine` file; None for the one of the option `style`.
        options: options of `apdraw convert` by name, such as `style="bold"`, `faces="all"` or `device="cuda"`.

    Attributes:
        recipe: what drawings look like.
        engine: what draws.

    Raises:
        OptionsError: an option is unknown, or has a value that is not allowed.
        EngineError: the model or the engine cannot be used here.
    """

    def __init__(self, *, model: str | Path | None = None, **options: Any) -> None:
        chosen = ConvertOptions.of(model=None if model is None else Path(model), **options)
        self.recipe = Recipe.of(chosen)
        self._extractor = retinaface_extractor(chosen.faces)
        self.engine = generator_engine(chosen.engine, chosen.model.path)
        self._lock = threading.Lock()

    def draw(self, photo: Photo, landmarks: Landmarks | None = None) -> list[Drawing]:
        """Draws the faces in a photo, the largest first; none if there is no face.

        A path, or a picture of Pillow, is turned upright by its orientation tag and brought to sRGB; faces and
        transforms are in pixels of the whole photo, upright.

        Args:
            photo: an array, uint8 [H, W, 3], RGB, upright; a picture of Pillow; or a path.
            landmarks: those of an aligned portrait (`aligned=True`), float32 [5, 2] pixels, where they are known.
                Of a path they are read from the `.txt` beside it.

        Raises:
            ValueError: the photo is an array of another kind.
            PhotoError: the file cannot be read, with the codes of the manifest; `not_aligned`: it is no aligned
                portrait, although one was promised; `doubtful`: with `strict`, there is a warning about it.
            UnfitError: detector, segmenter or engine failed.
        """
        with self._lock:
            prepared = self._prepared(photo, landmarks)
            if prepared is None:
                return []
            images = trimmed(draw_prepared(prepared, self.engine), prepared, self.recipe.page.background)
        return [
            Drawing(image, portrait.face, portrait.transform, portrait.warnings)
            for image, portrait in zip(images, prepared.portraits, strict=True)
        ]

    def files(self, photo: Photo, landmarks: Landmarks | None = None) -> list[bytes]:
        """Draws a photo, and returns the contents of the files that `apdraw convert` would write of it.

        Args:
            photo: as for `draw`.
            landmarks: as for `draw`.

        Raises:
            ValueError: as `draw`.
            PhotoError: as `draw`.
            UnfitError: as `draw`.
        """
        with self._lock:
            prepared = self._prepared(photo, landmarks)
            if prepared is None:
                return []
            drawings = draw_prepared(prepared, self.engine)
        pages = render(drawings, prepared, self.recipe)
        return [FORMATS[self.recipe.format].encode(page, self.recipe) for page in pages]

    def close(self) -> None:
        """Frees the engine; the artist draws no more."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepared(self, photo: Photo, landmarks: Landmarks | None) -> Prepared | None:
        keep = self.recipe.shows_photo
        try:
            match photo:
                case str() | os.PathLike():
                    folder, name = os.path.split(os.path.abspath(photo))  # noqa: PTH100
                    options, storage = self.recipe.faces, open_storage(folder)
                    return prepare_file(storage, name, options, self._extractor, {}, keep_photo=keep)
                case Pillow.Image():
                    return prepare(pixels_of(photo), self._extractor, {}, landmarks, keep_photo=keep)
                case _:
                    return prepare(_checked(photo), self._extractor, {}, landmarks, keep_photo=keep)
        except PhotoError as error:
            if error.code in ("no_face", "too_few_faces"):
                return None
            raise


def _checked(photo: Image) -> Image:
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or photo.size == 0:
        raise ValueError(f"a photo is uint8 [H, W, 3], RGB, not {photo.dtype} {list(photo.shape)}")
    return photo


def convert_folder(
    photos: str | Path | Sequence[str | Path],
    drawings: str | Path | None = None,
    *,
    on_photo: Callable[[Outcome], None] | None = None,
    stop: threading.Event | None = None,
    model: str | Path | None = None,
    **options: Any,
) -> ConvertResult:
    """Draws all photos in a folder, as `apdraw convert` does: with worker processes, and skipping what is up to date.

    Args:
        photos: a folder of photos, a photo, or several of either.
        drawings: the output folder; None for the default of `apdraw convert`.
        on_photo: is told what became of each photo, from the calling thread. If it raises, the conversion ends with
            that error; what is drawn is kept.
        stop: ends it early when it is set, perhaps from another thread; what is being drawn is finished first.
        model: the generator; None for the one of the option `style`.
        options: options of `apdraw convert` by name.

    Returns:
        What was done. Photos that could not be drawn are in `failures`; what ended it early is in `error`.

    Raises:
        OptionsError: an option is unknown, or has a value that is not allowed.
        UsageError: the photos are missing, or the output folder cannot be used.
        UnfitError: the model cannot be read.
    """
    named = [photos] if isinstance(photos, str | Path) else photos
    chosen = ConvertOptions.of(
        *map(str, named),
        output=None if drawings is None else place(str(drawings)),
        model=None if model is None else place(str(model)),
        **options,
    )
    return convert(chosen, Silent() if on_photo is None else _PhotoListener(on_photo), stop=stop)


class _PhotoListener(Silent):
    def __init__(self, on_photo: Callable[[Outcome], None]) -> None:
        self._on_photo = on_photo

    def settled(self, outcome: Outcome) -> None:
        """Tells what became of a photo."""
        self._on_photo(outcome)
