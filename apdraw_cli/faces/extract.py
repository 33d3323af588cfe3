"""From a photo to the aligned portraits in it: detection, alignment, segmentation."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from apdraw_cli.faces.align import IDENTITY, Transform, apply, enlarged, similarity, warp_photo
from apdraw_cli.faces.detect import Detector, Face
from apdraw_cli.faces.detectors import DEFAULT, open_detector
from apdraw_cli.faces.segment import PortraitSegmenter, Segmenter
from apdraw_cli.timing import timed
from engines.errors import PhotoError
from engines.portrait import SIZE, TEMPLATE, Image, Landmarks, Portrait

Faces = Literal["largest", "all"]


@dataclass(frozen=True)
class DetectedPortrait:
    """A face of a photo and the aligned portrait made of it.

    Attributes:
        face: in pixels of the photo.
        transform: float64 [2, 3], from pixels of the photo to pixels of the portrait.
        portrait: the aligned portrait.
    """

    face: Face
    transform: Transform
    portrait: Portrait

    def enlarged(self, factor: float) -> "DetectedPortrait":
        """The same portrait, of a photo that is larger by a factor."""
        return DetectedPortrait(self.face.enlarged(factor), enlarged(self.transform, factor), self.portrait)


class PortraitExtractor:
    """Makes aligned portraits out of photos.

    Args:
        faces: `largest` face of a photo, or `all`.
        min_face: faces whose box is narrower or lower than this many photo pixels are left out.
        aligned: photos are aligned 512 x 512 portraits already.
        detector: a name in `apdraw_cli.faces.detectors.DETECTORS`.
        segmenter: another segmenter than the one that comes with apdraw.
    """

    def __init__(
        self,
        faces: Faces = "largest",
        min_face: float = 0.0,
        *,
        aligned: bool = False,
        detector: str = DEFAULT,
        segmenter: Segmenter | None = None,
    ) -> None:
        self.faces = faces
        self.min_face = min_face
        self.aligned = aligned
        self._detector_name = detector
        self._segmenter = segmenter

    @cached_property
    def detector(self) -> Detector:
        """The face detector, opened when it is first needed."""
        return open_detector(self._detector_name)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The portrait segmenter, opened when it is first needed."""
        return self._segmenter or PortraitSegmenter()

    def extract(
        self, photo: Image, timings: dict[str, float], landmarks: Landmarks | None = None
    ) -> list[DetectedPortrait]:
        """The portraits of a photo, the largest face first.

        Args:
            photo: uint8 [H, W, 3], RGB, upright.
            timings: seconds of the stages `detect`, `align` and `segment` are added to it.
            landmarks: of an aligned portrait, float32 [5, 2] pixels, where they are known; else they are detected.

        Raises:
            PhotoError: `no_face`: no face, or none as large as `min_face`; `not_aligned`: an aligned portrait was
                promised and this is none.
            UnfitError: the detector or the segmenter cannot run here.
        """
        if self.aligned:
            return [self._aligned_portrait(photo, timings, landmarks)]
        with timed(timings, "detect"):
            found = self.detector.detect(photo, every_face=self.faces == "all")
        large = [face for face in found if face.size >= self.min_face]
        if not large:
            largest = (
                f", the largest is {found[0].size:.0f} pixels, under --min-face {self.min_face:g}" if found else ""
            )
            raise PhotoError("no_face", f"no face found{largest}")
        portraits = []
        for face in large if self.faces == "all" else large[:1]:
            with timed(timings, "align"):
                transform = similarity(face.landmarks)
                aligned = warp_photo(photo, transform)
                points = np.rint(apply(transform, face.landmarks)).astype(np.float32)
            portraits.append(DetectedPortrait(face, transform, self._portrait(aligned, points, timings)))
        return portraits

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
        return DetectedPortrait(face, IDENTITY, self._portrait(photo, points, timings))

    def _portrait(self, aligned: Image, landmarks: Landmarks, timings: dict[str, float]) -> Portrait:
        with timed(timings, "segment"):
            mask = self.segmenter.mask(aligned)
        return Portrait(aligned, landmarks, mask)
