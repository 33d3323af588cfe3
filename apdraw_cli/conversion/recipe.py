"""What decides how drawings look, and its checksum, by which drawings made otherwise are told from current ones."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Final

from apdraw_cli.conversion.options import DEFAULT_FORMAT, ConvertOptions, FaceOptions, FileOptions, PageOptions
from apdraw_cli.conversion.storage import Version

PIPELINE_VERSION: Final = 5
"""To be raised when the way from photo to drawing changes, so that drawings made before are made again."""

STATED: Final = frozenset(("faces", "min_face", "aligned", "detector", "format"))
"""Options that the checksum states at their defaults too.

All others it states where they are not at their default: so a new option leaves drawings made before it current.
"""


@dataclass(frozen=True)
class Recipe:
    """All that decides what a drawing looks like but photo and model, and nothing else; can be pickled.

    Attributes:
        faces: which faces become portraits.
        file: what drawings are written as; its format is always said.
        page: what is on a page, and how large it is.
    """

    faces: FaceOptions = field(default_factory=FaceOptions)
    file: FileOptions = field(default_factory=FileOptions)
    page: PageOptions = field(default_factory=PageOptions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", self.file.settled())

    @classmethod
    def of(cls, options: ConvertOptions) -> "Recipe":
        """The part of a conversion's options that decides what drawings look like."""
        return cls(options.faces, options.written, options.page)

    @property
    def format(self) -> str:
        """The name of the file format."""
        return self.file.format or DEFAULT_FORMAT

    @property
    def several(self) -> bool:
        """Whether a photo may have several files: drawings, or an overview."""
        return self.faces.faces != "largest" and (self.page.place == "crop" or self.page.overview)

    @property
    def shows_photo(self) -> bool:
        """Whether the photo itself is seen on a page."""
        return self.page.over == "photo" or self.page.overview

    def checksum(self, landmarks: Version | None = None) -> str:
        """The sha256 of all fields, in hexadecimal.

        Args:
            landmarks: version of the file of landmarks beside an aligned portrait, which counts too; None if there is
                none.
        """
        return _checksum(self, landmarks)


def landmarks_file(photo: str) -> str:
    """Where the landmarks of an aligned portrait are looked for: `p.txt` beside `p.jpg`."""
    return str(PurePosixPath(photo).with_suffix(".txt"))


@lru_cache
def _checksum(recipe: Recipe, landmarks: Version | None) -> str:
    stated = {name: value for name, value, default in _options(recipe) if name in STATED or value != default}
    decisive: dict[str, Any] = {"pipeline": PIPELINE_VERSION, **stated}
    if recipe.faces.aligned:
        decisive["landmarks"] = landmarks and (landmarks.size, landmarks.mtime_ns)
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _options(group: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and default of each option in a dataclass, and in the dataclasses in it."""
    for option in dataclasses.fields(group):
        value = getattr(group, option.name)
        if dataclasses.is_dataclass(value):
            yield from _options(value)
        else:
            yield option.name, value, option.default
