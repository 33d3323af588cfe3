"""Tells by its first bytes what kind of file something is: a picture, and what reads it, or what else."""

import struct
from typing import Final

HEAD: Final = 32
"""So many bytes are enough for `is_picture`."""

JPEG: Final = b"\xff\xd8\xff"
PNG: Final = b"\x89PNG\r\n\x1a\n"
TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

BEGINNINGS: Final = (
    JPEG,
    b"\x89PNG",  # with what follows lost on its way through a text mode
    *TIFF,
    b"GIF8",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000
    b"\xff\x4f\xff\x51",  # its bare codestream
)
"""How files begin that are photos, if anything further on can be read."""

HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
"""Of HEIC files, still pictures before sequences."""

GENERAL_BRANDS: Final = (b"mif1", b"msf1", b"1pic", b"MiHB", b"miaf")
"""Of files that may hold any codec; taken for HEIC where nothing tells more."""

AVIF_BRANDS: Final = (b"avif", b"avis")

_MOST_BRANDS: Final = 64

_OTHERS: Final = (
    (b"%PDF", "a PDF"),
    (b"%!PS", "a PostScript file"),
    (b"8BPS", "a Photoshop file"),
    (b"gimp xcf", "a GIMP file"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance picture"),
    (b"FUJIFILMCCD-RAW", "a raw file of a camera"),
    (b"IIU\0", "a raw file of a camera"),
    (b"IIRO", "a raw file of a camera"),
    (b"FOVb", "a raw file of a camera"),
    (b"\0\0\x01\0", "an icon"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<svg", "an SVG"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)


def is_picture(head: bytes) -> bool:
    """Whether a file that begins like this is a picture of a kind that is read, whatever its name.

    Args:
        head: its first `HEAD` bytes, or more.
    """
    if head.startswith(BEGINNINGS) or heif_or_avif(head) is not None:
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    # A bitmap: two letters are too few; the four bytes after the size are always zero.
    return head[:2] == b"BM" and len(head) >= 26 and head[6:10] == bytes(4)


def brands(data: bytes) -> tuple[bytes, ...]:
    """The brands that a file of ISO base media names, its major one first; none if it is no such file."""
    if data[4:8] != b"ftyp":
        return ()
    length = min(struct.unpack(">I", data[:4])[0], 16 + 4 * _MOST_BRANDS, len(data))
    return (data[8:12], *(data[at : at + 4] for at in range(16, length - 3, 4)))


def heif_or_avif(data: bytes) -> tuple[str, bytes] | None:
    """Which of the two formats a file is of by any of its brands, and a brand of it that libraries know."""
    named = brands(data)
    for name, brands_of, general in (("AVIF", AVIF_BRANDS, ()), ("HEIF", HEIF_BRANDS, GENERAL_BRANDS)):
        for brand in (*brands_of, *general):
            if brand in named:
                return name, GENERAL_BRANDS[0] if brand in general else brand
    return None


def other_kind(data: bytes) -> str | None:
    """What a file is that is no picture of a kind that is read here, in words; None if that is not known."""
    named = brands(data)
    if named:
        return "a raw file of a camera (CR3)" if named[0] == b"crx " else "a video (MP4 or MOV)"
    if data[:4] == b"RIFF" and data[8:12] != b"WEBP":
        return "a video or sound (RIFF)"
    return next((kind for start, kind in _OTHERS if data.startswith(start)), None)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP by its header; None for any other file."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            packed = int.from_bytes(data[21:25], "little")
            return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
        case _:
            return None
