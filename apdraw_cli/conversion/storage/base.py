"""What a storage is: a tree of files under one address."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from apdraw_cli.conversion.shard import Shard

if TYPE_CHECKING:
    from engines.journal import JournalIndex


@dataclass(frozen=True)
class Version:
    """By what a changed file is known.

    Attributes:
        size: bytes.
        mtime_ns: time of the last change.
    """

    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Listing:
    """Names in one folder, sorted. Names that begin with a dot are left out.

    Attributes:
        files: everything that is no folder.
        folders: folders, and links to folders.
        links: those names of both lists that are links.
    """

    files: list[str]
    folders: list[str]
    links: frozenset[str]


class AppendedJournal(Protocol):
    """A journal that is appended to."""

    def append(self, values: Mapping[str, Any]) -> int:
        """Appends a line; returns the byte that it begins at. What cannot be done is an `OSError`, here and below."""
        ...

    def sync(self) -> None:
        """Makes sure that all lines are where nothing is lost."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


class Storage(Protocol):
    """A tree of files under one address; can be pickled, and used from any thread.

    Names are relative to the address, with forward slashes; the empty name is the tree itself. What cannot be done is
    told as an `OSError`.
    """

    @property
    def address(self) -> str:
        """Where the tree is: the absolute path of a folder, or a URL."""
        ...

    @property
    def flat(self) -> bool:
        """Whether its files are listed all together, by `keys`, and a request for each costs time."""
        ...

    def keys(self) -> Iterator[tuple[str, Version]]:
        """All files of a flat tree, page by page; those of a folder in the order of their names."""
        ...

    def listing(self, folder: str) -> Listing:
        """The names in a folder."""
        ...

    def identity(self, name: str) -> Hashable | None:
        """The same for all names and addresses of one file or folder; None if there is none."""
        ...

    def leads_to(self, name: str) -> str:
        """The address of what a name leads to, when all links are followed."""
        ...

    def exists(self, name: str) -> bool:
        """Whether the name is taken, be it by a link that leads nowhere."""
        ...

    def version(self, name: str) -> Version:
        """The version of a file, perhaps behind links; a `NotRegularError` for what is no file."""
        ...

    def read(self, name: str, most: int) -> bytes:
        """The first bytes of a file, perhaps behind links: at most `most` of them."""
        ...

    def open_own(self, name: str) -> BinaryIO:
        """Opens a file that lies in the tree itself, for reading; an error for links and what they lead to."""
        ...

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes files, of one folder: all of them or none, and each appears under its name only when it is whole.

        Folders are made where they are missing. What has a name already is replaced, but a link is never followed.
        """
        ...

    def remove(self, name: str) -> None:
        """Removes a file that lies in the tree itself."""
        ...

    def lock(
        self, shard: Shard | None = None, prepare: Callable[[], None] = lambda: None
    ) -> AbstractContextManager[bool]:
        """Keeps other runs out of the tree, which is made where it is missing; False if another run is in it.

        Args:
            shard: what this run is of all; the other shards of as many are let in. None if it is all.
            prepare: is called first, while no other run begins and none but those shards is at work.
        """
        ...

    def journals(self, beginning: str) -> list[str]:
        """The names of journals in the tree's top that begin so, sorted; none if there is no tree."""
        ...

    def open_journal(self, name: str) -> AppendedJournal:
        """Opens a journal that lies in the tree itself, to append to it; it is made where it is missing."""
        ...

    def read_journal(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The whole lines of such a journal, and the byte that each begins at."""
        ...

    def journal_index(self, *names: str) -> "JournalIndex":
        """An empty index of such journals, which need not exist yet."""
        ...
