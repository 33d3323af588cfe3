import numpy as np
import pytest
import torch

from train.networks.regions import LocalParts, Regions, crop, footprint, local_boxes, masked, place

# height, width, and centre (x, y) from landmarks, as in the paper's released program
BOXES = [
    (80, 112, lambda lm: (lm[0][0], lm[0][1] - 8)),
    (80, 112, lambda lm: (lm[1][0], lm[1][1] - 8)),
    (96, 96, lambda lm: (lm[2][0], lm[2][1] - 16)),
    (80, 128, lambda lm: ((lm[3][0] + lm[4][0]) // 2, (lm[3][1] + lm[4][1]) // 2)),
]
INSIDE = [[201, 247], [311, 247], [256, 312], [207, 371], [304, 370]]
AT_THE_RIMS = [[10, 20], [500, 3], [511, 511], [-31, 480], [30, 509]]
LANDMARKS = torch.tensor([INSIDE, AT_THE_RIMS], dtype=torch.float32)


def corner(landmarks, box):
    height, width, centre = BOXES[box]
    x, y = centre(landmarks)
    return y - height // 2, x - width // 2, height, width


def padded(picture):
    """The picture with a wide white rim, so that plain slicing works outside of it."""
    return np.pad(picture, ((0, 0), (200, 200), (200, 200)), constant_values=1)


@pytest.fixture
def pictures():
    return torch.rand(2, 3, 512, 512, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("box", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_crop_takes_the_very_pixels(pictures, box, dtype):
    crops = crop(pictures.to(dtype), local_boxes(LANDMARKS)[box])
    assert crops.dtype == dtype
    for index, landmarks in enumerate([INSIDE, AT_THE_RIMS]):
        top, left, height, width = corner(landmarks, box)
        page = padded(pictures[index].to(dtype).float().numpy())
        wanted = page[:, 200 + top : 200 + top + height, 200 + left : 200 + left + width]
        np.testing.assert_array_equal(crops[index].float().numpy(), wanted)


@pytest.mark.parametrize("box", range(4))
def test_place_puts_them_back_on_white(pictures, box):
    selected = local_boxes(LANDMARKS)[box]
    crops = crop(pictures, selected)[:, :1]
    pages = place(crops, selected)
    for index, landmarks in enumerate([INSIDE, AT_THE_RIMS]):
        top, left, height, width = corner(landmarks, box)
        wanted = padded(np.ones((1, 512, 512), np.float32))
        wanted[:, 200 + top : 200 + top + height, 200 + left : 200 + left + width] = crops[index]
        np.testing.assert_array_equal(pages[index], wanted[:, 200:-200, 200:-200])


def test_landmarks_are_rounded_to_whole_pixels():
    moved = LANDMARKS + 0.4
    for box, other in zip(local_boxes(LANDMARKS), local_boxes(moved), strict=True):
        assert torch.equal(box.top, other.top)
        assert torch.equal(box.left, other.left)


def test_a_box_wholly_outside_is_white_and_leaves_no_trace(pictures):
    box = local_boxes(torch.full((2, 5, 2), 2000.0))[2]
    assert torch.equal(crop(pictures, box), torch.ones(2, 3, 96, 96))
    assert footprint(box).sum() == 0
    assert torch.equal(place(torch.zeros(2, 1, 96, 96), box), torch.ones(2, 1, 512, 512))


def test_every_pixel_passes_its_gradient_on_once(pictures):
    box = local_boxes(LANDMARKS)[3]
    picture = pictures.clone().requires_grad_()
    crop(picture, box).sum().backward()
    assert torch.equal(picture.grad, footprint(box).float().expand(-1, 3, -1, -1))
    drawing = torch.rand(2, 1, 80, 128, requires_grad=True)
    place(drawing, box).sum().backward()
    assert drawing.grad.sum() == footprint(box).sum()
    assert set(drawing.grad.unique().tolist()) <= {0.0, 1.0}


def test_hair_is_the_person_outside_the_four_boxes():
    mask = torch.zeros(1, 1, 512, 512)
    mask[:, :, 60:, 90:420] = 1
    mask[:, :, :60, :90] = 0.49  # below the threshold
    regions = Regions.of(LANDMARKS[:1], mask)
    wanted = mask[0, 0].numpy() >= 0.5
    assert torch.equal(regions.background[0, 0], torch.from_numpy(~wanted).float())
    for box in range(4):
        top, left, height, width = corner(INSIDE, box)
        wanted[top : top + height, left : left + width] = False
    assert torch.equal(regions.hair[0, 0], torch.from_numpy(wanted).float())


def test_masked_is_black_outside():
    picture = torch.tensor([[[[-1.0, -0.5, 0.25, 1.0]]]])
    assert masked(picture, torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])).tolist() == [[[[-1.0, -0.5, -1.0, -1.0]]]]


def test_combine_keeps_the_darkest_and_is_white_elsewhere():
    mask = torch.zeros(1, 1, 512, 512)
    mask[:, :, :, 50:460] = 1
    regions = Regions.of(LANDMARKS[:1], mask)
    shades = LocalParts(*(torch.full((1, 1, *part.shape[2:]), -0.1 * n) for n, part in enumerate(regions.parts(mask))))
    found = regions.combine(shades)[0, 0].numpy()
    wanted = np.where(regions.background[0, 0].numpy() == 1, -0.5, 1.0)
    wanted = np.where(regions.hair[0, 0].numpy() == 1, -0.4, wanted)
    for box in range(4):  # later boxes are darker
        top, left, height, width = corner(INSIDE, box)
        part = wanted[top : top + height, left : left + width]
        part[part > -0.1 * box] = -0.1 * box
    np.testing.assert_allclose(found, wanted, atol=1e-6)
