"""From a photo's file to aligned portraits: read, decode, detect, align, segment."""

import contextlib
import errno
import io
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from apdraw_cli.conversion.decode import decode_reduced, read_from
from apdraw_cli.conversion.formats.mark import is_drawing
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.outcome import OWN_DRAWING
from apdraw_cli.conversion.recipe import landmarks_file
from apdraw_cli.conversion.storage import Storage
from apdraw_cli.timing import timed
from engines.errors import PhotoError
from engines.landmarks_file import MOST_BYTES, parse_landmarks
from engines.portrait import TEMPLATE, Image, Landmarks

if TYPE_CHECKING:
    from apdraw_cli.faces.detect import Face
    from apdraw_cli.faces.doubts import PhotoWarning
    from apdraw_cli.faces.extract import DetectedPortrait


REDUCED_SIDE: Final = 1280
"""Pixels that the longer side of a photo keeps at least where a quick look at it may do: twice what detection needs."""

REDUCED_FACE: Final = 1.25
"""By how much a face must be larger in a reduced photo than in its portrait, for reducing it twice blurs a little."""

KEPT_QUALITY: Final = 97
"""JPEG quality at which a photo is sent to where its page is made."""


class Extractor(Protocol):
    """Finds the faces in a photo and makes portraits of them."""

    def extract(
        self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None
    ) -> "list[DetectedPortrait]":
        """Extracts portraits as `apdraw_cli.faces.extract.PortraitExtractor.extract` does."""
        ...


@dataclass(frozen=True)
class Prepared:
    """What a photo becomes before it is drawn; without its pixels, so that it is quickly sent between processes.

    Attributes:
        portraits: at least one, in the order of the drawings; faces and transforms are in pixels of the whole photo.
        photo_size: width and height of the whole photo in pixels, upright.
        seconds: what it took, by stage.
        photo: the photo, a JPEG of nearly all its detail, where pages show it.
    """

    portraits: "tuple[DetectedPortrait, ...]"
    photo_size: tuple[int, int]
    seconds: dict[str, float]
    photo: bytes | None = None

    def without_photos(self) -> "Prepared":
        """The same with empty photos in the portraits, which nobody needs once they are drawn."""
        portraits = tuple(replace(each, portrait=each.portrait.without_photo()) for each in self.portraits)
        return replace(self, portraits=portraits)

    @property
    def warnings(self) -> "tuple[PhotoWarning, ...]":
        """What there is to tell of its faces, each with its number where there are several."""
        several = len(self.portraits) > 1
        return tuple(
            replace(warning, message=f"face {number}: {warning.message}") if several else warning
            for number, portrait in enumerate(self.portraits, 1)
            for warning in portrait.warnings
        )


def prepare_file(
    storage: Storage,
    name: str,
    options: FaceOptions,
    extractor: Extractor,
    seconds: dict[str, float],
    *,
    keep_photo: bool = False,
    data: bytes | None = None,
) -> Prepared:
    """Reads a photo's file and makes portraits of the faces in it.

    Args:
        storage: where it lies.
        name: its name there.
        options: which faces become portraits.
        extractor: was opened with the same options.
        seconds: those of the stages `read`, `decode`, `detect`, `align` and `segment` are added to it.
        keep_photo: the pages will show the photo.
        data: the file, if it was read already.

    Raises:
        PhotoError: there is no portrait in it, or no photo.
        UnfitError: no photo at all can be prepared here.
    """
    with timed(seconds, "read"):
        data = read_from(storage, name) if data is None else data
        landmarks = _read_landmarks(storage, landmarks_file(name)) if options.aligned else None
    return prepare_data(data, options, extractor, seconds, landmarks, keep_photo=keep_photo)


def prepare_data(
    data: bytes,
    options: FaceOptions,
    extractor: Extractor,
    seconds: dict[str, float],
    landmarks: Landmarks | None = None,
    *,
    keep_photo: bool = False,
) -> Prepared:
    """Makes portraits of the faces in a photo that was read; otherwise as `prepare_file`.

    Args:
        data: the whole file.
        options: which faces become portraits.
        extractor: was opened with the same options.
        seconds: those of the stages `decode`, `detect`, `align` and `segment` are added to it.
        landmarks: those of an aligned portrait, float32 [5, 2] pixels, where they are known.
        keep_photo: the pages will show the photo.
    """
    if is_drawing(io.BytesIO(data)):
        raise PhotoError(OWN_DRAWING, "a drawing that apdraw made")
    largest_of_any_size = options.faces == "largest" and not options.min_face and not options.aligned
    if largest_of_any_size and not keep_photo:
        with timed(seconds, "decode"):
            photo = decode_reduced(data, REDUCED_SIDE)
        if photo.reduction == 1:
            return prepare(photo.pixels, extractor, seconds)
        with contextlib.suppress(PhotoError):
            found = extractor.extract(photo.pixels, seconds)
            if found and all(_shows_enough(each.face) for each in found):
                return Prepared(tuple(each.enlarged(photo.reduction) for each in found), photo.size, seconds)
    with timed(seconds, "decode"):
        photo = decode_reduced(data, sys.maxsize)
    whole = prepare(photo.pixels, extractor, seconds, landmarks, keep_photo=keep_photo)
    if photo.reduction == 1:
        return whole
    portraits = tuple(each.enlarged(photo.reduction) for each in whole.portraits)
    return replace(whole, portraits=portraits, photo_size=photo.size)


def prepare(
    photo: Image,
    extractor: Extractor,
    seconds: dict[str, float],
    landmarks: Landmarks | None = None,
    *,
    keep_photo: bool = False,
) -> Prepared:
    """Makes portraits of the faces in a photo.

    Args:
        photo: uint8 [H, W, 3], RGB, upright.
        extractor: finds them.
        seconds: those of the stages `detect`, `align` and `segment` are added to it.
        landmarks: those of an aligned portrait, float32 [5, 2] pixels, where they are known.
        keep_photo: the pages will show the photo.

    Raises:
        PhotoError: there is none.
        UnfitError: the extractor cannot run here.
    """
    portraits = tuple(extractor.extract(photo, seconds, landmarks))
    if not portraits:
        raise PhotoError("no_face", "no face was found")
    height, width = photo.shape[:2]
    return Prepared(portraits, (width, height), seconds, _as_jpeg(photo) if keep_photo else None)


def _as_jpeg(photo: Image) -> bytes:
    import simplejpeg

    pixels = np.ascontiguousarray(photo)
    return bytes(simplejpeg.encode_jpeg(pixels, KEPT_QUALITY, "RGB", colorsubsampling="444"))


def _shows_enough(face: "Face") -> bool:
    """Whether a face in a reduced photo is so large that its portrait loses nothing by that."""
    left, right = face.landmarks[:2]
    return float(np.hypot(*(right - left))) >= REDUCED_FACE * float(TEMPLATE[1, 0] - TEMPLATE[0, 0])


def _read_landmarks(storage: Storage, name: str) -> Landmarks | None:
    try:
        return parse_landmarks(storage.read(name, MOST_BYTES + 1))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # so there is no such file
            return None
        raise PhotoError("bad_landmarks", f"{name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise PhotoError("bad_landmarks", f"{name} does not hold five lines 'x y'") from error
