"""The run: plans photo by photo, draws what is to be drawn, and keeps the manifest, whatever happens.

A thread plans and feeds the line; the thread that called deals with signals, the manifest and the listener.
What draws is imported only when there is something to draw.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from apdraw_cli.conversion.listener import Listener
from apdraw_cli.conversion.manifest import NAME, Manifest
from apdraw_cli.conversion.options import ConvertOptions, FaceOptions
from apdraw_cli.conversion.outcome import ConvertResult, Failure, Outcome
from apdraw_cli.conversion.plan import Planner, Step
from apdraw_cli.conversion.sources import SourceSet
from engines.errors import ApdrawError, UnfitError

if TYPE_CHECKING:
    from apdraw_cli.conversion.portraits import Extractor
    from engines.base import Engine

WAIT_SECONDS: Final = 0.5

INTERRUPTED: Final = 130

BACKLOG: Final = 1000
"""Photos settled whose lines may wait to be written."""


MOST_FAILURES: Final = 10_000
"""So many photos that were not drawn are told of at the end; the manifest knows them all."""


class Conversion:
    """One run of `apdraw convert`.

    Args:
        options: what was asked for.
        sources: the photos.
        model: the generator's file.
        model_sha256: its checksum.
        open_engine: opens the engine; is called if there is anything to draw.
        open_extractor: opens the face extractor in a worker; can be pickled.
        listener: is told how it goes.
        debug: let through what libraries print in workers.
    """

    def __init__(
        self,
        options: ConvertOptions,
        sources: SourceSet,
        model: Path,
        model_sha256: str,
        open_engine: "Callable[[], Engine]",
        open_extractor: "Callable[[FaceOptions], Extractor]",
        listener: Listener,
        *,
        debug: bool = False,
    ) -> None:
        self._options = options
        self._sources = sources
        self._model = model
        self._model_sha256 = model_sha256
        self._open_engine = open_engine
        self._open_extractor = open_extractor
        self._listener = listener
        self._debug = debug
        self._stop = threading.Event()
        self._interrupted = False
        self._failure: ApdrawError | None = None
        self._events: queue.Queue[Callable[[], None] | None] = queue.Queue(BACKLOG)
        self._engine: Engine | None = None
        self._engine_since = 0.0
        self._counts: Counter[str] = Counter()
        self._failures: list[Failure] = []

    def run(self) -> ConvertResult:
        """Runs until all photos are settled, the user interrupts, or nothing more can be drawn.

        Raises:
            UsageError: the output folder cannot be used.
        """
        start = time.perf_counter()
        if next(self._sources.photos("", several=False), None) is None:
            return self._result(time.perf_counter() - start)  # and leaves no empty folder behind
        with Manifest(self._sources.output) as manifest, self._signals():
            planner = Planner(self._options, self._sources, manifest.history, self._model_sha256)
            threading.Thread(target=self._count, daemon=True).start()
            feeder = threading.Thread(target=self._feed, args=(planner, manifest), name="feed", daemon=True)
            feeder.start()
            try:
                self._attend()
            except BaseException:
                self._stop.set()
                while self._events.get() is not None:
                    pass
                raise
            feeder.join()
        return self._result(time.perf_counter() - start)

    def _attend(self) -> None:
        """Deals with what the other threads report, until the feeder has ended."""
        announced = False
        while True:
            if self._interrupted and not announced:
                announced = True
                self._listener.stopping()
            try:
                event = self._events.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                self._listener.waiting()
                continue
            if event is None:
                return
            try:
                event()
            except ApdrawError as error:  # the manifest cannot be written
                self._fail(error)

    def _feed(self, planner: Planner, manifest: Manifest) -> None:
        try:
            steps = self._to_draw(planner, manifest)
            first = next(steps, None)
            if first is not None:
                self._draw(chain([first], steps), manifest)
        except ApdrawError as error:
            self._fail(error)
        except Exception as error:
            if self._debug:
                traceback.print_exc()
            self._fail(UnfitError(f"an error in apdraw, please report it: {error!r}; see --debug"))
        finally:
            self._events.put(None)

    def _to_draw(self, planner: Planner, manifest: Manifest) -> Iterator[Step]:
        for step in planner.steps():
            if self._stop.is_set():
                return
            if step.settled is None:
                yield step
            else:
                self._report(manifest, step.settled)

    def _draw(self, steps: Iterator[Step], manifest: Manifest) -> None:
        from apdraw_cli.conversion.executors.local import Line

        Line(
            self._open_engine,
            self._open_extractor,
            self._options.face_options,
            self._options.workers,
            self._sources.output,
            self._options.format,
            recorded=lambda output: manifest.history.owner(output) is not None,
            ready=self._ready,
            settled=partial(self._report, manifest),
            stop=self._stop,
            debug=self._debug,
        ).draw(steps)

    def _ready(self, engine: "Engine", workers: int) -> None:
        self._engine = engine
        self._engine_since = time.perf_counter()
        self._events.put(partial(self._listener.engine_ready, engine, workers))

    def _report(self, manifest: Manifest, outcome: Outcome) -> None:
        self._events.put(partial(self._settle, manifest, outcome))

    def _settle(self, manifest: Manifest, outcome: Outcome) -> None:
        if outcome.recorded:
            drawn_by = self._engine.name if self._engine is not None and outcome.status == "done" else None
            manifest.append(outcome, self._model_sha256, drawn_by)
        self._counts[outcome.status] += 1
        self._counts["remembered"] += outcome.remembered
        if outcome.status == "done":
            self._counts["drawings"] += len(outcome.outputs)
        if outcome.error is not None and len(self._failures) < MOST_FAILURES:
            error = outcome.error
            self._failures.append(
                Failure(outcome.source.name, outcome.status, error.code, error.message, outcome.remembered)
            )
        self._listener.settled(outcome)

    def _count(self) -> None:
        photos = self._sources.count()
        with contextlib.suppress(queue.Full):
            self._events.put(partial(self._listener.counted, photos), timeout=60)

    def _fail(self, error: ApdrawError) -> None:
        self._failure = self._failure or error
        self._stop.set()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Inside, the first signal to end stops the run gently, the second at once."""
        names = ("SIGINT", "SIGTERM", "SIGHUP")
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
                handler = signal.getsignal(number)
                if handler is not signal.SIG_IGN:  # nohup, or a shell's background job
                    before[number] = handler
                    signal.signal(number, self._interrupt)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        self._interrupted = True
        self._stop.set()

    def _result(self, seconds: float) -> ConvertResult:
        engine, done = self._engine, self._counts["done"]
        since_ready = time.perf_counter() - self._engine_since
        return ConvertResult(
            done=done,
            skipped=self._counts["skipped"],
            no_face=self._counts["no_face"],
            failed=self._counts["failed"],
            remembered=self._counts["remembered"],
            drawings=self._counts["drawings"],
            seconds=seconds,
            photos_per_second=done / since_ready if done else 0.0,
            engine=engine.name if engine is not None else None,
            device=engine.device if engine is not None else None,
            precision=engine.precision if engine is not None else None,
            model=self._model,
            output=self._sources.output,
            manifest=self._sources.output / NAME,
            failures=tuple(self._failures),
            interrupted=self._interrupted,
            error=None if self._failure is None else str(self._failure),
        )
