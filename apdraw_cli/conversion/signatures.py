"""Tells by the first bytes of a file whether it is a picture of a kind that is read, whatever its name."""

from typing import Final

HEAD: Final = 32
"""So many bytes are enough to tell."""

_BEGINNINGS: Final = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",  # TIFF
    b"MM\0*",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000
    b"\xff\x4f\xff\x51",  # its bare codestream
)

_BRANDS: Final = frozenset(b"avif avis heic heix heim heis hevc hevx hevm hevs mif1 msf1 miaf MiHB 1pic".split())
"""Brands of AVIF and HEIC; films begin alike but for the brand."""


def is_picture(head: bytes) -> bool:
    """Whether a file that begins like this is a picture.

    Args:
        head: its first `HEAD` bytes, or more.
    """
    if head.startswith(_BEGINNINGS):
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[:2] == b"BM":  # two letters are too few; the four bytes after the size are always zero
        return len(head) >= 26 and head[6:10] == bytes(4)
    return head[4:8] == b"ftyp" and bool(_BRANDS & {head[8:12], head[16:20], head[20:24], head[24:28], head[28:32]})
