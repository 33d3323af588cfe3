"""Portrait segmentation: the person mask that the hair and background networks need (sec. 4.1 of the paper)."""

from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from apdraw_cli.faces.network import Network, read_network, why_not_opened
from engines.portrait import SIZE, Image
from engines.shipped import shipped_segmenter

WEIGHTS: Final = shipped_segmenter()

INPUT_SIZE: Final = SIZE // 2
"""Height and width, in pixels, to which a portrait is reduced for the network."""


class Segmenter(Protocol):
    """Tells the person from the background in an aligned portrait."""

    def mask(self, portrait: Image) -> Image:
        """Person mask of a portrait (uint8 [512, 512, 3] RGB): uint8 [512, 512], 255 on the person, else 0."""
        ...


class PortraitSegmenter:
    """The network that comes with apdraw, trained by `train.segmenter`; one thread.

    Raises:
        UnfitError: its weights are missing.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        try:
            self._network = Network(read_network(weights), INPUT_SIZE)
        except Exception as error:  # OpenVINO's errors share no base class
            raise why_not_opened("segmenter", weights, error) from error

    def mask(self, portrait: Image) -> Image:
        """Person mask of a portrait (uint8 [512, 512, 3] RGB): uint8 [512, 512], 255 on the person, else 0."""
        import cv2

        background = self._probabilities(portrait)[..., 0].copy()
        full = cv2.resize(background, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.compare(full, 0.5, cv2.CMP_LT), np.uint8)

    def labels(self, portrait: Image) -> Image:
        """Label map of a portrait: uint8 [512, 512], 0 background, 1 person, 2 face oval (part of the person)."""
        import cv2

        full = cv2.resize(self._probabilities(portrait), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.argmax(full, axis=-1), np.uint8)

    def _probabilities(self, portrait: Image) -> npt.NDArray[np.float32]:
        """float32 [h, w, 3]: background, person without the face, face oval."""
        import cv2

        seen = cv2.resize(portrait, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_AREA)
        return self._network.run(np.asarray(seen, np.uint8))[0]
