"""Two aligned portraits of real people, to try a model on: those of `samples/`, where their sources are named."""

from pathlib import Path
from typing import Final

import numpy as np

from engines.landmarks_file import read_landmarks
from engines.portrait import Portrait, PortraitBatch

NAMES: Final = ("astronaut", "grace_hopper")


def sample_portraits() -> PortraitBatch:
    """Reads them: photos `NAME.jpg`, landmarks `NAME.txt`, masks `NAME.png`."""
    return PortraitBatch.of([_read(Path(__file__).parent / name) for name in NAMES])


def _read(stem: Path) -> Portrait:
    import cv2

    photo = cv2.imdecode(np.fromfile(stem.with_suffix(".jpg"), np.uint8), cv2.IMREAD_COLOR)
    mask = cv2.imdecode(np.fromfile(stem.with_suffix(".png"), np.uint8), cv2.IMREAD_GRAYSCALE)
    if photo is None or mask is None:
        raise ValueError(f"cannot decode {stem}.jpg or {stem}.png: the installation is damaged")
    return Portrait(
        np.ascontiguousarray(photo[..., ::-1], np.uint8),
        read_landmarks(stem.with_suffix(".txt")),
        np.asarray(mask, np.uint8),
    )
