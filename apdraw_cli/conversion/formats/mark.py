"""The mark by which a drawing of this program is known: its name in the file's EXIF data.

Files without such data, SVG and PDF, end in a comment that names the program and holds a checksum of what comes before:
the seal, which a file that was edited has no more.
"""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

from apdraw_cli import __version__
from engines.regular_files import open_regular, read_start

MARK: Final = "apdraw"

_SOFTWARE: Final = 0x0131  # the EXIF tag that names the program
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_INCH: Final = 2
_MARKED: Final = ("PNG", "JPEG", "WEBP", "TIFF")
_SEAL: Final = re.compile(rb"(?:<!--|%) apdraw [\w.+-]+ ([0-9a-f]{64})(?: -->)?\n\Z")
_LONGEST_SEAL: Final = 256
_MOST_SEALED: Final = 2**28
"""Bytes; no drawing is larger."""


def sealed(data: bytes, opening: bytes, closing: bytes) -> bytes:
    """A file of text with the seal at its end, as a comment between these two."""
    seal = f" {MARK} {__version__} {hashlib.sha256(data).hexdigest()}"
    return data + opening + seal.encode() + closing + b"\n"


def is_sealed(file: BinaryIO) -> bool:
    """Whether an open file ends in the seal, and is as it was when it was written."""
    try:
        data = read_start(file, _MOST_SEALED)
    except OSError:
        return False
    seal = _SEAL.search(data, max(0, len(data) - _LONGEST_SEAL))
    return seal is not None and hashlib.sha256(data[: seal.start()]).hexdigest().encode() == seal[1]


@cache
def exif_mark(dpi: float | None = None) -> bytes:
    """EXIF data that bears the mark, with the header `Exif` that JPEG wants.

    Args:
        dpi: pixels an inch; None if that is not known.
    """
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    exif[_SOFTWARE] = f"{MARK} {__version__}"
    if dpi is not None:
        exif[_X_RESOLUTION] = exif[_Y_RESOLUTION] = dpi
        exif[_RESOLUTION_UNIT] = _INCH
    return exif.tobytes()


def has_exif_mark(file: BinaryIO) -> bool:
    """Whether an open picture bears the mark in its EXIF data; no pixel is decoded to see that."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(file, formats=_MARKED) as picture:
            exif = Pillow.Exif()
            exif.load(picture.info.get("exif", b""))
            software = exif.get(_SOFTWARE) or getattr(picture, "tag_v2", {}).get(_SOFTWARE)
            return str(software).startswith(MARK)
    except Exception:  # no picture at all
        return False


def is_drawing(file: BinaryIO) -> bool:
    """Whether an open picture is a drawing of this program, or an overview.

    It bears the mark, and so do portraits of a data set, but those are in colour and tell no resolution. Only WebP has
    no grey, and no data set has WebP.
    """
    from PIL import Image as Pillow

    if not has_exif_mark(file):
        return False
    file.seek(0)
    with Pillow.open(file, formats=_MARKED) as picture:
        return picture.format == "WEBP" or picture.mode != "RGB" or _X_RESOLUTION in picture.getexif()


def made_by_apdraw(path: Path) -> bool:
    """Whether a file is a picture that bears the mark; a link to one is none."""
    try:
        with open_regular(path, follow_links=False) as file:
            return has_exif_mark(file)
    except OSError:
        return False
