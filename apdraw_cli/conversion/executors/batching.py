"""Draws the portraits of many photos in batches, on the threads that the engine asks for."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from apdraw_cli.conversion.executors.base import POLL_SECONDS
from apdraw_cli.conversion.pipeline import draw_portraits
from apdraw_cli.conversion.portraits import Prepared
from engines.base import Engine
from engines.portrait import Image

FILL_SECONDS: Final = 0.05
"""How long a batch waits for another portrait before it is drawn as it is."""

Step = TypeVar("Step")
"""What a photo is known by to who hands it in."""


@dataclass
class PendingPhoto(Generic[Step]):
    """A photo whose portraits are being drawn.

    Attributes:
        step: what the photo is known by.
        prepared: its portraits.
        drawings: one for each portrait; None until it is drawn.
        draw_seconds: the photo's share of the engine's time.
    """

    step: Step
    prepared: Prepared
    drawings: list[Image | None] = field(init=False)
    draw_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.drawings = [None] * len(self.prepared.portraits)


class DrawingThreads(Generic[Step]):
    """Draws portraits on as many threads as the engine asks for.

    Args:
        engine: what draws.
        deliver: is given each photo whose portraits are all drawn, from a drawing thread; may block.
        failed: is given the exception that ended a drawing thread.
        stopped: asked now and then; True ends the threads after the batches they are drawing.
    """

    def __init__(
        self,
        engine: Engine,
        deliver: Callable[[PendingPhoto[Step]], None],
        failed: Callable[[Exception], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._deliver = deliver
        self._failed = failed
        self._stopped = stopped
        self._lock = threading.Lock()
        # One batch for each thread is ready while it draws another.
        room = max(1, engine.batch_size) * max(1, engine.concurrency) * 2
        self._waiting: queue.Queue[tuple[PendingPhoto[Step], int] | None] = queue.Queue(room)
        self._threads = [
            threading.Thread(target=self._run, name=f"draw-{number}", daemon=True)
            for number in range(max(1, engine.concurrency))
        ]
        for thread in self._threads:
            thread.start()

    def put(self, photo: PendingPhoto[Step]) -> None:
        """Hands in a photo; waits while enough portraits are waiting."""
        for index in range(len(photo.drawings)):
            self._hand_in((photo, index))

    def finish(self) -> None:
        """Waits until everything handed in is drawn, or the threads were stopped."""
        for _ in self._threads:
            self._hand_in(None)
        for thread in self._threads:
            thread.join()

    def _hand_in(self, portrait: tuple[PendingPhoto[Step], int] | None) -> None:
        """Puts a portrait into the queue, or an end for one thread."""
        while not self._stopped():
            try:
                self._waiting.put(portrait, timeout=POLL_SECONDS)
                return
            except queue.Full:
                continue

    def _run(self) -> None:
        ended = False
        try:
            while not ended and not self._stopped():
                batch, ended = self._next_batch()
                if batch:
                    self._draw(batch)
        except Exception as error:
            self._failed(error)

    def _next_batch(self) -> tuple[list[tuple[PendingPhoto[Step], int]], bool]:
        """Up to a batch of portraits; fewer, or none, if they are slow to come. And whether it is the last."""
        batch: list[tuple[PendingPhoto[Step], int]] = []
        while len(batch) < self._engine.batch_size:
            try:
                portrait = self._waiting.get(timeout=FILL_SECONDS)
            except queue.Empty:
                break
            if portrait is None:
                return batch, True
            batch.append(portrait)
        return batch, False

    def _draw(self, batch: list[tuple[PendingPhoto[Step], int]]) -> None:
        start = time.perf_counter()
        drawings = draw_portraits([photo.prepared.portraits[index] for photo, index in batch], self._engine)
        share = (time.perf_counter() - start) / len(batch)
        whole = []
        with self._lock:
            for (photo, index), drawing in zip(batch, drawings, strict=True):
                photo.drawings[index] = drawing
                photo.draw_seconds += share
                if all(each is not None for each in photo.drawings):
                    whole.append(photo)
        for photo in whole:
            self._deliver(photo)
