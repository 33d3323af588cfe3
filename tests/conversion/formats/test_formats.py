"""Every output format keeps the drawing, and bears the mark by which it is known again."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FileOptions
from apdraw_cli.conversion.recipe import Recipe

DRAWING = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
PNG = FORMATS["png"]


@pytest.mark.parametrize("name", FORMATS)
def test_formats_keep_the_drawing(name: str) -> None:
    data = FORMATS[name].encode(DRAWING, Recipe(file=FileOptions(name)))
    with Pillow.open(io.BytesIO(data)) as picture:
        assert picture.mode == ("RGB" if name == "webp" else "L")
        difference = np.abs(np.array(picture.convert("L")).astype(int) - DRAWING)
    assert difference.max() <= (20 if name == "jpg" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", FORMATS)
def test_formats_know_their_own_files(name: str) -> None:
    ours = FORMATS[name].encode(DRAWING, Recipe(file=FileOptions(name)))
    assert FORMATS[name].is_ours(io.BytesIO(ours))
    with Pillow.open(io.BytesIO(ours)) as picture:
        kind, pixels = picture.format, Pillow.fromarray(np.array(picture))
    others = io.BytesIO()
    pixels.save(others, kind)
    others.seek(0)
    assert not FORMATS[name].is_ours(others)
    for data in (b"", b"no picture", ours[:20]):
        assert not FORMATS[name].is_ours(io.BytesIO(data))


def test_names_and_suffixes_are_unique() -> None:
    assert len({each.suffix for each in FORMATS.values()}) == len(FORMATS)
    assert all(name == each.name for name, each in FORMATS.items())


def test_png_is_8_bit_grey() -> None:
    data = PNG.encode(DRAWING, Recipe())
    assert data[24:26] == bytes([8, 0])  # bit depth, colour type


def test_png_is_marked_as_the_format_has_it() -> None:
    data = PNG.encode(DRAWING, Recipe())
    start = data.index(b"eXIf")
    length = int.from_bytes(data[start - 4 : start], "big")
    chunk = data[start + 4 : start + 4 + length]
    assert chunk.startswith((b"II*\0", b"MM\0*"))  # and no "Exif" before it
    assert b"apdraw" in chunk
    assert int.from_bytes(data[start + 4 + length :][:4], "big") == zlib.crc32(b"eXIf" + chunk)


def test_encoding_takes_any_size() -> None:
    with Pillow.open(io.BytesIO(PNG.encode(DRAWING[:30, :20], Recipe()))) as picture:
        assert picture.size == (20, 30)
