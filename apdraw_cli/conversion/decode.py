"""Decodes a photo's file of any common format to sRGB pixels, upright and opaque."""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import ExifTags, ImageCms, ImageOps, UnidentifiedImageError
from PIL import Image as Pillow

from apdraw_cli.conversion.sources import unreadable
from apdraw_cli.conversion.storage import Storage, open_storage
from engines.errors import PhotoError
from engines.portrait import WHITE, Image

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "GIF", "PPM", "JPEG2000")
"""What Pillow may open a file as. The rest are no photos, or (EPS) start another program."""

MAX_PIXELS: Final = 256_000_000
"""Larger photos are refused: a small file can claim to hold terabytes of pixels."""

MAX_BYTES: Final = 2**31

SRGB: Final = ImageCms.createProfile("sRGB")

SIDEWAYS: Final = (5, 6, 7, 8)
"""EXIF orientations of pictures whose rows are stored as columns."""

TIFF_PHOTOMETRIC: Final = 262
WHITE_IS_ZERO: Final = 0

_PILLOWS_LIMIT: Final = threading.Lock()
"""Held while Pillow's own limit is off: it is one for the whole process, which may not be ours."""

SIGNATURES: Final = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"GIF8")
"""How files begin that are photos, if anything further on can be read."""

HEIF_BRANDS: Final = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))


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
        PhotoError: `not_an_image`, `needs_heif`, `too_large`, `truncated` or `damaged`.
    """
    return _decoded(data, None).pixels


def decode_reduced(data: bytes, side: int) -> DecodedPhoto:
    """Decodes a photo as `decode` does, a JPEG at a half, a quarter or an eighth of its size where that is enough.

    Args:
        data: the whole file.
        side: pixels that the longer side keeps at least, if it has so many.

    Raises:
        PhotoError: as `decode`.
    """
    return _decoded(data, side)


def _decoded(data: bytes, side: int | None) -> DecodedPhoto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata; the pixels are what counts
        picture = _open(data)
        try:
            with picture:
                size = picture.size
                longest = max(size)
                if side is not None and longest >= 2 * side:
                    width, height = (max(1, length * side // longest) for length in size)
                    picture.draft(picture.mode, (width, height))  # does nothing but for JPEG
                reduction = longest / max(picture.size)
                if reduction == 1 and (pixels := _plain_jpeg(picture, data)) is not None:
                    return DecodedPhoto(pixels, size, reduction)
                with _without_pillows_limit() if picture.format == "TIFF" else contextlib.nullcontext():
                    picture.load()  # which for this format asks for the limit again
                lies_on_its_side = _turn_upright(picture)
                return DecodedPhoto(_to_srgb(picture), size[::-1] if lies_on_its_side else size, reduction)
        except Exception as error:  # Pillow's decoders raise nearly everything on damaged files
            raise _damaged(error) from error


def _plain_jpeg(picture: Pillow.Image, data: bytes) -> Image | None:
    """Pixels of a JPEG that is upright and in sRGB as it is: the same as Pillow's, in half the time.

    Returns:
        None for any other picture, and where Pillow is to tell what is wrong with it.
    """
    if (picture.format, picture.mode) != ("JPEG", "RGB"):
        return None
    with contextlib.suppress(Exception):  # damaged EXIF data or profile, or pixels
        profile = picture.info.get("icc_profile")
        upright = picture.getexif().get(ExifTags.Base.Orientation, 1) == 1
        if upright and (not profile or _profile_transform(profile, "RGB") is None):
            return np.asarray(simplejpeg.decode_jpeg(data, "RGB"), np.uint8)
    return None


def _open(data: bytes) -> Pillow.Image:
    heif = data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS
    if heif and not _register_heif():
        raise PhotoError("needs_heif", "a HEIC photo needs pillow-heif: pip install 'apdraw[heic]'")
    try:
        with _without_pillows_limit():
            picture = Pillow.open(io.BytesIO(data), formats=("HEIF",) if heif else FORMATS)
    except UnidentifiedImageError as error:
        if data.startswith(SIGNATURES) or data[4:8] == b"ftyp":
            raise PhotoError("damaged", "the file is damaged: it begins as a picture only") from error
        raise PhotoError("not_an_image", "not a picture in a format that apdraw reads") from error
    except Exception as error:
        raise _damaged(error) from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        picture.close()
        limit = f"apdraw reads photos up to {MAX_PIXELS // 10**6} megapixels"
        raise PhotoError("too_large", f"{width} x {height} is too large: {limit}")
    return picture


@contextlib.contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Lets Pillow open what it would warn of or refuse: photos of today's phones. `MAX_PIXELS` is checked instead."""
    with _PILLOWS_LIMIT:
        limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Pillow.MAX_IMAGE_PIXELS = limit


@lru_cache(maxsize=1)
def _register_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _damaged(error: Exception) -> PhotoError:
    if any(words in str(error).lower() for words in ("truncated", "end of file")):
        return PhotoError("truncated", "the file is cut off: its end is missing")
    if isinstance(error, MemoryError):
        return PhotoError("too_large", "not enough memory to decode it")
    reason = " ".join(str(error).split()) or type(error).__name__
    return PhotoError("damaged", f"the file is damaged: {reason}")


def _turn_upright(picture: Pillow.Image) -> bool:
    """Turns a picture as its EXIF orientation says; returns whether its width and height changed places."""
    changed = False
    with contextlib.suppress(Exception):  # damaged EXIF data; the pixels are fine
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        ImageOps.exif_transpose(picture, in_place=True)
        changed = orientation in SIDEWAYS
    return changed


def _to_srgb(picture: Pillow.Image) -> Image:
    profile = picture.info.get("icc_profile")
    alpha = None
    if picture.has_transparency_data and picture.mode not in ("I;16", "I", "F"):
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        picture = picture.convert("RGB")
    elif picture.mode.startswith(("I", "F")):
        picture = Pillow.fromarray(_to_8_bits(picture))
    elif picture.mode not in ("L", "RGB", "CMYK", "LAB"):
        picture = picture.convert("RGB")
    picture = _apply_profile(picture, profile)
    if alpha is not None:
        page = Pillow.new("RGB", picture.size, (WHITE,) * 3)
        page.paste(picture, mask=alpha)
        picture = page
    return np.array(picture, np.uint8)


def _to_8_bits(picture: Pillow.Image) -> Image:
    """Grey samples of 16 or 32 bits or floats, scaled to 0 to 255 by the range that they are seen to use."""
    samples: npt.NDArray[Any] = np.nan_to_num(np.asarray(picture).astype(np.float32), posinf=0, neginf=0)
    top = float(samples.max(initial=0))
    if picture.mode.startswith("I;16"):
        full = 65535.0
    elif picture.mode == "F" and top <= 1:
        full = 1.0
    else:
        full = next((limit for limit in (255.0, 65535.0) if top <= limit), top)
    grey = np.clip(samples * (255 / full) + 0.5, 0, 255).astype(np.uint8)
    tags = getattr(picture, "tag_v2", {})
    return 255 - grey if tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO else grey


def _apply_profile(picture: Pillow.Image, profile: bytes | None) -> Pillow.Image:
    """The picture in sRGB; without a usable profile its values are taken as sRGB."""
    if picture.mode == "LAB":
        transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), SRGB, "LAB", "RGB")
        return _transformed(picture, transform)
    if profile:
        try:
            used = _profile_transform(profile, picture.mode)
            if used is not None:
                return _transformed(picture, used)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return picture.convert("RGB")


@lru_cache(maxsize=8)
def _profile_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB; None if it changes nothing or is not for pixels of this mode."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}[mode]
    name = source.profile.profile_description or ""
    if source.profile.xcolor_space.strip() != space or (mode == "RGB" and name.startswith("sRGB")):
        return None
    return ImageCms.buildTransform(source, SRGB, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)


def _transformed(picture: Pillow.Image, transform: ImageCms.ImageCmsTransform) -> Pillow.Image:
    result = ImageCms.applyTransform(picture, transform)
    return picture.convert("RGB") if result is None else result
