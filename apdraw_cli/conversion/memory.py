"""Bounds the memory that decoding one photo may take."""

from typing import Final

BUDGET: Final = 900_000_000
"""Bytes that decoding one photo may take at once."""

NO_MEMORY: Final = "there was not enough memory for it: close other programs, or use fewer --workers"

_BYTES_A_PIXEL: Final = {"JPEG": 15, "WEBP": 25, "JPEG2000": 21, "AVIF": 17}
"""What decoding was measured to take at its height, for pictures without transparency."""

_OTHERS: Final = 15
_TRANSPARENCY: Final = 4
_DEEP: Final = 27
"""Samples of more than 8 bits: as floats while they are scaled."""


def bytes_a_pixel(file_format: str, mode: str, *, deep: bool = False) -> int:
    """Bytes that decoding takes for each pixel of a picture.

    Args:
        file_format: Pillow's name of it.
        mode: Pillow's name of the kind of pixels.
        deep: its samples have more than 8 bits.
    """
    if deep or mode.startswith(("I", "F")):
        return _DEEP
    transparent = _TRANSPARENCY if mode in ("RGBA", "LA", "PA", "La", "RGBa") else 0
    return _BYTES_A_PIXEL.get(file_format, _OTHERS) + transparent
