"""Pictures saved as files of many kinds, and how what is read of them differs from what was saved; for tests."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from apdraw_cli.conversion.decode import decode
from engines.errors import PhotoError

GREY = np.linspace(0, 255, 64 * 48).reshape(48, 64).round().astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def saved(picture: Pillow.Image | np.ndarray, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if isinstance(picture, np.ndarray):
        picture = Pillow.fromarray(picture)
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def error_of(data: bytes) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        decode(data)
    assert "\n" not in caught.value.message
    return caught.value


def difference(pixels: np.ndarray, expected: np.ndarray) -> float:
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*expected.shape[:2], 3)
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)
    return float(np.abs(pixels.astype(int) - expected).max())
