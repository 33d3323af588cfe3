"""Makes pixels of any kind sRGB over white: profiles are applied by LittleCMS, a broken one is ignored."""

import contextlib
import io
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

from apdraw_cli.conversion.samples import grey_to_8_bits
from engines.portrait import WHITE, Image

SRGB: Final = ImageCms.createProfile("sRGB")


def changes_colours(profile: bytes | None, mode: str) -> bool:
    """Whether a profile is usable, and pixels of a mode are other in sRGB."""
    if not profile:
        return False
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):  # a broken profile is none
        return _profile_transform(profile, mode) is not None
    return False


def to_srgb(picture: Pillow.Image) -> Image:
    """Pixels of a decoded picture: uint8 [H, W, 3], in sRGB by its profile, over white."""
    profile = picture.info.get("icc_profile")
    alpha = None
    if picture.has_transparency_data and picture.mode not in ("I;16", "I", "F"):
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        picture = picture.convert("RGB")
    elif picture.mode.startswith(("I", "F")):
        picture = Pillow.fromarray(grey_to_8_bits(picture))
    elif picture.mode not in ("L", "RGB", "CMYK", "LAB"):
        picture = picture.convert("RGB")
    picture = apply_profile(picture, profile)
    if alpha is not None:
        page = Pillow.new("RGB", picture.size, (WHITE,) * 3)
        page.paste(picture, mask=alpha)
        picture = page
    return np.array(picture, np.uint8)


def apply_profile(picture: Pillow.Image, profile: bytes | None) -> Pillow.Image:
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
