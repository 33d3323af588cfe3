"""What becomes of each photo of a conversion, and of the conversion as a whole."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from apdraw_cli.conversion.sources import Source
from apdraw_cli.conversion.storage import Place
from engines.errors import ExitCode, PhotoError

if TYPE_CHECKING:
    from apdraw_cli.faces.align import Transform
    from apdraw_cli.faces.detect import Face
    from apdraw_cli.faces.doubts import PhotoWarning

Status = Literal["done", "skipped", "no_face", "failed"]

OWN_DRAWING: Final = "own_drawing"
"""Code of the reason why a drawing of this program is skipped, which is no failure."""


def status_of(code: str) -> Status:
    """What becomes of a photo that was not drawn, by the code of the reason."""
    return "no_face" if code == "no_face" else "skipped" if code == OWN_DRAWING else "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one photo.

    Attributes:
        source: the photo.
        status: as in the manifest.
        recipe_sha256: checksum of the recipe that it was made by.
        outputs: its drawings, paths below the output folder.
        faces: the faces drawn, the largest first.
        transforms: transform of each face, float64 [2, 3], from pixels of the photo to pixels of the aligned portrait.
        error: why there is no drawing.
        warnings: why the drawings should be looked at.
        seconds: by stage.
        engine: name of the engine that drew it; None if none did.
        remembered: it was like that before: nothing was tried.
        known: it failed in the same way in an earlier run, whether or not it was tried again.
        recorded: whether the manifest is to be told.
        trace: traceback of an error that should not have been.
        model_sha256: checksum of the generator's file; empty until the outcome is settled.
    """

    source: Source
    status: Status
    recipe_sha256: str = ""
    outputs: tuple[str, ...] = ()
    faces: "tuple[Face, ...]" = ()
    transforms: "tuple[Transform, ...]" = ()
    error: PhotoError | None = None
    warnings: "tuple[PhotoWarning, ...]" = ()
    seconds: dict[str, float] = field(default_factory=dict)
    engine: str | None = None
    remembered: bool = False
    known: bool = False
    recorded: bool = True
    trace: str = ""
    model_sha256: str = ""


@dataclass(frozen=True)
class Failure:
    """A photo without a drawing, for the summary.

    Attributes:
        source: path below its root.
        status: `no_face` or `failed`.
        code: a short word for scripts.
        message: one line for people.
        remembered: it failed in an earlier run and was not tried again.
        known: it failed in the same way in an earlier run, whether or not it was tried again.
    """

    source: str
    status: Status
    code: str
    message: str
    remembered: bool
    known: bool = False


@dataclass(frozen=True)
class Warned:
    """A photo that was drawn, and a reason to look at its drawing, for the summary.

    Attributes:
        source: path below its root.
        output: its first drawing, a path below the output folder.
        code: a short word for scripts.
        message: one line for people.
    """

    source: str
    output: str
    code: str
    message: str


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
        seconds: seconds that the whole command took.
        photos_per_second: photos drawn per second of the time since the engine was ready; 0 if folders were watched.
        engine: name of the engine; None if none was needed.
        device: what it drew on.
        precision: what it computed in.
        model: the generator's file.
        output: the output folder.
        manifest: the manifest's file.
        failures: the photos without a drawing, the first 10,000 of them; without the known ones if those are ignored.
        interrupted: the user stopped it.
        error: what ended it early; None if nothing did.
        own_drawings: those of the skipped that are drawings of this program.
        other_files: number of files in the source folders that are no photos, by ending; empty for those without.
        drawing_folders: folders of earlier drawings in the source folders, which were not looked into.
        pruned: drawings of earlier runs that were removed.
        warned: photos drawn that there is a warning about.
        warnings: those warnings, of the first 10,000 photos.
        gallery: the gallery's page; None if none was written.
        known: photos without a drawing that failed in the same way in an earlier run.
        ignore_known: whether those count as failures.
        files: the drawings, and the overview, of a photo that was named alone; empty if there are none.
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
    output: Place
    manifest: Place
    failures: tuple[Failure, ...]
    interrupted: bool
    error: str | None
    own_drawings: int = 0
    other_files: dict[str, int] = field(default_factory=dict)
    drawing_folders: tuple[str, ...] = ()
    pruned: int = 0
    warned: int = 0
    warnings: tuple[Warned, ...] = ()
    gallery: Path | None = None
    known: int = 0
    ignore_known: bool = False
    files: tuple[Place, ...] = ()

    @property
    def photos(self) -> int:
        """Photos looked at."""
        return self.done + self.skipped + self.no_face + self.failed

    @property
    def failing(self) -> int:
        """Photos without a drawing, as far as they count."""
        return self.no_face + self.failed - (self.known if self.ignore_known else 0)

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.error is not None:
            return ExitCode.UNFIT
        return ExitCode.PARTLY if self.failing else ExitCode.DONE
