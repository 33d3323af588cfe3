"""What a preparation is asked for, and what comes of it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from engines.errors import ExitCode, OptionsError
from engines.options import check, option

MIN_AGREEMENT: Final = 0.45
"""A drawing that agrees less with its photo is left out, unless said otherwise; see `registration`."""


Npr = Literal["artist", "filter"]
"""What makes two-tone drawings: `train.artist`, which draws along a face mesh, or `train.npr`, a filter of tones."""


@dataclass(frozen=True)
class PairOptions:
    """How photos are paired with drawings.

    Raises:
        OptionsError: a value that is not allowed, or values that contradict each other.
    """

    drawings: Path | None = option(
        None, "A folder of an artist's drawings, named like the photos.", metavar="DIR", shown="none"
    )
    npr: Npr | None = option(
        None,
        "Make two-tone drawings, for pre-training: artist draws along a face mesh, filter goes by tones. --npr alone: "
        "artist.",
        shown="none",
    )
    meshes: Path | None = option(
        None, "Face meshes for --npr artist: a NumPy file with names and points.", metavar="FILE", shown="found"
    )
    min_agreement: float | None = option(
        None,
        "Leave out drawings that match their photo less than this: 1 is perfect, -1 takes all.",
        min=-1,
        max=1,
        shown=f"{MIN_AGREEMENT}",
    )
    labels: Path | None = option(
        None, "A folder of label maps, NAME.png: 0 background, 1 person, 2 face.", shown="made by the segmenter"
    )
    index: Path | None = option(None, "A CSV file with columns file and split (train or val).", shown="a tenth is val")
    workers: int | None = option(None, "Processes that prepare photos. 0: none.", min=0, shown="what suits the machine")

    def __post_init__(self) -> None:
        check(self)
        if (self.npr is None) == (self.drawings is None):
            raise OptionsError(
                "say where the drawings come from: --drawings DIR for an artist's, or --npr to have them made"
            )
        if self.meshes and self.npr != "artist":
            raise OptionsError("--meshes is what --npr artist draws along: leave it out")
        if self.min_agreement is not None and self.npr:
            raise OptionsError("--min-agreement is about an artist's drawings: leave it out with --npr")

    @property
    def least_agreement(self) -> float:
        """A drawing that agrees less with its photo is left out; see `registration`."""
        return MIN_AGREEMENT if self.min_agreement is None else self.min_agreement


@dataclass(frozen=True)
class PrepareOptions:
    """What `apdraw prepare` is asked for.

    Attributes:
        photos: folder of photos.
        dataset: folder to write.
        pairs: how photos are paired with drawings.
    """

    photos: Path
    dataset: Path
    pairs: PairOptions


@dataclass(frozen=True)
class LeftOut:
    """A photo or drawing that is not in the data set.

    Attributes:
        name: its file.
        reason: why, in words that others share.
        detail: what is special about it; may be empty.
    """

    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class PrepareResult:
    """What was made of the photos.

    Attributes:
        dataset: the folder written.
        prepared: portraits in it.
        kept: those of them that an earlier run had made.
        registered: those whose drawing was moved onto its photo.
        left_out: what is not in it.
        reasons: how many were left out, by reason.
        unread: folders inside the folder of photos, which were not looked into.
        contact_sheet: a picture of a sample of the portraits; None if it was not made.
        interrupted: the user stopped it; the same command goes on.
    """

    dataset: Path
    prepared: int
    kept: int
    registered: int
    left_out: tuple[LeftOut, ...]
    reasons: dict[str, int]
    unread: tuple[str, ...]
    contact_sheet: Path | None
    interrupted: bool

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code."""
        return ExitCode.INTERRUPTED if self.interrupted else ExitCode.DONE


def count_reasons(left_out: tuple[LeftOut, ...]) -> dict[str, int]:
    """How often each reason occurs, the most frequent first."""
    return dict(Counter(each.reason for each in left_out).most_common())
