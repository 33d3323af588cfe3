"""How a drawing of the filter looks: widths, levels and lengths in one frozen class."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NprParameters:
    """How a drawing looks. Lengths in pixels of a 512 x 512 portrait; tones from 0 to 1, 1 being bare skin or white.

    Attributes:
        flow_sigma: smoothing of the structure tensor; larger gives longer, calmer strokes.
        line_sigma: inner Gaussian across a line; lines about 2.5 times as wide answer most.
        feature_sigma: the same around eyes and mouth.
        stroke_sigma: smoothing along the flow.
        gain: weight of strokes against tone.
        hair_black: the share of hair that turns black, at each of `hair_lightness`.
        hair_lightness: lightness of hair over that of skin.
        feature_level: tone under which eyes and lips turn black.
        brow_level: tone under which brows turn black.
        eye_black: the largest share of an eye that may turn black.
        beard_level: lightness over that of skin under which a beard turns black.
        clothes_level: lightness under which clothes turn black.
        narrow_size: what is narrower than this and `narrow_depth` darker than its surroundings is filled on skin.
        narrow_depth: tone.
        skin_strength: least strength of a line on skin at its strongest place, and anywhere along it.
        skin_length: length of the shortest line on skin.
        clothes_strength: as `skin_strength`, in clothes.
        clothes_length: as `skin_length`, in clothes.
        pen: widths of the weakest and the strongest line on skin and in clothes.
        contour: width of jaw line and outline.
        speck: area of the smallest spot that is kept, black or white.
        line_width: widest stroke that counts as a line in the line map.
        line_length: length of the shortest line there.
    """

    flow_sigma: float = 2.0
    line_sigma: float = 0.85
    feature_sigma: float = 0.65
    stroke_sigma: float = 4.0
    gain: float = 5.0
    hair_black: tuple[float, ...] = (0.88, 0.75, 0.50, 0.24, 0.15)
    hair_lightness: tuple[float, ...] = (0.20, 0.45, 0.70, 1.00, 1.25)
    feature_level: float = 0.52
    brow_level: float = 0.68
    eye_black: float = 0.45
    beard_level: float = 0.59
    clothes_level: float = 0.24
    narrow_size: int = 15
    narrow_depth: float = 0.42
    skin_strength: tuple[float, float] = (0.040, 0.018)
    skin_length: float = 13.0
    clothes_strength: tuple[float, float] = (0.055, 0.025)
    clothes_length: float = 35.0
    pen: tuple[float, float] = (1.3, 2.2)
    contour: float = 2.6
    speck: float = 10.0
    line_width: int = 7
    line_length: float = 6.0
