import numpy as np
import pytest

from apdraw_cli.faces.detect import Face, iou


def face(*box: float) -> Face:
    return Face(box, 1.0, np.zeros((5, 2), np.float32))  # type: ignore[arg-type]


def test_iou() -> None:
    assert iou(face(0, 0, 10, 10), face(0, 0, 10, 10)) == 1
    assert iou(face(0, 0, 10, 10), face(5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert iou(face(0, 0, 10, 10), face(20, 20, 5, 5)) == 0


def test_size_is_the_shorter_side() -> None:
    assert face(0, 0, 30, 40).size == 30
