"""Makes the small pictures of a gallery: the photo as its drawing shows it, and drawings that browsers do not show."""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from apdraw_cli.conversion.decode import DecodedPhoto, decode_reduced, read_from
from apdraw_cli.conversion.formats.mark import exif_mark, has_exif_mark
from apdraw_cli.conversion.storage import Storage, Version, open_storage
from apdraw_cli.faces.align import warp_photo
from apdraw_cli.gallery.entries import Entry
from engines.cpu import usable_cores
from engines.errors import PhotoError
from engines.portrait import SIZE, Image
from engines.regular_files import is_name, read_start

FOLDER: Final = "apdraw-gallery"
"""Where the small pictures lie, below the output folder."""

LOOK: Final = 1
"""To be raised when the small pictures change, so that those made before are made again."""

QUALITY: Final = 80

SMALL: Final = 1024
"""Drawings with longer sides are shown by a small picture of them."""

REDUCED_SIDE: Final = 2560
"""Pixels that the longer side of a photo keeps at least where its face is not small."""

LARGE_FACE: Final = 0.5
"""Up to so many pixels of the portrait for a pixel of the photo, a reduced photo will do."""

BROWSERS: Final = (".png", ".jpg", ".jpeg", ".webp", ".svg")
"""Endings of the drawings that every browser shows."""

COSTLY: Final = frozenset(("worker_died", "time_limit", "out_of_memory", "too_large", "internal"))
"""Codes of failures after which a photo is not read again, lest it do the same to the gallery."""

MOST_THREADS: Final = 8


@dataclass(frozen=True)
class Pictures:
    """What is shown of an entry: paths below the output folder.

    Attributes:
        photo: a small picture of the photo; None if it cannot be had.
        drawing: the drawing itself, or a small picture of it; None if neither can be shown.
    """

    photo: str | None
    drawing: str | None


class Thumbnails:
    """The small pictures of an output folder. Those that are up to date are kept.

    A photo is read only if it is the one that was drawn: what the manifest calls its root could be any folder, so size
    and time of change of the file must be those that the manifest tells. In `photos`, a folder that the user has named,
    the size must be, and no link is followed.

    Args:
        output: the output folder.
        photos: the folder that the names of photos are looked for in; None for the one that each was drawn from.
    """

    def __init__(self, output: Storage, photos: Path | None) -> None:
        self._output = output
        self._photos = None if photos is None else open_storage(str(photos))
        self.made = 0

    def make(self, entries: Sequence[Entry], progress: Callable[[int, int], None]) -> list[Pictures]:
        """Makes what is missing, and removes what no entry needs.

        Raises:
            OSError: a file cannot be written.
        """
        pictures: list[Pictures] = []
        with ThreadPoolExecutor(min(usable_cores(), MOST_THREADS), thread_name_prefix="thumbnail") as pool:
            try:
                for made in pool.map(self._pictures, entries):
                    pictures.append(made)
                    progress(len(pictures), len(entries))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._remove_others({name for each in pictures for name in (each.photo, each.drawing)})
        return pictures

    def _pictures(self, entry: Entry) -> Pictures:
        return Pictures(self._photo(entry), self._drawing(entry))

    def _photo(self, entry: Entry) -> str | None:
        record = entry.record
        if record.code in COSTLY or not is_name(record.source) or record.size is None:
            return None
        transform = None if entry.transform is None else entry.transform.tolist()
        name = _name(record.source, record.size, record.mtime_ns, transform, entry.size)
        if self._is_there(name):
            return name
        try:
            photo = decode_reduced(self._read(entry), _needed_side(entry))
        except (OSError, PhotoError):
            return None
        return self._write(name, _as_drawn(photo, entry))

    def _read(self, entry: Entry) -> bytes:
        record = entry.record
        if self._photos is not None:
            with self._photos.open_own(record.source) as file:
                data = read_start(file, (record.size or 0) + 1)
            if len(data) != record.size:
                raise PhotoError("changed", "it is not the photo that was drawn")
            return data
        root = open_storage(record.root)
        if root.version(record.source) != Version(record.size or 0, record.mtime_ns or 0):
            raise PhotoError("changed", "it is not the photo that was drawn")
        return read_from(root, record.source)

    def _drawing(self, entry: Entry) -> str | None:
        drawing, version = entry.drawing, entry.version
        if drawing is None or version is None:
            return None
        shown = drawing.lower().endswith(BROWSERS)
        if shown and (drawing.lower().endswith(".svg") or entry.size is None or max(entry.size) <= SMALL):
            return drawing
        name = _name(drawing, version.size, version.mtime_ns)
        if self._is_there(name):
            return name
        try:
            with self._output.open_own(drawing) as file:
                page = decode_reduced(file.read(), SMALL)
        except (OSError, PhotoError):
            return drawing if shown else None
        return self._write(name, _fitted(page.pixels, SMALL))

    def _is_there(self, name: str) -> bool:
        try:
            with self._output.open_own(name) as file:
                return has_exif_mark(file)
        except OSError:
            return False

    def _write(self, name: str, pixels: Image) -> str:
        self._output.write({name: _encoded(pixels)})
        self.made += 1
        return name

    def _remove_others(self, wanted: set[str | None]) -> None:
        try:
            names = [f"{FOLDER}/{name}" for name in self._output.listing(FOLDER).files if name.endswith(".jpg")]
        except OSError:
            return
        for name in names:
            if name not in wanted and self._is_there(name):
                self._output.remove(name)


def _name(*what: object) -> str:
    """The name of a small picture: another for everything else that it could show."""
    return f"{FOLDER}/{hashlib.sha256(json.dumps([LOOK, *what]).encode()).hexdigest()[:32]}.jpg"


def _needed_side(entry: Entry) -> int:
    """Pixels that the longer side of a photo is to keep, so that the part drawn is sharp."""
    if entry.transform is not None and float(np.hypot(*entry.transform[:, 0])) > LARGE_FACE:
        return sys.maxsize
    return REDUCED_SIDE


def _as_drawn(photo: DecodedPhoto, entry: Entry) -> Image:
    """The part of a photo that its drawing shows."""
    size = entry.size
    of_whole = size is not None and (size[0] != size[1] or (size == photo.size and size != (SIZE, SIZE)))
    if entry.transform is None or of_whole:
        return _fitted(photo.pixels, SIZE * 2 if of_whole else SIZE)
    # Pixel centres of the reduced photo, in the whole one's coordinates.
    shift = photo.reduction / 2 - 0.5
    larger = np.array([[photo.reduction, 0, shift], [0, photo.reduction, shift], [0, 0, 1]])
    return warp_photo(photo.pixels, entry.transform @ larger)


def _fitted(pixels: Image, side: int) -> Image:
    """A picture, made smaller where its longer side is over `side`."""
    import cv2

    height, width = pixels.shape[:2]
    factor = min(1.0, side / max(height, width))
    if factor == 1.0:
        return pixels
    fitted = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(pixels, fitted, interpolation=cv2.INTER_AREA), np.uint8)


def _encoded(pixels: Image) -> bytes:
    """A JPEG that bears our mark."""
    import cv2

    exif = np.frombuffer(exif_mark().removeprefix(b"Exif\0\0"), np.uint8)
    turned = np.ascontiguousarray(pixels[..., ::-1])
    settings = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return bytes(cv2.imencodeWithMetadata(".jpg", turned, [cv2.IMAGE_METADATA_EXIF], [exif], settings)[1])
