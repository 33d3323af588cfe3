"""Faces of photos that lie on their side or head: the mesh network judges faces in the photo's four turns.

A detector finds lying faces too, but often takes a mouth for eyes: its landmarks then say that the face is upright.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from apdraw_cli.faces.align import similarity, warp_photo
from apdraw_cli.faces.detect import Detector, Face, iou
from apdraw_cli.faces.doubts import MOST_ROLL, misfit, roll
from apdraw_cli.faces.mesh import LEAST_PLAUSIBLE, FaceMesher
from apdraw_cli.faces.reduce import reduced
from engines.errors import PhotoError
from engines.portrait import Image

DISTORTED: Final = 0.3
"""See `misfit`: a face whose landmarks fit worse is not drawn."""

SAME_FACE_IOU: Final = 0.3
"""Boxes of one face, found in two turns, overlap more (intersection over union)."""

QUICK_SIDE: Final = 640
"""Length of a photo's longer side, in pixels, at which its other turns are searched where nothing is suspect."""


LIES_WRONG: Final = "no face found that is upright in any turn of the photo"


class JudgedFace(NamedTuple):
    """A face, and whether the mesh network takes it for one."""

    face: Face
    is_plausible: bool


class UprightFinder:
    """Judges the faces of a photo, and searches its other turns where none stands upright.

    Args:
        detector: finds faces.
        mesher: opens the mesh network, when it is first needed.
    """

    def __init__(self, detector: Detector, mesher: Callable[[], FaceMesher]) -> None:
        self._detector = detector
        self._mesher = mesher

    def largest(self, photo: Image) -> Face | None:
        """The largest face of a photo (uint8 [H, W, 3] RGB) that is one, or may be; None if there is none.

        Raises:
            PhotoError: `no_face`: what was found could only be drawn distorted.
        """
        found = self._detector.detect(photo)
        judged = self.judge(photo, found)
        if not judged:
            if found:
                raise PhotoError("no_face", LIES_WRONG)
            return None
        return next((each.face for each in judged if each.is_plausible), judged[0].face)

    def judge(self, photo: Image, found: list[Face], *, every_face: bool = False) -> list[JudgedFace]:
        """The faces of a photo, the largest first, with landmarks that say which way is up.

        Where no face is upright, faces of the photo's other turns take the place of those found. A face that could
        only be drawn distorted is left out.

        Args:
            photo: uint8 [H, W, 3], RGB.
            found: by the detector, in the photo as it lies; empty if there is none.
            every_face: all faces are wanted; else one is enough.
        """
        judged = [JudgedFace(face, self.is_plausible(photo, face)) for face in found]
        if found and not every_face and not any(map(_is_upright, judged)):
            others = self._detector.detect(photo, every_face=True)
            new = [face for face in others if all(iou(face, each) < SAME_FACE_IOU for each in found)]
            judged += [JudgedFace(face, self.is_plausible(photo, face)) for face in new]
        if not any(map(_is_upright, judged)):
            judged = self._in_any_turn(photo, judged, every_face=every_face)
        kept = [each for each in judged if each.is_plausible or not is_distorted(each.face)]
        return sorted(kept, key=lambda each: each.face.size, reverse=True)

    def is_plausible(self, photo: Image, face: Face) -> bool:
        """Whether the mesh network sees a face where it would be aligned by its landmarks, and these fit."""
        if misfit(face.landmarks) > DISTORTED:
            return False
        portrait = warp_photo(photo, similarity(face.landmarks), replicate=True)
        return self._mesher().find(portrait).plausibility >= LEAST_PLAUSIBLE

    def _in_any_turn(self, photo: Image, judged: list[JudgedFace], *, every_face: bool) -> list[JudgedFace]:
        """Of faces in all turns the plausible ones, each in the turn in which it is most upright, then the others."""
        height, width = photo.shape[:2]
        plausible = [(abs(roll(face.landmarks)), face) for face, is_plausible in judged if is_plausible]
        quick, _ = reduced(photo, min(1.0, QUICK_SIDE / max(height, width)))
        for turns in (1, 2, 3):
            if not judged and not self._detector.detect(_turned(quick, turns)):
                continue
            for face in self._detector.detect(_turned(photo, turns), every_face=every_face):
                as_it_lies = _turned_back(face, turns, height, width)
                if self.is_plausible(photo, as_it_lies):
                    plausible.append((abs(roll(face.landmarks)), as_it_lies))
        ordered = [JudgedFace(face, True) for _, face in sorted(plausible, key=lambda each: each[0])]
        kept: list[JudgedFace] = []
        for each in (*ordered, *(each for each in judged if not each.is_plausible)):
            if all(iou(each.face, other.face) < SAME_FACE_IOU for other in kept):
                kept.append(each)
        return kept


def is_distorted(face: Face) -> bool:
    """Whether a face's landmarks are such that its drawing would be distorted or lie on its side."""
    return abs(roll(face.landmarks)) > MOST_ROLL or misfit(face.landmarks) > DISTORTED


def _is_upright(judged: JudgedFace) -> bool:
    return judged.is_plausible and abs(roll(judged.face.landmarks)) <= MOST_ROLL


def _turned(photo: Image, turns: int) -> Image:
    """A photo turned by quarters, counterclockwise."""
    return np.ascontiguousarray(np.rot90(photo, turns))


def _turned_back(face: Face, turns: int, height: int, width: int) -> Face:
    """A face of a turned photo, in the photo as it was, `height` x `width` pixels."""

    def back(points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        x, y = points.T
        match turns:
            case 1:
                x, y = width - y, x
            case 2:
                x, y = width - x, height - y
            case _:
                x, y = y, height - x
        return np.stack([x, y], axis=1)

    left, top, box_width, box_height = face.box
    corners = back(np.array([[left, top], [left + box_width, top + box_height]]))
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    # Corners of pixels, not their centres, are turned.
    landmarks = (back(face.landmarks + 0.5) - 0.5).astype(np.float32)
    return Face((left, top, right - left, bottom - top), face.score, landmarks)
