"""A sheet of ink at four times the drawing's size: strokes are filled polygons, and reducing by area smooths rims.

Places are pixels of the working portrait (`SIDE`), widths are pixels of the finished drawing (512).
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from engines.portrait import SIZE, Image
from train.artist.curves import Curve, normals
from train.npr.edge_flow import Plane
from train.npr.face_parsing import Mask

SIDE: Final = 2 * SIZE
"""Side of the working portrait."""
SHEET: Final = 2 * SIDE
"""Side of the sheet."""
SHIFT: Final = 3
"""Bits of a pixel's fraction that OpenCV's polygons keep."""


class Box(NamedTuple):
    """A rectangle of the working portrait, the right and lower rims not included."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Indexes it in a plane [1024, 1024]."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def sheet_window(self) -> tuple[slice, slice]:
        """Indexes it in a sheet [2048, 2048]."""
        return slice(2 * self.top, 2 * self.bottom), slice(2 * self.left, 2 * self.right)

    @property
    def corner(self) -> npt.NDArray[np.float64]:
        """The upper left corner: what places within the box lack."""
        return np.array([self.left, self.top], np.float64)


def box_around(points: npt.ArrayLike, margin: float) -> Box:
    """The rectangle around points [N, 2] with a margin, cut at the portrait's rim; at least one pixel."""
    points = np.asarray(points, np.float64)
    left, top = np.clip(np.floor(points.min(axis=0) - margin), 0, SIDE - 1).astype(int)
    right, bottom = np.clip(np.ceil(points.max(axis=0) + margin) + 1, 1, SIDE).astype(int)
    return Box(int(left), int(top), max(int(right), int(left) + 1), max(int(bottom), int(top) + 1))


def box_of(mask: Mask, margin: int = 0) -> Box | None:
    """The rectangle around a mask's true pixels, None if it has none."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return None
    return box_around([(columns[0], rows[0]), (columns[-1], rows[-1])], margin)


def polygon_mask(points: npt.ArrayLike, side: int = SIDE) -> Mask:
    """Inside of a closed polygon, bool [side, side]; points in pixels of the working portrait."""
    mask = np.zeros((side, side), np.uint8)
    scaled = np.asarray(points, np.float64) * (side / SIDE)
    cv2.fillPoly(mask, [np.rint(scaled * 2**SHIFT).astype(np.int32)], 1, cv2.LINE_8, SHIFT)
    return mask > 0


def grown(mask: Mask, pixels: int) -> Mask:
    """A mask grown by some pixels to all sides, or shrunk by a negative number."""
    side = 2 * abs(pixels) + 1
    change = cv2.dilate if pixels > 0 else cv2.erode
    return np.asarray(change(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def on_sheet(plane: npt.NDArray[np.generic], smooth: bool = True) -> Plane:
    """A plane at the sheet's scale, float32, twice as high and wide.

    Args:
        plane: [H, W], any part of the working portrait.
        smooth: whether to interpolate cubically, as level sets need; else linearly.
    """
    size = (2 * plane.shape[1], 2 * plane.shape[0])
    method = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane.astype(np.float32), size, interpolation=method), np.float32)


def halved(plane: Plane) -> Plane:
    """A plane at half its size, by area: wide filters cost a quarter there."""
    size = (max(1, plane.shape[1] // 2), max(1, plane.shape[0] // 2))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def restored(plane: Plane, shape: tuple[int, ...], method: int = cv2.INTER_LINEAR) -> Plane:
    """A halved plane at its former shape, (H, W)."""
    return np.asarray(cv2.resize(plane, shape[1::-1], interpolation=method), np.float32)


class Canvas:
    """Ink on a sheet.

    Attributes:
        ink: uint8 [2048, 2048], 255 where there is ink.
        width: factor of all stroke widths.
    """

    def __init__(self, width: float = 1.0) -> None:
        self.ink = np.zeros((SHEET, SHEET), np.uint8)
        self.width = width

    def stroke(self, curve: Curve, width: npt.ArrayLike, erase: bool = False) -> None:
        """Draws a stroke along a curve.

        Args:
            curve: [N, 2]; nothing is drawn for fewer than two samples.
            width: one for all or [N], pixels of the drawing.
            erase: whether to take ink away.
        """
        if len(curve) < 2:
            return
        centre = _placed(curve)
        # fillPoly fills the pixels of the rim too, half a pixel to each side.
        half = np.maximum(np.broadcast_to(np.asarray(width, np.float64), len(curve)) * (4 * self.width) - 1, 0.3) / 2
        aside = normals(centre) * half[:, None]
        self._fill(np.vstack([centre + aside, (centre - aside)[::-1]]), erase)

    def polygon(self, points: npt.ArrayLike, erase: bool = False) -> None:
        """Fills a closed polygon."""
        self._fill(_placed(points), erase)

    def disc(self, centre: npt.ArrayLike, radius: float, erase: bool = False) -> None:
        """Fills a circle; radius in pixels of the working portrait."""
        x, y = np.rint(_placed(centre) * 2**SHIFT).astype(int).tolist()
        cv2.circle(self.ink, (x, y), round(radius * 2 * 2**SHIFT), 0 if erase else 255, -1, cv2.LINE_8, SHIFT)

    def fill(self, level: Plane, box: Box | None = None) -> None:
        """Fills where a level of the working portrait is above 0.

        Args:
            level: float32 [1024, 1024], or of the size of `box`.
            box: the part of the portrait that `level` covers.
        """
        window = box.sheet_window if box is not None else (slice(None), slice(None))
        self.ink[window][on_sheet(level) > 0] = 255

    def erase(self, mask: Mask) -> None:
        """Takes ink away: under a mask of the sheet's size, or of the working portrait's."""
        if mask.shape[0] == SIDE:
            size = (2 * mask.shape[1], 2 * mask.shape[0])
            mask = cv2.resize(mask.astype(np.uint8) * np.uint8(255), size, interpolation=cv2.INTER_LINEAR) > 127
        self.ink[mask] = 0

    def add(self, other: "Canvas") -> None:
        """Adds another sheet's ink."""
        np.maximum(self.ink, other.ink, out=self.ink)

    def near(self, pixels: int) -> Mask:
        """Where ink is near, bool [1024, 1024]; pixels of the working portrait."""
        half = cv2.resize(self.ink, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        return grown(half > 60, pixels)

    def drawing(self) -> Image:
        """The finished drawing: uint8 [512, 512], 0 black to 255 white."""
        return np.asarray(cv2.resize(255 - self.ink, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)

    def _fill(self, points: Curve, erase: bool) -> None:
        cv2.fillPoly(self.ink, [np.rint(points * 2**SHIFT).astype(np.int32)], 0 if erase else 255, cv2.LINE_8, SHIFT)


def _placed(points: npt.ArrayLike) -> Curve:
    """Pixels of the working portrait as pixels of the sheet: a pixel's middle stays its middle."""
    return np.asarray((np.asarray(points, np.float64) + 0.5) * 2 - 0.5, np.float64)


def without_specks(mask: Mask, smallest: int) -> Mask:
    """A mask without connected parts of fewer pixels than `smallest`."""
    count, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = np.asarray(stats[:, cv2.CC_STAT_AREA] >= smallest)
    keep[0] = False
    return np.asarray(keep[components]) if count > 1 else mask
