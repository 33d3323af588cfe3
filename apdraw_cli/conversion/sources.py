"""Finds the photos of a command, and names their drawings.

Folders are walked while the conversion runs, one folder's listing at a time, so that memory does not grow
with their number. Skipped are names that begin with a dot, folders that servers and systems keep for themselves,
folders of earlier drawings, whatever `--exclude` names, and the output folder; files that are no photos are counted.
A link found in a folder that leads out of all source folders is a photo that fails, unless links are to be
followed: a folder that somebody sent could show any file of this machine. Links named as sources are followed.
"""

# Names stay text: a Path for each of a million photos is slow, and resolving one would follow its links.
# ruff: noqa: PTH118, PTH120, PTH122

import errno
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from apdraw_cli.conversion.drawing_names import drawing_names
from apdraw_cli.conversion.kinds import HEAD, is_picture
from apdraw_cli.conversion.shard import Shard
from apdraw_cli.conversion.storage import Place, Storage, Version, open_storage
from engines.errors import PhotoError
from engines.regular_files import NotRegularError

EXTENSIONS: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"),
        *(".hif", ".gif", ".jp2", ".j2k", ".j2c", ".jpf", ".jpx", ".jpc"),
    )
)
"""What a photo's name ends in, in any case. A file without any ending is a photo if it begins like one, and one named
on the command line may end in anything."""

MANIFEST: Final = "apdraw-manifest.jsonl"
"""Name of the manifest, by which a folder of earlier drawings is known."""

_MANIFESTS: Final = re.compile(r"apdraw-manifest(-\d+-of-\d+)?\.jsonl")

HIDDEN_MANIFEST: Final = f".{MANIFEST}"
"""Name of the manifest beside a photo whose drawing lies there too: the folder is none of drawings."""

RESERVED: Final = frozenset(
    (
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharesnap", "#recycle", "#snapshot", "__macosx"),
        *("$recycle.bin", "recycler", "system volume information", "lost+found", "found.000"),
    )
)
"""Folders, in small letters, in which servers and systems keep reduced copies, removed files and older versions. Others
of the kind begin with a dot, as .thumbnails and .AppleDouble."""

_SYSTEM_FILES: Final = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"))

LONGEST_ENDING: Final = 10
"""Letters; what is longer, after a dot, is part of a name."""

MOST_ENDINGS: Final = 1000
"""So many different endings are counted; files of others count as files without one."""

LEADS_OUT: Final = PhotoError("leads_out", "a link that leads out of the folder: --follow-links follows it")


@dataclass(frozen=True, slots=True)
class Source:
    """One photo to be drawn.

    Attributes:
        path: its file.
        root: absolute path of the folder that `name` is relative to.
        name: path below `root`, with forward slashes.
        drawing: path of its drawing below the output folder, without the suffix, with forward slashes.
        size: bytes; None if unknown.
        mtime_ns: time of its last change; None if unknown.
        error: why it cannot even be looked at.
    """

    path: str
    root: str
    name: str
    drawing: str
    size: int | None = None
    mtime_ns: int | None = None
    error: PhotoError | None = None

    @property
    def storage(self) -> Storage:
        """Where the photo lies, under its `name`."""
        return _opened(self.root)


@dataclass(frozen=True)
class SourceFolder:
    """A folder to be walked.

    Attributes:
        path: absolute.
        root: absolute path of the folder that its photos' names are relative to.
        prefix: what comes before their names below `path`.
    """

    path: str
    root: str
    prefix: str

    @property
    def storage(self) -> Storage:
        """The folder itself."""
        return open_storage(self.path)


@dataclass(frozen=True)
class SourceFile:
    """A photo named on its own.

    Attributes:
        path: absolute.
        root: absolute path of the folder that `name` is relative to.
        name: its path below that.
        drawing: path of its drawing below the output folder, without the suffix; None for one after its name.
    """

    path: str
    root: str
    name: str
    drawing: str | None = None


@dataclass
class PassedOver:
    """What a walk has passed over so far.

    Attributes:
        files: number of files that are no photos, by ending, in small letters with the dot; empty for those without.
        folders: names of folders of earlier drawings.
    """

    files: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Forgets all, since a walk begins."""
        self.files.clear()
        self.folders.clear()

    def add(self, name: str) -> None:
        """Counts a file that is no photo."""
        ending = os.path.splitext(name)[1].lower()
        if len(ending) > LONGEST_ENDING + 1 or (ending not in self.files and len(self.files) >= MOST_ENDINGS):
            ending = ""
        self.files[ending] += 1


@dataclass(frozen=True)
class SourceSet:
    """The photos of one command.

    Attributes:
        folders: walked in this order, after the files.
        files: named one by one.
        output: absolute path or URL of the output folder; never walked.
        follow_links: whether links that lead out of the source folders are followed.
        exclude: patterns of files and folders that are left out, as `is_excluded` takes them.
        manifest: name of the manifest in the output folder.
        shard: the part of the photos that is meant; None for all.
    """

    folders: tuple[SourceFolder, ...]
    files: tuple[SourceFile, ...]
    output: Place
    follow_links: bool = False
    exclude: tuple[str, ...] = ()
    manifest: str = MANIFEST
    shard: Shard | None = None

    def photos(
        self,
        suffix: str,
        several: bool,
        passed_over: PassedOver | None = None,
        only: Collection[str] | None = None,
    ) -> Iterator[Source]:
        """Finds the photos, in a fixed order.

        Args:
            suffix: suffix of the drawings' files, such as `.png`.
            several: a photo may have several drawings.
            passed_over: is told what is none, as the walk comes to it.
            only: paths in folders; other folders are not listed, and other photos passed over. None for all photos.
        """
        if only is None:
            if passed_over is not None:
                passed_over.clear()
            yield from self._named(suffix, several)
        for folder, below, found in self._walk(None if only is None else _folders_above(only)):
            prefix = folder.prefix + below
            if isinstance(found, OSError):
                if self._holds(prefix or "."):
                    yield Source(folder.path, folder.root, prefix or ".", "", error=unreadable(found))
                continue
            if passed_over is not None and only is None:
                for name in found.others:
                    passed_over.add(name)
                if found.has_manifest:
                    passed_over.folders.append(prefix)
            root = open_storage(folder.root)
            drawings = drawing_names(found.photos, found.folders, suffix, several)
            for name in found.photos:
                path = os.path.join(folder.path, below, name)
                if (only is not None and path not in only) or not self._holds(_joined(prefix, name)):
                    continue
                version = found.versions.get(name)
                source = _source(path, root, _joined(prefix, name), _joined(prefix, drawings[name]), version)
                yield replace(source, error=source.error or LEADS_OUT) if name in found.leading_out else source
            for name in sorted(found.leading_out.difference(found.photos)):
                path = os.path.join(folder.path, below, name)
                if (only is not None and path not in only) or not self._holds(_joined(prefix, name)):
                    continue
                yield Source(path, folder.root, _joined(prefix, name), _joined(prefix, name), error=LEADS_OUT)

    def count(self) -> int:
        """How many photos there are: a walk that looks at names only."""
        return sum(map(self._holds, self._names()))

    def _names(self) -> Iterator[str]:
        """The names of all photos."""
        for file in self.files:
            yield file.name.replace(os.sep, "/")
        for folder, below, found in self._walk():
            prefix = folder.prefix + below
            if isinstance(found, OSError):
                yield prefix or "."
            else:
                yield from (_joined(prefix, name) for name in found.leading_out.union(found.photos))

    def _holds(self, name: str) -> bool:
        return self.shard is None or self.shard.holds(name)

    def _named(self, suffix: str, several: bool) -> Iterator[Source]:
        by_folder: defaultdict[str, list[str]] = defaultdict(list)
        for file in self.files:
            below, name = os.path.split(file.name)
            by_folder[below].append(name)
        beside = [os.path.normpath(folder.prefix) for folder in self.folders]
        drawings = {
            below: drawing_names(names, () if below else beside, suffix, several) for below, names in by_folder.items()
        }
        for file in self.files:
            below, name = os.path.split(file.name)
            slashed = below.replace(os.sep, "/")
            if not self._holds(_joined(slashed, name)):
                continue
            root = open_storage(file.root)
            drawing = file.drawing or _joined(slashed, drawings[below][name])
            yield _source(file.path, root, _joined(slashed, name), drawing)

    def _walk(self, within: Container[str] | None = None) -> Iterator[tuple[SourceFolder, str, "_Contents | OSError"]]:
        """Every folder once: the source folder it is in, its path below that, and what it holds.

        Args:
            within: paths of the folders to walk; None for all.
        """
        seen: set[Hashable] = set()
        output = open_storage(str(self.output))
        roots = [folder.storage.leads_to("") for folder in self.folders]
        for folder in self.folders:
            storage, waiting = folder.storage, [""]
            if storage.flat:
                yield from self._flat(folder, storage)
                continue
            while waiting:
                below = waiting.pop()
                if within is not None and os.path.normpath(os.path.join(folder.path, below)) not in within:
                    continue
                identity = storage.identity(below)
                if identity is not None and (identity in seen or identity == output.identity("")):
                    continue
                try:
                    found = self._contents(storage, below, roots)
                except OSError as error:
                    yield folder, below, error
                    continue
                if identity is not None:
                    seen.add(identity)
                yield folder, below, found
                waiting.extend(_joined(below, name) for name in reversed(found.walked))

    def _flat(
        self, folder: SourceFolder, storage: Storage
    ) -> Iterator[tuple[SourceFolder, str, "_Contents | OSError"]]:
        """A flat tree, a few photos at a time: those whose drawings might have the same name come together."""
        trail = _Trail(storage, f"{self.output}/", self.exclude)
        below, stem, photos, others = "", "", dict[str, Version](), list[str]()
        try:
            for key, version in storage.keys():  # noqa: SIM118  it is no dict
                here, _, name = key.rpartition("/")
                if (here, name.partition(".")[0]) != (below, stem) and (photos or others):
                    yield folder, below, _Contents(photos=list(photos), others=others, versions=photos)
                    photos, others = {}, []
                below, stem = here, name.partition(".")[0]
                wanted, drawn = trail.into(here)
                if drawn is not None:
                    yield folder, drawn, _Contents(has_manifest=True)
                if not wanted or not name or name.startswith("."):
                    continue
                if self.exclude and is_excluded(key, self.exclude):
                    continue
                ending = os.path.splitext(name)[1].lower()
                if ending in EXTENSIONS or (not ending and _begins_as_picture(storage, here, name)):
                    photos[name] = version
                elif name.lower() not in _SYSTEM_FILES and not _MANIFESTS.fullmatch(name):
                    others.append(name)
        except OSError as error:
            yield folder, "", error
            return
        if photos or others:
            yield folder, below, _Contents(photos=list(photos), others=others, versions=photos)

    def _contents(self, storage: Storage, folder: str, roots: Sequence[str]) -> "_Contents":
        """What a folder holds.

        Args:
            storage: where it lies.
            folder: its name there.
            roots: where the source folders lie, without links.
        """
        found = storage.listing(folder)
        if folder and any(
            map(_MANIFESTS.fullmatch, found.files)
        ):  # a source folder itself was named, so its photos are wanted
            return _Contents(has_manifest=True)

        def wanted(name: str) -> bool:
            return not (self.exclude and is_excluded(_joined(folder, name), self.exclude))

        def leads_out(name: str) -> bool:
            if self.follow_links or name not in found.links:
                return False
            return not _inside(storage.leads_to(_joined(folder, name)), roots)

        photos, others = [], []
        for name in filter(wanted, found.files):
            ending = os.path.splitext(name)[1].lower()
            if ending in EXTENSIONS or (
                not ending and not leads_out(name) and _begins_as_picture(storage, folder, name)
            ):
                photos.append(name)
            elif name.lower() not in _SYSTEM_FILES and not _MANIFESTS.fullmatch(name):
                others.append(name)
        walked = [name for name in found.folders if name.lower() not in RESERVED and wanted(name)]
        leading_out = frozenset(filter(leads_out, (*photos, *walked)))
        return _Contents(
            photos=photos,
            folders=found.folders,
            walked=[name for name in walked if name not in leading_out],
            leading_out=leading_out,
            others=others,
        )


@dataclass(frozen=True)
class _Contents:
    """What of a folder's contents matters, each list sorted.

    Attributes:
        photos: files.
        folders: all of them, and links to folders: no drawing takes the name of one.
        walked: those that are to be looked into.
        leading_out: links to files and folders outside the source folders, which are not followed.
        others: files that are no photos.
        versions: those of photos, where they are known.
        has_manifest: it is a folder of earlier drawings, and nothing else is told of it.
    """

    photos: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    walked: list[str] = field(default_factory=list)
    leading_out: frozenset[str] = frozenset()
    others: list[str] = field(default_factory=list)
    versions: dict[str, Version] = field(default_factory=dict)
    has_manifest: bool = False


class _Trail:
    """The folders on the way to a file of a flat tree, and which of them are looked into."""

    def __init__(self, storage: Storage, output: str, exclude: Sequence[str]) -> None:
        self._storage = storage
        self._output = output
        self._exclude = exclude
        self._folders: list[tuple[str, bool]] = []

    def into(self, folder: str) -> tuple[bool, str | None]:
        """Goes to a folder.

        Returns:
            Whether it is looked into; and the folder of drawings on the way to it, if it was not met before.
        """
        drawn = None
        while self._folders and not f"{folder}/".startswith(f"{self._folders[-1][0]}/"):
            self._folders.pop()
        known = self._folders[-1][0] if self._folders else ""
        for part in filter(None, folder.removeprefix(known).strip("/").split("/")):
            above, wanted = self._folders[-1] if self._folders else ("", True)
            path = _joined(above, part)
            wanted = wanted and not part.startswith(".") and part.lower() not in RESERVED
            wanted = wanted and not (self._exclude and is_excluded(path, self._exclude))
            wanted = wanted and f"{self._storage.leads_to(path)}/" != self._output
            if wanted and any(self._storage.journals(f"{path}/{MANIFEST.removesuffix('.jsonl')}")):
                wanted, drawn = False, path
            self._folders.append((path, wanted))
        return (self._folders[-1][1] if self._folders else True), drawn


@lru_cache(maxsize=16)
def _opened(root: str) -> Storage:
    return open_storage(root)


def is_excluded(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of some patterns, as in a shell, matches a file or folder.

    A pattern with a slash is compared with the whole path, or with its end for a path from the top of the file system,
    every other one with the name alone; `*` matches slashes too.

    Args:
        path: below a source folder, or absolute.
        patterns: such as `*.gif`, `raw` or `2019/*/rejected`.
    """
    path = unicodedata.normalize("NFC", path)
    name = path.rpartition("/")[2]
    for pattern in patterns:
        wanted = unicodedata.normalize("NFC", pattern).rstrip("/")
        if "/" not in wanted:
            found = fnmatchcase(name, wanted)
        else:
            found = fnmatchcase(path, wanted) or (path.startswith("/") and fnmatchcase(path, f"*/{wanted}"))
        if found:
            return True
    return False


def unreadable(error: OSError) -> PhotoError:
    """What the operating system said about a file or folder that cannot be read."""
    if isinstance(error, NotRegularError):
        return PhotoError("not_a_file", "neither a file nor a folder")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return PhotoError("not_found", "there is no such file")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PhotoError("unreadable", "permission denied")
    return PhotoError("unreadable", f"cannot be read: {error.strerror or error}")


def _begins_as_picture(storage: Storage, folder: str, name: str) -> bool:
    try:
        return is_picture(storage.read(_joined(folder, name), HEAD))
    except OSError:
        return False


def _source(path: str, root: Storage, name: str, drawing: str, version: Version | None = None) -> Source:
    """A photo, with what can be told of its file without reading it."""
    try:
        version = version or root.version(name)
    except OSError as error:
        return Source(path, root.address, name, drawing, error=unreadable(error))
    return Source(path, root.address, name, drawing, version.size, version.mtime_ns)


def _folders_above(paths: Iterable[str]) -> set[str]:
    """All folders that some paths lie in, directly or not."""
    above: set[str] = set()
    for path in paths:
        while (folder := os.path.dirname(path)) not in above and folder != path:
            above.add(folder)
            path = folder
    return above


def _inside(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(os.path.join(root, "")) for root in roots)


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name
