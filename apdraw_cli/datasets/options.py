"""What a preparation is asked for, and what comes of it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from apdraw_cli.datasets.registration import MIN_AGREEMENT


@dataclass(frozen=True)
class PrepareOptions:
    """What `apdraw prepare` is asked for.

    Attributes:
        photos: folder of photos.
        dataset: folder to write.
        drawings: folder of an artist's drawings, of the photos' names; None to make two-tone ones by filtering.
        labels: folder of label maps, `NAME.png` of a photo's size; None to have the photos labelled.
        index: CSV file with columns `file` and `split` (`train` or `val`); None to put a tenth aside.
        min_agreement: a drawing that agrees less with its photo is left out; see `registration`.
        workers: processes; 0 for this one, None for what suits the machine.
    """

    photos: Path
    dataset: Path
    drawings: Path | None = None
    labels: Path | None = None
    index: Path | None = None
    min_agreement: float = MIN_AGREEMENT
    workers: int | None = None


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


def count_reasons(left_out: tuple[LeftOut, ...]) -> dict[str, int]:
    """How often each reason occurs, the most frequent first."""
    return dict(Counter(each.reason for each in left_out).most_common())
