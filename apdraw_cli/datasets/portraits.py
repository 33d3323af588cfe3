"""Portraits: one photo's way from its file to its files in the data set, as it runs in the worker processes."""

import io
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from apdraw_cli.conversion.decode import decode, read
from apdraw_cli.conversion.formats.mark import is_drawing
from apdraw_cli.conversion.formats.png import encode_picture
from apdraw_cli.conversion.plan import TRANSIENT_CODES
from apdraw_cli.datasets.meshes import read_meshes
from apdraw_cli.datasets.options import Npr
from apdraw_cli.datasets.pairing import Task
from apdraw_cli.datasets.records import PairRecord, write
from apdraw_cli.datasets.registration import register, warp_drawing
from apdraw_cli.faces.align import Transform, apply, inside_photo, similarity, warp_labels, warp_photo
from apdraw_cli.faces.detect import Detector
from apdraw_cli.faces.detectors import open_detector
from apdraw_cli.faces.mesh import LEAST_PLAUSIBLE, FaceMesher
from apdraw_cli.faces.segment import PortraitSegmenter
from apdraw_cli.faces.upright import UprightFinder
from engines.errors import ApdrawError, PhotoError, UnfitError, in_one_line
from engines.landmarks_file import format_landmarks, format_points
from engines.machine_faults import is_want_of_memory
from engines.portrait import SIZE, WHITE, Image, Landmarks
from engines.regular_files import read_regular
from train.artist.drawing import draw_portrait
from train.data.layout import LINES, MESHES, file_of
from train.npr import drawing as npr
from train.npr import quality as npr_quality
from train.npr.face_parsing import FACE, PERSON
from train.npr.line_map import NO_LINE, line_map
from train.npr.parameters import NprParameters

ROUND_SHARE: Final = 0.85
"""Of its enclosing circle is filled by a round cut-out: of 60 seen 0.92 at least, by people before a wall 0.6."""

LEAST_QUALITY: Final = 0.5
"""See `train.npr.quality`; of 460 portraits 2 are under it."""

ROUND_FRAME: Final = "round frame"
POOR_DRAWING: Final = "its two-tone drawing came out badly"
NO_FACE: Final = "no face"
OWN_DRAWING: Final = "a drawing that apdraw made"
NO_LABELS: Final = "no label map of the photo's size"
NO_FACE_LABEL: Final = "no face in the label map"
NO_MESH: Final = "no mesh in the file of meshes"
NO_MESH_FITS: Final = "no face mesh fits it"
NO_MATCH: Final = "its drawing does not match it"
BAD_DRAWING: Final = "its drawing cannot be read"
NO_MEMORY: Final = "there was not enough memory for it"
WORKER_DIED: Final = "it killed the process that read it, perhaps for want of memory"

TOO_SLOW: Final = "it takes too long to read"
INTERNAL: Final = "an error in apdraw, please report it"


@dataclass(frozen=True)
class PortraitPreparer:
    """Makes portraits of photos; can be sent to another process.

    Attributes:
        dataset: folder that is written.
        min_agreement: a drawing that agrees less with its photo is left out.
        npr: how two-tone drawings are made; None where they are an artist's.
        meshes: file of meshes for the procedural artist; None to have them found.
    """

    dataset: Path
    min_agreement: float
    npr: Npr | None
    meshes: Path | None

    def check(self) -> None:
        """Opens the detector and the other networks.

        Raises:
            UnfitError: they cannot be used here.
        """
        cv2.setNumThreads(1)
        try:
            _detector().detect(np.zeros((SIZE, SIZE, 3), np.uint8))
            _segmenter()
            _mesher()
        except ApdrawError:
            raise
        except Exception as error:
            raise UnfitError(f"the face detector cannot be used: {error}; see apdraw doctor") from error

    def prepare(self, task: Task) -> PairRecord:
        """Writes one portrait's files. What is wrong with photo or drawing is part of the record.

        Raises:
            UnfitError: the files cannot be written.
        """
        record = blank(task)
        try:
            return self._prepare(task, replace(record, fingerprint=task.fingerprint))
        except PhotoError as error:
            again = error.code in TRANSIENT_CODES
            return replace(record, left_out=error.message, fingerprint=None if again else task.fingerprint)
        except ApdrawError:
            raise
        except Exception as error:
            if is_want_of_memory(error):
                return replace(record, left_out=NO_MEMORY)
            return replace(record, left_out=INTERNAL, detail=in_one_line(error))

    def _prepare(self, task: Task, record: PairRecord) -> PairRecord:
        data = read(task.photo)
        if is_drawing(io.BytesIO(data)):
            return replace(record, left_out=OWN_DRAWING)
        photo = decode(data)
        face = _finder().largest(photo)
        if face is None:
            return replace(record, left_out=NO_FACE)
        transform = similarity(face.landmarks)
        landmarks = np.rint(apply(transform, face.landmarks)).astype(np.float32)
        # As if the photo went on beyond its rim, so that the rim leaves no line.
        endless = warp_photo(photo, transform, replicate=True)
        inside = inside_photo(photo.shape, transform) > 0
        if task.labels:
            photo_labels = _read_labels(task.labels, photo)
            endless_labels = warp_labels(photo_labels, transform, replicate=True)
        else:
            endless_labels = _segmenter().labels(endless)
            photo_labels = _in_photo(endless_labels, transform, photo)
        labels = np.where(inside, endless_labels, 0).astype(np.uint8)
        lines, mesh, is_good = None, None, True
        if task.drawing:
            artists = _read_drawing(task.drawing)
            height, width = photo.shape[:2]
            found = register(artists, (height, width), endless, transform, _detector())
            record = replace(record, agreement=round(found.agreement, 3), registered=found.moved)
            if found.agreement < self.min_agreement:
                detail = f"agreement {found.agreement:.2f}, under {self.min_agreement:g}"
                return replace(record, left_out=NO_MATCH, detail=detail)
            drawing = warp_drawing(artists, found.transform)
        elif not (labels == FACE).any():
            return replace(record, left_out=NO_FACE_LABEL)
        elif self.npr == "artist":
            mesh = self._mesh(task, endless, transform)
            drawn = draw_portrait(photo, transform, apply(_inverse(transform), mesh), photo_labels)
            drawing, is_good = drawn.picture, drawn.is_good
            usual = NprParameters()
            lines = line_map(drawing, usual.line_width, usual.line_length)
        else:
            drawing, lines = npr.draw(endless, endless_labels, landmarks)
            drawing = np.where(inside, drawing, WHITE).astype(np.uint8)
            is_good = npr_quality.quality(drawing, labels, landmarks) >= LEAST_QUALITY
        pictures = {
            "photos": endless[..., ::-1],
            "drawings": np.where(inside, drawing, WHITE).astype(np.uint8),
            "masks": np.where(labels >= PERSON, WHITE, 0).astype(np.uint8),
            "labels": labels,
        }
        if lines is not None:
            pictures[LINES] = np.where(inside, lines, NO_LINE).astype(np.uint8)
        self._write(task.name, pictures, landmarks, mesh)
        if task.drawing is None and has_round_frame(photo):
            return replace(record, left_out=ROUND_FRAME, written=True)
        if not is_good:
            return replace(record, left_out=POOR_DRAWING, written=True)
        return replace(record, written=True)

    def _mesh(self, task: Task, portrait: Image, transform: Transform) -> Landmarks:
        """The face mesh in the aligned frame, float32 [478, 2].

        Raises:
            PhotoError: there is none in the file of meshes, or none that fits.
        """
        if self.meshes:
            mesh = read_meshes(self.meshes).get(task.photo.name)
            if mesh is None:
                raise PhotoError("no_mesh", NO_MESH)
            return apply(transform, mesh)
        found = _mesher().find(portrait)
        if found.plausibility < LEAST_PLAUSIBLE:
            raise PhotoError("no_mesh", NO_MESH_FITS)
        return found.points

    def _write(self, name: str, pictures: dict[str, Image], landmarks: Landmarks, mesh: Landmarks | None) -> None:
        files = {file_of(self.dataset, folder, name): encode_picture(picture) for folder, picture in pictures.items()}
        files[file_of(self.dataset, "landmarks", name)] = format_landmarks(landmarks)
        if mesh is not None:
            files[file_of(self.dataset, MESHES, name)] = format_points(mesh)
        write(self.dataset, files)


def blank(task: Task) -> PairRecord:
    """The record of a portrait that is not made yet."""
    return PairRecord(task.name, task.photo.name, drawing=task.drawing.name if task.drawing else None)


def has_round_frame(photo: Image) -> bool:
    """Whether a photo (uint8 [H, W, 3]) is a round cut-out on a plain page.

    Its corners are one flat colour, as they are before a plain wall; but what differs from it fills a circle.
    """
    side = max(4, min(photo.shape[:2]) // 20)
    corners = np.stack([photo[:side, :side], photo[:side, -side:], photo[-side:, :side], photo[-side:, -side:]])
    pixels = corners.reshape(-1, 3).astype(np.float32)
    if pixels.std(axis=0).max() >= 1.5:
        return False
    differing = np.abs(photo - pixels.mean(axis=0)).max(axis=2) >= 8
    contours, _ = cv2.findContours(differing.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return False
    largest = max(contours, key=cv2.contourArea)
    (x, y), radius = cv2.minEnclosingCircle(largest)
    circle, filled = np.zeros(differing.shape, np.uint8), np.zeros(differing.shape, np.uint8)
    cv2.circle(circle, (round(x), round(y)), round(radius), 1, -1)
    cv2.drawContours(filled, [largest], -1, 1, -1)
    return int(filled.sum()) > ROUND_SHARE * int(circle.sum())


def _read_labels(label_map: Path, photo: Image) -> Image:
    """The label map of a photo, uint8 [H, W]."""
    try:
        data = np.frombuffer(read_regular(label_map), np.uint8)
    except OSError:
        data = np.empty(0, np.uint8)
    found = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if data.size else None
    if found is None or found.shape != photo.shape[:2]:
        raise PhotoError("bad_labels", NO_LABELS)
    return np.asarray(found, np.uint8)


def _inverse(transform: Transform) -> Transform:
    """From aligned pixels to photo pixels."""
    return np.asarray(cv2.invertAffineTransform(transform), np.float64)


def _in_photo(labels: Image, transform: Transform, photo: Image) -> Image:
    """A label map of the aligned frame in the photo's, uint8 [H, W]; beyond the frame its rim goes on."""
    size = photo.shape[1::-1]
    how = {"flags": cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    return np.asarray(cv2.warpAffine(labels, transform, size, **how), np.uint8)


def _read_drawing(path: Path) -> Image:
    try:
        return decode(read(path))
    except PhotoError as error:
        raise PhotoError(error.code, f"{BAD_DRAWING}: {error.message}") from error


@lru_cache(maxsize=1)
def _detector() -> Detector:
    return open_detector()


@lru_cache(maxsize=1)
def _finder() -> UprightFinder:
    return UprightFinder(_detector(), _mesher)


@lru_cache(maxsize=1)
def _mesher() -> FaceMesher:
    return FaceMesher()


@lru_cache(maxsize=1)
def _segmenter() -> PortraitSegmenter:
    return PortraitSegmenter()
