"""What a conversion is asked for: options in frozen dataclasses. To add an option, add a field."""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.output_name import format_of
from apdraw_cli.conversion.shard import Shard
from apdraw_cli.conversion.storage.url import Place, is_url, place
from apdraw_cli.faces.choice import FACES
from apdraw_cli.faces.detectors import DEFAULT, DETECTORS
from engines.errors import OptionsError
from engines.options import EngineOptions, ModelOptions, check, make, option, spelled

INCHES: Final = {"mm": 1 / 25.4, "cm": 1 / 2.54, "in": 1.0}
"""Inches in a unit of length."""

DEFAULT_FORMAT: Final = "png"

LEAST_SIDE: Final = 16
LARGEST_SIDE: Final = 10_000
"""Pixels of a page's longer side."""


@dataclass(frozen=True)
class FaceOptions:
    """Which faces become portraits.

    Raises:
        OptionsError: a value that is not allowed, or values that contradict each other.
    """

    faces: str = option(
        "largest",
        "largest: one drawing for each photo. all: one for each face, the largest first: p.png, p.2.png, ... "
        "1,3: those of these numbers, counted from left to right.",
        metavar="largest|all|N,...",
        panel="Faces",
    )
    min_face: float = option(
        0.0, "Leave out faces that are shorter than this, in photo pixels.", metavar="PIXELS", min=0, panel="Faces"
    )
    aligned: bool = option(
        False,
        "Photos are aligned 512 x 512 portraits already. p.txt may hold landmarks of p.jpg: five lines 'x y', of left "
        "eye, right eye, nose and the mouth's corners.",
        panel="Faces",
    )
    detector: str = option(DEFAULT, "The network that finds faces.", choices=DETECTORS, panel="Faces")
    strict: bool = option(
        False,
        "Draw no photo that there is a warning about: a small, blurred, cut off or doubtful face.",
        panel="Faces",
    )

    def __post_init__(self) -> None:
        check(self)
        if not FACES.fullmatch(self.faces):
            raise OptionsError(
                f"faces must be largest, all, or numbers from left to right as in 1,3, not {self.faces!r}"
            )
        if self.aligned and (self.faces != "largest" or self.min_face):
            raise OptionsError(
                f"an aligned portrait holds one face: leave out --aligned, or --faces {self.faces} and --min-face"
            )


@dataclass(frozen=True)
class FileOptions:
    """What drawings are written as.

    Raises:
        OptionsError: a value that is not allowed, or that the format has not.
    """

    format: str | None = option(
        None,
        "File format of the drawings.",
        choices=tuple(FORMATS),
        shown=f"{DEFAULT_FORMAT}, if no file name says it",
    )
    quality: int | None = option(
        None,
        "How well a JPEG keeps the drawing, and a WebP, which else keeps all of it: 1 to 100.",
        min=1,
        max=100,
        shown="95 for JPEG",
    )
    two_tone: bool = option(False, "Black and white only, without greys: 1 bit a pixel in PNG and TIFF.")
    transparent: bool = option(False, "Make white transparent, so that the drawing can be laid over something.")

    def __post_init__(self) -> None:
        check(self)
        if self.format is None:  # what the file's name ends in may have them
            return
        for name in sorted(frozenset[str]().union(*(each.knows for each in FORMATS.values()))):
            if getattr(self, name) and name not in FORMATS[self.format].knows:
                fit = ", ".join(each.name for each in FORMATS.values() if name in each.knows)
                raise OptionsError(f"{self.format} has no --{spelled(name)}: leave it out, or choose of {fit}")

    def settled(self, format_name: str | None = None) -> "FileOptions":
        """The same with a format: the one given, else that of these options, else the default.

        Raises:
            OptionsError: the format has not an option that was given.
        """
        return replace(self, format=format_name or self.format or DEFAULT_FORMAT)

    @property
    def vector(self) -> bool:
        """Whether the format holds curves."""
        return self.format is not None and FORMATS[self.format].vector


Background = Literal["white", "drawn"]


@dataclass(frozen=True)
class PageOptions:
    """What the pages are like that become files.

    Raises:
        OptionsError: a value that is not allowed.
    """

    place: Literal["crop", "photo"] = option(
        "crop",
        "crop: each face on a page of its own. photo: all drawings of a photo on one page of its size, where its faces "
        "were.",
        panel="Page",
    )
    over: Literal["white", "photo"] = option(
        "white", "What is below the lines, with --place photo: a white page, or the photo itself.", panel="Page"
    )
    overview: bool = option(
        False,
        "With --faces all or numbers: write p.overview.jpg too, the photo with a number at each face, and the name of "
        "its drawing.",
        panel="Page",
    )
    size: int | str | None = option(
        None,
        "Length of a page's longer side: pixels, or a length in print at --dpi, as in 10cm, 100mm or 4in.",
        metavar="N",
        shown="512; with --place photo, the photo's",
        parse=lambda given: int(given) if given.isdecimal() else given,
        panel="Page",
    )
    dpi: float = option(
        300.0, "Pixels an inch in print, written into the files.", metavar="N", min=1, max=10_000, panel="Page"
    )
    background: Background = option(
        "white",
        "white: strokes that touch no person are taken off the page. drawn: all that the model draws stays.",
        panel="Page",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.over == "photo" and self.place == "crop":
            raise OptionsError("--over photo needs --place photo: a drawing of a face alone is not over its photo")
        if self.size is not None and not LEAST_SIDE <= (self.side or 0) <= LARGEST_SIDE:
            raise OptionsError(
                f"size must be from {LEAST_SIDE} to {LARGEST_SIDE} pixels, given as in 1181 or 10cm, not {self.size}"
            )

    @property
    def side(self) -> int | None:
        """The size in pixels; None where nothing, or no length, is said."""
        if self.size is None or isinstance(self.size, int):
            return self.size
        length = self._inches
        return None if length is None else round(length * self.dpi)

    @property
    def _inches(self) -> float | None:
        """The size in print; None where it is no length."""
        length = re.fullmatch(r"(\d+(?:\.\d*)?)(mm|cm|in)", str(self.size))
        return None if length is None else float(length[1]) * INCHES[length[2]]

    def inches_a_pixel(self, shape: tuple[int, ...]) -> float:
        """How large a pixel of a page is in print, if the page of this shape (H, W) is enlarged there only."""
        length = self._inches
        return ((self.side or max(shape)) / self.dpi if length is None else length) / max(shape)


def check_together(faces: FaceOptions, file: FileOptions, page: PageOptions) -> None:
    """Makes sure that options of different groups do not contradict each other.

    Raises:
        OptionsError: they do.
    """
    written = file.settled()
    if page.over == "photo":
        if written.vector:
            raise OptionsError(
                f"{written.format} holds lines only: leave out --over photo, or choose --format png or jpg"
            )
        for name in ("two_tone", "transparent"):
            if getattr(file, name):
                raise OptionsError(f"--over photo and --{spelled(name)} contradict each other: leave out one of them")
    if page.overview and faces.faces == "largest":
        raise OptionsError("--overview tells several faces apart: add --faces all, or leave it out")
    if page.place == "photo" and faces.aligned:
        raise OptionsError("an aligned portrait fills its photo: leave out --place photo, or --aligned")


@dataclass(frozen=True)
class RunOptions:
    """How a conversion goes about its work; none of it changes a drawing.

    Raises:
        OptionsError: a value that is not allowed.
    """

    existing: Literal["skip", "overwrite", "error"] = option(
        "skip",
        "What to do about drawings that are there: skip those that are up to date, overwrite, or count as errors.",
    )
    retry_failed: bool = option(False, "Try photos again that failed or held no face before.")
    follow_links: bool = option(False, "Follow links in a folder of photos that lead out of it.")
    exclude: tuple[str, ...] = option(
        (),
        "Leave out files and folders of this name, or of this path below the source folder, as in '*_edited.*'; can be "
        "given several times.",
        metavar="GLOB",
        shown="none",
        parse=tuple,
    )
    prune: bool = option(
        False,
        "Remove drawings that earlier runs left behind: of photos that are gone, and those made with other options.",
    )
    gallery: bool = option(
        False, "Write index.html into the output folder: a page to look through photos, drawings and failures."
    )
    watch: bool = option(
        False,
        "Go on until Ctrl-C: draw what arrives in the folders, as soon as it is whole. Needs watchfiles.",
    )
    ignore_known: bool = option(
        False,
        "For runs by night: photos that failed in the same way before are not listed, and do not make the exit code 1.",
    )
    shard: str | None = option(
        None,
        "Draw only this part of the photos, for several runs side by side into one folder: 0/3, 1/3 and 2/3 on three "
        "machines. Each keeps its own part of the manifest; all are read as one.",
        metavar="I/N",
        shown="all photos",
    )
    cluster: str | None = option(
        None,
        "Draw on a Dask cluster: address of its scheduler, as tcp://host:8786, or its scheduler file; local: one on "
        "this machine. Photos and drawings lie in folders that all its machines share, or in buckets.",
        metavar="ADDRESS|local",
        shown="this process and its workers",
        panel="Drawing",
    )
    workers: int | None = option(
        None,
        "Processes that prepare photos and encode drawings. 0: none.",
        min=0,
        shown="what suits the machine",
        panel="Drawing",
    )
    time_limit: float = option(
        120.0,
        "Give up a photo that twice takes longer than this to read or encode. 0: never, as without workers.",
        metavar="SECONDS",
        min=0,
        panel="Drawing",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.watch and self.prune:
            raise OptionsError("--watch never comes to an end, at which --prune removes: leave one of them out")
        if self.part is not None and (self.prune or self.gallery):
            raise OptionsError(
                "--prune and --gallery are for all photos: run the command with them once all shards are through, "
                "without --shard"
            )

    @property
    def part(self) -> Shard | None:
        """The shard of the photos that is meant; None for all.

        Raises:
            OptionsError: it is none.
        """
        return None if self.shard is None else Shard.parse(self.shard)


@dataclass(frozen=True)
class ConvertOptions:
    """What `apdraw convert` is asked for; None leaves the choice to the program.

    Attributes:
        sources: paths of photos and folders.
        listed: more of them, from a list; a missing one is a photo that fails.
        output: the output folder.
        model: which generator draws.
        faces: which faces become portraits.
        engine: what draws.
        file: what drawings are written as.
        page: what is on a page, and how large it is.
        run: how the conversion goes about its work.
    """

    sources: tuple[str, ...]
    listed: tuple[str, ...] = ()
    output: Place | None = None
    model: ModelOptions = field(default_factory=ModelOptions)
    faces: FaceOptions = field(default_factory=FaceOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    file: FileOptions = field(default_factory=FileOptions)
    page: PageOptions = field(default_factory=PageOptions)
    run: RunOptions = field(default_factory=RunOptions)

    def __post_init__(self) -> None:
        check_together(self.faces, self.written, self.page)
        for source in self.sources:
            place(source)  # before it is written into a log
        if any(is_url(address) for address in (*self.sources, self.output)):
            for name in ("watch", "gallery"):
                if getattr(self.run, name):
                    raise OptionsError(f"--{name} is for folders of this machine, not for a bucket: leave it out")

    @property
    def written(self) -> FileOptions:
        """The options of files with their format, which the name of an output file may say.

        Raises:
            UsageError: drawings are not written in that format, or another was asked for.
            OptionsError: it has not an option that was given.
        """
        return self.file.settled(format_of(self.output, self.file.format))

    @classmethod
    def of(
        cls,
        *sources: str,
        listed: tuple[str, ...] = (),
        output: Place | None = None,
        **options: Any,
    ) -> "ConvertOptions":
        """Options by their own names, as on the command line: `of("photos", faces="all", batch_size=4)`.

        Raises:
            OptionsError: one is unknown, or has a value that is not allowed.
        """
        groups = {
            "model": ModelOptions,
            "faces": FaceOptions,
            "engine": EngineOptions,
            "file": FileOptions,
            "page": PageOptions,
            "run": RunOptions,
        }
        return cls(sources, listed, output, **make(groups, options))
