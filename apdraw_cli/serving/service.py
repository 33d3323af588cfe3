"""Draws photos that are bytes, of many callers at once, with worker processes and one engine that stay open.

    callers, any thread     hand in a photo, and are given a `Future`; refused at once where `room` photos are waiting
    worker processes        decode, detect, align and segment, as in a conversion; one that dies or freezes is replaced
    collecting thread       takes portraits from the workers to the drawing threads
    drawing threads         draw in batches, whosever the portraits are, and settle the futures

There is no more in memory than `room` photos.
"""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apdraw_cli.conversion.executors.batching import DrawingThreads, PendingPhoto
from apdraw_cli.conversion.executors.crew import Crew, Loss
from apdraw_cli.conversion.executors.local import suitable_workers
from apdraw_cli.conversion.executors.worker import Order
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.pipeline import PhotoReader, reason_of
from apdraw_cli.conversion.portraits import Extractor, Prepared, prepare_data
from apdraw_cli.conversion.recipe import Recipe
from engines.errors import ApdrawError, PhotoError, UnfitError
from engines.options import EngineOptions
from engines.portrait import Image

if TYPE_CHECKING:
    from engines.base import Engine

LOST: Final = {
    Loss.DIED: ("worker_died", "it killed the process that read it, perhaps for want of memory"),
    Loss.OVERDUE: ("time_limit", "it takes too long to read"),
}


class FullError(Exception):
    """As many photos are waiting as may."""


@dataclass(frozen=True)
class Drawn:
    """A photo that was drawn.

    Attributes:
        prepared: its portraits.
        drawings: uint8 [512, 512], 0 black to 255 white, one for each portrait.
        seconds: what it took, by stage.
    """

    prepared: Prepared
    drawings: list[Image]
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Task:
    """A photo on its way to a worker."""

    number: int
    data: bytes
    keep_photo: bool


@dataclass(frozen=True)
class _Reading:
    """What a worker does with a photo; can be pickled."""

    reader: PhotoReader

    def __call__(self, task: _Task) -> Prepared | PhotoError:
        try:
            options, extractor = self.reader.recipe.faces, self.reader.extractor
            return prepare_data(task.data, options, extractor, {}, keep_photo=task.keep_photo)
        except ApdrawError:
            raise
        except Exception as error:
            return reason_of(error)


class DrawingService:
    """Draws photos of many callers, until `close`.

    Args:
        recipe: which faces become portraits.
        options: options of the engine.
        model: the generator's file.
        open_engine: opens the engine.
        open_extractor: opens the face extractor in each worker; can be pickled.
        workers: number of processes that prepare photos; None for what suits the engine.
        room: photos that may be waiting or being drawn.
        time_limit: seconds that a worker may take for a photo; 0 for any.
        failed: is called, from any thread, when no photo can be drawn any more.

    Attributes:
        engine: what draws.
        failure: why no photo can be drawn any more; None while they can.

    Raises:
        EngineError: the engine cannot be used here.
    """

    def __init__(
        self,
        recipe: Recipe,
        options: EngineOptions,
        model: Path,
        open_engine: "Callable[[EngineOptions, Path], Engine]",
        open_extractor: Callable[[FaceOptions], Extractor],
        *,
        workers: int | None = None,
        room: int = 64,
        time_limit: float = 0.0,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine = open_engine(options, model)
        self.failure: ApdrawError | None = None
        self._room = room
        self._tell_failure = failed
        self._numbers = itertools.count()
        self._pending: dict[int, Future[Drawn]] = {}
        self._again: set[int] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        reader = PhotoReader(open_extractor, recipe)
        number = suitable_workers(self.engine.device) if workers is None else workers
        self._crew: Crew[_Task, Prepared | PhotoError] = Crew(
            Order(_Reading(reader), reader.check, quiet=True), max(1, number), time_limit or float("inf"), sent=1
        )
        self._threads: DrawingThreads[int] = DrawingThreads(self.engine, self._deliver, self._fail, self._ended.is_set)
        self._collector = threading.Thread(target=self._collect, name="collect", daemon=True)
        self._collector.start()

    @property
    def waiting(self) -> int:
        """How many photos are waiting or being drawn."""
        return len(self._pending)

    def draw(self, data: bytes, *, keep_photo: bool = False) -> "Future[Drawn]":
        """Hands in a photo, as the bytes of its file; with `keep_photo` its pages will show it.

        The future may raise a PhotoError, or an UnfitError if no photo can be drawn any more. Cancelled, it spares the
        photo what can still be spared.

        Raises:
            FullError: as many photos are waiting as may.
            ApdrawError: no photo can be drawn any more.
        """
        future: Future[Drawn] = Future()
        with self._lock:
            if self.failure is not None:
                raise self.failure
            if len(self._pending) >= self._room:
                raise FullError
            number = next(self._numbers)
            self._pending[number] = future
        self._crew.put(_Task(number, data, keep_photo))
        return future

    def close(self) -> None:
        """Ends the workers and frees the engine; what is not drawn is given up."""
        self._ended.set()
        self._collector.join()
        self._threads.finish()
        self._crew.close()
        self.engine.close()
        self._give_up(UnfitError("the service was closed"))

    def _collect(self) -> None:
        """Runs in the collecting thread."""
        try:
            while not self._ended.is_set():
                event = self._crew.event()
                if event is not None:
                    self._take(*event)
        except Exception as error:
            self._fail(error)

    def _take(self, task: _Task, result: "Prepared | PhotoError | Loss") -> None:
        match result:
            case Prepared():
                future = self._pending.get(task.number)
                if future is None or future.cancelled():
                    self._settle(task.number, PhotoError("cancelled", "nobody waits for it"))
                else:
                    self._threads.put(PendingPhoto(task.number, result))
            case PhotoError():
                self._settle(task.number, result)
            case Loss() if task.number not in self._again:
                self._again.add(task.number)  # memory may have been short, or the machine busy
                self._crew.put(task)
            case Loss():
                self._settle(task.number, PhotoError(*LOST[result]))

    def _deliver(self, photo: "PendingPhoto[int]") -> None:
        """Runs in the drawing threads."""
        drawings = [drawing for drawing in photo.drawings if drawing is not None]
        seconds = {**photo.prepared.seconds, "draw": photo.draw_seconds}
        self._settle(photo.step, Drawn(photo.prepared, drawings, seconds))

    def _settle(self, number: int, result: Drawn | Exception) -> None:
        with self._lock:
            future = self._pending.pop(number, None)
            self._again.discard(number)
        if future is None or not future.set_running_or_notify_cancel():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _fail(self, error: Exception) -> None:
        """Nothing can be drawn any more."""
        failure = error if isinstance(error, ApdrawError) else UnfitError(f"drawing failed: {error!r}; see --debug")
        with self._lock:
            first = self.failure is None
            self.failure = self.failure or failure
        self._ended.set()
        self._give_up(failure)
        if first:
            self._tell_failure()

    def _give_up(self, error: ApdrawError) -> None:
        for number in list(self._pending):
            self._settle(number, error)
