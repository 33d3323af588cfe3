"""A folder of this machine as a storage."""

# Names stay text: a Path for each of a million photos is slow, and resolving one would follow its links.
# ruff: noqa: PTH116, PTH118

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

from apdraw_cli.conversion.shard import Shard
from apdraw_cli.conversion.storage.base import Listing, Version
from apdraw_cli.folder_lock import FolderLock, locked
from engines.atomic_files import new_part, sweep
from engines.journal import Journal, JournalIndex, read_journal
from engines.regular_files import NotRegularError, inside, open_regular, read_start

LEFT_SECONDS: Final = 3600.0
"""What is half written for so long in a shared folder was left behind."""


@dataclass(frozen=True)
class LocalStorage:
    """The files below a folder.

    Nothing outside the folder is written, opened by `open_own` or removed, through links neither.

    Attributes:
        address: absolute path of the folder.
        shared: other processes write into it at the same time.
    """

    flat: ClassVar[bool] = False
    address: str
    shared: bool = False
    _swept: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def keys(self) -> Iterator[tuple[str, Version]]:
        """Nothing: folders are listed one by one."""
        return iter(())

    def listing(self, folder: str) -> Listing:
        """The names in a folder."""
        files: list[str] = []
        folders: list[str] = []
        links: list[str] = []
        with os.scandir(self._path(folder)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    is_folder = entry.is_dir()
                except OSError:  # a link that goes round in circles
                    is_folder = False
                (folders if is_folder else files).append(entry.name)
                if entry.is_symlink():
                    links.append(entry.name)
        return Listing(sorted(files), sorted(folders), frozenset(links))

    def identity(self, name: str) -> tuple[int, int] | None:
        """Device and inode of a file or folder, behind links."""
        try:
            found = os.stat(self._path(name))
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def leads_to(self, name: str) -> str:
        """The absolute path of what a name leads to, without links in it."""
        return os.path.realpath(self._path(name))

    def exists(self, name: str) -> bool:
        """Whether the name is taken."""
        return os.path.lexists(self._path(name))

    def version(self, name: str) -> Version:
        """Size and time of change of a file."""
        path = self._path(name)
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise NotRegularError(path)
        return Version(found.st_size, found.st_mtime_ns)

    def read(self, name: str, most: int) -> bytes:
        """The first bytes of a file."""
        with open_regular(self._path(name)) as file:
            return read_start(file, most)

    def open_own(self, name: str) -> BinaryIO:
        """Opens a file of the folder itself."""
        return open_regular(inside(Path(self.address), name), follow_links=False)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes files under temporary names, then renames them all."""
        parts: list[tuple[Path, Path]] = []
        try:
            for name, data in files.items():
                target = inside(Path(self.address), name)
                with contextlib.suppress(FileNotFoundError):
                    target.lstat()  # which fails for a name that is too long, before another file is replaced
                if not target.parent.is_dir():
                    target.parent.mkdir(parents=True, exist_ok=True)
                self._sweep(target.parent)
                part, file = new_part(target.parent)
                parts.append((part, target))
                with file:
                    file.write(data)
            while parts:
                parts[0][0].replace(parts[0][1])
                parts.pop(0)
        finally:
            for part, _ in parts:
                part.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Removes a file of the folder itself."""
        inside(Path(self.address), name).unlink()

    @contextlib.contextmanager
    def lock(self, shard: Shard | None = None, prepare: Callable[[], None] = lambda: None) -> Iterator[bool]:
        """Makes the folder where it is missing, and keeps other runs out of it."""
        folder = Path(self.address)
        folder.mkdir(parents=True, exist_ok=True)
        one_of = None if shard is None else (shard.index, shard.count)
        with locked(lambda name: FolderLock(folder, name), lambda: os.listdir(folder), one_of, prepare) as taken:  # noqa: PTH208
            yield taken

    def journals(self, beginning: str) -> list[str]:
        """The names in the folder that begin so and end as journals do."""
        try:
            names = os.listdir(self.address)  # noqa: PTH208
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.startswith(beginning) and name.endswith(".jsonl"))

    def open_journal(self, name: str) -> Journal:
        """Opens a journal of the folder itself to append to it."""
        return Journal(inside(Path(self.address), name))

    def read_journal(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The whole lines of a journal of the folder itself."""
        return read_journal(inside(Path(self.address), name))

    def journal_index(self, *names: str) -> JournalIndex:
        """An empty index of journals of the folder itself."""
        return JournalIndex(*(inside(Path(self.address), name) for name in names))

    def _path(self, name: str) -> str:
        return os.path.join(self.address, name) if name else self.address

    def _sweep(self, folder: Path) -> None:
        """Clears a folder of what a killed run left behind, when it is first written to."""
        if str(folder) not in self._swept:
            sweep(folder, LEFT_SECONDS if self.shared else 0.0)
            self._swept.add(str(folder))
