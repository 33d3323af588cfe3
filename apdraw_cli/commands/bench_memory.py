"""The memory that a command takes: this process and all that it started, looked at now and then."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

import psutil

SAMPLE_SECONDS: Final = 0.2


class PeakMemory:
    """Watches the memory of all processes together while its context lasts.

    Attributes:
        most: bytes at most, shared memory counted once; None where the system does not tell that, as on macOS.
    """

    def __init__(self) -> None:
        self.most: int | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        resident = 0
        me = psutil.Process()
        while not self._done.wait(SAMPLE_SECONDS):
            family = [me, *me.children(recursive=True)]
            # To tell what is shared takes the kernel so long that a conversion would be slower for it.
            if (now := sum(_resident(family))) > resident:
                resident = now
                self.most = max(self.most or 0, sum(_proportional(family))) or None


def _resident(family: list[psutil.Process]) -> Iterator[int]:
    for process in family:
        with contextlib.suppress(psutil.Error):  # it has ended
            yield process.memory_info().rss


def _proportional(family: list[psutil.Process]) -> Iterator[int]:
    for process in family:
        with contextlib.suppress(psutil.Error):
            yield getattr(process.memory_full_info(), "pss", 0)
