"""From a photo to the aligned portraits in it: detection, alignment, segmentation."""

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from apdraw_cli.faces.align import IDENTITY, Transform, apply, enlarged, similarity, warp_photo
from apdraw_cli.faces.choice import chosen, from_left
from apdraw_cli.faces.choice import numbers as asked_for
from apdraw_cli.faces.detect import Detector, Face
from apdraw_cli.faces.detectors import DEFAULT, open_detector
from apdraw_cli.faces.doubts import DOUBTFUL, PhotoWarning, is_suspect, too_few_faces, warnings_about
from apdraw_cli.faces.mesh import FaceMesher
from apdraw_cli.faces.segment import PortraitSegmenter, Segmenter
from apdraw_cli.faces.upright import LIES_WRONG, JudgedFace, UprightFinder
from apdraw_cli.timing import timed
from engines.errors import PhotoError
from engines.portrait import SIZE, TEMPLATE, Image, Landmarks, Portrait


@dataclass(frozen=True)
class DetectedPortrait:
    """A face of a photo and the aligned portrait made of it.

    Attributes:
        face: in pixels of the photo.
        transform: float64 [2, 3], from pixels of the photo to pixels of the portrait.
        portrait: the aligned portrait.
        warnings: why its drawing should be looked at.
        number: number of the face among all found in the photo, from left to right.
    """

    face: Face
    transform: Transform
    portrait: Portrait
    warnings: tuple[PhotoWarning, ...] = ()
    number: int = 1

    def enlarged(self, factor: float) -> "DetectedPortrait":
        """The same portrait, of a photo that is larger by a factor."""
        return replace(self, face=self.face.enlarged(factor), transform=enlarged(self.transform, factor))


class PortraitExtractor:
    """Makes aligned portraits out of photos.

    Args:
        faces: `largest` face of a photo, `all`, or numbers from left to right, as in `1,3`.
        min_face: faces whose box is narrower or lower than this many photo pixels are left out.
        aligned: photos are aligned 512 x 512 portraits already.
        detector: a name in `apdraw_cli.faces.detectors.DETECTORS`.
        strict: a photo that there is a warning about has no portraits.
        segmenter: another segmenter than the one that comes with apdraw.
    """

    def __init__(
        self,
        faces: str = "largest",
        min_face: float = 0.0,
        *,
        aligned: bool = False,
        detector: str = DEFAULT,
        strict: bool = False,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.faces = faces
        self.min_face = min_face
        self.aligned = aligned
        self.strict = strict
        self._detector_name = detector
        self._segmenter = segmenter
        self._open_mesher = cache(FaceMesher)  # none of `self`, whose networks are free as soon as it is

    @cached_property
    def detector(self) -> Detector:
        """The face detector, opened when it is first needed."""
        return open_detector(self._detector_name)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The portrait segmenter, opened when it is first needed."""
        return self._segmenter or PortraitSegmenter()

    @cached_property
    def mesher(self) -> FaceMesher:
        """The mesh network, opened when a face is first suspected to be none."""
        return self._open_mesher()

    @cached_property
    def finder(self) -> UprightFinder:
        """What judges faces that are suspected."""
        return UprightFinder(self.detector, self._open_mesher)

    def extract(
        self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None
    ) -> list[DetectedPortrait]:
        """The portraits of a photo, the largest face first; those asked for by number from left to right.

        Args:
            photo: uint8 [H, W, 3], RGB, upright.
            timings: seconds of the stages `detect`, `align` and `segment` are added to it.
            landmarks: those of an aligned portrait, float32 [5, 2] pixels, where they are known; else they are
                detected.

        Raises:
            PhotoError: `no_face`: no face, or none as large as `min_face`, or that could be drawn undistorted;
                `too_few_faces`: none of these numbers; `not_aligned`: an aligned portrait was promised and this is
                none; `doubtful`: there is a warning.
            UnfitError: the detector or the segmenter cannot run here.
        """
        found = [self._aligned_portrait(photo, timings, landmarks)] if self.aligned else self._portraits(photo, timings)
        warnings = [warning for portrait in found for warning in portrait.warnings]
        if self.strict and warnings:
            raise PhotoError("doubtful", "; ".join(dict.fromkeys(warning.message for warning in warnings)))
        return found

    def _portraits(self, photo: Image, timings: dict[str, float]) -> list[DetectedPortrait]:
        every_face = self.faces != "largest"
        with timed(timings, "detect"):
            found = self.detector.detect(photo, every_face=every_face)
            judged = [JudgedFace(face, True) for face in found]
            if not found or any(map(is_suspect, self._large(found)[: None if every_face else 1])):
                judged = self.finder.judge(photo, found, every_face=every_face)
        if not judged:
            raise PhotoError("no_face", LIES_WRONG if found else "no face found")
        plausible = [each.face for each in judged if each.is_plausible]
        # The largest face of several is the largest that is one.
        faces = [each.face for each in judged] if every_face or not plausible else plausible
        portraits = []
        large = self._large(faces)
        wanted = chosen(large, self.faces)
        if not wanted:
            why = too_few_faces(asked_for(self.faces), len(large))
            raise PhotoError(why.code, why.message)
        numbers = {id(face): number for number, face in enumerate(from_left(large), 1)}
        for face in wanted:
            portrait = replace(self._found_portrait(photo, face, timings), number=numbers[id(face)])
            if not any(face is each for each in plausible):
                portrait = replace(portrait, warnings=(*portrait.warnings, DOUBTFUL))
            portraits.append(portrait)
        if missing := [number for number in asked_for(self.faces) if number > len(large)]:
            first = portraits[0]
            portraits[0] = replace(first, warnings=(*first.warnings, too_few_faces(missing, len(large))))
        return portraits

    def _large(self, found: list[Face]) -> list[Face]:
        """The faces that are large enough, out of all; none if there are none.

        Raises:
            PhotoError: `no_face`: all are too small.
        """
        large = [face for face in found if face.size >= self.min_face]
        if found and not large:
            size = f"the largest is {found[0].size:.0f} pixels, under --min-face {self.min_face:g}"
            raise PhotoError("no_face", f"no face found, {size}")
        return large

    def _found_portrait(self, photo: Image, face: Face, timings: dict[str, float]) -> DetectedPortrait:
        with timed(timings, "align"):
            transform = similarity(face.landmarks)
            # As if the photo went on: its rim would be drawn as a line. `trimmed` of the drawings makes it white again.
            aligned = warp_photo(photo, transform, replicate=True)
            points = np.rint(apply(transform, face.landmarks)).astype(np.float32)
        portrait = self._portrait(aligned, points, timings)
        with timed(timings, "align"):
            warnings = warnings_about(face, transform, portrait, photo.shape)
        return DetectedPortrait(face, transform, portrait, tuple(warnings))

    def _aligned_portrait(
        self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None
    ) -> DetectedPortrait:
        if photo.shape[:2] != (SIZE, SIZE):
            height, width = photo.shape[:2]
            message = f"an aligned portrait is {SIZE} x {SIZE} pixels, this is {width} x {height}; leave out --aligned"
            raise PhotoError("not_aligned", message)
        face = Face((0.0, 0.0, float(SIZE), float(SIZE)), 1.0, TEMPLATE if landmarks is None else landmarks)
        if landmarks is None:
            with timed(timings, "detect"):
                # A portrait that is aligned has its features near the template, found or not.
                face = next(iter(self.detector.detect(photo)), face)
        points = np.rint(face.landmarks).astype(np.float32)
        portrait = self._portrait(photo, points, timings)
        return DetectedPortrait(face, IDENTITY, portrait, tuple(warnings_about(face, IDENTITY, portrait, photo.shape)))

    def _portrait(self, aligned: Image, landmarks: Landmarks, timings: dict[str, float]) -> Portrait:
        with timed(timings, "segment"):
            mask = self.segmenter.mask(aligned)
        return Portrait(aligned, landmarks, mask)
