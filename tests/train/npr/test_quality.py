"""What a drawing needs to serve as a teacher."""

import numpy as np

from train.npr.quality import eye_ink


def test_ink_on_each_eye() -> None:
    page = np.full((512, 512), 255, np.uint8)
    landmarks = np.array([[200, 250], [310, 250], [255, 320], [210, 370], [300, 370]], np.float32)
    page[240:250, 200 - 34 : 200 + 34] = 0
    page[250 - 40 : 250 - 20, 290:330] = 0  # a brow is no eye
    assert eye_ink(page, landmarks) == (10 / 32, 0)
    assert eye_ink(page, landmarks - 600) == (0, 0)
