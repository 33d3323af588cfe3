"""`apdraw gallery`: an output folder gets a page to look through it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from apdraw_cli.conversion.manifest import NAME as MANIFEST
from apdraw_cli.conversion.manifest import has_manifest
from apdraw_cli.conversion.storage import Storage, open_storage
from apdraw_cli.gallery import page
from apdraw_cli.gallery.entries import read_entries
from apdraw_cli.gallery.thumbnails import Thumbnails
from engines.errors import FileWriteError, UsageError


@dataclass(frozen=True)
class GalleryResult:
    """What became of a gallery.

    Attributes:
        page: its file.
        entries: drawings, and photos without one.
        drawings: number of drawings among them that are there.
        without_photo: drawings whose photo could not be shown: it is gone, has changed since, or cannot be read.
        pictures: small pictures that were made; those up to date were kept.
        seconds: seconds that the whole command took.
    """

    page: Path
    entries: int
    drawings: int
    without_photo: int
    pictures: int
    seconds: float


def gallery(
    drawings: Path, photos: Path | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> GalleryResult:
    """Writes `index.html` into an output folder, and small pictures into its folder `apdraw-gallery`.

    Args:
        drawings: the output folder of a conversion.
        photos: where the photos lie, if it is not where they were drawn from.
        progress: is told how many entries of how many are through.

    Raises:
        UsageError: it is no such folder, or a file in it is in the way.
        FileWriteError: it cannot be written.
    """
    start = time.perf_counter()
    if not drawings.is_dir():
        raise UsageError(f"there is no folder {drawings}: name the folder that apdraw convert wrote its drawings into")
    if photos is not None and not photos.is_dir():
        raise UsageError(f"there is no folder {photos}: name the folder of the photos, or leave out --photos")
    output = open_storage(str(drawings.absolute()))
    if not has_manifest(output):
        raise UsageError(f"{drawings} holds no {MANIFEST}: name a folder that apdraw convert wrote its drawings into")
    check_page(output)
    entries = read_entries(output)
    thumbnails = Thumbnails(output, None if photos is None else photos.absolute())
    try:
        pictures = thumbnails.make(entries, progress)
        output.write({page.NAME: page.page(drawings.absolute().name, entries, pictures)})
    except OSError as error:
        raise FileWriteError(
            f"cannot write the gallery into {drawings}: {error.strerror or error}; check the folder and the space there"
        ) from error
    return GalleryResult(
        drawings.absolute() / page.NAME,
        len(entries),
        sum(entry.version is not None for entry in entries),
        sum(entry.version is not None and each.photo is None for entry, each in zip(entries, pictures, strict=True)),
        thumbnails.made,
        time.perf_counter() - start,
    )


def check_page(output: Storage) -> None:
    """Makes sure that a gallery may be written into an output folder, which need not exist.

    Raises:
        UsageError: there is a page of someone else's in it.
    """
    if not output.exists(page.NAME):
        return
    try:
        with output.open_own(page.NAME) as file:
            ours = page.is_page(file)
    except OSError:
        ours = False
    if not ours:
        raise UsageError(f"{output.address}/{page.NAME} is in the way, and no gallery of apdraw: move it elsewhere")
