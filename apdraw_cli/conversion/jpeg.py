"""Decodes JPEGs with a strict decoder: what it complains of was not in the photo that somebody saved."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg

from engines.errors import PhotoError
from engines.machine_faults import is_want_of_memory
from engines.portrait import Image

END: Final = b"\xff\xd9"

MOST_SCANS: Final = 500
"""A progressive JPEG of more passes is refused: real ones have about ten, and each takes as long as a decoding."""

HARMLESS: Final = ("Invalid SOS parameters", "JFIF", "Adobe")
"""Complaints about a header whose picture is whole."""

_START_OF_SCAN: Final = 0xDA
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_READ: Final = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
_PROGRESSIVE: Final = frozenset((0xC2, 0xCA))
_MISSING: Final = 128
"""What the decoder fills in for what is missing, in every channel."""


@dataclass(frozen=True)
class Frame:
    """What the header of a JPEG says.

    Attributes:
        progressive: it is decoded in several passes, for which all coefficients are kept.
        components: number of channels.
    """

    progressive: bool
    components: int


def read_frame(data: bytes) -> Frame | None:
    """Reads the header.

    Returns:
        None if there is none to be found.

    Raises:
        PhotoError: `unsupported`: it is a kind of JPEG that is not read here; `too_large`: it has too many passes.
    """
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _START_OF_SCAN:
            break
        if marker in _FRAMES:
            bits, components = data[at + 4], data[at + 9]
            if marker not in _READ or bits != 8:
                kind = f"of {bits} bits" if marker in _READ else "without loss"
                raise PhotoError("unsupported", f"a JPEG {kind}, which apdraw does not read: save it as a usual JPEG")
            if marker in _PROGRESSIVE and (scans := data.count(b"\xff\xda")) > MOST_SCANS:
                raise PhotoError("too_large", f"a progressive JPEG of {scans} passes, which would take minutes")
            return Frame(marker in _PROGRESSIVE, components)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def decode_jpeg(data: bytes, colours: str, size: tuple[int, int]) -> Image:
    """Decodes the pixels, not turned, of the colours in the file.

    A missing end mark is no matter where all of the picture is there.

    Args:
        data: the whole file.
        colours: `RGB`, `GRAY` or `CMYK`.
        size: width and height to decode at: the picture's, or a half, a quarter or an eighth of it, rounded up.

    Returns:
        uint8 [H, W, channels].

    Raises:
        PhotoError: `truncated` or `damaged`: part of the picture is missing or wrong.
        MemoryError: there is too little memory.
    """
    try:
        return _decode(data, colours, size, strict=True)
    except ValueError as error:
        complaint = str(error)
    if "end of JPEG file" in complaint:  # an end mark is put behind it, so that only what else is missing is told of
        data += END
        try:
            return _decode(data, colours, size, strict=True)
        except ValueError as error:
            complaint = f"{error}; end of JPEG file"
    try:
        pixels = _decode(data, colours, size, strict=False)
    except ValueError as error:
        raise PhotoError("damaged", f"the file is damaged: {error}") from error
    if complaint.startswith(HARMLESS):
        return pixels
    rows = missing_rows(pixels)
    missing = f"the lowest {_percent(rows / len(pixels))} of the picture are missing" if rows else ""
    if "end of JPEG file" in complaint or "premature end" in complaint.lower():
        raise PhotoError("truncated", f"the file is cut off: {missing or 'part of the picture is missing'}")
    raise PhotoError("damaged", f"the file is damaged: {missing or complaint}")


def missing_rows(pixels: npt.NDArray[np.uint8]) -> int:
    """Counts the rows at the bottom that the decoder filled in, as there was nothing in the file for them."""
    filled = (pixels == _MISSING).all(axis=tuple(range(1, pixels.ndim)))
    return len(pixels) if filled.all() else int(np.argmin(filled[::-1]))


def _percent(share: float) -> str:
    return "1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def _decode(data: bytes, colours: str, size: tuple[int, int], *, strict: bool) -> Image:
    width, height = size
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_width=width, min_height=height, strict=strict)
    except ValueError as error:
        if is_want_of_memory(error):
            raise MemoryError from error
        raise
    if pixels.shape[:2] != (height, width):
        raise ValueError(f"it was decoded at {pixels.shape[1]} x {pixels.shape[0]}, not {width} x {height}")
    return np.asarray(pixels, np.uint8)
