"""The face mesh: 478 points of an aligned portrait, which the procedural artist draws along."""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from apdraw_cli.faces.network import Network, read_network, why_not_opened
from engines.portrait import SIZE, Image
from engines.shipped import shipped_mesh

WEIGHTS: Final = shipped_mesh()

LEAST_PLAUSIBLE: Final = 0.5
"""79 validation portraits have 0.96 at least, and 96 details of pictures without a face 0.05 at most."""

MeshPoints = npt.NDArray[np.float32]
"""float32 [478, 2]: x, y; MediaPipe's numbering, the irises are 468 to 477."""


class FaceMesh(NamedTuple):
    """A mesh and what speaks for it.

    Attributes:
        points: in pixels of the aligned portrait.
        plausibility: 0 to 1; see `LEAST_PLAUSIBLE`.
    """

    points: MeshPoints
    plausibility: float


class FaceMesher:
    """The network that comes with apdraw, trained by `train.face_mesh`; one thread.

    Raises:
        UnfitError: its weights are missing.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        try:
            # In bf16 a coordinate would be a pixel off.
            self._network = Network(read_network(weights), SIZE, single_precision=True)
        except Exception as error:  # OpenVINO's errors share no base class
            raise why_not_opened("face mesh", weights, error) from error

    def find(self, portrait: Image) -> FaceMesh:
        """The mesh of an aligned portrait, uint8 [512, 512, 3] RGB."""
        points, plausibility = self._network.run(portrait)
        return FaceMesh(points, float(plausibility))
