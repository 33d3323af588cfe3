"""Pairing: which photo goes with which drawing and label map, by name."""

import csv
import hashlib
import io
import json
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from apdraw_cli.conversion.drawing_names import LONGEST_NAME, fitting
from apdraw_cli.conversion.kinds import HEAD, is_picture
from apdraw_cli.conversion.sources import EXTENSIONS
from apdraw_cli.datasets.records import PairRecord
from engines.errors import UsageError
from engines.regular_files import open_regular, read_regular

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
        name: name of its files in the data set.
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
    left_out: tuple[PairRecord, ...]
    unread: tuple[str, ...]


def pair(photos: Path, drawings: Path | None, labels: Path | None, options: str) -> Pairing:
    """Pairs photos with drawings and label maps of the same name.

    Names are compared without their endings, in any case and however their accents are stored. Of photos of one name
    the first is taken; a photo with several drawings is left out, since a wrong pair would be worse than none.

    Args:
        photos: folder of photos.
        drawings: folder of drawings, or None.
        labels: folder of label maps, or None.
        options: what decides how portraits are made, as text.

    Raises:
        UsageError: a folder cannot be read or holds nothing.
    """
    sources = _pictures(photos, "photos")
    label_maps = _label_maps(labels) if labels else {}
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for path in _pictures(drawings, "drawings") if drawings else []:
        by_name[_key(path)].append(path)
    tasks, left_out = [], []
    seen: set[str] = set()
    for photo in sources:
        key = _key(photo)
        found = by_name.get(key, [])
        if key in seen:
            left_out.append(PairRecord(photo.name, photo.name, left_out=SAME_NAME))
        elif drawings and not found:
            left_out.append(PairRecord(photo.stem, photo.name, left_out=NO_DRAWING))
        elif len(found) > 1:
            detail = ", ".join(path.name for path in found)
            left_out.append(PairRecord(photo.stem, photo.name, left_out=SEVERAL_DRAWINGS, detail=detail))
        else:
            drawing = found[0] if found else None
            label_map = label_maps.get(key, labels / f"{photo.stem}.png") if labels else None
            fingerprint = _fingerprint(options, photo, drawing, label_map)
            tasks.append(Task(portrait_name(photo), photo, drawing, label_map, fingerprint))
        seen.add(key)
    for key, paths in by_name.items():
        if key not in seen:
            left_out += [PairRecord(path.name, None, drawing=path.name, left_out=NO_PHOTO) for path in paths]
    unread = tuple(sorted(path.name for path in photos.iterdir() if path.is_dir() and not path.name.startswith(".")))
    return Pairing(tuple(tasks), tuple(left_out), unread)


def name_key(name: str) -> str:
    """The same for names that differ only in case, or in how accents are stored, which some systems do apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def portrait_name(photo: Path) -> str:
    """The name of a photo's portrait: its own, or the beginning of one that would be too long with another ending."""
    return fitting(photo.stem, LONGEST_NAME - len(".png"), photo.name)


def with_both_splits(records: Sequence[PairRecord]) -> list[PairRecord]:
    """Records of which, where there are two portraits or more, at least one is in each split.

    A few photos may all be for training by their names: then the portrait goes to validation that comes first in an
    order which is the same for any number of others.
    """
    portraits = sorted((record for record in records if not record.left_out), key=lambda record: _place(record.name))
    moved: dict[str, str] = {}
    if len(portraits) > 1:
        splits = {record.split for record in portraits}
        if "val" not in splits:
            moved[portraits[0].name] = "val"
        elif "train" not in splits:
            moved[portraits[-1].name] = "train"
    return [
        replace(record, split=moved[record.name]) if record.name in moved and not record.left_out else record
        for record in records
    ]


def split_of(name: str) -> str:
    """`val` for a tenth of all names, always the same ones, else `train`."""
    return "val" if _place(name) < VALIDATION_SHARE * 1000 else "train"


def _place(name: str) -> int:
    """A number under 1000 that depends on the name alone."""
    return zlib.crc32(name.encode(errors="surrogateescape")) % 1000


def read_splits(index: Path) -> dict[str, str]:
    """The split of each photo's file that an index names, in Unicode's composed form (NFC).

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
    return {unicodedata.normalize("NFC", row["file"]): row["split"] for row in rows}


def _pictures(folder: Path, what: str) -> list[Path]:
    try:
        names = sorted(folder.iterdir())
    except OSError as error:
        reason = f"{folder} is no folder" if not folder.is_dir() else f"{folder} cannot be read ({error.strerror})"
        raise UsageError(f"{reason}: name one with {what}") from error
    found = [path for path in names if not path.name.startswith(".") and not path.is_dir() and _is_picture(path)]
    if not found:
        raise UsageError(f"there are no {what} in {folder}: name a folder of {what}")
    return found


def _is_picture(path: Path) -> bool:
    if path.suffix:
        return path.suffix.lower() in EXTENSIONS
    try:
        with open_regular(path) as file:
            return is_picture(file.read(HEAD))
    except OSError:
        return False


def _label_maps(folder: Path) -> dict[str, Path]:
    """The label maps in a folder, by the key of their names."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    except OSError as error:
        raise UsageError(f"{folder} cannot be read ({error.strerror}): name a folder of label maps") from error
    return {name_key(path.stem): path for path in reversed(found)}


def _key(path: Path) -> str:
    return name_key(path.stem)


def _fingerprint(options: str, *paths: Path | None) -> str:
    parts: list[object] = [options]
    for path in paths:
        try:
            found = path.stat() if path else None
        except OSError:
            found = None
        parts.append([path.name, found.st_size, found.st_mtime_ns] if path and found else None)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
