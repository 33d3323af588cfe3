"""Puts drawings back where their faces were in the photo: on a white page of its shape, or over the photo itself.

Where portraits meet, the page shows the drawing whose face is nearer, measured in its own size, with a soft seam; at
the rim of a portrait its lines run out.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from apdraw_cli.conversion.enlarge import resized
from apdraw_cli.conversion.portraits import Prepared
from apdraw_cli.faces.align import Transform, enlarged
from engines.portrait import SIZE, TEMPLATE, WHITE, Image

SEAM: Final = 5.0
"""Pixels of a portrait by which a face must be nearer to outweigh another's drawing by e, about 2.7 to 1."""

RIM: Final = 16.0
"""Pixels of a portrait over which its drawing runs out at its rim."""

LARGEST: Final = 4096
"""Pixels of a drawing's side: one that is to be larger still is enlarged again without care."""

CORNERS: Final = np.array([(-0.5, -0.5), (SIZE - 0.5, -0.5), (-0.5, SIZE - 0.5), (SIZE - 0.5, SIZE - 0.5)])

Plane = npt.NDArray[np.float32]


def placed(drawings: Sequence[Image], prepared: Prepared, side: int | None) -> Image:
    """The page with all drawings of a photo.

    Args:
        drawings: uint8 [512, 512], 0 black to 255 white, one for each portrait.
        prepared: the portraits, with their transforms and the photo's size.
        side: pixels of the page's longer side; None for the photo's.

    Returns:
        uint8 [H, W], of the photo's shape.
    """
    width, height = prepared.photo_size
    factor = 1.0 if side is None else side / max(width, height)
    shape = (max(1, round(height * factor)), max(1, round(width * factor)))
    total, weights, covered = (np.zeros(shape, np.float32) for _ in range(3))
    for drawing, portrait in zip(drawings, prepared.portraits, strict=True):
        transform = enlarged(portrait.transform, factor)
        window = _window(transform, shape)
        if window is None:
            continue
        rows, columns = window
        values, weight, cover = _on_page(drawing, transform, rows, columns)
        total[rows, columns] += weight * values
        weights[rows, columns] += weight
        np.maximum(covered[rows, columns], cover, out=covered[rows, columns])
    mixed = np.divide(total, weights, out=np.full(shape, WHITE, np.float32), where=weights > 0)
    return np.asarray(np.rint(WHITE + covered * (mixed - WHITE)), np.uint8)


def over_photo(page: Image, photo: bytes) -> Image:
    """A page as ink on its photo: uint8 [H, W, 3], RGB.

    Args:
        page: uint8 [H, W], 0 ink to 255 none.
        photo: the photo, a JPEG; it is brought to the page's size.
    """
    import cv2

    pixels = opened(photo)
    if pixels.shape[:2] != page.shape:
        method = cv2.INTER_AREA if pixels.shape[1] > page.shape[1] else cv2.INTER_CUBIC
        pixels = np.asarray(cv2.resize(pixels, page.shape[::-1], interpolation=method), np.uint8)
    return np.asarray(cv2.multiply(pixels, cv2.merge([page] * 3), scale=1 / WHITE), np.uint8)


def opened(photo: bytes) -> Image:
    """The pixels of a JPEG that a worker made: uint8 [H, W, 3], RGB."""
    import simplejpeg

    return np.asarray(simplejpeg.decode_jpeg(photo, "RGB"), np.uint8)


def _window(transform: Transform, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of a page that a portrait lies in; None if it lies beyond."""
    places = (CORNERS - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    left, top = np.floor(places.min(axis=0)).astype(int)
    right, bottom = np.ceil(places.max(axis=0)).astype(int) + 1
    rows = slice(max(int(top), 0), min(int(bottom), shape[0]))
    columns = slice(max(int(left), 0), min(int(right), shape[1]))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _on_page(drawing: Image, transform: Transform, rows: slice, columns: slice) -> tuple[Plane, Plane, Plane]:
    """A drawing in a window of the page: its values, how much it counts beside others, and how much beside white."""
    import cv2

    a, b = transform[0, 0], transform[1, 0]
    side = min(max(1, round(SIZE / float(np.hypot(a, b)))), LARGEST)
    scale = side / SIZE
    # Pixel centres, not pixel corners, coincide between two sizes of a drawing.
    to_sized = np.vstack([transform, [0, 0, 1]])
    to_sized = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]]) @ to_sized
    to_sized[:, 2] += to_sized[:, :2] @ (columns.start, rows.start)
    values = cv2.warpAffine(
        resized(drawing, side),
        to_sized,
        (columns.stop - columns.start, rows.stop - rows.start),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(WHITE,),
    )
    across, down = np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop)[:, None]
    x, y = (
        (row[0] * across + row[1] * down + row[2]).astype(np.float32, copy=False)
        for row in transform.astype(np.float32)
    )
    inside = np.minimum(np.minimum(x, SIZE - 1 - x), np.minimum(y, SIZE - 1 - y)) + 0.5
    cover = np.clip(inside / RIM, 0, 1)
    centre = TEMPLATE.mean(axis=0)
    weight = cover * np.exp(-np.hypot(x - centre[0], y - centre[1]) / SEAM)
    return values.astype(np.float32), weight, cover
