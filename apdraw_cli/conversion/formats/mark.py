"""The mark by which a drawing of this program is known: its name in the file's EXIF data."""

from functools import cache
from typing import BinaryIO, Final

from apdraw_cli import __version__

MARK: Final = "apdraw"

_SOFTWARE: Final = 0x0131  # the EXIF tag that names the program


@cache
def exif_mark() -> bytes:
    """EXIF data that bears the mark, with the header `Exif` that JPEG wants."""
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    exif[_SOFTWARE] = f"{MARK} {__version__}"
    return exif.tobytes()


def has_exif_mark(file: BinaryIO) -> bool:
    """Whether an open picture bears the mark in its EXIF data."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(file) as picture:
            return str(picture.getexif().get(_SOFTWARE, "")).startswith(MARK)
    except Exception:  # no picture at all
        return False
