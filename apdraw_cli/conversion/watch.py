"""Watches folders of photos with watchfiles, and plans those that have arrived there whole.

A file has arrived when its size and time of change stay as they are for `SETTLE_SECONDS`. One that is cut off all the
same may still be on its way, from a slow camera or network: it is looked at again until it stays as it is for
`PATIENCE_SECONDS`, and only then has failed. The system does not tell of everything, least of all of network folders:
so the folders are also walked now and then.
"""

# Names stay text, as in the module of sources.
# ruff: noqa: PTH112, PTH118

import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.plan import Planner, Step
from apdraw_cli.conversion.sources import Source, SourceSet
from engines.errors import UnfitError, UsageError
from engines.installed import pip_install

SETTLE_SECONDS: Final = 1.0

PATIENCE_SECONDS: Final = 30.0

WALK_SECONDS: Final = 60.0
"""How often folders are walked, at most: not sooner than after twenty times what that takes."""

UNFINISHED: Final = frozenset(("empty", "truncated", "damaged", "not_an_image", "unreadable"))
"""Codes of what a file that is still being written may look like."""

LOOK_SECONDS: Final = 0.25
"""How often files that are arriving are looked at."""

Stamp = tuple[int | None, int | None]
"""Size and time of change of a file; None if unknown."""


@dataclass
class _Arriving:
    """A file that may still be being written.

    Attributes:
        stamp: as it was seen last; None before it was.
        since: when it was first seen so, by a clock that only goes on.
        patience: seconds that it must stay so.
    """

    stamp: Stamp | None = None
    since: float = 0.0
    patience: float = field(default_factory=lambda: SETTLE_SECONDS)


class Watch:
    """Follows what happens in the folders of a conversion. A context: watching begins with it and ends with it.

    Args:
        sources: the photos; what arrives in their folders is one of them.

    Raises:
        UsageError: there is no folder to watch.
        UnfitError: watchfiles is not installed.
    """

    def __init__(self, sources: SourceSet) -> None:
        try:
            import watchfiles  # noqa: F401
        except ImportError as error:
            raise UnfitError(f"--watch needs watchfiles; install it with: {pip_install('watch')}") from error
        self._folders = [folder.path for folder in sources.folders]
        if not self._folders:
            raise UsageError("--watch needs a folder to watch, not photos: name the folder that they are in")
        self._real = {os.path.realpath(path): path for path in self._folders}
        self._output = str(sources.output)
        self._ended = threading.Event()
        self._listening = threading.Thread(target=self._listen, name="watch", daemon=True)
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._arriving: dict[str, _Arriving] = {}
        self._at_work: set[str] = set()
        self._failed: dict[str, Stamp] = {}

    def __enter__(self) -> Self:
        self._listening.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._listening.join()

    def steps(self, planner: Planner) -> Iterator[Step | None]:
        """Plans the photos that are there, and then without end those that arrive; None if there is none just now.

        Raises:
            UnfitError: a folder is gone, or cannot be watched.
        """
        yield from self._there(planner, first=True)
        walked, took = time.monotonic(), 0.0
        looked = 0.0
        while True:
            now = time.monotonic()
            if now - looked >= LOOK_SECONDS:
                looked = now
                self._check()
                arrived = self._arrived(now)
                if arrived:
                    yield from self._begun(step for step in planner.steps(frozenset(arrived)) if not _is_known(step))
                if now - walked > max(WALK_SECONDS, 20 * took):
                    yield from self._there(planner)
                    walked = time.monotonic()
                    took = walked - now
            yield None

    def settled(self, outcome: Outcome) -> bool:
        """Takes in what became of a photo; False if it may still be arriving, and will be tried again."""
        source, error = outcome.source, outcome.error
        path, stamp = source.path, (source.size, source.mtime_ns)
        with self._lock:
            self._at_work.discard(path)
            if error is None:
                self._failed.pop(path, None)
                return True
            tried_before = outcome.remembered or self._failed.get(path) == stamp
            self._failed[path] = stamp
            if tried_before or error.code not in UNFINISHED or not _is_new(source, PATIENCE_SECONDS):
                return True
            self._arriving[path] = _Arriving(stamp, time.monotonic(), PATIENCE_SECONDS)
            return False

    def _there(self, planner: Planner, *, first: bool = False) -> Iterator[Step]:
        """What a walk finds: all of it in the first round, later what nobody told of."""
        for step in planner.steps():
            source = step.source
            with self._lock:
                if source.path in self._arriving:
                    continue
                if step.settled is None and _is_new(source, SETTLE_SECONDS):
                    self._arriving[source.path] = _Arriving()
                    continue
                passed = _is_known(step) or self._failed.get(source.path) == (source.size, source.mtime_ns)
            if first or not passed:
                yield from self._begun((step,))

    def _begun(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Those steps that are not at work already."""
        for step in steps:
            with self._lock:
                if step.source.path in self._at_work:
                    continue
                self._at_work.add(step.source.path)
            yield step

    def _arrived(self, now: float) -> list[str]:
        """The files that have stayed as they are for long enough."""
        arrived = []
        with self._lock:
            for path, file in list(self._arriving.items()):
                try:
                    status = os.stat(path)  # noqa: PTH116
                except OSError:  # moved on, or removed
                    del self._arriving[path]
                    continue
                stamp = (status.st_size, status.st_mtime_ns)
                if stamp != file.stamp:
                    self._arriving[path] = _Arriving(stamp, now)
                elif now - file.since >= file.patience and path not in self._at_work:
                    del self._arriving[path]
                    arrived.append(path)
        return arrived

    def _check(self) -> None:
        gone = next((path for path in self._folders if not os.path.isdir(path)), None)
        if gone is not None:
            raise UnfitError(f"the folder {gone} is gone: bring it back, and run the same command again")
        if self._error is not None:
            raise UnfitError(
                f"{self._folders[0]} cannot be watched: {self._error}; raise the system's limit of watched files, or "
                "set WATCHFILES_FORCE_POLLING=true"
            ) from self._error

    def _listen(self) -> None:
        """Runs in the thread that listens to the system."""
        from watchfiles import Change, watch

        try:
            for changes in watch(
                *self._folders, watch_filter=None, stop_event=self._ended, ignore_permission_denied=True
            ):
                for change, path in changes:
                    if change is not Change.deleted:
                        self._note(path)
        except Exception as error:
            self._error = error

    def _note(self, path: str) -> None:
        """Takes in that something happened to a file, or to a folder with all that is in it."""
        real = next((each for each in self._real if path.startswith(os.path.join(each, ""))), None)
        if real is not None:  # some systems tell where links lead
            path = self._real[real] + path[len(real) :]
        if path == self._output or path.startswith(os.path.join(self._output, "")):
            return
        files = [path]
        if os.path.isdir(path):
            files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
        with self._lock:
            for file in files:
                self._arriving.setdefault(file, _Arriving())


def _is_known(step: Step) -> bool:
    """Whether there is nothing to do for a photo, and nothing new to tell."""
    return step.settled is not None and (step.settled.status == "skipped" or step.settled.remembered)


def _is_new(source: Source, seconds: float) -> bool:
    """Whether a photo was changed so short a while ago."""
    return source.mtime_ns is not None and abs(time.time() - source.mtime_ns / 1e9) < seconds
