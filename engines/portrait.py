"""The aligned portrait: its size, its landmark template and its local regions (sec. 4.1 of the paper).

Everything that needs one of these numbers takes it from here.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""uint8 image: [H, W] grey or mask, [H, W, 3] RGB."""

Landmarks = npt.NDArray[np.float32]
"""float32 [5, 2] pixels (x, y): left eye, right eye (as seen in the image), nose tip, left mouth corner, right
mouth corner."""

SIZE: Final = 512
"""Height and width of an aligned portrait, in pixels."""

WHITE: Final = 255

TEMPLATE: Final[Landmarks] = (
    (np.array([(180, 230), (300, 230), (240, 301), (186, 365.6), (294, 365.6)], np.float64) - 240) / 560 * 512 + 256
).astype(np.float32)
"""Where alignment puts the five landmarks, in pixels of the aligned portrait."""

MASK_THRESHOLD: Final = 128
"""Mask values from here on count as person."""


@dataclass(frozen=True)
class LocalRegion:
    """A box around a facial feature that a local network draws: `height` x `width` pixels."""

    name: str
    height: int
    width: int


EYE_LEFT: Final = LocalRegion("eye_left", 80, 112)
EYE_RIGHT: Final = LocalRegion("eye_right", 80, 112)
NOSE: Final = LocalRegion("nose", 96, 96)
MOUTH: Final = LocalRegion("mouth", 80, 128)

EYE_RAISE: Final = 8
"""An eye's box is centred this many pixels above the eye."""

NOSE_RAISE: Final = 16
"""The nose's box is centred this many pixels above the nose tip."""


@dataclass(frozen=True)
class Portrait:
    """One aligned portrait, ready to be drawn.

    Attributes:
        photo: uint8 [512, 512, 3], RGB.
        landmarks: float32 [5, 2], in pixels of the aligned portrait, whole numbers.
        mask: uint8 [512, 512], 255 on the person, 0 elsewhere.
    """

    photo: Image
    landmarks: Landmarks
    mask: Image

    def without_photo(self) -> "Portrait":
        """The same with a photo of no pixels."""
        return replace(self, photo=np.empty((0, 0, 3), np.uint8))


@dataclass(frozen=True)
class PortraitBatch:
    """Portraits stacked for an engine.

    Attributes:
        photo: uint8 [B, 512, 512, 3], RGB.
        landmarks: float32 [B, 5, 2], pixels.
        mask: uint8 [B, 512, 512], 255 on the person.
    """

    photo: Image
    landmarks: Landmarks
    mask: Image

    @classmethod
    def of(cls, portraits: "list[Portrait] | tuple[Portrait, ...]") -> "PortraitBatch":
        """Stacks portraits in the order given; one alone is not copied."""
        if len(portraits) == 1:
            (one,) = portraits
            return cls(one.photo[None], one.landmarks.astype(np.float32)[None], one.mask[None])
        return cls(
            np.stack([p.photo for p in portraits]),
            np.stack([p.landmarks for p in portraits]).astype(np.float32),
            np.stack([p.mask for p in portraits]),
        )

    def inputs(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays under the names of the exported graph's inputs."""
        return {"photo": self.photo, "landmarks": self.landmarks, "mask": self.mask}

    def __len__(self) -> int:
        return len(self.photo)
