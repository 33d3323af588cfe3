"""Pairing: which photo goes with which drawing and label map, by name."""

import csv
import hashlib
import io
import json
import unicodedata
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from apdraw_cli.conversion.sources import EXTENSIONS
from apdraw_cli.datasets.records import Record
from engines.errors import UsageError
from engines.regular_files import read_regular

VALIDATION_SHARE: Final = 0.1
"""Share of the photos put aside for validation where no index says which."""

SAME_NAME: Final = "another photo has this name"
NO_DRAWING: Final = "no drawing has its name"
NO_PHOTO: Final = "a drawing without a photo"
SEVERAL_DRAWINGS: Final = "several drawings have its name"
NOT_THERE: Final = "in the index, but not among the photos"


@dataclass(frozen=True)
class Task:
    """A portrait to be made.

    Attributes:
        name: of its files in the data set.
        photo: the photo.
        drawing: the artist's drawing; None where it is made by filtering.
        labels: the photo's label map; None where it is made.
        fingerprint: changes with any of these files, and with the options.
    """

    name: str
    photo: Path
    drawing: Path | None
    labels: Path | None
    fingerprint: str


@dataclass(frozen=True)
class Pairing:
    """What there is to do.

    Attributes:
        tasks: portraits to be made.
        left_out: records of photos and drawings that no portrait is made of.
        unread: names of folders inside the folder of photos.
    """

    tasks: tuple[Task, ...]
    left_out: tuple[Record, ...]
    unread: tuple[str, ...]


def pair(photos: Path, drawings: Path | None, labels: Path | None, options: str) -> Pairing:
    """Pairs photos with drawings and label maps of the same name.

    Names are compared without their endings, in any case. Of photos of one name the first is taken; a photo with
    several drawings is left out, since a wrong pair would be worse than none.

    Args:
        photos: folder of photos.
        drawings: folder of drawings, or None.
        labels: folder of label maps, or None.
        options: what decides how portraits are made, as text.

    Raises:
        UsageError: a folder cannot be read or holds nothing.
    """
    sources = _pictures(photos, "photos")
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for path in _pictures(drawings, "drawings") if drawings else []:
        by_name[_key(path)].append(path)
    tasks, left_out = [], []
    seen: set[str] = set()
    for photo in sources:
        key = _key(photo)
        found = by_name.get(key, [])
        if key in seen:
            left_out.append(Record(photo.name, photo.name, left_out=SAME_NAME))
        elif drawings and not found:
            left_out.append(Record(photo.stem, photo.name, left_out=NO_DRAWING))
        elif len(found) > 1:
            detail = ", ".join(path.name for path in found)
            left_out.append(Record(photo.stem, photo.name, left_out=SEVERAL_DRAWINGS, detail=detail))
        else:
            drawing = found[0] if found else None
            label_map = labels / f"{photo.stem}.png" if labels else None
            fingerprint = _fingerprint(options, photo, drawing, label_map)
            tasks.append(Task(photo.stem, photo, drawing, label_map, fingerprint))
        seen.add(key)
    for key, paths in by_name.items():
        if key not in seen:
            left_out += [Record(path.name, None, drawing=path.name, left_out=NO_PHOTO) for path in paths]
    unread = tuple(sorted(path.name for path in photos.iterdir() if path.is_dir() and not path.name.startswith(".")))
    return Pairing(tuple(tasks), tuple(left_out), unread)


def split_of(name: str) -> str:
    """`val` for a tenth of all names, always the same ones, else `train`."""
    return "val" if zlib.crc32(name.encode(errors="surrogateescape")) % 1000 < VALIDATION_SHARE * 1000 else "train"


def read_splits(index: Path) -> dict[str, str]:
    """The split of each photo's file that an index names.

    Raises:
        UsageError: it is no such index.
    """
    try:
        text = read_regular(index).decode("utf-8-sig")  # spreadsheets put a mark in front
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = reader.fieldnames or ()
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the index {index} cannot be read ({error}): name a CSV file in UTF-8") from error
    if not {"file", "split"} <= set(columns):
        raise UsageError(f"the index {index} cannot be used: it needs the columns file and split")
    for row in rows:
        if not row["file"]:
            raise UsageError(f"the index {index} has a line without a file: name one in each")
        if row["split"] not in ("train", "val"):
            raise UsageError(
                f"the index {index} puts {row['file']} into the split {row['split']!r}: write train or val"
            )
    return {row["file"]: row["split"] for row in rows}


def _pictures(folder: Path, what: str) -> list[Path]:
    try:
        names = sorted(folder.iterdir())
    except OSError as error:
        reason = f"{folder} is no folder" if not folder.is_dir() else f"{folder} cannot be read ({error.strerror})"
        raise UsageError(f"{reason}: name one with {what}") from error
    found = [
        path
        for path in names
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and not path.is_dir()
    ]
    if not found:
        raise UsageError(f"there are no {what} in {folder}: name a folder of {what}")
    return found


def _key(path: Path) -> str:
    # Some systems store accents apart from their letters.
    return unicodedata.normalize("NFC", path.stem).casefold()


def _fingerprint(options: str, *paths: Path | None) -> str:
    parts: list[object] = [options]
    for path in paths:
        try:
            found = path.stat() if path else None
        except OSError:
            found = None
        parts.append([path.name, found.st_size, found.st_mtime_ns] if path and found else None)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
