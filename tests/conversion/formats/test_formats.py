"""Every output format keeps the drawing, and bears the mark by which it is known again."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FileOptions, PageOptions
from apdraw_cli.conversion.recipe import Recipe
from engines.errors import OptionsError

DRAWING = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
PNG = FORMATS["png"]
PIXELS = [name for name, each in FORMATS.items() if not each.vector]


@pytest.mark.parametrize("name", PIXELS)
def test_formats_keep_the_drawing(name: str) -> None:
    data = FORMATS[name].encode(DRAWING, Recipe(file=FileOptions(name)))
    with Pillow.open(io.BytesIO(data)) as picture:
        assert picture.mode == ("RGB" if name == "webp" else "L")
        difference = np.abs(np.array(picture.convert("L")).astype(int) - DRAWING)
    assert difference.max() <= (20 if name in ("jpg", "jpeg") else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", PIXELS)
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


def opened(name: str, **options: bool | int) -> Pillow.Image:
    recipe = Recipe(file=FileOptions(name, **options), page=PageOptions(dpi=254))  # type: ignore[arg-type]
    data = FORMATS[name].encode(DRAWING, recipe)
    assert FORMATS[name].is_ours(io.BytesIO(data))
    return Pillow.open(io.BytesIO(data))


@pytest.mark.parametrize("name", PIXELS)
def test_files_tell_how_large_they_are_in_print(name: str) -> None:
    with opened(name) as picture:
        exif = picture.getexif()
        if name != "webp":  # which has it in its EXIF data only
            assert picture.info["dpi"] == pytest.approx((254, 254), abs=0.01)
        assert (exif[0x011A], exif[0x011B], exif[0x0128]) == (254, 254, 2)


@pytest.mark.parametrize("name", ["png", "tif", "tiff", "webp"])
def test_two_tones_are_black_and_white(name: str) -> None:
    with opened(name, two_tone=True) as picture:
        assert picture.mode == ("RGB" if name == "webp" else "1")
        assert np.array_equal(np.array(picture.convert("L")), np.where(DRAWING < 128, 0, 255))


@pytest.mark.parametrize("two_tone", [False, True])
@pytest.mark.parametrize("name", ["png", "tif", "tiff", "webp"])
def test_white_becomes_transparent(name: str, two_tone: bool) -> None:
    with opened(name, transparent=True, two_tone=two_tone) as picture:
        assert picture.has_transparency_data
        over_white = Pillow.alpha_composite(Pillow.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    expected = np.where(DRAWING < 128, 0, 255) if two_tone else DRAWING
    assert np.array_equal(np.array(over_white.convert("L")), expected)
    assert np.array_equal(np.array(picture.convert("RGBA"))[..., 3], 255 - expected)


@pytest.mark.parametrize("name", ["jpg", "jpeg", "webp"])
def test_quality_makes_files_smaller(name: str) -> None:
    sizes = [
        len(FORMATS[name].encode(DRAWING, Recipe(file=FileOptions(name, quality=quality)))) for quality in (30, 90)
    ]
    assert sizes[0] < 0.7 * sizes[1]


@pytest.mark.parametrize(
    ("name", "option", "fits"), [("png", "quality", "jpg"), ("jpg", "transparent", "png"), ("jpeg", "two_tone", "tiff")]
)
def test_what_a_format_has_not_is_refused(name: str, option: str, fits: str) -> None:
    with pytest.raises(OptionsError, match=f"^{name} has no --{option.replace('_', '-')}.*{fits}"):
        FileOptions(name, **{option: 50 if option == "quality" else True})  # type: ignore[arg-type]
