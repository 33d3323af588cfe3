"""Compares ways to enlarge a drawing to 2048: drawings that a program made at 2048, reduced to 512, and enlarged again.

    python -m benchmarks.enlarging PORTRAITS [--names 0000 0001 ...]

PORTRAITS holds `photos`, `labels` and `mesh478.npz`, which `apdraw prepare --npr` takes as PHOTOS, `--labels` and
`--meshes`. Told are, on average, SSIM to what was drawn at 2048, the mean difference in grey levels, the share of the
original's ink, and seconds a drawing.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Final
from unittest import mock

import cv2
import numpy as np

from apdraw_cli.conversion.enlarge import resized
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FileOptions
from apdraw_cli.conversion.recipe import Recipe
from engines.portrait import SIZE, Image
from train.artist.canvas import SHEET, Canvas
from train.artist.drawing import draw_portrait
from train.evaluation.metrics import ssim

EYES: Final = (468, 473)
"""Of a mesh, the irises."""


def main() -> None:
    """Prints a line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--names", nargs="+", default=["0000", "0001", "0002", "0003", "0005", "0012"])
    arguments = parser.parse_args()
    large = [drawn_large(arguments.portraits, name) for name in arguments.names]
    small = [np.asarray(cv2.resize(each, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8) for each in large]
    for name, way in ways().items():
        start = time.perf_counter()
        enlarged = [way(each) for each in small]
        seconds = (time.perf_counter() - start) / len(small)
        pairs = list(zip(enlarged, large, strict=True))
        difference = fmean(float(cv2.absdiff(a, b).mean()) for a, b in pairs)
        ink = fmean(float((255 - a).mean() / (255 - b).mean()) for a, b in pairs)
        likeness = fmean(ssim(a, b) for a, b in pairs)
        print(f"{name:24}  SSIM {likeness:.4f}  difference {difference:.2f}  ink {ink:.3f}  {seconds:.2f} s")  # noqa: T201


def drawn_large(portraits: Path, name: str) -> Image:
    """What the program draws of a photo, uint8 [2048, 2048]: its sheet, before that is reduced."""
    photo = cv2.imread(str(portraits / "photos" / f"{name}.jpg"))[..., ::-1]
    labels = cv2.imread(str(portraits / "labels" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    meshes = np.load(portraits / "mesh478.npz")
    points = meshes["points"][list(meshes["names"]).index(f"{name}.jpg")]
    eyes = points[list(EYES), :2]
    scale = 110 / np.linalg.norm(eyes[1] - eyes[0])
    shift = np.array([256, 250]) - scale * eyes.mean(axis=0)
    transform = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    with mock.patch.object(Canvas, "drawing", lambda canvas: 255 - canvas.ink):
        return draw_portrait(np.ascontiguousarray(photo), transform, points, np.asarray(labels, np.uint8)).picture


def ways() -> dict[str, Callable[[Image], Image]]:
    """The ways to enlarge, by name."""
    kinds = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "Lanczos": cv2.INTER_LANCZOS4}
    found: dict[str, Callable[[Image], Image]] = {name: enlarging(kind, 1) for name, kind in kinds.items()}
    for factor in (2, 4):
        found[f"cubic, {factor} x steeper"] = enlarging(cv2.INTER_CUBIC, factor)
        found[f"Lanczos, {factor} x steeper"] = enlarging(cv2.INTER_LANCZOS4, factor)
    return found | {"traced, rendered": traced, "as apdraw does": lambda drawing: resized(drawing, SHEET)}


def traced(drawing: Image) -> Image:
    """The drawing's SVG, rendered by resvg."""
    import resvg_py

    svg = FORMATS["svg"].encode(drawing, Recipe(file=FileOptions("svg")))
    rendered = resvg_py.svg_to_bytes(svg_string=svg.decode(), width=SHEET, height=SHEET, background="white", dpi=96)
    page = cv2.imdecode(np.frombuffer(bytes(rendered), np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.asarray(page, np.uint8)


def enlarging(kind: int, factor: float) -> Callable[[Image], Image]:
    """Enlarging by one of OpenCV's interpolations, then steepening."""

    def enlarge(drawing: Image) -> Image:
        smooth = cv2.resize(drawing.astype(np.float32), (SHEET, SHEET), interpolation=kind)
        return np.clip((smooth - 127.5) * factor + 128, 0, 255).astype(np.uint8)

    return enlarge


if __name__ == "__main__":
    main()
