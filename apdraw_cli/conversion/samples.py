"""Scales samples of more than 8 bits to 8, by the range that they are seen to use."""

import io
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import TiffImagePlugin

from engines.errors import PhotoError
from engines.portrait import Image

RANGES: Final = (255, 1023, 4095, 16383, 65535)
"""Largest samples of 8, 10, 12, 14 and 16 bits: cameras and scanners keep fewer bits in 16, at the lower end."""

OVEREXPOSED: Final = 1.5
"""Floats of which nearly all are below are meant from 0 to 1; what is above is white."""

HIGH_RANGE: Final = 32
"""Floats of which nearly all are below, but not below `OVEREXPOSED`, are light: nearly all of it is to be seen."""

NEARLY_ALL: Final = 99

DARK: Final = 64
"""The high bytes of samples of at most 14 bits in 16 are all below."""

SUBFILE, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, FORMAT = 254, 258, 259, 262, 277, 284, 339
"""Tags of TIFF."""

REDUCED: Final = 1
"""Bit of `SUBFILE`: a preview of another picture in the file."""

WHITE_IS_ZERO: Final = 0
SEPARATE: Final = 2
SIGNED: Final = 2
_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}


def to_8_bits(samples: npt.NDArray[Any], *, signed: bool = False) -> Image:
    """Scales samples to 0 to 255.

    Args:
        samples: integers of any size, or floats; what is not finite becomes 0.
        signed: integers of up to 16 bits that could be below 0, which is black.
    """
    if samples.dtype == np.uint16:  # by a table, which takes a tenth of the memory
        highest = int(samples.max(initial=0))
        scale = 255 / next(limit for limit in RANGES if highest <= limit)
        table = np.minimum(np.arange(65536) * scale + 0.5, 255).astype(np.uint8)
        return np.asarray(table[samples], np.uint8)
    floats = np.issubdtype(samples.dtype, np.floating)
    values = np.nan_to_num(samples.astype(np.float32), posinf=0, neginf=0)
    top = float(values.max(initial=0))
    if floats:
        full = _full_of_floats(values, top)
    else:
        ranges = (*RANGES[:-1], 32767) if signed and top <= 32767 else RANGES
        full = float(next((limit for limit in ranges if top <= limit), top))
    values *= 255 / full
    values += 0.5
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def _full_of_floats(values: npt.NDArray[np.float32], top: float) -> float:
    """The sample that is shown as white."""
    if top <= 1:
        return 1.0
    most = float(np.percentile(values.reshape(-1)[:: max(1, values.size // 1_000_000)], NEARLY_ALL))
    if most <= OVEREXPOSED:
        return 1.0
    if most <= HIGH_RANGE:
        return most
    return next((float(limit) for limit in RANGES if top <= limit), top)


def grey_to_8_bits(picture: Pillow.Image) -> Image:
    """Grey samples of a decoded picture of mode `I;16`, `I` or `F`, scaled."""
    tags = getattr(picture, "tag_v2", {})
    samples: npt.NDArray[Any] = np.asarray(picture)
    kind = _first(tags.get(FORMAT, 1))
    if picture.mode == "I" and tags and kind == 1:
        samples = samples.view(np.uint32)  # Pillow takes them for signed
    grey = to_8_bits(samples, signed=kind == SIGNED and _first(tags.get(BITS, 0)) == 16)
    return 255 - grey if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else grey


def is_deep(picture: Pillow.Image) -> bool:
    """Whether colours have 16 bits in the file, of which Pillow keeps the higher 8."""
    tags = getattr(picture, "tag_v2", {})
    bits = max((int(count) for count in _many(tags.get(BITS, 8))), default=8)
    tiles = getattr(picture, "tile", ())
    raw = str(tiles[0].args) if tiles else ""
    return picture.mode in _MODES.values() and (bits > 8 or ";16" in raw)


def check_tiff(picture: Pillow.Image) -> None:
    """Refuses a TIFF that Pillow would read wrongly.

    Raises:
        PhotoError: `unsupported`.
    """
    tags = getattr(picture, "tag_v2", {})
    if _first(tags.get(SUBFILE, 0)) & REDUCED:
        raise unsupported_tiff("that begins with a small preview, as raw files of cameras do")
    if tags.get(PLANAR) == SEPARATE and tags.get(SAMPLES, 1) > 1 and is_deep(picture):
        raise unsupported_tiff("of colours in separate planes of 16 bits")


def unsupported_tiff(kind: str) -> PhotoError:
    """The error that names a kind of TIFF."""
    return PhotoError("unsupported", f"a TIFF {kind}, which apdraw does not read: save it as PNG or JPEG")


def kind_of_tiff(data: bytes) -> PhotoError | None:
    """Why a whole TIFF that Pillow does not open is not read; None if its header is broken."""
    try:
        file = io.BytesIO(data)
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        bits, number = max(_many(tags[BITS])), int(tags.get(SAMPLES, 1))
        kind = {1: "integers", 2: "signed integers", 3: "floats"}.get(_first(tags.get(FORMAT, 1)), "samples")
        compression = _first(tags.get(COMPRESSION, 1))
    except Exception:  # nothing that is known of it
        return None
    return unsupported_tiff(f"of {number} x {bits} bits ({kind}, compression {compression})")


def low_bits(data: bytes, picture: Pillow.Image) -> Image | None:
    """Reads again a dark picture of 16 bits a colour, of which the higher 8 were kept, and scales it.

    Returns:
        uint8 [H, W, channels] in the order of its mode; None if the picture is not that dark.

    Raises:
        PhotoError: `unsupported`: its samples cannot be had.
    """
    channels = np.asarray(picture)
    if channels[..., :3].max(initial=0) >= DARK:
        return None
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if samples is None or samples.dtype != np.uint16 or samples.shape != channels.shape:
        raise PhotoError("unsupported", "a picture of fewer than 16 bits in 16: save it with 8 bits")
    colours = to_8_bits(samples[..., 2::-1])
    if samples.shape[2] == 4:
        return np.dstack([colours, to_8_bits(samples[..., 3])])
    return colours


def _many(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _first(value: Any) -> int:
    return int(_many(value)[0])
