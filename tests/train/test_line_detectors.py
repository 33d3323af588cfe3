import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from engines.errors import ModelError
from train.data.line_pairs import LinePair
from train.line_detectors import line_loss, load_detectors, save_detectors
from train.networks.lines import LineDetectors


def test_detectors_give_a_logit_for_each_pixel_of_each_drawing():
    torch.manual_seed(0)
    detectors = LineDetectors(4).eval()
    drawings = torch.rand(3, 1, 40, 64) * 2 - 1
    together = detectors(drawings)
    alone = [detectors(drawing) for drawing in drawings.split(1)]
    for tone, logits in enumerate(together):
        assert logits.shape == drawings.shape
        torch.testing.assert_close(logits, torch.cat([maps[tone] for maps in alone]))
    assert not torch.equal(*together)


def test_detectors_are_small():
    assert sum(weight.numel() for weight in LineDetectors().parameters()) < 200_000


def line_f1(logits, lines, tolerance=1):
    """How well lines are found, 0 to 1: the harmonic mean of precision and recall.

    Args:
        logits: [B, 1, H, W], over 0 where a line was found.
        lines: the true ones, 0 or 1.
        tolerance: pixels, in rows and columns, that a found pixel may lie beside a true one and the other way round.

    Returns:
        1 where there are no lines and none were found.
    """
    found = (logits > 0).float()
    if not (found.any() or lines.any()):
        return 1.0

    def near(plane):
        return F.max_pool2d(plane, 2 * tolerance + 1, 1, tolerance)

    precision = float((found * near(lines)).sum() / found.sum().clamp(min=1))
    recall = float((lines * near(found)).sum() / lines.sum().clamp(min=1))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def toy_pairs(count, size=64):
    """White pages with black strokes, and a black area with white strokes; solid areas are no lines."""
    rng = np.random.default_rng(0)
    pages, blacks, whites = [], [], []
    for _ in range(count):
        page, black, white = np.full((size, size), 255, np.uint8), *np.zeros((2, size, size), np.uint8)
        half = size // 2
        page[half:] = 0
        for _ in range(3):
            x0, x1 = (int(x) for x in rng.integers(0, size, 2))
            for plane, top, value in ((page, 0, 0), (black, 0, 1), (page, half, 255), (white, half, 1)):
                cv2.line(plane, (x0, top + 4), (x1, top + half - 5), value, 1)
        pages.append(page), blacks.append(black), whites.append(white)
    planes = (torch.from_numpy(np.stack(some).astype(np.float32))[:, None] for some in (pages, blacks, whites))
    drawing, black, white = planes
    return LinePair(drawing / 127.5 - 1, black, white)


def test_detectors_learn_what_a_line_is():
    torch.manual_seed(0)
    detectors = LineDetectors(8)
    pair = toy_pairs(4)
    optimiser = torch.optim.Adam(detectors.parameters(), 5e-3)
    first = line_loss(detectors(pair.drawing), pair).item()
    for _ in range(60):
        loss = line_loss(detectors(pair.drawing), pair)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    black, white = detectors(pair.drawing)
    assert loss.item() < first / 4
    assert line_f1(black, pair.black) > 0.9
    assert line_f1(white, pair.white) > 0.9
    assert line_f1(black, pair.white) < 0.1


def test_line_loss_is_small_for_sure_and_right_logits_and_finite_for_wrong_ones():
    pair = toy_pairs(1)
    right = tuple(200 * lines - 100 for lines in (pair.black, pair.white))
    assert line_loss(right, pair).item() == pytest.approx(0, abs=1e-3)
    wrong = line_loss(tuple(-logits for logits in right), pair)
    assert wrong.isfinite()
    assert wrong > 2
    none = LinePair(pair.drawing, torch.zeros_like(pair.black), torch.zeros_like(pair.white))
    assert line_loss((torch.full_like(pair.black, -100), torch.full_like(pair.white, -100)), none).item() == 0


@pytest.mark.parametrize(("shift", "f1"), [(0, 1), (1, 1), (2, 0)])
def test_lines_may_lie_one_pixel_off(shift, f1):
    true, found = torch.zeros(2, 1, 1, 16, 16)
    true[..., 6] = 1
    found[..., 6 + shift] = 1
    assert line_f1(2 * found - 1, true) == f1


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    true, found = torch.zeros(2, 1, 1, 16, 16)
    true[..., 2] = true[..., 8] = 1
    found[..., 2] = 1
    assert line_f1(2 * found - 1, true) == pytest.approx(2 / 3)
    assert line_f1(-torch.ones_like(true), torch.zeros_like(true)) == 1
    assert line_f1(-torch.ones_like(true), true) == 0
    assert line_f1(torch.ones_like(true), torch.zeros_like(true)) == 0


def test_saved_detectors_find_the_same_lines(tmp_path):
    torch.manual_seed(0)
    detectors = LineDetectors(4)
    save_detectors(tmp_path / "lines.safetensors", detectors, {"provenance": "a test"})
    loaded = load_detectors(tmp_path / "lines.safetensors")
    drawing = torch.rand(1, 1, 32, 32) * 2 - 1
    for found, wanted in zip(loaded(drawing), detectors(drawing), strict=True):
        assert torch.equal(found, wanted)
    assert not any(weight.requires_grad for weight in loaded.parameters())
    assert not loaded.training


def test_what_holds_no_detectors_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "lines.safetensors"
    with pytest.raises(ModelError, match="--stage auxiliary"):
        load_detectors(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="--stage auxiliary"):
        load_detectors(path)
    save_file({"weight": torch.zeros(1)}, path, {"format": "apdraw-generator"})
    with pytest.raises(ModelError, match="holds no line detectors"):
        load_detectors(path)
    save_file({"weight": torch.zeros(1)}, path, {"format": "apdraw-line-detectors", "width": "4"})
    with pytest.raises(ModelError, match="do not fit"):
        load_detectors(path)
