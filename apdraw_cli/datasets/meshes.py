"""Face meshes that somebody else found: a NumPy file of the points of many photos."""

from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from engines.errors import UsageError, in_one_line
from engines.portrait import Landmarks
from train.artist.mesh import POINTS


@lru_cache(maxsize=1)
def read_meshes(path: Path) -> dict[str, Landmarks]:
    """Meshes by the photo's file name, float32 [478, 2], photo pixels.

    Args:
        path: a file of `numpy.savez` with `names` [N], `points` [N, 478, 2 or more] and perhaps `valid` [N], which is
            false where the points are no good.

    Raises:
        UsageError: it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names, points = file["names"], np.asarray(file["points"], np.float32)[..., :2]
            valid = file["valid"] if "valid" in file else np.ones(len(names), bool)
            if points.shape != (len(names), POINTS, 2) or valid.shape != names.shape:
                raise ValueError(f"points {points.shape} of {len(names)} photos")
    except (OSError, BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or in_one_line(error)
        raise UsageError(
            f"{path} holds no meshes ({reason}): name a NumPy file with names and points [N, {POINTS}, 2]"
        ) from error
    good = valid.astype(bool) & np.isfinite(points).all(axis=(1, 2))
    return {str(name): mesh for name, mesh, is_good in zip(names, points, good, strict=True) if is_good}
