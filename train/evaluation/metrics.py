"""Metrics of drawings: how close one comes to an artist's, and two sets of drawings to each other.

None but `ssim` has a parameter to choose, and none needs a trained network. Drawings are uint8 [H, W],
0 black to 255 white.
"""

import math
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from engines.portrait import MASK_THRESHOLD, WHITE, Image

Features = npt.NDArray[np.floating[Any]]
"""float [N, D]: D features of each of N drawings."""

BINARY_THRESHOLD: Final = 127
"""Grey levels over this are white in the binarised drawing (the authors' released program)."""

DARK: Final = 40
LIGHT: Final = 215
"""A two-tone pixel is darker than `DARK` or lighter than `LIGHT`."""

SIGMA: Final = 1.5
REACH: Final = 5
"""Of the window of `ssim`: its width, and how far it reaches to either side, in pixels."""

_NEIGHBOURS: Final = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def l1(drawing: Image, reference: Image) -> float:
    """The mean absolute difference of two drawings, 0 to 1 of the range from black to white."""
    return float(cv2.absdiff(drawing, reference).mean()) / WHITE


def ssim(drawing: Image, reference: Image) -> float:
    """The structural similarity of two drawings, 1 for equal ones (Wang et al. 2004).

    With the usual constants: a Gaussian window of sigma 1.5 and 11 x 11 pixels, K1 0.01, K2 0.03; mean over the
    pixels around which the window lies inside the picture.

    Args:
        drawing: uint8 [H, W], larger than the window, as is `reference`.
        reference: the drawing that it is compared with.
    """
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    one, other = (torch.from_numpy(picture / np.float32(WHITE))[None, None] for picture in (drawing, reference))
    _, everywhere = structural_similarity_index_measure(
        one, other, sigma=SIGMA, data_range=1.0, k1=0.01, k2=0.03, return_full_image=True
    )
    return float(everywhere[0, 0, REACH:-REACH, REACH:-REACH].mean())


def chamfer_distance(drawing: Image, reference: Image) -> float:
    """The Chamfer matching distance between the lines of two drawings, both ways (eq. 4 and 5), in pixels.

    d = (d_CM(drawing, reference) + d_CM(reference, drawing)) / 2, where d_CM(x1, x2) is eq. 4 with means in place of
    its sums: the mean distance from the black line pixels of x1 to the nearest black pixel of x2, plus the mean
    distance from the white line pixels of x1 to the nearest white pixel of x2. Both drawings are binarised at 127;
    distances are Euclidean and exact. Where training takes line pixels from detectors, here a black pixel belongs
    to a line if one of its four neighbours is white, and a white one if one of them is black: so thin lines
    count with all their pixels, filled areas with their outline. An edge moved by some pixels is that many pixels away,
    and so is a thin line moved clear of itself, as far as nothing else of its tone lies nearer.

    A drawing of one tone has no lines, which adds nothing; where the other has no pixel of a line's tone at
    all, the distance is the picture's diagonal.
    """
    black, other_black = (np.asarray(picture <= BINARY_THRESHOLD) for picture in (drawing, reference))
    return (_one_way(black, other_black) + _one_way(other_black, black)) / 2


def two_tone_share(drawing: Image) -> float:
    """The share of a drawing's pixels that are nearly black (under 40) or nearly white (over 215), 0 to 1."""
    return float(np.mean((drawing < DARK) | (drawing > LIGHT)))


def background_brightness(drawing: Image, mask: Image) -> float | None:
    """The mean grey level outside the person, 0 to 255; None where the person fills the picture.

    Args:
        drawing: uint8 [H, W].
        mask: uint8 [H, W], 255 on the person.
    """
    outside = drawing[mask < MASK_THRESHOLD]
    return float(outside.mean()) if outside.size else None


def largest_smudge(drawing: Image) -> float:
    """The share of a drawing's pixels in its largest grey spot, 0 to 1.

    A grey pixel is one that is not two-tone; rims of strokes, up to 2 pixels wide, are no spots.
    """
    grey = ((drawing >= DARK) & (drawing <= LIGHT)).astype(np.uint8)
    spots = cv2.morphologyEx(grey, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(spots, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return float(areas.max()) / drawing.size if areas.size else 0.0


def frechet_distance(features: Features, reference: Features) -> float:
    """The Frechet distance between normal distributions fitted to two sets of features (Heusel et al. 2017).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) with means m and unbiased covariances S, in float64. With centred
    features X of n drawings, S = X^T X / (n - 1), and the eigenvalues of S1 S2 are the squared singular values of
    X1 X2^T / sqrt((n1 - 1) (n2 - 1)). So no square root of a matrix is taken, which is inexact for the singular
    covariances of fewer drawings than features.

    Args:
        features: float [N, D].
        reference: float [M, D].

    Returns:
        Not negative; 0 for equal sets. Biased upwards, the more so the fewer drawings there are.

    Raises:
        ValueError: a set holds fewer than two drawings, or the features differ in number.
    """
    if min(len(features), len(reference)) < 2:
        raise ValueError("a Frechet distance needs two drawings at least in each set")
    if features.shape[1:] != reference.shape[1:]:
        raise ValueError(f"the sets have {features.shape[1:]} and {reference.shape[1:]} features a drawing")
    mean, root = _moments(features)
    other_mean, other_root = _moments(reference)
    common = np.linalg.svd(root @ other_root.T, compute_uv=False).sum()
    spread = np.square(root).sum() + np.square(other_root).sum() - 2 * common
    return float(max(0.0, np.square(mean - other_mean).sum() + spread))


def _one_way(black: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """d_CM of eq. 4 with means, from where a binarised drawing is black and where the other is."""
    total = 0.0
    for tone, other_tone in ((black, other), (~black, ~other)):
        # The border counts as more of the same tone, so that it is no line.
        inner = cv2.erode(tone.astype(np.uint8), _NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
        lines = tone & (inner == 0)
        if not lines.any():
            continue
        if other_tone.any():
            distances = cv2.distanceTransform((~other_tone).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            total += float(distances[lines].mean(dtype=np.float64))
        else:
            total += math.hypot(*tone.shape)
    return total


def _moments(features: Features) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The mean [D] of features, and a matrix [min(N, D), D] whose product with itself is their covariance."""
    exact = features.astype(np.float64)
    mean = exact.mean(axis=0)
    return mean, np.asarray(np.linalg.qr((exact - mean) / math.sqrt(len(exact) - 1), mode="r"))
