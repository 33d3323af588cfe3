"""Random portraits that show nobody, to try exported graphs and engines with."""

import math
from functools import lru_cache

import numpy as np

from engines.portrait import SIZE, TEMPLATE, PortraitBatch


def synthetic_portraits(count: int, seed: int = 0) -> PortraitBatch:
    """Makes portraits of nobody, all different: smooth or noisy photos, landmarks near the template, an oval mask.

    Args:
        count: how many; at least one.
        seed: seed of the random numbers; the same seed gives the same portraits.
    """
    made = _made(count, seed)
    return PortraitBatch(made.photo.copy(), made.landmarks.copy(), made.mask.copy())


@lru_cache(maxsize=4)  # an engine is tried with the same ones whenever it is opened
def _made(count: int, seed: int) -> PortraitBatch:
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[:SIZE, :SIZE]
    x, y = x.astype(np.float32), y.astype(np.float32)
    photos, masks = [], []
    for index in range(count):
        phase = rng.uniform(0, 2 * math.pi, (2, 3))
        waves = np.sin(x[..., None] / rng.uniform(9, 60, 3) + phase[0]) * np.cos(y[..., None] / 40 + phase[1])
        noise = rng.normal(0, 60 if index % 2 else 4, (SIZE, SIZE, 3))
        photos.append(np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8))
        reach = ((x - SIZE / 2) / rng.uniform(120, 220)) ** 2 + ((y - SIZE) / rng.uniform(350, 480)) ** 2
        masks.append(np.where(reach < 1, 255, 0).astype(np.uint8))
    landmarks = TEMPLATE + rng.uniform(-12, 12, (count, 5, 2))
    return PortraitBatch(np.stack(photos), landmarks.astype(np.float32), np.stack(masks))
