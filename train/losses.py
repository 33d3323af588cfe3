"""The losses of the paper (sec. 5): L_adv, L_1, L_DT and L_local.

The discriminators minimise `discriminator_loss`. The generator minimises (eq. 1)

    generator_adversarial_loss + 100 * pixel_loss + 0.1 * distance_transform_loss + 25 * sum(local_losses)

with the weights that `term_weights` takes from the options. One more is not the paper's and off by default:
`ink_loss`, for drawings of thin lines, which counts beside L_1 and L_local. All are computed in float32.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from train.distance_transform import RADIUS, exact_distances, soft_distances
from train.networks.lines import LineDetectors
from train.networks.regions import LocalParts, Regions, masked, whitened
from train.options import TrainOptions

LINE_WIDTH: Final = 7
"""Pixels up to which what is black is a line and no area, as in `train.npr.line_map`."""

SCALES: Final = (176.0, 32.0)
"""Pixels that count as 1 in the distance maps to black and to white. The released program divides each map by its own
maximum; these are the mean maxima of two-tone portraits, which keep its balance and do not jump with a single pixel."""


SURROUNDINGS: Final = 12
"""Pixels to each side of a thin line that decide whether it stands alone."""

MOST_INK: Final = 0.2
"""Share of ink there under which it does: a line of 4 pixels across has 0.16."""

BESIDE: Final = 6
"""Pixels from a thin line that stands alone which count with it: where ink would be wrong, too."""

LEAST_CHANCE: Final = 1e-4
"""Probability of ink, and of white, below which `ink_loss` asks for no less."""


def term_weights(options: TrainOptions) -> dict[str, float]:
    """How much each term counts in the generator's loss (eq. 1), by the name that it is logged under."""
    return {
        "G_adv": options.adversarial_weight,
        "G_L1": options.pixel_weight,
        "G_local": options.local_weight,
        "G_DT": options.distance_weight,
        "G_ink": options.pixel_weight * options.ink_weight,
        "G_local_ink": options.local_weight * options.ink_weight,
    }


def generator_adversarial_loss(fake: Mapping[str, Tensor], local_weight: float = 1.0) -> Tensor:
    """L_adv for the generator (eq. 2): the cross entropy of taking its drawings for an artist's.

    Args:
        fake: the discriminators' logits of generated drawings, by name.
        local_weight: weight of each local discriminator; the paper's sum counts them fully, the authors'
            released program 0.25 each.

    Returns:
        A scalar, not negative.
    """
    return _total(
        cross_entropy(logits, 1.0) * (1.0 if name == "whole" else local_weight) for name, logits in fake.items()
    )


def discriminator_loss(real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Tensor:
    """L_adv for the discriminators (eq. 2): the mean over real and generated drawings, summed over discriminators.

    Args:
        real: their logits of artists' drawings, by name.
        fake: those of generated drawings, detached from the generator.
    """
    return _total((cross_entropy(real[name], 1.0) + cross_entropy(fake[name], 0.0)) / 2 for name in real)


def cross_entropy(logits: Tensor, truth: float) -> Tensor:
    """The mean cross entropy of a discriminator's logits against 1 (an artist's drawing) or 0 (a generated one)."""
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def pixel_loss(drawing: Tensor, target: Tensor, line_weight: float = 0.0) -> Tensor:
    """L_1 (eq. 3): the mean absolute difference of two drawings, float [B, 1, H, W] in [-1, 1].

    Its least is the median of what might be right, which is white wherever a thin line's place is not sure to a pixel:
    chins vanish. What counts more on the artist's lines is drawn from a smaller chance on.

    Args:
        drawing: generated.
        target: the artist's.
        line_weight: how much more a pixel counts on black lines up to `LINE_WIDTH` wide in the artist's drawing; the
            paper's is 0.
    """
    difference = (drawing.float() - target.float()).abs()
    return (difference * (1 + line_weight * thin_lines(target)) if line_weight else difference).mean()


def ink_loss(drawing: Tensor, target: Tensor, line_weight: float = 0.0) -> Tensor:
    """Cross entropy and Dice loss of ink, for thin lines whose place is not sure to the pixel.

    A drawing is read as the probability of ink, p = (1 - drawing) / 2, and the target as the ink itself, q, in [0, 1]:

        mean(w (-q log p - (1 - q) log(1 - p))) + 1 - (2 sum(p q) + 1) / (sum(p^2) + sum(q^2) + 1)

    L_1 is smallest at white wherever ink is less likely than not, and asks nothing of how likely it is, so that a
    doubtful line is lost without a trace. Cross entropy keeps it as grey. Dice compares with the amount of ink, not
    with the page, so that thin lines weigh as much as areas, and it is better off with a whole line than with half of
    its tone all over the doubt. The weight w is 1, and more on and beside lines that stand alone, as chins do: there
    are few pixels of them, and where strands of hair lie, which nobody can foresee, is most of what is left to learn.

    Args:
        drawing: generated, float [B, 1, H, W] in [-1, 1], 1 white.
        target: the artist's, likewise.
        line_weight: how much more a pixel counts up to `BESIDE` pixels from a thin line that stands alone.

    Returns:
        A scalar, not negative but for the target's greys; sums and means are over the whole batch.
    """
    drawn, wanted = ((1 - picture.float()) / 2 for picture in (drawing, target))
    weight = 1 + line_weight * F.max_pool2d(lone_lines(target), 2 * BESIDE + 1, 1, BESIDE) if line_weight else None
    entropy = F.binary_cross_entropy(drawn.clamp(LEAST_CHANCE, 1 - LEAST_CHANCE), wanted.clamp(0, 1), weight)
    both, either = (drawn * wanted).sum(), drawn.square().sum() + wanted.square().sum()
    return entropy + 1 - (2 * both + 1) / (either + 1)


def thin_lines(drawing: Tensor) -> Tensor:
    """How black a drawing, float [B, 1, H, W] in [-1, 1], is on lines up to `LINE_WIDTH` wide: 0 to 1, elsewhere 0."""
    grown, margin = LINE_WIDTH + 1, (LINE_WIDTH + 1) // 2
    white = F.max_pool2d(F.pad(drawing.float(), (margin, grown - 1 - margin) * 2, value=-1), grown, stride=1)
    closed = -F.max_pool2d(F.pad(-white, (grown - 1 - margin, margin) * 2, value=-1), grown, stride=1)
    return (closed - drawing.float()).clamp(min=0) / 2


def lone_lines(drawing: Tensor) -> Tensor:
    """`thin_lines` in whose surroundings there is little other ink: jaws, folds and outlines, not strands of hair."""
    ink = F.avg_pool2d((1 - drawing.float()) / 2, 2 * SURROUNDINGS + 1, 1, SURROUNDINGS)
    return thin_lines(drawing) * (ink < MOST_INK)


def distance_transform_loss(
    drawing: Tensor,
    target: Tensor,
    detectors: LineDetectors,
    *,
    radius: int = RADIUS,
    scales: tuple[float, float] = SCALES,
) -> Tensor:
    """L_DT (eq. 5): Chamfer matching of lines both ways, d_CM(a, G(p)) + d_CM(G(p), a), mean over the batch.

    The first asks for a line wherever the artist drew one, through the distance maps of the generated drawing. The
    second asks for no line where the artist drew none, through the detectors: by itself it would be content with a
    drawing without any line, which the first, L_1 and L_adv do not let pass.

    Args:
        drawing: generated, float [B, 1, H, W] in [-1, 1]; H and W multiples of 8.
        target: the artist's, likewise; no gradient reaches it.
        detectors: trained; their weights should not require a gradient. The gradient passes through them.
        radius: pixels beyond which a distance counts no more.
        scales: pixels that count as 1, to black and to white.

    Returns:
        A scalar, not negative: a sum over line pixels.
    """
    return torch.stack(chamfer_terms(drawing, target, detectors, radius=radius, scales=scales)).sum()


def chamfer_terms(
    drawing: Tensor,
    target: Tensor,
    detectors: LineDetectors,
    *,
    radius: int = RADIUS,
    scales: tuple[float, float] = SCALES,
) -> tuple[Tensor, Tensor]:
    """The two terms of L_DT, d_CM(a, G(p)) and d_CM(G(p), a); see `distance_transform_loss`."""
    with _without_autocast(drawing.device.type):
        drawing, target = drawing.float(), target.detach().float()
        with torch.no_grad():
            wanted = [(logits > 0).float() for logits in detectors(target)]
            wanted_distances = [distance.clamp(max=radius) for distance in exact_distances(target)]
        # Nothing below a probability of a half: a little doubt on every blank pixel would add up to more than lines.
        drawn = [(2 * logits.sigmoid() - 1).clamp(min=0) for logits in detectors(drawing)]
        drawn_distances = soft_distances(drawing, radius)
        return (
            _chamfer_distance(wanted, drawn_distances, scales),
            _chamfer_distance(drawn, wanted_distances, scales),
        )


def _chamfer_distance(lines: Sequence[Tensor], distances: Sequence[Tensor], scales: tuple[float, float]) -> Tensor:
    """d_CM (eq. 4), mean over the batch: lines and distance maps of black, then of white, float [B, 1, H, W]."""
    terms = ((line * distance).sum() / scale for line, distance, scale in zip(lines, distances, scales, strict=True))
    return _total(terms) / len(lines[0])


def local_losses(drawings: LocalParts, target: Tensor, regions: Regions, line_weight: float = 0.0) -> LocalParts:
    """The six terms of L_local (eq. 6), whose sum it is.

    Args:
        drawings: the local networks' drawings.
        target: the artist's drawing, float [B, 1, 512, 512] in [-1, 1].
        regions: regions of these portraits; hair and background are compared inside their masks, and averaged over
            the whole picture.
        line_weight: see `pixel_loss`.
    """
    wanted = regions.parts(target)
    seen = drawings._replace(
        hair=masked(drawings.hair, regions.hair),
        background=masked(drawings.background, regions.background),
    )
    return LocalParts(*(pixel_loss(a, b, line_weight) for a, b in zip(seen, wanted, strict=True)))


def local_ink_losses(drawings: LocalParts, target: Tensor, regions: Regions, line_weight: float = 0.0) -> LocalParts:
    """`ink_loss` of each of the six local drawings.

    Args:
        drawings: the local networks' drawings.
        target: the artist's drawing, float [B, 1, 512, 512] in [-1, 1].
        regions: regions of these portraits; hair and background are white outside their masks, and averaged over the
            whole picture.
        line_weight: see `ink_loss`.
    """
    seen = drawings._replace(
        hair=whitened(drawings.hair, regions.hair),
        background=whitened(drawings.background, regions.background),
    )
    wanted = regions.parts(target)._replace(
        hair=whitened(target, regions.hair),
        background=whitened(target, regions.background),
    )
    return LocalParts(*(ink_loss(a, b, line_weight) for a, b in zip(seen, wanted, strict=True)))


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _total(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(tuple(terms)).sum()
