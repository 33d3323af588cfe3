"""Tells skin, hair and cloth apart by mixtures of colours learnt in the portrait itself and by where each usually lies.

Expectation maximisation (Dempster et al.) on a small copy: each class is a mixture of Gaussians over lightness, colour
and roughness, and a prior tells from the place beside the mesh's oval how likely each class is. Neighbours then agree
(mean field), and a colour guided filter brings the classes back to the photo's own edges.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from train.artist import mesh as points
from train.artist.canvas import SIDE, grown, polygon_mask
from train.artist.sitter import Sitter
from train.npr.edge_flow import Plane, soften
from train.npr.face_parsing import Mask

SMALL: Final = 256
"""Side of the copy that the classes are learnt on."""
SKIN, HAIR, CLOTH = range(3)
MIXTURE: Final = (2, 3, 3)
"""Gaussians of each class."""
ROUNDS: Final = 6
"""Of expectation maximisation."""
LEAST_SPREAD: Final = (5.0, 3.0, 3.0, 3.0)
"""Standard deviations added to each Gaussian, in units of the features."""
WHITE: Final = 150
"""White headwear is lighter than this (L of 255), however dark the skin beside it."""
UNLIKELY: Final = 3e-8
"""Density of what fits no class: there the place decides."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Regions:
    """What the person is made of, float32 [1024, 1024], 0 to 1; the three add up to the person.

    Attributes:
        skin: face, scalp, ears and neck, beards included.
        hair: hair on the head and falling from it.
        cloth: clothes, hats and scarves.
        bald: whether the head has so little hair that its outline is the scalp's.
        headwear: whether a hat or a scarf covers the head.
    """

    skin: Plane
    hair: Plane
    cloth: Plane
    bald: bool
    headwear: bool


class Place(NamedTuple):
    """Where the pixels of a small copy lie, in eye distances.

    Attributes:
        depth: inside the oval, negative outside.
        x: right of the oval's middle.
        y: below the eyes.
        brow: height of the brows, as `y`.
        nose: of the nose's base.
        mouth: of the mouth.
        chin: of the chin.
        half: half the width of the face.
    """

    depth: Plane
    x: Plane
    y: Plane
    brow: float
    nose: float
    mouth: float
    chin: float
    half: float


class _Gaussian(NamedTuple):
    owner: int
    mean: Floats
    spread: Floats
    share: float

    def density(self, values: Floats) -> Floats:
        """Density at values [N, 4], but for a constant factor."""
        apart = values - self.mean
        distance = np.einsum("nd,de,ne->n", apart, np.linalg.inv(self.spread), apart)
        return np.asarray(np.exp(-0.5 * distance) / np.sqrt(np.linalg.det(self.spread)), np.float64)


def ramp(values: npt.ArrayLike, zero: float, one: float) -> Plane:
    """0 at `zero`, 1 at `one`, linear between, clipped beyond."""
    return np.asarray(np.clip((np.asarray(values) - zero) / (one - zero), 0, 1), np.float32)


def place_of(sitter: Sitter, side: int = SMALL) -> Place:
    """Where pixels lie beside the mesh; planes are float32 [side, side]."""
    scale = side / SIDE
    eyes = float(sitter.at(points.IRIS_CENTRES)[:, 1].mean())
    middle = float(sitter.at(points.OVAL)[:, 0].mean())
    oval = polygon_mask(sitter.at(points.OVAL), side).astype(np.uint8)
    inner, outer = (cv2.distanceTransform(mask, cv2.DIST_L2, 5) for mask in (oval, 1 - oval))
    at = (np.arange(side, dtype=np.float32) + 0.5) / scale - 0.5
    y, x = np.meshgrid((at - eyes) / sitter.eye_distance, (at - middle) / sitter.eye_distance, indexing="ij")

    def height(group: tuple[int, ...]) -> float:
        return (float(sitter.at(group)[:, 1].mean()) - eyes) / sitter.eye_distance

    return Place(
        depth=np.asarray((inner - outer) / (scale * sitter.eye_distance), np.float32),
        x=np.asarray(x, np.float32),
        y=np.asarray(y, np.float32),
        brow=height((points.BROW_TOPS[0][2], points.BROW_TOPS[1][2])),
        nose=height((points.NOSE_BASE,)),
        mouth=height(points.MOUTH_MIDDLE),
        chin=height((points.CHIN,)),
        half=float(np.ptp(sitter.at(points.CHEEK_RIMS)[:, 0])) / 2 / sitter.eye_distance,
    )


def find_regions(sitter: Sitter) -> Regions:
    """Tells the regions of a sitter apart."""
    place = place_of(sitter)
    person = _small(sitter.person.astype(np.float32)) > 0.5
    features = _features(sitter)
    prior = _priors(place)
    mixture = _learn(features, prior, _sure(sitter, person, place))
    mixture, bald = _without_scalp(mixture, features, person, place)
    prior = _with_fringe(prior, mixture, features, person, place)
    first = _chances(mixture, features, prior, person)
    chances = _chances(mixture, features, _with_falls(prior, first[..., HAIR], person, place), person)
    crown = person & (place.y < place.brow - 0.2) & (place.depth < 0) & (np.abs(place.x) < 0.7 * place.half)
    bald = bald and not (crown.any() and float(chances[..., HAIR][crown].mean()) > 0.4)
    headwear = not bald and _is_headwear(features, chances[..., HAIR], person, place)
    if headwear:
        chances[..., CLOTH] += chances[..., HAIR]
        chances[..., HAIR] = 0
    chances = _off_neck(_off_forehead(_hanging(chances, place), place), place)
    fine = _refined(sitter, chances)
    fine *= sitter.person[..., None] / np.maximum(fine.sum(axis=-1, keepdims=True), np.float32(1e-3))
    skin, hair, cloth = (np.ascontiguousarray(fine[..., owner], np.float32) for owner in (SKIN, HAIR, CLOTH))
    return Regions(skin, hair, cloth, bald, headwear)


def _small(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.resize(plane, (SMALL, SMALL), interpolation=cv2.INTER_AREA), np.float32)


def _features(sitter: Sitter) -> Floats:
    """Lightness, red, yellow and roughness of each pixel, [256, 256, 4], scaled to weigh alike."""
    small = np.rint(_small(cv2.GaussianBlur(sitter.rgb, (0, 0), 2))).astype(np.uint8)
    colour = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float64) - (0, 128, 128)
    rough = np.sqrt(_small(soften((sitter.light - soften(sitter.light, 3)) ** 2, 5))) * 255
    scaled = colour * (0.6, 1.6, 1.4)
    return np.dstack([scaled, 10 * np.log(np.maximum(rough, 0.7))])


def _priors(place: Place) -> npt.NDArray[np.float32]:
    """How likely skin, hair and cloth are at each place, [256, 256, 3]."""
    out, aside = -place.depth, np.abs(place.x)
    upper = ramp(place.y, place.brow + 0.15, place.brow - 0.1)
    rim = np.exp(-np.maximum(place.depth, 0) / 0.12)
    fringe = 0.02 + 0.30 * rim * np.maximum(upper, 0.35 * (place.y < place.mouth)) + 0.07 * upper
    above = ramp(place.y, place.brow + 0.1, place.brow - 0.3)
    below = ramp(place.y, place.mouth - 0.1, place.chin)
    forehead = 0.75 * above * np.exp(-np.maximum(out, 0) / 0.22)
    ears = (1 - above) * ramp(place.y, place.mouth + 0.15, place.mouth - 0.05)
    ears *= 0.6 * np.exp(-((np.maximum(out - 0.02, 0) / 0.22) ** 2))
    neck = 0.8 * below * ramp(place.y, place.chin + 1.3, place.chin + 0.7)
    neck *= ramp(aside, place.half, 0.6 * place.half)
    hair = (1 - below) * 0.85 + below * 1e-5
    cloth = (1 - below) * 0.01 + below * (0.25 + 0.75 * ramp(place.y, place.chin, place.chin + 0.9))
    hair, cloth = (
        hair * (1 - 0.85 * neck),
        cloth * (1 - 0.6 * neck * ramp(place.y, place.chin + 0.8, place.chin + 0.3)),
    )
    skin = np.maximum(np.maximum(forehead, ears), neck) + 0.02
    inside = place.depth > 0
    prior = np.stack(
        [np.where(inside, 0.97 - fringe, skin), np.where(inside, fringe, hair), np.where(inside, 0.004, cloth)], axis=-1
    )
    return np.asarray(prior / prior.sum(axis=-1, keepdims=True), np.float32)


def _sure(sitter: Sitter, person: Mask, place: Place) -> Mask:
    """Where the classes are learnt: well inside the person, off eyes, brows, nose, lips and beards."""
    inside = _small(sitter.inside.astype(np.float32)) > 0.9
    features = np.zeros(person.shape, bool)
    for side in (0, 1):
        features |= polygon_mask(sitter.at(points.BROW_TOPS[side] + points.BROW_BOTTOMS[side][::-1]), SMALL)
        features |= polygon_mask(sitter.at(points.CREASES[side] + points.EYE_BAGS[side][::-1]), SMALL)
    lower = (place.depth > 0) & (place.y > place.nose - 0.05)
    return grown(person & inside, -2) & ~grown(features, 2) & ~lower


def _learn(features: Floats, prior: npt.NDArray[np.float32], where: Mask) -> list[_Gaussian]:
    """The mixtures of all classes; `where` is thinned to every second pixel each way."""
    thin = np.zeros_like(where)
    thin[::2, ::2] = where[::2, ::2]
    values, weights = features[thin], prior[thin].astype(np.float64)
    mixture = [part for owner in range(3) for part in _first(values, weights[:, owner], owner)]
    for _ in range(ROUNDS):
        joint = np.stack([weights[:, part.owner] * part.share * part.density(values) for part in mixture], axis=1)
        joint /= joint.sum(axis=1, keepdims=True) + UNLIKELY
        mass = joint.sum(axis=0)
        of_owner = [max(1e-6, sum(m for m, p in zip(mass, mixture, strict=True) if p.owner == o)) for o in range(3)]
        mixture = [
            _fitted(values, joint[:, index], part.owner, mass[index] / of_owner[part.owner])
            if mass[index] > 5
            else part._replace(share=1e-6)
            for index, part in enumerate(mixture)
        ]
    return mixture


def _first(values: Floats, weights: Floats, owner: int) -> list[_Gaussian]:
    """Gaussians of a class from where its place is nearly sure: k-means, begun from equal shares by lightness."""
    chosen = weights > 0.5
    if chosen.sum() < 30:
        chosen = weights > 0
    values, weights = values[chosen], weights[chosen] ** 2
    count = MIXTURE[owner]
    if len(values) < 8:
        return []
    order = np.argsort(values[:, 0], kind="stable")
    group = np.zeros(len(values), int)
    group[order] = np.minimum(np.cumsum(weights[order]) / weights.sum() * count, count - 1).astype(int)
    for _ in range(5):
        kept = [index for index in range(count) if (group == index).any()]
        means = np.stack(
            [np.average(values[group == index], axis=0, weights=weights[group == index]) for index in kept]
        )
        group = ((values[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
    parts = []
    for index in range(count):
        mass = weights * (group == index)
        if (group == index).sum() >= 8:
            parts.append(_fitted(values, mass, owner, float(mass.sum() / weights.sum())))
    return parts


def _fitted(values: Floats, mass: Floats, owner: int, share: float) -> _Gaussian:
    mean = (mass[:, None] * values).sum(axis=0) / mass.sum()
    apart = values - mean
    spread = (mass[:, None] * apart).T @ apart / mass.sum() + np.diag(LEAST_SPREAD) ** 2
    return _Gaussian(owner, mean, spread, share)


def _agreed(log_chance: Floats, person: Mask) -> npt.NDArray[np.float32]:
    """Chances of the classes, [256, 256, 3], when neighbours pull each other (mean field of a Potts model)."""
    whole = person.astype(np.float32)
    near = soften(whole, 2.5) + 1e-3
    pulled = log_chance
    for rounds in range(4):
        chance = np.exp(pulled - pulled.max(axis=-1, keepdims=True))
        chance = (chance / chance.sum(axis=-1, keepdims=True)).astype(np.float32)
        if rounds < 3:
            around = np.stack([soften(chance[..., k] * whole, 2.5) / near for k in range(3)], axis=-1)
            pulled = log_chance + 3.0 * around
    return np.asarray(chance, np.float32)


def _chances(
    mixture: list[_Gaussian], features: Floats, prior: npt.NDArray[np.float32], person: Mask
) -> npt.NDArray[np.float32]:
    likely = np.zeros(prior.shape)
    flat = features.reshape(-1, features.shape[-1])
    for part in mixture:
        likely[..., part.owner] += (part.share * part.density(flat)).reshape(person.shape)
    return _agreed(np.log((likely + UNLIKELY) * prior), person)


def _with_fringe(
    prior: npt.NDArray[np.float32], mixture: list[_Gaussian], features: Floats, person: Mask, place: Place
) -> npt.NDArray[np.float32]:
    """Priors that expect hair on the forehead where hair is clearly darker than skin; elsewhere shade would pass."""
    forehead = (place.depth > 0.12) & (place.y < place.brow - 0.15) & person
    shares = [part.share for part in mixture if part.owner == HAIR]
    if not shares or sum(shares) <= 0 or forehead.sum() < 20:
        return prior
    hair = sum(part.share * part.mean[0] for part in mixture if part.owner == HAIR) / sum(shares)
    apart = 1 - float(hair) / max(float(np.median(features[forehead][:, 0])), 1.0)
    prior = prior.copy()
    deep = (place.depth > 0.08) & (place.y < place.brow + 0.1)
    prior[..., HAIR] *= np.where(deep, 0.1 + 0.9 * ramp(apart, 0.3, 0.5), 1)
    # Light on the forehead of a head with dark hair is shine: as light and as smooth as skin.
    light = float(np.median(features[(place.depth > 0.12) & (place.y < place.nose) & person][:, 0]))
    smooth = float(np.median(features[forehead][:, 3]))
    dark = sum(part.share for part in mixture if part.owner == HAIR and part.mean[0] < 0.6 * light)
    if dark > 0.2 * sum(shares):
        shine = (place.depth > -0.5) & (place.y < place.brow) & (np.abs(place.x) < place.half) & person
        shine &= (features[..., 0] > 0.75 * light) & (features[..., 3] < smooth + 6)
        prior[..., HAIR] *= np.where(shine, 1e-4, 1)
    return prior


def _with_falls(prior: npt.NDArray[np.float32], hair: Plane, person: Mask, place: Place) -> npt.NDArray[np.float32]:
    """Priors that expect hair below the mouth where it hangs beside the jaw, each side judged alone, and else cloth."""
    prior = prior.copy()
    below = ramp(place.y, place.mouth - 0.1, place.chin) * (place.depth <= 0)
    band = (place.y > place.mouth - 0.35) & (place.y < place.mouth + 0.1) & (place.depth < -0.05)
    for side in (-1, 1):
        aside = side * place.x
        beside = band & (aside > 0)
        near = beside & (place.depth > -0.4)
        falls = ramp(float((hair * person)[near].mean()) if near.any() else 0.0, 0.25, 0.5)
        columns = aside[beside & person & (hair > 0.5)]
        reach = float(np.percentile(columns, 97)) if columns.size else place.half
        widening = reach + 0.25 + 0.35 * np.maximum(place.y - place.mouth, 0)
        within = ramp(aside - widening, 0.1, -0.1) * ramp(aside, 0.35 * place.half, 0.7 * place.half)
        weight = below * (aside > 0) * falls * within
        prior[..., HAIR] += (12 * weight * prior[..., CLOTH]).astype(np.float32)
    return np.asarray(prior / prior.sum(axis=-1, keepdims=True), np.float32)


def _without_scalp(
    mixture: list[_Gaussian], features: Floats, person: Mask, place: Place
) -> tuple[list[_Gaussian], bool]:
    """Gives the skin what was learnt as hair and is as smooth as the forehead and of the skin's hue: a scalp.

    Returns:
        The mixture, and whether most of the head is bald.
    """
    core = (place.depth > 0.12) & (place.y < place.nose) & person
    forehead = core & (place.y < place.brow - 0.15)
    if not core.any():
        return mixture, False
    bare = [np.median(features[core], axis=0)]
    smooth = float(bare[0][3])
    if forehead.sum() > 20:
        lit = np.median(features[forehead], axis=0)
        smooth = float(lit[3])
        if lit[0] > 1.4 * bare[0][0]:  # a face in the shade of its own head
            bare.append(lit)
    found, scalp, hair = [], 0.0, 0.0
    for part in mixture:
        if part.owner != HAIR or part.share < 1e-3:
            found.append(part)
            continue
        alike = any(_is_scalp(part.mean, skin, float(part.mean[3]) - smooth) for skin in bare)
        found.append(part._replace(owner=SKIN) if alike else part)
        if alike:
            scalp += part.share
        else:
            hair += part.share
    return found, scalp > hair


def _is_scalp(mean: Floats, skin: Floats, rougher: float) -> bool:
    """Whether a mean of features has the hue of skin, in another light, and is as smooth."""
    lit = float(mean[0] / max(skin[0], 1.0))
    red, yellow = mean[1:3] - skin[1:3] * np.clip(lit, 0.3, 1.25)
    return bool(lit > 0.42 and rougher < (4.5 if lit > 0.75 else 2.5) and -13 < red < 14 and -14 < yellow < 16)


def _is_headwear(features: Floats, hair: Plane, person: Mask, place: Place) -> bool:
    """Whether what covers the head has a colour or a pattern that hair has not: blue, vivid, or white and smooth."""
    core = (place.depth > 0.12) & (place.y < place.nose) & person
    top = grown(person, -4) & (hair > 0.6) & (place.y < place.brow - 0.1) & (place.depth < -0.03)
    if top.sum() < 100 or not core.any():
        return False
    light, red, yellow, rough = np.median(features[top], axis=0) / (0.6, 1.6, 1.4, 1)
    white = bool(light > WHITE)
    light /= max(float(np.median(features[core][:, 0])) / 0.6, 1.0)
    forehead = core & (place.y < place.brow - 0.15)
    rough -= float(np.median(features[forehead if forehead.any() else core][:, 3]))
    redder, yellower = (float(np.median(features[core][:, 1 + k])) / (1.6, 1.4)[k] for k in (0, 1))
    redder, yellower = red - redder, yellow - yellower
    blue = (light > 0.45 and (yellow < -11 or red < -6)) or (light > 0.65 and yellow < -4 and rough < 12)
    vivid = redder > 15 or (light > 0.7 and redder > 4 and yellower > 8)
    white = white and light > 1.25 and rough < 1 and np.hypot(red, yellow) < 8
    return bool(blue or vivid or white)


def _hanging(chances: npt.NDArray[np.float32], place: Place) -> npt.NDArray[np.float32]:
    """Gives the cloth what was found as hair but does not hang together with the head's."""
    mask = chances[..., HAIR] > 0.5
    _, components = cv2.connectedComponents(mask.astype(np.uint8))
    roots = np.unique(components[mask & (place.y < place.mouth) & (place.depth > -1.2)])
    loose = mask & ~np.isin(components, roots)
    chances[..., CLOTH] += np.where(loose, chances[..., HAIR], 0)
    chances[..., HAIR] = np.where(loose, 0, chances[..., HAIR])
    return chances


def _off_forehead(chances: npt.NDArray[np.float32], place: Place) -> npt.NDArray[np.float32]:
    """Gives the skin what was found as hair below bare skin of the forehead: a fringe hangs from the hairline."""
    bare = (chances[..., SKIN] > 0.5) & (place.depth > 0.04)
    below_skin = np.cumsum(bare, axis=0) > 0.04 / np.median(np.diff(place.y, axis=0))
    shade = below_skin & (place.depth > 0.14)
    chances[..., SKIN] += np.where(shade, chances[..., HAIR], 0)
    chances[..., HAIR] = np.where(shade, 0, chances[..., HAIR])
    return chances


def _off_neck(chances: npt.NDArray[np.float32], place: Place) -> npt.NDArray[np.float32]:
    """Gives the skin slivers of hair beside the jaw, and spots of cloth on the neck: rims of shade and of beards."""
    hair = chances[..., HAIR] > 0.5
    opened = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_OPEN, np.ones((9, 9), np.uint8)) > 0
    slivers = hair & ~grown(opened, 3) & (place.y > place.nose) & (place.depth > -0.5)
    cloth = chances[..., CLOTH] > 0.5
    _, components = cv2.connectedComponents(cloth.astype(np.uint8))
    neck = (place.y > place.mouth) & (place.y < place.chin + 0.45) & (np.abs(place.x) < place.half)
    spots = cloth & ~np.isin(components, np.unique(components[cloth & ~neck]))
    for owner, wrong in ((HAIR, slivers), (CLOTH, spots)):
        chances[..., SKIN] += np.where(wrong, chances[..., owner], 0)
        chances[..., owner] = np.where(wrong, 0, chances[..., owner])
    return chances


def _refined(sitter: Sitter, chances: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The classes at the photo's own edges, [1024, 1024, 3]: a colour guided filter (He et al.) at half size."""
    half = SIDE // 2
    guide = np.asarray(cv2.resize(sitter.rgb, (half, half), interpolation=cv2.INTER_AREA), np.float32) / 255
    planes = np.asarray(cv2.resize(chances, (half, half), interpolation=cv2.INTER_LINEAR), np.float32)

    def mean(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        return np.asarray(cv2.boxFilter(values, -1, (9, 9)), np.float32)

    middle, level = mean(guide), mean(planes)
    spread = {
        (i, j): mean(guide[..., i] * guide[..., j]) - middle[..., i] * middle[..., j] + np.float32(4e-4 * (i == j))
        for i in range(3)
        for j in range(i, 3)
    }
    inverse = _inverse(spread)
    fine = np.asarray(sitter.rgb, np.float32) / 255
    found = np.empty((SIDE, SIDE, 3), np.float32)
    for k in range(3):
        plane = np.ascontiguousarray(planes[..., k])
        joint = mean(guide * plane[..., None]) - middle * level[..., k : k + 1]
        slope = np.stack(
            [sum(inverse[min(i, j), max(i, j)] * joint[..., j] for j in range(3)) for i in range(3)], axis=-1
        )
        offset = level[..., k] - (slope * middle).sum(axis=-1)
        up = [cv2.resize(mean(values), (SIDE, SIDE)) for values in (slope, offset)]
        found[..., k] = np.einsum("yxc,yxc->yx", up[0], fine) + up[1]
    return np.asarray(np.clip(1.2 * found - 0.1, 0, 1), np.float32)


def _inverse(matrix: dict[tuple[int, int], Plane]) -> dict[tuple[int, int], Plane]:
    """The inverse of a symmetric 3 x 3 matrix for each pixel, by its cofactors; keys are (row, column >= row)."""
    a, b, c, d, e, f = (matrix[key] for key in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)))
    of_a, of_b, of_c = d * f - e * e, c * e - b * f, b * e - c * d
    whole = a * of_a + b * of_b + c * of_c
    return {
        (0, 0): of_a / whole,
        (0, 1): of_b / whole,
        (0, 2): of_c / whole,
        (1, 1): (a * f - c * c) / whole,
        (1, 2): (b * c - a * e) / whole,
        (2, 2): (a * d - b * b) / whole,
    }
