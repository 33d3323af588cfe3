"""Names the drawings of one folder's photos, so that no two get the same name."""

import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import PurePath
from typing import Final

LONGEST_NAME: Final = 255
"""Bytes that the name of a file may have on usual file systems."""

_NUMBER: Final = len(".999")

_NUMBERED = re.compile(r"(.+)\.(?:\d+|overview)")


def drawing_names(photos: Iterable[str], folders: Collection[str], suffix: str, several: bool) -> dict[str, str]:
    """Names the drawings of the photos in one folder.

    `p.jpg` becomes `p`. Photos that would land on one name keep their extension in it: `p.jpg`, `p.png`.
    Names that differ only in case count as one, since they are on some file systems. One that would be too long for a
    file system is cut, and ends in a checksum of the photo's.

    Args:
        photos: file names, each once.
        folders: names of the folders beside the drawings; no drawing takes one.
        suffix: suffix of the drawings' files, such as `.png`.
        several: a photo may have several drawings: `p`, `p.2`, `p.3`, ..., and an overview, `p.overview`.

    Returns:
        Each photo's name to the name of its drawing, without `suffix`.
    """
    room = LONGEST_NAME - len(suffix) - (_NUMBER if several else 0)
    order = sorted(photos)
    names = {photo: fitting(PurePath(photo).stem, room, photo) for photo in order}
    attempts = dict.fromkeys(order, 0)
    while clashing := _clashing(names, attempts, folders, suffix, several):
        for photo in clashing:
            attempts[photo] += 1
            names[photo] = fitting(photo if attempts[photo] == 1 else f"{photo}~{attempts[photo]}", room)
    return names


def fitting(name: str, room: int, origin: str | None = None) -> str:
    """A name that takes no more than so many bytes: itself, or its beginning and a checksum.

    Args:
        name: the name.
        room: bytes.
        origin: what the checksum is of; None for the name.
    """
    data = os.fsencode(name)
    if len(data) <= room:
        return name
    checksum = hashlib.sha256(os.fsencode(name if origin is None else origin)).hexdigest()[:10]
    end = room - len(checksum) - 1
    while end and data[end] & 0xC0 == 0x80:  # in the middle of a letter of UTF-8
        end -= 1
    return f"{os.fsdecode(data[:end])}~{checksum}"


def _clashing(
    names: dict[str, str], attempts: dict[str, int], folders: Collection[str], suffix: str, several: bool
) -> set[str]:
    """The photos that need another name."""
    users = defaultdict(list)
    for photo, name in names.items():
        users[_folded(name)].append(photo)
    clashing = set()
    for photos in users.values():
        if len(photos) > 1:
            fresh = [photo for photo in photos if attempts[photo] == 0]
            clashing.update(fresh or photos[1:])
    taken = {_folded(folder) for folder in folders}
    clashing.update(photo for photo, name in names.items() if _folded(name + suffix) in taken)
    if several:
        for name, photos in users.items():
            first = _first_of(name)
            if first in users:
                clashing.update(photos)
        for folder in taken:
            if folder.endswith(suffix):
                clashing.update(users.get(_first_of(folder.removesuffix(suffix)), ()))
    return clashing


def _first_of(name: str) -> str:
    """`p` for `p.2`, the name of a photo's second drawing; empty for others."""
    match = _NUMBERED.fullmatch(name)
    return match[1] if match else ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
