from pathlib import Path

import cv2
import numpy as np
import pytest

from apdraw_cli.faces.align import similarity, warp_labels, warp_photo
from apdraw_cli.faces.segment import WEIGHTS, PortraitSegmenter
from apdraw_cli.faces.tiny_retinaface import TinyRetinaFace
from engines.errors import UnfitError

ROUND_FRAMES = ("0670", "0674", "0696", "0857", "0870")
"""Validation portraits whose labels take the whole disc of a round frame for the person, or part of it."""


@pytest.fixture(scope="module")
def segmenter() -> PortraitSegmenter:
    return PortraitSegmenter()


def test_the_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000


def test_mask_and_labels_agree(segmenter: PortraitSegmenter) -> None:
    sample = Path(__file__).resolve().parents[2] / "samples" / "grace_hopper.jpg"
    photo = np.asarray(cv2.imread(str(sample), cv2.IMREAD_COLOR_RGB))
    portrait = warp_photo(photo, similarity(TinyRetinaFace().detect(photo)[0].landmarks))
    mask, labels = segmenter.mask(portrait), segmenter.labels(portrait)
    assert set(np.unique(mask)) == {0, 255}
    assert set(np.unique(labels)) == {0, 1, 2}
    assert ((mask > 0) != (labels > 0)).mean() < 0.01
    assert labels[290, 256] == 2  # between nose and eyes
    assert not mask[:60, :60].any()  # beside the head


def test_missing_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="install apdraw again"):
        PortraitSegmenter(tmp_path / "none.onnx")


def test_iou_on_reference_portraits(shared: Path, segmenter: PortraitSegmenter) -> None:
    index = (shared / "portraits" / "index.csv").read_text(encoding="utf-8").splitlines()[1:]
    names = [line.split(",")[0][:-4] for line in index if line.endswith(",val")]
    names = [name for name in names if name not in ROUND_FRAMES]
    detector = TinyRetinaFace()
    scores = []
    for name in names:
        photo = np.asarray(cv2.imread(str(shared / "portraits" / "photos" / f"{name}.jpg"), cv2.IMREAD_COLOR_RGB))
        truth = np.asarray(cv2.imread(str(shared / "portraits" / "labels" / f"{name}.png"), cv2.IMREAD_GRAYSCALE))
        transform = similarity(detector.detect(photo)[0].landmarks)
        found, wanted = segmenter.mask(warp_photo(photo, transform)) > 0, warp_labels(truth, transform) > 0
        scores.append((found & wanted).sum() / (found | wanted).sum())
    assert len(scores) == 75
    assert np.mean(scores) >= 0.96
