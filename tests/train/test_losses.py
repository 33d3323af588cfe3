import math

import pytest
import torch

from train.losses import LossWeights, discriminator_loss, generator_adversarial_loss, local_losses, pixel_loss
from train.networks import LocalParts, Regions
from train.networks.discriminators import Verdicts


def verdicts(whole, part):
    """Logits such that every discriminator takes a drawing for an artist's with these probabilities."""

    def logits(probability):
        return torch.full((2, 1, 3, 4), math.log(probability / (1 - probability)))

    return Verdicts(logits(whole), LocalParts(*(logits(part) for _ in LocalParts._fields)))


def test_generator_wants_to_be_taken_for_the_artist():
    fake = verdicts(0.25, 0.5)
    loss = generator_adversarial_loss(fake)
    assert loss.item() == pytest.approx(-math.log(0.25) - 6 * math.log(0.5), rel=1e-5)


def test_local_discriminators_can_count_less():
    loss = generator_adversarial_loss(verdicts(0.25, 0.5), local_weight=0.25)
    assert loss.item() == pytest.approx(-math.log(0.25) - 1.5 * math.log(0.5), rel=1e-5)


def test_discriminators_want_to_tell_them_apart():
    loss = discriminator_loss(real=verdicts(0.9, 0.8), fake=verdicts(0.3, 0.4))
    real = -math.log(0.9) - 6 * math.log(0.8)
    fake = -math.log(0.7) - 6 * math.log(0.6)
    assert loss.item() == pytest.approx((real + fake) / 2, rel=1e-5)


def test_a_sure_verdict_gives_a_finite_loss():
    sure = Verdicts(torch.full((1, 1, 2, 2), -300.0), LocalParts(*(torch.zeros(1, 1, 2, 2) for _ in range(6))))
    assert generator_adversarial_loss(sure, local_weight=0).item() == pytest.approx(300)


def test_pixel_loss_is_a_mean_in_float32():
    drawing = torch.full((1, 1, 8, 8), 0.5, dtype=torch.bfloat16)
    loss = pixel_loss(drawing, torch.full((1, 1, 8, 8), 0.501))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.001, rel=1e-3)


@pytest.fixture
def portrait(inputs):
    some = inputs(2)
    return some.photo[:, :1], Regions.of(some.landmarks, some.mask)


def test_local_losses_of_the_artist_s_own_parts_are_zero(portrait):
    target, regions = portrait
    assert [loss.item() for loss in local_losses(regions.parts(target), target, regions)] == [0] * 6


def test_crops_are_averaged_over_the_crop_and_regions_over_the_page(portrait):
    target, regions = portrait
    own = regions.parts(target)
    off = LocalParts(*(part + 0.5 for part in own))
    losses = local_losses(off, target, regions)
    for name in ("eye_left", "eye_right", "nose", "mouth"):
        assert getattr(losses, name).item() == pytest.approx(0.5, rel=1e-4)
    for name in ("hair", "background"):
        share = getattr(regions, name).mean().item()
        assert 0 < share < 1
        assert getattr(losses, name).item() == pytest.approx(0.5 * share, rel=1e-4)


def test_what_hair_and_background_draw_outside_their_masks_does_not_count(portrait):
    target, regions = portrait
    own = regions.parts(target)
    scribbled = own._replace(
        hair=torch.where(regions.hair == 1, own.hair, 0.7),
        background=torch.where(regions.background == 1, own.background, 0.7),
    )
    assert [loss.item() for loss in local_losses(scribbled, target, regions)] == [0] * 6


def test_the_paper_s_weights():
    assert LossWeights() == LossWeights(pixel=100, local=25, local_adversarial=1)
