"""Makes the sources of a command out of what was named: which folders and files there are, and how drawings lie."""

# Names stay text: a Path for each of a million photos is slow, and resolving one would follow its links.
# ruff: noqa: PTH100, PTH112, PTH118, PTH119, PTH120

import codecs
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from apdraw_cli.conversion.kinds import HEAD, is_picture
from apdraw_cli.conversion.output_name import names_file
from apdraw_cli.conversion.shard import Shard
from apdraw_cli.conversion.sources import HIDDEN_MANIFEST, SourceFile, SourceFolder, SourceSet, is_excluded
from apdraw_cli.conversion.storage import Place, is_url, open_storage, place
from engines.errors import UsageError


def gather(
    arguments: Sequence[str],
    listed: Iterable[str] = (),
    output: Place | None = None,
    *,
    follow_links: bool = False,
    exclude: Sequence[str] = (),
    shard: Shard | None = None,
) -> SourceSet:
    """Makes sense of the sources of a command.

    A single photo, of no list, has its drawing beside it, as `me-drawing`, or where the output is a file, there; its
    manifest is hidden.

    One folder is mirrored into the output folder itself. Several are mirrored into folders of their names or,
    if those are not unique, below their common parent. Files lie flat in the output folder if their names are
    unique, else below their common parent. Files of a list lie as they lie below the current folder, so that the
    next list, which may be longer, puts them into the same places.

    Args:
        arguments: photos and folders from the command line; they must exist. Of a bucket one folder alone, by its URL.
        listed: more of them from a list; a missing one becomes a photo that fails.
        output: the output folder, or the file of a single photo's drawing; None for `<first folder>-drawings` beside
            the first folder, and for a single photo `<photo>-drawing` beside it.
        follow_links: follow links in folders that lead out of them.
        exclude: patterns of what is left out, as `is_excluded` takes them; folders that are sources are not.
        shard: the part of the photos that is meant.

    Raises:
        UsageError: a source is missing, there are none, or the output is one of them, or a file for several photos.
    """
    if any(map(is_url, (*arguments, *listed))):
        return _gathered_from_bucket(arguments, listed, output, exclude, shard)
    for argument in arguments:
        if not os.path.lexists(argument):
            raise UsageError(f"there is no {argument}: check the path")
    listed = [os.path.abspath(path) for path in listed]
    paths = list(dict.fromkeys((*(os.path.abspath(path) for path in arguments), *listed)))
    folders = [path for path in paths if os.path.isdir(path)]
    files = [path for path in paths if not os.path.isdir(path)]
    if not paths:
        raise UsageError("no photos were given: name a photo, a folder of photos, or - for a list of paths")
    if files and len(paths) == 1 and not listed and (output is None or names_file(output)):
        folder, name = os.path.split(files[0])
        drawing = f"{PurePath(name).stem}-drawing" if output is None else PurePath(output).stem
        beside = folder if output is None else os.path.dirname(os.path.abspath(output))
        photo = SourceFile(files[0], folder, name, drawing)
        return SourceSet((), (photo,), Path(beside), manifest=HIDDEN_MANIFEST, shard=shard)
    if output is not None and names_file(output):
        raise UsageError(f"{output} is the name of one drawing, and there may be several: name a folder with --output")
    if output is None:
        first = folders[0] if folders else os.path.dirname(files[0])
        if not os.path.basename(first):
            raise UsageError(f"cannot make a folder beside {first}: name one with --output")
        output = Path(f"{first}-drawings")
    if isinstance(output, Path):
        output = Path(os.path.abspath(output))
        if output.exists() and not output.is_dir():
            raise UsageError(f"{output} is not a folder: name another --output")
        if output.exists() and _identity(output) in {_identity(folder) for folder in folders}:
            raise UsageError(f"the output folder {output} is a source: name another --output")
    own = set(listed)  # a list made by `find` names the drawings of the last run too
    files = [path for path in files if path not in own or not path.startswith(os.path.join(output, ""))]
    files = [path for path in files if not is_excluded(path, exclude)]
    laid_out = _laid_out_below_current_folder(files) if listed else _laid_out_files(files)
    return SourceSet(
        tuple(_laid_out_folders(folders, bool(files))),
        tuple(laid_out),
        output,
        follow_links,
        tuple(exclude),
        shard=shard,
    )


def _gathered_from_bucket(
    arguments: Sequence[str],
    listed: Iterable[str],
    output: Place | None,
    exclude: Sequence[str],
    shard: Shard | None,
) -> SourceSet:
    """The photos below a URL."""
    if len(arguments) != 1 or any(True for _ in listed):
        raise UsageError("a folder of a bucket is drawn by itself: name one URL, and nothing beside it")
    url = str(place(arguments[0]))
    if not is_url(url):  # file:///photos
        return gather([url], (), output, exclude=exclude, shard=shard)
    if output is None:
        raise UsageError(f"where are the drawings of {url} to go? name a folder, or a URL, with --output")
    if str(output) == url:
        raise UsageError(f"the output folder {output} is a source: name another --output")
    if isinstance(output, Path):
        output = Path(os.path.abspath(output))
    try:
        there = open_storage(url).exists("")
    except OSError as error:
        raise UsageError(f"cannot read {url}: {error.strerror or error}") from error
    if not there:
        raise UsageError(f"there is no {url}: check the address")
    return SourceSet((SourceFolder(url, url, ""),), (), output, exclude=tuple(exclude), shard=shard)


def read_list(data: bytes) -> list[str]:
    """The paths in a list, one a line, or separated by zero bytes (`find -print0`).

    A byte order mark in front, as Windows writes it, is no part of the first path; a list in UTF-16 is read too.

    Raises:
        UsageError: it is a picture.
    """
    if is_picture(data[:HEAD]):
        raise UsageError("standard input holds a picture: say where its drawing goes, with -o me.png or -o -")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and b"\0" in data:
        try:
            data = data.decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            raise UsageError("the list on standard input is cut off, or not in UTF-16: write it in UTF-8") from error
    data = data.removeprefix(codecs.BOM_UTF8)
    separator = b"\0" if b"\0" in data else b"\n"
    return [os.fsdecode(path) for line in data.split(separator) if (path := line.strip(b"\r\n"))]


def _laid_out_folders(paths: list[str], beside_files: bool) -> Iterator[SourceFolder]:
    if len(paths) == 1 and not beside_files:
        yield SourceFolder(paths[0], paths[0], "")
        return
    names = [os.path.basename(path) for path in paths]
    if len({name.casefold() for name in names}) == len(names) and all(names):
        for path, name in zip(paths, names, strict=True):
            yield SourceFolder(path, os.path.dirname(path), f"{name}/")
        return
    parent = _common_parent(paths)
    for path in paths:
        below = os.path.relpath(path, parent).replace(os.sep, "/")
        yield SourceFolder(path, parent, "" if below == "." else f"{below}/")


def _laid_out_files(paths: list[str]) -> Iterator[SourceFile]:
    names = [os.path.basename(path) for path in paths]
    if len({name.casefold() for name in names}) == len(names):
        for path, name in zip(paths, names, strict=True):
            yield SourceFile(path, os.path.dirname(path), name)
        return
    parent = _common_parent([os.path.dirname(path) for path in paths])
    for path in paths:
        yield SourceFile(path, parent, os.path.relpath(path, parent))


def _laid_out_below_current_folder(paths: list[str]) -> Iterator[SourceFile]:
    here = os.getcwd()  # noqa: PTH109
    if not all(path.startswith(os.path.join(here, "")) for path in paths):
        here = _common_parent([os.path.dirname(path) for path in paths])
    for path in paths:
        yield SourceFile(path, here, os.path.relpath(path, here))


def _common_parent(paths: list[str]) -> str:
    try:
        return os.path.commonpath(paths)
    except ValueError as error:  # on two drives
        raise UsageError("sources of one name on different drives: convert them one by one") from error


def _identity(path: str | Path) -> Hashable | None:
    return open_storage(str(path)).identity("")
