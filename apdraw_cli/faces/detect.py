"""Faces and what finds them: the box and five landmarks of each, in pixels of the photo."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.portrait import Image, Landmarks


@dataclass(frozen=True)
class Face:
    """A detected face.

    Attributes:
        box: x, y, width, height in photo pixels (sub-pixel; may reach beyond the photo).
        score: confidence, 0 to 1.
        landmarks: float32 [5, 2] photo pixels (x, y), sub-pixel: left eye, right eye (as seen), nose tip,
            left and right mouth corner.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: Landmarks

    @property
    def size(self) -> float:
        """Length of the box's shorter side in photo pixels."""
        return min(self.box[2], self.box[3])

    def enlarged(self, factor: float) -> "Face":
        """The same face in a photo that is larger by a factor."""
        left, top, width, height = (side * factor for side in self.box)
        # Pixel centres, not pixel corners, coincide between two sizes of a photo.
        return Face((left, top, width, height), self.score, ((self.landmarks + 0.5) * factor - 0.5).astype(np.float32))

    def moved(self, x: int, y: int) -> "Face":
        """The same face in the photo that this one was cut out of, at x, y."""
        left, top, width, height = self.box
        return Face((left + x, top + y, width, height), self.score, self.landmarks + np.array([x, y], np.float32))


class Detector(Protocol):
    """Finds faces in a photo."""

    def detect(self, photo: Image, *, every_face: bool = False) -> list[Face]:
        """Faces of `photo` (uint8 [H, W, 3] RGB), the largest first.

        Args:
            photo: upright.
            every_face: look for all of them; else the largest is enough.
        """
        ...


def iou(a: Face, b: Face) -> float:
    """Intersection over union of two faces' boxes, 0 to 1."""
    return float(box_ious(np.array([a.box]), np.array(b.box))[0])


def box_ious(boxes: npt.NDArray[np.floating], box: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Intersection over union of boxes [N, 4] (x, y, width, height) and one box [4]: [N], 0 to 1."""
    sides = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:]) - np.maximum(boxes[:, :2], box[:2])
    intersections = np.prod(np.maximum(sides, 0), axis=1)
    return np.asarray(intersections / (np.prod(boxes[:, 2:], axis=1) + np.prod(box[2:]) - intersections))
