"""The whole drawing: parts in order of depth, who hides whom, and how sure each part is."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.portrait import Image
from train.artist import mesh
from train.artist.beard import Beard, draw_beard, find_beard
from train.artist.brows import draw_brow
from train.artist.canvas import Canvas, grown, polygon_mask
from train.artist.cloth import draw_cloth
from train.artist.contours import draw_folds, draw_jaw, draw_skin_lines
from train.artist.eyes import draw_eye
from train.artist.hair import Hair, draw_hair, find_hair
from train.artist.mouth import draw_mouth
from train.artist.nose import draw_nose
from train.artist.regions import Regions, find_regions
from train.artist.silhouette import draw_silhouette, page
from train.artist.sitter import Cover, Sitter, seat
from train.artist.spectacles import draw_spectacles

LEAST_QUALITY: Final = {"eyes": 0.15, "mouth": 0.05}
"""A portrait with a part below this is no pair to learn from."""


@dataclass(frozen=True)
class Drawing:
    """A finished drawing.

    Attributes:
        picture: uint8 [512, 512], 0 black to 255 white.
        quality: how clearly the photo shows each part, 0 to 1, by name.
        left_out: parts that are hidden, and so were not drawn.
    """

    picture: Image
    quality: dict[str, float]
    left_out: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether eyes and mouth, as far as they are not hidden, are clear enough to learn from."""
        return all(self.quality[part] >= least for part, least in LEAST_QUALITY.items() if part not in self.left_out)


def draw_portrait(
    photo: Image, transform: npt.ArrayLike, mesh: npt.ArrayLike, labels: Image, width: float = 1.0
) -> Drawing:
    """Draws a photo; see `train.artist.sitter.seat` and `draw`."""
    return draw(seat(photo, transform, mesh, labels), width)


def draw(sitter: Sitter, width: float = 1.0) -> Drawing:
    """Draws a sitter.

    Args:
        sitter: who is drawn.
        width: factor of all stroke widths.
    """
    canvas = Canvas(width)
    regions = find_regions(sitter)
    hair, beard = find_hair(sitter, regions), find_beard(sitter, regions)
    cover = _cover(sitter, regions, hair, beard)
    draw_cloth(sitter, regions, canvas)
    hair_quality = 0.0 if hair is None else draw_hair(hair, canvas)
    if beard is not None:  # a long beard hides the collar
        canvas.erase((beard.mask > 0.5) & ~sitter.oval)
    beard_quality = 0.0 if beard is None else draw_beard(sitter, beard, canvas)
    draw_skin_lines(sitter, cover, canvas)
    jaw = draw_jaw(sitter, cover, canvas)
    draw_silhouette(sitter, regions, canvas)
    features = Canvas(width)
    brows = [draw_brow(sitter, side, cover, features) for side in (0, 1)]
    nose = draw_nose(sitter, features)
    mouth = draw_mouth(sitter, cover, features)
    draw_folds(sitter, cover, features)
    glasses = Canvas(width)
    spectacles = draw_spectacles(sitter, glasses)
    if spectacles.worn:  # no wrinkle and no brow runs along a rim
        near = glasses.near(4)
        features.erase(near)
        behind = np.any([grown(polygon_mask(rim), 10) for rim in spectacles.rims], axis=0)
        canvas.erase((near | behind) & sitter.oval & (cover.hair < 0.5))
    fringe = cover.hair > 0.5
    features.erase(fringe)
    eyes = []
    for side in (0, 1):
        sheet = Canvas(width)
        eye = draw_eye(sitter, side, sheet)
        eyes.append(eye)
        features.erase(eye.clear)
        if not spectacles.shaded:
            canvas.erase(eye.clear)
            features.add(sheet)
    canvas.add(features)
    canvas.add(glasses)
    canvas.erase(~page(sitter))
    quality = {
        "eyes": min(eye.quality for eye in eyes),
        "brows": min(brow.quality for brow in brows),
        "nose": nose.quality,
        "mouth": mouth.quality,
        "jaw": jaw.quality,
        "spectacles": spectacles.quality,
        "hair": hair_quality,
        "beard": beard_quality,
    }
    hidden = [part for part, is_hidden in (("eyes", spectacles.shaded), ("brows", not quality["brows"])) if is_hidden]
    return Drawing(canvas.drawing(), quality, tuple(hidden))


def _cover(sitter: Sitter, regions: Regions, hair: Hair | None, beard: Beard | None) -> Cover:
    nothing = np.zeros_like(sitter.light)
    covered = nothing if hair is None else hair.mask
    if regions.headwear:
        above = np.arange(len(covered))[:, None] < sitter.at(mesh.NOSE_BASE)[1]
        covered = np.maximum(covered, regions.cloth * above)
    return Cover(
        skin=regions.skin,
        hair=np.asarray(covered, np.float32),
        beard=nothing if beard is None else beard.mask,
        hair_light=1.0 if hair is None else hair.light,
    )
