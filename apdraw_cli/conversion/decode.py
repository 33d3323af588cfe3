"""Decodes a photo's file of any common format to sRGB pixels, upright and opaque."""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import ExifTags, ImageOps, PngImagePlugin, UnidentifiedImageError
from PIL import Image as Pillow

from apdraw_cli.conversion.colours import apply_profile, changes_colours, to_srgb
from apdraw_cli.conversion.jpeg import Frame, decode_jpeg, read_frame
from apdraw_cli.conversion.kinds import BEGINNINGS, JPEG, PNG, TIFF, heif_or_avif, other_kind, webp_size
from apdraw_cli.conversion.memory import BUDGET, NO_MEMORY, bytes_a_pixel
from apdraw_cli.conversion.samples import check_tiff, is_deep, kind_of_tiff, low_bits
from apdraw_cli.conversion.sources import unreadable
from apdraw_cli.conversion.storage import Storage, open_storage
from engines.errors import PhotoError, in_one_line
from engines.installed import pip_install
from engines.machine_faults import is_want_of_memory
from engines.portrait import Image

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "GIF", "PPM", "JPEG2000")
"""What Pillow may open a file as. The rest are no photos, or (EPS) start another program."""

MAX_PIXELS: Final = 256_000_000
"""Larger photos are refused: a small file can claim to hold terabytes of pixels."""

MAX_BYTES: Final = 2**31

SIDEWAYS: Final = (5, 6, 7, 8)
"""EXIF orientations of pictures whose rows are stored as columns."""

JPEG_COLOURS: Final = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""What pixels of a mode are called by the decoder."""

JPEG_REDUCTIONS: Final = (1, 2, 4, 8)

PLAIN_JPEG: Final = 7
"""Bytes a pixel that decoding takes where no colours are changed."""

TURNS: Final[dict[int, Callable[[Image], Image]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.swapaxes(pixels[::-1, ::-1], 0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""By EXIF orientation, how the stored pixels are turned upright."""

MAX_TEXT: Final = 64 * 1024**2
"""Bytes of texts and of a profile in a PNG, unpacked, that are read; larger ones are passed over."""

CUT_OFF: Final = "the file is cut off: its end is missing"

TEXT_LIMITS: Final = ("too large", "too much memory")
"""What Pillow says where they are larger."""

_PILLOWS_LIMITS: Final = threading.Lock()
"""Held while Pillow's own limits are off: they are one for the whole process, which may not be ours."""


def read(path: Path | str) -> bytes:
    """Reads a photo's file of this machine, as `read_from` does."""
    folder, name = os.path.split(os.fspath(path))
    return read_from(open_storage(folder), name)


def read_from(storage: Storage, name: str) -> bytes:
    """Reads a photo's file.

    Raises:
        PhotoError: `not_found`, `not_a_file`, `unreadable`, `empty` or `too_large`.
    """
    try:
        data = storage.read(name, MAX_BYTES + 1)
    except OSError as error:
        raise unreadable(error) from error
    if not data:
        raise PhotoError("empty", "the file is empty")
    if len(data) > MAX_BYTES:
        raise PhotoError("too_large", "the file is larger than 2 GB")
    return data


@dataclass(frozen=True)
class DecodedPhoto:
    """A photo's pixels, upright, perhaps reduced.

    Attributes:
        pixels: uint8 [H, W, 3], RGB.
        size: width and height of the whole photo, upright, before it was reduced.
        reduction: how many of the photo's pixels one of `pixels` stands for, along a side; 1 if it is not reduced.
    """

    pixels: Image
    size: tuple[int, int]
    reduction: float


def decode(data: bytes) -> Image:
    """Decodes a photo: the first frame, turned upright by its EXIF orientation, in sRGB, over white.

    An embedded ICC profile is applied, a broken one ignored. 16-bit and float samples are scaled to 8 bits.

    Args:
        data: the whole file.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        PhotoError: `not_an_image`, `unsupported`, `needs_heif`, `too_large`, `truncated`, `damaged` or `out_of_memory`.
    """
    return _decoded(data, None).pixels


def decode_reduced(data: bytes, side: int) -> DecodedPhoto:
    """Decodes a photo as `decode` does, a JPEG at a half, a quarter or an eighth of its size where that is enough.

    Args:
        data: the whole file.
        side: pixels that the longer side keeps at least, if it has so many and memory allows.

    Raises:
        PhotoError: as `decode`.
    """
    return _decoded(data, side)


def pixels_of(picture: Pillow.Image) -> Image:
    """The pixels of a picture that Pillow has opened or made, as `decode` gives those of a file; it stays as it is.

    Returns:
        uint8 [H, W, 3], RGB, upright.

    Raises:
        PhotoError: as `decode`, if its file was not read yet.
    """
    try:
        _check_number_of_pixels(picture.size)
        upright = picture.copy()
        _turn_upright(upright)
        return to_srgb(upright)
    except Exception as error:
        raise _why_not_decoded(error) from error


def _decoded(data: bytes, side: int | None) -> DecodedPhoto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata; the pixels are what counts
        try:
            return _decoded_as_it_is(data, side)
        except ValueError as error:
            if not data.startswith(PNG) or not any(words in str(error).lower() for words in TEXT_LIMITS):
                raise _why_not_decoded(error) from error
        except Exception as error:  # Pillow's decoders raise nearly everything on damaged files
            raise _why_not_decoded(error) from error
        try:
            return _decoded_as_it_is(_without_texts(data), side)
        except Exception as error:
            raise _why_not_decoded(error) from error


def _decoded_as_it_is(data: bytes, side: int | None) -> DecodedPhoto:
    frame = read_frame(data) if data.startswith(JPEG) else None
    with _open(data) as picture:
        _check_number_of_pixels(picture.size)
        if picture.format in ("JPEG", "MPO") and frame is not None:
            return _decoded_jpeg(data, picture, frame, side)
        check_tiff(picture)
        deep = is_deep(picture)
        _check_memory(picture.size, bytes_a_pixel(picture.format or "", picture.mode, deep=deep))
        size = picture.size
        with _without_pillows_limits() if picture.format in ("TIFF", "PNG") else contextlib.nullcontext():
            picture.load()  # which for these formats asks for the limits again
        if deep and (scaled := low_bits(data, picture)) is not None:
            picture.im = Pillow.fromarray(scaled).im
        lies_on_its_side = _turn_upright(picture)
        return DecodedPhoto(to_srgb(picture), size[::-1] if lies_on_its_side else size, 1)


def _decoded_jpeg(data: bytes, picture: Pillow.Image, frame: Frame, side: int | None) -> DecodedPhoto:
    """Decodes a JPEG, reduced where `side` allows and that is enough, or memory wants it."""
    size, profile = picture.size, picture.info.get("icc_profile")
    orientation = 1
    with contextlib.suppress(Exception):  # damaged EXIF data
        orientation = int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    plain = picture.mode == "RGB" and not changes_colours(profile, "RGB")
    wanted = 1 if side is None else max(f for f in JPEG_REDUCTIONS if f == 1 or max(size) // side >= f)
    for reduction in JPEG_REDUCTIONS:
        reduced = (-(-size[0] // reduction), -(-size[1] // reduction))
        kept = size[0] * size[1] * 2 * frame.components if frame.progressive else 0
        need = kept + reduced[0] * reduced[1] * (PLAIN_JPEG if plain else bytes_a_pixel("JPEG", picture.mode))
        if reduction >= wanted and (need <= BUDGET or side is None):
            break
    if need > BUDGET:
        raise _too_much_memory(size, need)
    pixels = decode_jpeg(data, JPEG_COLOURS[picture.mode], reduced)
    if orientation in TURNS:
        pixels = np.ascontiguousarray(TURNS[orientation](pixels))
    if not plain:
        inked = picture.mode == "CMYK"  # as Adobe stores it: 0 is full ink
        colours = Pillow.frombytes(picture.mode, pixels.shape[1::-1], (255 - pixels if inked else pixels).tobytes())
        pixels = np.array(apply_profile(colours, profile), np.uint8)
    return DecodedPhoto(pixels, size[::-1] if orientation in SIDEWAYS else size, max(size) / max(reduced))


def _open(data: bytes) -> Pillow.Image:
    kind = heif_or_avif(data)
    if kind is not None:
        name, brand = kind
        if name == "HEIF" and not _register_heif():
            raise PhotoError("needs_heif", f"a HEIC photo needs pillow-heif; install it with: {pip_install('heic')}")
        data = data[:8] + brand + data[12:]  # libraries look at the first one only
    if (size := webp_size(data)) is not None:  # Pillow takes the memory when it opens it
        _check_number_of_pixels(size)
        _check_memory(size, bytes_a_pixel("WEBP", "RGB"))
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise PhotoError("truncated", CUT_OFF)
    try:
        with _without_pillows_limits():
            return Pillow.open(io.BytesIO(data), formats=FORMATS if kind is None else (kind[0],))
    except UnidentifiedImageError as error:
        raise _why_not_opened(data) from error


def _why_not_opened(data: bytes) -> PhotoError:
    if (kind := other_kind(data)) is not None and heif_or_avif(data) is None:
        return PhotoError("not_an_image", f"{kind}, not a picture in a format that apdraw reads")
    if data.startswith(TIFF) and (error := kind_of_tiff(data)) is not None:
        return error
    if data.startswith(BEGINNINGS) or heif_or_avif(data) is not None:
        return PhotoError(
            "damaged", "not a whole picture of a kind that apdraw reads (raw files are not: convert them to JPEG)"
        )
    return PhotoError("not_an_image", "not a picture in a format that apdraw reads")


def _check_number_of_pixels(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        limit = f"apdraw reads photos up to {MAX_PIXELS // 10**6} megapixels"
        raise PhotoError("too_large", f"{width} x {height} is too large: {limit}")


def _check_memory(size: tuple[int, int], bytes_each: int) -> None:
    need = size[0] * size[1] * bytes_each
    if need > BUDGET:
        raise _too_much_memory(size, need)


def _too_much_memory(size: tuple[int, int], need: int) -> PhotoError:
    reason = f"in this format it would take {need / 1e9:.1f} GB of memory; save it smaller"
    return PhotoError("too_large", f"{size[0]} x {size[1]} is too large: {reason}")


def _without_texts(data: bytes) -> bytes:
    """A PNG without texts and profile, for their size, which the pixels do not need."""
    kept = [data[: len(PNG)]]
    at = len(PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


@contextlib.contextmanager
def _without_pillows_limits() -> Iterator[None]:
    """Lets Pillow open what it would warn of or refuse: photos of today's phones. `MAX_PIXELS` is checked instead."""
    with _PILLOWS_LIMITS:
        before = Pillow.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        Pillow.MAX_IMAGE_PIXELS = None
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT
        try:
            yield
        finally:
            Pillow.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


@lru_cache(maxsize=1)
def _register_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _why_not_decoded(error: Exception) -> PhotoError:
    if isinstance(error, PhotoError):
        return error
    if is_want_of_memory(error):
        return PhotoError("out_of_memory", NO_MEMORY)
    if any(words in str(error).lower() for words in ("truncated", "end of file")):
        return PhotoError("truncated", CUT_OFF)
    return PhotoError("damaged", f"the file is damaged: {in_one_line(error)}")


def _turn_upright(picture: Pillow.Image) -> bool:
    """Turns a picture as its EXIF orientation says; returns whether its width and height changed places."""
    changed = False
    with contextlib.suppress(Exception):  # damaged EXIF data; the pixels are fine
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        ImageOps.exif_transpose(picture, in_place=True)
        changed = orientation in SIDEWAYS
    return changed
