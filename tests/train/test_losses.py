import math

import pytest
import torch

from train.distance_transform import exact_distances
from train.losses import (
    LEAST_CHANCE,
    chamfer_terms,
    discriminator_loss,
    distance_transform_loss,
    generator_adversarial_loss,
    ink_loss,
    local_ink_losses,
    local_losses,
    lone_lines,
    pixel_loss,
    term_weights,
    thin_lines,
)
from train.networks import LocalParts, Regions
from train.networks.lines import LineDetectors
from train.options import TrainOptions


def logits_of(whole, part):
    """Logits such that every discriminator takes a drawing for an artist's with these probabilities."""

    def logits(probability):
        return torch.full((2, 1, 3, 4), math.log(probability / (1 - probability)))

    return {"whole": logits(whole)} | {name: logits(part) for name in LocalParts._fields}


def test_generator_wants_to_be_taken_for_the_artist():
    fake = logits_of(0.25, 0.5)
    loss = generator_adversarial_loss(fake)
    assert loss.item() == pytest.approx(-math.log(0.25) - 6 * math.log(0.5), rel=1e-5)


def test_local_discriminators_can_count_less():
    loss = generator_adversarial_loss(logits_of(0.25, 0.5), local_weight=0.25)
    assert loss.item() == pytest.approx(-math.log(0.25) - 1.5 * math.log(0.5), rel=1e-5)


def test_discriminators_want_to_tell_them_apart():
    loss = discriminator_loss(real=logits_of(0.9, 0.8), fake=logits_of(0.3, 0.4))
    real = -math.log(0.9) - 6 * math.log(0.8)
    fake = -math.log(0.7) - 6 * math.log(0.6)
    assert loss.item() == pytest.approx((real + fake) / 2, rel=1e-5)


def test_a_sure_discriminator_gives_a_finite_loss():
    sure = {"whole": torch.full((1, 1, 2, 2), -300.0)} | {name: torch.zeros(1, 1, 2, 2) for name in LocalParts._fields}
    assert generator_adversarial_loss(sure, local_weight=0).item() == pytest.approx(300)


def test_pixel_loss_can_count_more_on_thin_black_lines():
    target = torch.ones(1, 1, 40, 48)
    target[..., 10:13] = -1  # a line
    target[..., 20:30] = -1  # an area
    lines = thin_lines(target)
    assert lines.shape == target.shape
    assert lines.sum() == 3 * 40
    assert lines[..., 10:13].min() == 1
    drawing = target.clone()
    drawing[..., 10] = 1
    drawing[..., 20] = 1
    assert pixel_loss(drawing, target).item() == pytest.approx(2 * 2 / 48)
    assert pixel_loss(drawing, target, line_weight=3).item() == pytest.approx((2 * 4 + 2) / 48)


def test_local_losses_count_more_on_lines_too(inputs):
    some = inputs(1)
    regions = Regions.of(some.landmarks, some.mask)
    target = torch.ones(1, 1, 512, 512)
    target[..., 250:253, :] = -1
    parts = regions.parts(torch.ones_like(target))
    plain, weighted = (local_losses(parts, target, regions, weight) for weight in (0.0, 3.0))
    assert weighted.eye_left.item() == pytest.approx(4 * plain.eye_left.item())
    assert plain.eye_left.item() > 0


def page(*columns, width=48):
    """A white page with black lines of one pixel down these columns."""
    drawing = torch.ones(1, 1, 40, width)
    drawing[..., list(columns)] = -1
    return drawing


def test_the_ink_loss_is_cross_entropy_and_dice():
    ink = torch.rand(1, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    wanted = (ink > 0.4).float()
    entropy = -(wanted * ink.log() + (1 - wanted) * (1 - ink).log()).mean()
    dice = (2 * (ink * wanted).sum() + 1) / ((ink**2).sum() + wanted.sum() + 1)
    torch.testing.assert_close(ink_loss(1 - 2 * ink, 1 - 2 * wanted), entropy + 1 - dice)


def test_a_drawing_s_own_ink_costs_next_to_nothing():
    assert 0 <= ink_loss(page(10), page(10)).item() < 1e-3
    assert 0 <= ink_loss(page(), page()).item() < 1e-3


def test_a_doubtful_line_is_kept_by_the_ink_loss_and_lost_by_l1():
    """Where a line lies at one of three places, L_1 is least at white, the ink loss at a tone nearer to black."""

    def grey(tone):
        drawing = page()
        drawing[..., 10:13] = 1 - 2 * tone
        return drawing

    def mean(loss, tone):
        return sum(loss(grey(tone), page(column)).item() for column in (10, 11, 12)) / 3

    tones = [0, 0.2, 0.4, 0.6]
    assert min(tones, key=lambda tone: mean(pixel_loss, tone)) == 0
    assert min(tones, key=lambda tone: mean(ink_loss, tone)) == 0.6


def test_the_ink_loss_draws_what_is_missing_and_takes_away_what_is_not_wanted():
    drawing = torch.where(page(10) > 0, 0.9, -0.9).requires_grad_()
    ink_loss(drawing, page(30)).backward()
    assert (drawing.grad[..., 30] > drawing.grad[..., 29]).all()  # down, to black, where the line belongs
    assert (drawing.grad[..., 10] < 0).all()  # up, to white


def test_lines_that_stand_alone_and_no_strands_of_hair():
    drawing = torch.ones(1, 1, 64, 128)
    drawing[..., 20:23] = -1  # alone
    drawing[..., 70:120:5] = -1  # strands
    drawing[..., 71:120:5] = -1
    lone = lone_lines(drawing)[0, 0, 32]
    assert lone[20:23].tolist() == [1, 1, 1]
    assert lone.sum() == 3


def test_the_ink_loss_counts_more_beside_lone_lines_and_asks_for_no_more_ink():
    wanted, white = page(20), page()
    there = ink_loss(white, wanted, 3).item() - ink_loss(white, wanted).item()
    assert there == pytest.approx(3 * -math.log(LEAST_CHANCE) / wanted.shape[-1], rel=1e-3)
    near, far = page(20), page(20)
    near[..., 23], far[..., 40] = -1, -1
    assert ink_loss(near, wanted, 3) > 1.5 * ink_loss(far, wanted, 3)


def test_the_ink_loss_is_finite_where_a_drawing_is_sure_and_wrong():
    drawing = page(10).requires_grad_()
    loss = ink_loss(drawing, page(30))
    loss.backward()
    assert loss.isfinite()
    assert drawing.grad.isfinite().all()


def test_each_local_drawing_is_compared_inside_its_region(inputs):
    some = inputs(1)
    regions = Regions.of(some.landmarks, some.mask)
    target = torch.ones(1, 1, 512, 512)
    target[..., [180, 250], :] = -1
    own = local_ink_losses(regions.parts(target), target, regions)
    assert max(loss.item() for loss in own) < 1e-3
    blank = local_ink_losses(regions.parts(torch.ones_like(target)), target, regions)
    assert blank.eye_left.item() == pytest.approx(1 - 1 / 113 - math.log(LEAST_CHANCE) / 80, rel=1e-3)
    for loss, region in ((blank.hair, regions.hair), (blank.background, regions.background)):
        ink = region[..., [180, 250], :].sum().item()
        assert ink > 0
        assert loss.item() == pytest.approx(1 - 1 / (ink + 1) - math.log(LEAST_CHANCE) * ink / 512**2, rel=1e-3)


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
    weights = {name: weight for name, weight in term_weights(TrainOptions()).items() if weight}
    assert weights == {"G_adv": 1, "G_L1": 100, "G_local": 25, "G_DT": 0.1}
    assert TrainOptions().local_adversarial_weight == 1


class InkDetectors(torch.nn.Module):
    """Takes dark pixels for black lines and light ones on the lower half of the page, which is black, for white."""

    def forward(self, drawing):
        white = 8 * drawing
        white[:, :, : drawing.shape[2] // 2] = -20
        black = -8 * drawing
        black[:, :, drawing.shape[2] // 2 :] = -20
        return black, white


DETECTORS = InkDetectors()
DIRECTIONS = pytest.mark.parametrize("direction", [0, 1], ids=["artist-to-drawing", "drawing-to-artist"])


def page_with_lines(column, grey=1.0):
    """A black line on white in the upper half, a white one on black in the lower, two pixels wide."""
    page = torch.full((1, 1, 48, 48), grey)
    page[:, :, :24, column : column + 2] = -grey
    page[:, :, 24:] = -page[:, :, :24]
    return page


def blank_page():
    page = torch.ones(1, 1, 48, 48)
    page[:, :, 24:] = -1
    return page


def test_the_artist_s_own_drawing_has_no_line_out_of_place():
    target = page_with_lines(20)
    assert distance_transform_loss(target, target, DETECTORS).item() == 0


def test_chamfer_terms_sum_over_line_pixels_in_units_of_the_scales():
    there, back = chamfer_terms(page_with_lines(24), page_with_lines(20), DETECTORS, scales=(10.0, 5.0))
    # Columns 20 and 21 are 4 and 3 pixels off, black ones over 10, white ones over 5. Across the middle, the white line
    # has white near it; only far from there the numbers are plain.
    rows = 24
    assert there.item() <= rows * (4 + 3) / 10 + rows * (4 + 3) / 5
    assert there.item() == pytest.approx(rows * 7 / 10 + rows * 7 / 5, rel=0.1)
    assert back.item() == pytest.approx(there.item(), rel=0.01)


def test_no_line_pixel_is_farther_off_than_the_radius():
    terms = chamfer_terms(page_with_lines(4), page_with_lines(40), DETECTORS, radius=5, scales=(1.0, 1.0))
    for term in terms:
        assert 0.8 * 2 * 48 * 5 < term.item() <= 2 * 48 * 5


def test_distance_transform_loss_is_both_terms():
    pair = page_with_lines(23), page_with_lines(20)
    total = distance_transform_loss(*pair, DETECTORS)
    assert total.item() == pytest.approx(sum(term.item() for term in chamfer_terms(*pair, DETECTORS)))
    assert total.item() > 0


@DIRECTIONS
def test_either_direction_falls_as_lines_come_nearer(direction):
    target = page_with_lines(20)
    terms = [chamfer_terms(page_with_lines(c), target, DETECTORS)[direction].item() for c in (32, 28, 24, 22, 20)]
    assert terms == sorted(terms, reverse=True)
    assert len(set(terms)) == len(terms)


def misplaced(lines_of, distances_of):
    """The sum of exact distances from the line pixels of one drawing to the same tone in another, in pixels."""
    lines = (logits > 0 for logits in DETECTORS(lines_of))
    return sum((line * far).sum().item() for line, far in zip(lines, exact_distances(distances_of), strict=True))


@DIRECTIONS
def test_either_direction_alone_improves_a_misaligned_drawing(direction):
    target = page_with_lines(20)
    drawing = page_with_lines(25, grey=0.9).requires_grad_()
    order = 1 if direction == 0 else -1
    before = misplaced(*(target, drawing)[::order])
    optimiser = torch.optim.Adam([drawing], lr=0.1)
    for _ in range(40):
        optimiser.zero_grad()
        chamfer_terms(drawing, target, DETECTORS)[direction].backward()
        optimiser.step()
        with torch.no_grad():
            drawing.clamp_(-1, 1)
    # Where the lines meet the other half of the page, black and white pull at the same pixels for longer.
    assert misplaced(*(target, drawing)[::order]) < before / 50


def test_wiping_every_line_costs_more_than_misplacing_them_a_little():
    target = page_with_lines(20)
    wiped = distance_transform_loss(blank_page(), target, DETECTORS)
    assert wiped > distance_transform_loss(page_with_lines(22), target, DETECTORS)


@pytest.mark.parametrize("tone", [1.0, -1.0])
def test_drawings_of_one_tone_give_finite_losses_and_gradients(tone):
    page = torch.full((1, 1, 48, 48), tone, requires_grad=True)
    for pair in ((page, page_with_lines(20)), (page, torch.full_like(page, -tone))):
        loss = distance_transform_loss(*pair, DETECTORS)
        assert loss.isfinite()
        assert loss.item() > 0
        assert torch.autograd.grad(loss, page)[0].isfinite().all()


def test_distance_transform_loss_of_a_batch_is_the_mean_of_its_drawings():
    drawings = torch.cat([page_with_lines(column) for column in (22, 27, 31)])
    targets = torch.cat([page_with_lines(column) for column in (20, 21, 20)])
    alone = [
        distance_transform_loss(*pair, DETECTORS) for pair in zip(drawings.split(1), targets.split(1), strict=True)
    ]
    assert distance_transform_loss(drawings, targets, DETECTORS).item() == pytest.approx(sum(alone).item() / 3)


def test_distance_transform_loss_teaches_neither_the_artist_nor_the_detectors():
    detectors = LineDetectors(2)
    target = page_with_lines(20).requires_grad_()
    drawing = page_with_lines(24, grey=0.5).requires_grad_()
    distance_transform_loss(drawing, target, detectors.requires_grad_(False)).backward()
    assert target.grad is None
    assert drawing.grad.isfinite().all()
    assert all(weight.grad is None for weight in detectors.parameters())


def test_distance_transform_loss_is_computed_in_float32_whatever_the_rest_is_in():
    torch.manual_seed(0)
    detectors = LineDetectors(4)
    target, drawing = page_with_lines(20), page_with_lines(24, grey=0.7)
    wanted = distance_transform_loss(drawing, target, detectors)
    with torch.autocast("cpu", torch.bfloat16):
        loss = distance_transform_loss(drawing, target, detectors)
    assert loss.dtype == torch.float32
    assert loss.item() == wanted.item() != 0
