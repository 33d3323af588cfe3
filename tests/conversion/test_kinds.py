"""Photos of unusual kinds are read as other viewers show them, or refused with what they are; never called damaged."""

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from picture_files import GREY, RGB, difference, error_of, saved
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

from apdraw_cli.conversion import decode as module
from apdraw_cli.conversion.decode import decode, decode_reduced
from engines.errors import PhotoError

CASES = Path(__file__).parents[3] / "shared" / "cases"


def tiff(samples: bytes, **tags: tuple[int, ...]) -> bytes:
    """A TIFF of one strip with tags named as `t258`, in shorts."""
    entries = {int(name[1:]): values for name, values in tags.items()}
    entries[273], entries[279] = (8,), (len(samples),)
    extra, table = b"", b""
    base = 8 + len(samples)
    end_of_table = base + 2 + 12 * len(entries) + 4
    for tag in sorted(entries):
        values = entries[tag]
        code, kind = ("I", 4) if tag in (273, 279) else ("H", 3)
        packed = struct.pack(f"<{len(values)}{code}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", end_of_table + len(extra)), extra + packed
        table += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    header = b"II*\0" + struct.pack("<I", base)
    return header + samples + struct.pack("<H", len(entries)) + table + bytes(4) + extra


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_fewer_bits_in_16_are_as_light_as_16(bits: int, file_format: str) -> None:
    samples = np.rint(GREY * ((2**bits - 1) / 255)).astype(np.uint16)
    assert difference(decode(saved(samples, file_format)), GREY) <= 1
    colours = np.rint(RGB[..., ::-1] * ((2**bits - 1) / 255)).astype(np.uint16)
    _, data = cv2.imencode("." + file_format.lower(), colours)
    assert difference(decode(data.tobytes()), RGB) <= 1


def test_fewer_bits_in_16_with_transparency() -> None:
    alpha = np.tile(np.array([0, 4095], np.uint16), (48, 32))
    colours = np.rint(RGB[..., ::-1] * (4095 / 255)).astype(np.uint16)
    _, data = cv2.imencode(".png", np.dstack([colours, alpha]))
    assert difference(decode(data.tobytes()), np.where(alpha[..., None] > 0, RGB, 255)) <= 1


@pytest.mark.parametrize("top", [1.0, 1.02, 1.5, 200.0])
def test_floats_over_1_are_overexposed_not_dark(top: float) -> None:
    samples = (GREY / 255).astype(np.float32)
    samples[0, :5] = top  # glints
    assert difference(decode(saved(samples, "TIFF"))[1:], GREY[1:]) <= 1
    light = (GREY / 255 * 4).astype(np.float32)
    assert difference(decode(saved(light, "TIFF")), GREY) <= 4


def test_integers_of_32_bits_use_their_whole_range() -> None:
    unsigned = (GREY.astype(np.uint32) * 16843009).astype("<u4")
    data = tiff(unsigned.tobytes(), t256=(64,), t257=(48,), t258=(32,), t259=(1,), t262=(1,), t277=(1,), t339=(1,))
    assert difference(decode(data), GREY) <= 1
    signed = (GREY.astype("<i2") * 128).tobytes()
    data = tiff(signed, t256=(64,), t257=(48,), t258=(16,), t259=(1,), t262=(1,), t277=(1,), t339=(2,))
    assert difference(decode(data), GREY) <= 1


def test_kinds_of_tiff_that_are_not_read_are_named() -> None:
    planes = np.moveaxis(RGB.astype("<u2") * 257, -1, 0).tobytes()
    tags: dict[str, tuple[int, ...]] = {"t256": (64,), "t257": (48,), "t259": (1,), "t278": (48,)}
    data = tiff(planes, **tags, t258=(16, 16, 16), t262=(2,), t277=(3,), t284=(2,))
    assert error_of(data).code == "unsupported"
    assert "planes" in error_of(data).message
    grey_alpha = np.dstack([GREY, GREY]).astype("<u2").tobytes()
    error = error_of(tiff(grey_alpha, **tags, t258=(16, 16), t262=(1,), t277=(2,), t338=(2,)))
    assert (error.code, "2 x 16 bits" in error.message) == ("unsupported", True)
    assert error_of(b"II*\0\x08\0\0\0garbage").code == "damaged"


def test_a_raw_files_preview_is_not_taken_for_the_photo() -> None:
    """NEF, DNG and their like are TIFFs whose first picture is a thumbnail."""
    tags: dict[str, tuple[int, ...]] = {"t256": (64,), "t257": (48,), "t258": (8, 8, 8), "t259": (1,), "t262": (2,)}
    tags |= {"t277": (3,), "t278": (48,)}
    assert difference(decode(tiff(RGB.tobytes(), **tags, t254=(0,))), RGB) == 0
    error = error_of(tiff(RGB.tobytes(), **tags, t254=(1,)))
    assert (error.code, "preview" in error.message) == ("unsupported", True)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x20ftypisom", "MP4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(50), "MOV"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(50), "raw"),
        (b"%PDF-1.7\n%", "PDF"),
        (b"8BPS\0\1" + bytes(40), "Photoshop"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"RIFF\x24\0\0\0AVI LIST" + bytes(40), "video"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, kind: str) -> None:
    error = error_of(data)
    assert (error.code, kind in error.message) == ("not_an_image", True)


@pytest.mark.parametrize(("at", "value", "kind"), [(1, 0xC3, "without loss"), (4, 12, "12 bits")])
def test_kinds_of_jpeg_that_are_not_read_are_named(at: int, value: int, kind: str) -> None:
    data = bytearray(saved(RGB, "JPEG"))
    data[data.index(b"\xff\xc0") + at] = value
    error = error_of(bytes(data))
    assert (error.code, kind in error.message) == ("unsupported", True)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", [b"zTXt", b"tEXt", b"iTXt"])
@pytest.mark.parametrize("megabytes", [2, 80])
@pytest.mark.parametrize("behind", [False, True])
def test_long_texts_in_a_png_do_not_matter(kind: bytes, megabytes: int, behind: bool) -> None:
    text = bytes(b"x" * 1_000_000 * megabytes)
    body = {
        b"zTXt": lambda: b"key\0\0" + zlib.compress(text, 1),
        b"tEXt": lambda: b"key\0" + text,
        b"iTXt": lambda: b"key\0\1\0\0\0" + zlib.compress(text, 1),
    }[kind]()
    data = saved(RGB, "PNG")
    at = len(data) - 12 if behind else 33
    assert difference(decode(data[:at] + chunk(kind, body) + data[at:]), RGB) == 0
    assert PngImagePlugin.MAX_TEXT_CHUNK < 2_000_000


def test_a_profile_of_megabytes_in_a_png_does_not_matter() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(2_000_000)
    assert difference(decode(saved(RGB, "PNG", icc_profile=profile)), RGB) == 0


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_that_misses_its_end_mark_only_is_whole(mode: str, options: dict[str, Any]) -> None:
    data = saved(Pillow.fromarray(RGB).convert(mode), "JPEG", **options)
    assert data.endswith(b"\xff\xd9")
    expected = decode(data)
    assert difference(decode(data[:-2]), expected) == 0
    assert difference(decode(data[:-1]), expected) == 0


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_how_much_of_a_cut_jpeg_is_missing_is_told(end: bytes, mode: str, orientation: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 120, 3), np.uint8)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = saved(Pillow.fromarray(noise).convert(mode), "JPEG", exif=exif)
    for share in (0.3, 0.5, 0.8):
        error = error_of(data[: int(len(data) * share)] + end)
        assert error.code == "truncated"
        percent = int(error.message.split("lowest ")[1].split(" %")[0])
        assert abs(percent - 100 * (1 - share)) < 15
    with pytest.raises(PhotoError, match="missing"):
        decode_reduced(data[: len(data) // 2] + end, 40)


def test_what_a_strict_decoder_complains_of_counts() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 120, 3), np.uint8)
    data = bytearray(saved(noise, "JPEG"))
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    assert error_of(bytes(data)).code in ("damaged", "truncated")


def test_a_progressive_jpeg_of_very_many_passes_is_refused() -> None:
    data = saved(RGB, "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    scan = data[start : data.index(b"\xff", start + 2)]
    error = error_of(data[:start] + scan * 501 + data[start:])
    assert (error.code, "passes" in error.message) == ("too_large", True)


@pytest.mark.parametrize("brand", [b"1pic", b"MiHB", b"miaf", b"hevm", b"mif1", b"MiHE"])
def test_heic_by_its_compatible_brands(brand: bytes) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    smooth = np.stack([GREY, GREY, 255 - GREY], axis=-1)
    data = saved(smooth, "HEIF", quality=95)
    assert difference(decode(data[:8] + brand + data[12:]), smooth) < 40


@pytest.mark.parametrize("brand", [b"mif1", b"miaf", b"MA1B", b"avio", b"msf1"])
def test_avif_by_its_compatible_brands(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = np.stack([GREY, GREY, 255 - GREY], axis=-1)
    data = saved(smooth, "AVIF", quality=95)
    monkeypatch.setattr(module, "_register_heif", lambda: False)  # which it does not need
    assert difference(decode(data[:8] + brand + data[12:]), smooth) < 40


@pytest.mark.parametrize("kind", [b"VP8L", b"VP8X", b"VP8 "])
def test_a_webp_is_refused_by_its_header(kind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pillow, "open", None)  # which takes the memory
    bodies = {
        b"VP8L": b"\x2f" + struct.pack("<I", 16382 | 15599 << 14) + bytes(9),
        b"VP8X": bytes(4) + (16382).to_bytes(3, "little") + (15599).to_bytes(3, "little"),
        b"VP8 ": bytes(6) + struct.pack("<HH", 16383, 15600),
    }
    error = error_of(b"RIFF\x1a\0\0\0WEBP" + kind + struct.pack("<I", 14) + bodies[kind])
    assert (error.code, "16383 x 15600" in error.message) == ("too_large", True)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "GIF", "WEBP", "AVIF", "JPEG2000", "PPM"])
def test_a_photo_over_the_budget_is_refused_before_it_is_decoded(
    file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(RGB, file_format)
    monkeypatch.setattr(module, "BUDGET", 20_000)
    error = error_of(data)
    assert (error.code, "64 x 48" in error.message, "memory" in error.message) == ("too_large", True, True)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_over_the_budget_is_reduced(progressive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(RGB, "JPEG", progressive=progressive)
    monkeypatch.setattr(module, "BUDGET", 20_000)
    if progressive:
        monkeypatch.setattr(module, "BUDGET", 15_000)  # its coefficients are kept at any size
        with pytest.raises(PhotoError) as caught:
            decode_reduced(data, 10**9)
        assert caught.value.code == "too_large"
    else:
        photo = decode_reduced(data, 10**9)
        assert (photo.reduction, photo.size, photo.pixels.shape) == (2, (64, 48), (24, 32, 3))
    assert error_of(data).code == "too_large"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc"), OSError("Insufficient memory")])
def test_want_of_memory_is_not_the_photos_fault(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    from apdraw_cli.conversion.plan import TRANSIENT_CODES

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(module, "to_srgb", fail)
    found = error_of(saved(RGB, "PNG"))
    assert found.code == "out_of_memory"
    assert found.code in TRANSIENT_CODES


@pytest.mark.skipif(not CASES.is_dir(), reason="the inputs are not here")
@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("3-numbers/grey12in16.png", None, ""),
        ("3-numbers/greyf_1_02.tif", None, ""),
        ("3-numbers/rgb12in16.tif", None, ""),
        ("4-metadata/ztxt.png", None, ""),
        ("5-cut/noeoi.jpg", None, ""),
        ("6-avif/mif1.avif", None, ""),
        ("6-avif/brand_1pic.heif", None, ""),
        ("6-avif/brand_MiHB.heic", None, ""),
        ("6-avif/brand_hevm.heic", None, ""),
        ("6-avif/brand_miaf.heic", None, ""),
        ("6-avif/DSC00012.HIF", None, ""),
        ("12-unsupported/g.gif", None, ""),
        ("12-unsupported/noext", None, ""),
        ("12-unsupported/grey_alpha16.tif", "unsupported", "16 bits"),
        ("12-unsupported/v.mp4", "not_an_image", "MP4"),
        ("13-damaged/half-grey-with-eoi.jpg", "truncated", "37 %"),
        ("13-damaged/bomb-34-bytes.webp", "too_large", "memory"),
        ("13-damaged/progressive-scan-bomb.jpg", "too_large", "passes"),
    ],
)
def test_cases_from_outside(name: str, code: str | None, words: str) -> None:
    if name.startswith("6-avif/brand") or name.endswith(".HIF"):
        pytest.importorskip("pillow_heif")
    data = (CASES / name).read_bytes()
    if code is None:
        assert 70 < decode(data).mean() < 90  # all are of the same photo
    else:
        error = error_of(data)
        assert (error.code, words in error.message) == (code, True)
