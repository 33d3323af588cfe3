"""Text files of points: a line `x y` each, in pixels; five landmarks in the order of `engines.portrait.TEMPLATE`."""

from pathlib import Path
from typing import Final

import numpy as np

from engines.portrait import Landmarks
from engines.regular_files import read_regular

MOST_BYTES: Final = 16384


def read_landmarks(path: Path, count: int = 5) -> Landmarks:
    """The landmarks in a file, float32 [count, 2].

    Raises:
        OSError: it cannot be read.
        ValueError: it does not hold so many lines `x y`.
    """
    return parse_landmarks(read_regular(path, MOST_BYTES), count)


def parse_landmarks(content: bytes, count: int = 5) -> Landmarks:
    """The landmarks in a file's content, float32 [count, 2]; empty lines count for nothing.

    Raises:
        ValueError: it does not hold so many lines `x y`.
    """
    if len(content) > MOST_BYTES:
        raise ValueError("too long")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        points = np.array([line.split() for line in content.decode().splitlines() if line.strip()], np.float32)
    if points.shape != (count, 2) or not np.isfinite(points).all():
        raise ValueError(f"{count} lines of two numbers are wanted")
    return points


def format_landmarks(landmarks: Landmarks) -> bytes:
    """Landmarks ([5, 2], rounded to whole pixels) as the content of a file."""
    return "".join(f"{int(x)} {int(y)}\n" for x, y in landmarks).encode("ascii")


def format_points(points: Landmarks) -> bytes:
    """Points ([N, 2], to hundredths of a pixel) as the content of a file."""
    return "".join(f"{x:.2f} {y:.2f}\n" for x, y in points).encode("ascii")
