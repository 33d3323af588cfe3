"""The losses of the paper that need no further network (sec. 4.3): L_adv, L_1 and L_local.

The discriminators minimise `discriminator_loss`. The generator minimises (eq. 1)

    generator_adversarial_loss + 100 * pixel_loss + 25 * sum(local_losses)

with the weights of `LossWeights`. All are computed in float32.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from train.networks.discriminators import Verdicts
from train.networks.regions import LocalParts, Regions, masked


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts for the generator.

    Attributes:
        pixel: lambda_1, of L_1.
        local: lambda_3, of L_local.
        local_adversarial: of each local discriminator's part of L_adv; the paper's sum counts them fully, the
            authors' released program 0.25 each.
    """

    pixel: float = 100.0
    local: float = 25.0
    local_adversarial: float = 1.0


def generator_adversarial_loss(fake: Verdicts, local_weight: float = 1.0) -> Tensor:
    """L_adv for the generator (eq. 2): the cross entropy of taking its drawings for an artist's.

    Args:
        fake: verdicts on generated drawings.
        local_weight: of each of the six local discriminators.

    Returns:
        A scalar, not negative.
    """
    return _cross_entropy(fake.whole, 1.0) + local_weight * _total(_cross_entropy(v, 1.0) for v in fake.parts)


def discriminator_loss(real: Verdicts, fake: Verdicts) -> Tensor:
    """L_adv for the seven discriminators (eq. 2): the mean over real and generated drawings.

    Args:
        real: verdicts on artists' drawings.
        fake: verdicts on generated drawings, detached from the generator.
    """
    return (verdict_loss(real, 1.0) + verdict_loss(fake, 0.0)) / 2


def verdict_loss(verdicts: Verdicts, truth: float) -> Tensor:
    """The cross entropy of the verdicts against 1 (an artist's drawing) or 0, summed over the seven."""
    return _cross_entropy(verdicts.whole, truth) + _total(_cross_entropy(v, truth) for v in verdicts.parts)


def pixel_loss(drawing: Tensor, target: Tensor) -> Tensor:
    """L_1 (eq. 3): the mean absolute difference of two drawings, float [B, 1, H, W] in [-1, 1]."""
    return F.l1_loss(drawing.float(), target.float())


def local_losses(drawings: LocalParts, target: Tensor, regions: Regions) -> LocalParts:
    """The six terms of L_local (eq. 6), whose sum it is.

    Args:
        drawings: what each local network drew.
        target: the artist's drawing, float [B, 1, 512, 512] in [-1, 1].
        regions: of these portraits; hair and background are compared inside their masks, and averaged over
            the whole picture.
    """
    wanted = regions.parts(target)
    seen = drawings._replace(
        hair=masked(drawings.hair, regions.hair),
        background=masked(drawings.background, regions.background),
    )
    return LocalParts(*(pixel_loss(a, b) for a, b in zip(seen, wanted, strict=True)))


def _cross_entropy(logits: Tensor, truth: float) -> Tensor:
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def _total(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(tuple(terms)).sum()
