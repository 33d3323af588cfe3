"""Line maps: where the lines of a two-tone drawing run, which the line detectors learn to find (eq. 4)."""

import cv2
import numpy as np

from engines.portrait import WHITE, Image
from train.npr.edge_flow import confident, ridges, soften, tangent_flow

BLACK_LINE, WHITE_LINE, NO_LINE = 0, 255, 128
"""Values of a line map."""


def line_map(drawing: Image, width: int, length: float) -> Image:
    """Where the lines of a two-tone drawing run: the middle of its strokes, across the flow, 1 or 2 pixels wide.

    Args:
        drawing: uint8 [H, W], 0 black to 255 white.
        width: pixels up to which a stroke is a line; what is wider is an area and has none.
        length: pixels of the shortest line.

    Returns:
        uint8 [H, W], BLACK_LINE on black strokes, WHITE_LINE on white strokes through black, NO_LINE elsewhere.
    """
    tone = drawing.astype(np.float32) / np.float32(WHITE)
    flow = tangent_flow(soften(tone, 1.0), 1.5)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width + 1, width + 1))
    lines = np.full(tone.shape, NO_LINE, np.uint8)
    for value, ink in ((BLACK_LINE, 1 - tone), (WHITE_LINE, tone)):
        strokes = np.asarray(cv2.morphologyEx(ink, cv2.MORPH_TOPHAT, kernel), np.float32)
        middle = ridges(soften(strokes, 1.5), flow) & (strokes > 0.5)
        lines[confident(middle, strokes, 0.5, 0.5, length)] = value
    return lines
