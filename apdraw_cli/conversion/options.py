"""What a conversion is asked for: options in frozen dataclasses."""

from dataclasses import dataclass, field
from pathlib import Path

from apdraw_cli.faces.detectors import DEFAULT


@dataclass(frozen=True)
class FaceOptions:
    """Which faces become portraits.

    Attributes:
        faces: `largest` or `all`.
        min_face: smallest length of a face's box, in photo pixels.
        aligned: photos are aligned portraits already.
        detector: a name in `apdraw_cli.faces.detectors.DETECTORS`.
    """

    faces: str = "largest"
    min_face: float = 0.0
    aligned: bool = False
    detector: str = DEFAULT


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
        follow_links: follow links in folders of photos that lead out of them.
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
    follow_links: bool = False
