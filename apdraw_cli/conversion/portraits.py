"""Portraits: one photo's way from its file to aligned portraits, as it runs in the worker processes."""

import contextlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from apdraw_cli.conversion.decode import decode, decode_reduced, read
from apdraw_cli.conversion.options import FaceOptions, landmarks_file
from apdraw_cli.timing import timed
from engines.errors import ApdrawError, PhotoError, UnfitError
from engines.portrait import SIZE, TEMPLATE, Image, Landmarks, Portrait

if TYPE_CHECKING:
    from apdraw_cli.faces.detect import Face
    from apdraw_cli.faces.extract import DetectedPortrait


REDUCED_SIDE: Final = 1280
"""Pixels that the longer side of a photo keeps at least where a quick look at it may do: twice what detection needs."""

SPARE: Final = 1.25
"""By how much a face must be larger in a reduced photo than in its portrait, for reducing it twice blurs a little."""


TRIED_SIDE: Final = 64
"""Height and width of the black photo that an extractor is tried on: small, so that photos need not wait for it."""


class Extractor(Protocol):
    """Finds the faces in a photo and makes portraits of them."""

    def extract(
        self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None
    ) -> "list[DetectedPortrait]":
        """See `apdraw_cli.faces.extract.PortraitExtractor.extract`."""
        ...


@dataclass(frozen=True)
class PreparedPhoto:
    """What a worker sends back: never the photo, only its small portraits.

    Attributes:
        portraits: the largest face first.
        faces: the faces of `portraits`.
        seconds: by stage.
        error: why there are no portraits.
        trace: traceback of an error that should not have been.
    """

    portraits: tuple[Portrait, ...] = ()
    faces: "tuple[Face, ...]" = ()
    seconds: dict[str, float] = field(default_factory=dict)
    error: PhotoError | None = None
    trace: str = ""


@dataclass(frozen=True)
class PortraitMaker:
    """Makes portraits of photos; can be sent to another process.

    Attributes:
        open_extractor: makes the extractor; once in each process.
        options: for it.
    """

    open_extractor: Callable[[FaceOptions], Extractor]
    options: FaceOptions

    def check(self) -> None:
        """Opens the extractor and tries it on a black photo, so that it can be trusted with the real ones.

        Raises:
            ApdrawError: it cannot be used here.
        """
        side = SIZE if self.options.aligned else TRIED_SIDE
        try:
            with contextlib.suppress(PhotoError):
                _extractor(self.open_extractor, self.options).extract(np.zeros((side, side, 3), np.uint8), {})
        except ApdrawError:
            raise
        except Exception as error:
            raise UnfitError(f"the face detector cannot be used: {error}; see apdraw doctor") from error

    def prepare(self, path: str) -> PreparedPhoto:
        """Reads, decodes, detects, aligns and segments a photo. What is wrong with it is part of the result.

        Raises:
            ApdrawError: no photo at all can be prepared here.
        """
        seconds: dict[str, float] = {}
        try:
            with timed(seconds, "read"):
                data = read(path)
            landmarks = _read_landmarks(landmarks_file(path)) if self.options.aligned else None
            found = self._extracted(data, seconds, landmarks)
        except PhotoError as error:
            return PreparedPhoto(seconds=seconds, error=PhotoError(error.code, error.message))
        except MemoryError:
            return PreparedPhoto(seconds=seconds, error=PhotoError("too_large", "there was not enough memory for it"))
        except ApdrawError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            internal = PhotoError("internal", f"an error in apdraw, please report it: {reason}")
            return PreparedPhoto(seconds=seconds, error=internal, trace=traceback.format_exc())
        portraits = tuple(each.portrait for each in found)
        return PreparedPhoto(portraits, tuple(each.face for each in found), seconds)

    def _extracted(
        self, data: bytes, seconds: dict[str, float], landmarks: Landmarks | None
    ) -> "list[DetectedPortrait]":
        extractor = _extractor(self.open_extractor, self.options)
        if self.options == FaceOptions(detector=self.options.detector):  # one face, however small
            with timed(seconds, "decode"):
                photo, reduction = decode_reduced(data, REDUCED_SIDE)
            if reduction == 1:
                return extractor.extract(photo, seconds)
            with contextlib.suppress(PhotoError):
                found = extractor.extract(photo, seconds)
                if all(_shows_enough(each.face) for each in found):
                    return [replace(each, face=each.face.enlarged(reduction)) for each in found]
        with timed(seconds, "decode"):
            photo = decode(data)
        return extractor.extract(photo, seconds, landmarks)


def _shows_enough(face: "Face") -> bool:
    """Whether a face is larger in a photo than it will be in its portrait."""
    left, right = face.landmarks[:2]
    return float(np.hypot(*(right - left))) >= SPARE * float(TEMPLATE[1, 0] - TEMPLATE[0, 0])


def _read_landmarks(file: Path) -> Landmarks | None:
    if not file.exists():
        return None
    try:
        points = np.array([line.split() for line in file.read_text().splitlines() if line.strip()], np.float32)
    except (OSError, ValueError):
        points = np.empty(0, np.float32)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise PhotoError("bad_landmarks", f"{file.name} does not hold five lines 'x y'")
    return points


@lru_cache(maxsize=1)
def _extractor(opener: Callable[[FaceOptions], Extractor], options: FaceOptions) -> Extractor:
    return opener(options)
