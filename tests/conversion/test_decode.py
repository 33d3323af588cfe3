"""Every way of saving a photo comes out as the same upright sRGB pixels; what is broken is told apart."""

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from picture_files import GREY, RGB, difference, error_of, saved
from PIL import Image as Pillow
from PIL import ImageCms, ImageFile

from apdraw_cli.conversion.decode import MAX_PIXELS, decode, decode_reduced, read
from engines.errors import PhotoError
from engines.installed import pip_install


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "PPM"])
def test_lossless_formats_give_the_pixels_back(file_format: str) -> None:
    assert difference(decode(saved(RGB, file_format)), RGB) == 0


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats_give_nearly_the_pixels_back(file_format: str) -> None:
    smooth = np.stack([GREY, GREY, 255 - GREY], axis=-1)
    assert difference(decode(saved(smooth, file_format, quality=95)), smooth) < 40


def test_heic() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    smooth = np.stack([GREY, GREY, 255 - GREY], axis=-1)
    assert difference(decode(saved(smooth, "HEIF", quality=95)), smooth) < 40


def test_heic_without_pillow_heif_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from apdraw_cli.conversion import decode as module

    module._register_heif.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = error_of(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    module._register_heif.cache_clear()
    assert error.code == "needs_heif"
    assert pip_install("heic") in error.message


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_grey_is_scaled_not_clipped(file_format: str, order: str) -> None:
    samples = (GREY.astype(np.uint16) * 257).astype(order)
    assert difference(decode(saved(samples, file_format)), GREY) <= 1


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bit_colour_is_scaled_not_clipped(extension: str) -> None:
    _, data = cv2.imencode(extension, RGB[..., ::-1].astype(np.uint16) * 257)
    assert difference(decode(data.tobytes()), RGB) <= 1


@pytest.mark.parametrize(
    "samples",
    [
        (GREY / 255).astype(np.float32),
        GREY.astype(np.float32),
        GREY.astype(np.float32) * 257,
        GREY.astype(np.int32),
        GREY.astype(np.int32) * 257,
    ],
    ids=["float to 1", "float to 255", "float to 65535", "int to 255", "int to 65535"],
)
def test_32_bit_tiff_is_scaled_by_its_range(samples: np.ndarray) -> None:
    assert difference(decode(saved(samples, "TIFF")), GREY) <= 1


def test_float_tiff_with_nan_and_infinity() -> None:
    samples = (GREY / 255).astype(np.float32)
    samples[0, :3] = np.nan, np.inf, -np.inf
    assert difference(decode(saved(samples, "TIFF"))[1:], GREY[1:]) <= 1


def test_16_bit_tiff_with_white_as_zero() -> None:
    data = saved(65535 - GREY.astype(np.uint16) * 257, "TIFF", tiffinfo={262: 0})
    assert difference(decode(data), GREY) <= 1


def test_grey_one_bit_and_palette() -> None:
    assert difference(decode(saved(GREY, "PNG")), GREY) == 0
    two_tone = np.where(GREY > 127, 255, 0).astype(np.uint8)
    assert difference(decode(saved(Pillow.fromarray(two_tone).convert("1"), "PNG")), two_tone) == 0
    palette = Pillow.fromarray(RGB).quantize(64)
    expected = np.array(palette.convert("RGB"))
    assert difference(decode(saved(palette, "PNG")), expected) == 0
    assert difference(decode(saved(palette, "GIF")), expected) == 0


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_transparency_lies_over_white(file_format: str) -> None:
    alpha = np.tile(np.array([0, 128, 255, 255], np.uint8), (48, 16))
    rgba = np.dstack([np.zeros_like(RGB), alpha])
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    expected = np.repeat(255 - alpha[..., None], 3, axis=2)
    assert difference(decode(saved(rgba, file_format, **options)), expected) <= 1


def test_other_kinds_of_transparency_lie_over_white() -> None:
    half = Pillow.fromarray(np.dstack([np.zeros_like(GREY), np.full_like(GREY, 128)]), "LA")
    assert difference(decode(saved(half, "PNG")), np.full_like(RGB, 127)) <= 1
    palette = Pillow.fromarray(np.zeros_like(GREY)).convert("P")
    assert decode(saved(palette, "PNG", transparency=0)).min() == 255
    keyed = Pillow.fromarray(np.zeros_like(RGB))
    assert decode(saved(keyed, "PNG", transparency=(0, 0, 0))).min() == 255


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk(file_format: str) -> None:
    smooth = np.stack([GREY, GREY, 255 - GREY], axis=-1)
    data = saved(Pillow.fromarray(smooth).convert("CMYK"), file_format, quality=95)
    assert np.abs(decode(data).astype(int) - smooth).mean() < 3


def test_lab_and_ycbcr_tiff() -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    picture = ImageCms.profileToProfile(Pillow.fromarray(RGB), srgb, lab, outputMode="LAB")
    assert picture is not None
    assert np.abs(decode(saved(picture, "TIFF")).astype(int) - RGB).mean() < 4
    assert difference(decode(saved(Pillow.fromarray(RGB).convert("YCbCr"), "TIFF")), RGB) <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_exif_orientation_is_applied_once(file_format: str, orientation: int) -> None:
    if file_format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = 255  # white in the top left corner only
    way_back = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_90,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_270,
    }
    stored = Pillow.fromarray(upright)
    if orientation in way_back:
        stored = stored.transpose(way_back[orientation])
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"quality": 95} if file_format in ("JPEG", "AVIF", "HEIF") else {}
    data = saved(stored, file_format, exif=exif if file_format == "TIFF" else exif.tobytes(), **options)
    pixels = decode(data)
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 5


@pytest.mark.parametrize(("side", "reduction"), [(48, 1), (32, 2), (17, 2), (16, 4), (8, 8), (4, 8)])
def test_a_jpeg_is_decoded_at_a_fraction_of_its_size_where_that_is_enough(side: int, reduction: int) -> None:
    smooth = np.stack([GREY, GREY, 255 - GREY], axis=-1)
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    data = saved(smooth, "JPEG", quality=95, exif=exif.tobytes())
    reduced = decode_reduced(data, side)
    pixels, found = reduced.pixels, reduced.reduction
    assert reduced.size == (smooth.shape[0], smooth.shape[1])
    assert found == reduction
    expected = cv2.resize(np.rot90(smooth, -1), None, fx=1 / found, fy=1 / found, interpolation=cv2.INTER_AREA)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 4
    other = decode_reduced(saved(smooth, "PNG"), side)
    assert (other.reduction, other.size) == (1, (smooth.shape[1], smooth.shape[0]))
    assert difference(other.pixels, smooth) == 0


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_pillows_limit_neither_holds_nor_is_changed(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns of what is larger than its limit, and refuses what is twice as large."""
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 10)
    decoded = decode(saved(RGB, file_format))
    assert decoded.shape == RGB.shape
    assert Pillow.MAX_IMAGE_PIXELS == 10


def test_damaged_exif_data_does_not_matter() -> None:
    data = saved(RGB, "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")
    assert difference(decode(data), RGB) == 0


def swapped_profile() -> bytes:
    """A profile in which red means green and green red, made of the one that Pillow has."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = (profile.index(tag) for tag in (b"rXYZ", b"gXYZ"))
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    start = profile.index("sRGB".encode("utf-16-be"))
    profile[start : start + 8] = "Test".encode("utf-16-be")
    return bytes(profile)


def test_icc_profile_is_applied() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    for mode in ("RGB", "RGBA", "P"):
        data = saved(Pillow.fromarray(red).convert(mode), "PNG", icc_profile=swapped_profile())
        pixels = decode(data).reshape(-1, 3)
        assert (pixels[:, 1] > 240).all()
        assert (pixels[:, 0] < 15).all()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_plain_jpeg_has_the_pixels_that_pillow_sees(subsampling: int, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for options in ({}, {"icc_profile": profile}, {"progressive": True}):
        data = saved(RGB, "JPEG", subsampling=subsampling, **options)
        expected = np.asarray(Pillow.open(io.BytesIO(data)))
        with monkeypatch.context() as patch:
            patch.setattr(ImageFile.ImageFile, "load", None)  # and it is not Pillow that decodes it
            assert difference(decode(data), expected) == 0


def test_a_jpeg_that_is_turned_or_in_other_colours_is_not_plain() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    assert difference(decode(saved(RGB, "JPEG", quality=100, exif=exif)), np.rot90(RGB, -1)) < 40
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    pixels = decode(saved(red, "JPEG", quality=100, icc_profile=swapped_profile())).reshape(-1, 3)
    assert (pixels[:, 1] > 230).all()
    assert (pixels[:, 0] < 30).all()


def test_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert difference(decode(saved(RGB, "PNG", icc_profile=profile)), RGB) == 0


@pytest.mark.parametrize("profile", [b"no profile at all", b"\0" * 200])
def test_broken_icc_profile_is_ignored(profile: bytes) -> None:
    assert difference(decode(saved(RGB, "PNG", icc_profile=profile)), RGB) == 0


def test_profile_of_another_colour_space_is_ignored() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert difference(decode(saved(GREY, "PNG", icc_profile=profile)), GREY) == 0


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_of_several_frames(file_format: str) -> None:
    frames = [Pillow.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (200, 20)]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = saved(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert difference(decode(data), np.full((8, 8, 3), 200, np.uint8)) <= 1


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_cut_off_files(file_format: str, share: float) -> None:
    if file_format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    data = saved(noise, file_format)
    expected = {"damaged"} if file_format == "AVIF" else {"truncated"}
    assert error_of(data[: int(len(data) * share)]).code in expected


def test_a_webp_that_misses_its_last_bytes_is_cut_off() -> None:
    error = error_of(saved(RGB, "WEBP")[:-2])
    assert (error.code, error.message) == ("truncated", "the file is cut off: its end is missing")


def test_what_is_no_picture() -> None:
    assert error_of(b"Dear diary, I have no pixels.").code == "not_an_image"
    assert error_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").code == "not_an_image"


def test_overwritten_middle_is_damage() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    data = bytearray(saved(noise, "PNG"))
    data[1000:1100] = bytes(100)
    assert error_of(bytes(data)).code == "damaged"


def test_too_many_pixels_are_refused_before_they_take_memory() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))
    error = error_of(data)
    assert error.code == "too_large"
    assert "60000 x 60000" in error.message
    assert str(MAX_PIXELS // 10**6) in error.message


def test_one_pixel() -> None:
    assert decode(saved(np.full((1, 1, 3), 7, np.uint8), "PNG")).tolist() == [[[7, 7, 7]]]


def test_read_tells_apart_what_cannot_be_read(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for path, code in ((empty, "empty"), (tmp_path / "none.jpg", "not_found"), (tmp_path, "unreadable")):
        with pytest.raises(PhotoError) as caught:
            read(path)
        assert caught.value.code == code
