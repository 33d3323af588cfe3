"""Where the files of a prepared data set lie: one of each kind for each portrait."""

from pathlib import Path
from typing import Final, Literal

from engines.regular_files import OutsideError, is_name

Split = Literal["train", "val"]
"""What a portrait serves: to train on, or to measure with."""

INDEX: Final = "index.jsonl"
LINES: Final = "lines"
MESHES: Final = "meshes"
FOLDERS: Final = ("photos", "drawings", "landmarks", "masks", "labels", LINES, MESHES)
"""Each holds one file a portrait, `lines` only of two-tone drawings, `meshes` only of those drawn along a mesh."""
TEXTS: Final = ("landmarks", MESHES)
"""Folders of text files with points."""


def file_of(dataset: Path, folder: str, name: str) -> Path:
    """Where a portrait's file of one of the `FOLDERS` is.

    Raises:
        OutsideError: the name, out of an index perhaps, would lead out of the folder.
    """
    if not is_name(name):
        raise OutsideError(name)
    return dataset / folder / f"{name}{'.txt' if folder in TEXTS else '.png'}"
