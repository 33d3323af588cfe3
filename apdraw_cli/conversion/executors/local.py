"""Local executor: workers read photos and encode pages, an engine draws in batches, threads write files.

    who                            takes                      and hands on, waiting while that is full
    -----------------------------  -------------------------  -------------------------------------------------------
    feeding thread, 1              a step, or a drawn photo   it, to workers: TASKS_PER_WORKER for each
    worker processes, `workers`    a step                     portraits of its photo, to the feeding thread
                                   a drawn photo              its encoded pages, to the feeding thread
    feeding thread                 portraits of a photo       them, to drawing threads: two batches for each
                                   encoded pages              them, to writing threads: two photos for each
    drawing threads,               a batch of portraits       a drawn photo, to the feeding thread; never waiting
      `engine.concurrency`
    writing threads, WRITERS       encoded pages              the photo's outcome, to the caller: BACKLOG outcomes
    caller of `outcomes`           outcomes

Outcomes of photos without portraits, and of steps that the plan has settled, go from the feeding thread to the caller
at once. No step is taken while drawn photos wait, so that memory does not grow with the number of photos, whatever is
slowest. Without worker processes a thread prepares photos, and the writing threads encode, too.
"""

import contextlib
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, Literal

from apdraw_cli.conversion.executors.base import POLL_SECONDS, EngineReady, Event
from apdraw_cli.conversion.executors.batching import DrawingThreads, PendingPhoto
from apdraw_cli.conversion.executors.crew import Loss
from apdraw_cli.conversion.executors.process_pool import FEW_PHOTOS, MOST_WORKERS, WorkerPool
from apdraw_cli.conversion.executors.read_ahead import read_ahead
from apdraw_cli.conversion.executors.this_process import ThisProcess
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.pipeline import DrawnPhoto, Pages, PhotoReader, encode_pages, failed, write_pages
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.portraits import Extractor, Prepared
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.storage import Storage
from engines.base import Engine
from engines.cpu import usable_cores
from engines.errors import ApdrawError, PhotoError, UnfitError
from engines.machine_faults import machine_fault
from engines.tensorrt.cuda import find_gpus

WRITERS: Final = 4

REMOTE_WRITERS: Final = 24
"""To a bucket, where a drawing takes a few requests and each waits for the network."""

BACKLOG: Final = 1000
"""Outcomes that may wait for the caller."""

WAIT_SECONDS: Final = 0.5
"""How often the caller is told that nothing happens."""

Task = Step | DrawnPhoto
Result = Prepared | Pages | Outcome
Pool = WorkerPool[Task, Result] | ThisProcess[Task, Result]
Tell = Callable[[Event], None]


@dataclass(frozen=True)
class _Work:
    """What workers do; can be pickled."""

    reader: PhotoReader

    def __call__(self, task: Task) -> Result:
        if isinstance(task, DrawnPhoto):
            return encode_pages(task, self.reader.recipe)
        return self.reader.read(task)


@dataclass(frozen=True)
class _End:
    """The last of what the feeding thread tells: all photos are through, or why not."""

    error: ApdrawError | None


@dataclass
class _Halt:
    """Whether to end early: since the caller wants it, or since something here failed."""

    asked: Callable[[], bool]
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> bool:
        return self.ended.is_set() or self.asked()


class LocalExecutor:
    """Draws photos in processes and threads of this machine; the engine stays open until `close`.

    Args:
        recipe: what the drawings are to look like.
        output: the output folder.
        open_engine: opens the engine; is called when there is a photo to draw. May raise EngineError.
        open_extractor: opens the face extractor, in the workers; can be pickled.
        workers: number of processes, 0 for none, None for what suits engine and machine.
        time_limit: seconds that a worker may take to prepare a photo, or to encode its pages; 0 for any.
        debug: let through what libraries print in workers, and print tracebacks of errors in this program.
    """

    def __init__(
        self,
        recipe: Recipe,
        output: Storage,
        open_engine: Callable[[], Engine],
        open_extractor: Callable[[FaceOptions], Extractor],
        *,
        workers: int | None = None,
        time_limit: float = 0.0,
        debug: bool = False,
    ) -> None:
        self._reader = PhotoReader(open_extractor, recipe)
        self._output = output
        self._open_engine = open_engine
        self._workers = workers
        self._time_limit = time_limit
        self._debug = debug
        self._engine: Engine | None = None
        self._drawing: _Drawing | None = None

    def outcomes(self, steps: Iterator[Step | None], stopped: Callable[[], bool]) -> Iterator[Event]:
        """Draws photos; see `apdraw_cli.conversion.executors.base.Executor`.

        Raises:
            UnfitError: engine, workers or disk failed.
        """
        events: queue.Queue[Event | _End] = queue.Queue(BACKLOG)
        halt = _Halt(stopped)
        feeder = threading.Thread(target=self._feed, args=(steps, halt, events), name="feed", daemon=True)
        feeder.start()
        end: _End | None = None
        try:
            while end is None:
                try:
                    event = events.get(timeout=WAIT_SECONDS)
                except queue.Empty:
                    yield None
                    continue
                if isinstance(event, _End):
                    end = event
                else:
                    yield event
        finally:
            halt.ended.set()
            while end is None:
                event = events.get()
                end = event if isinstance(event, _End) else None
            feeder.join()
        if end.error is not None:
            raise end.error

    def close(self) -> None:
        """Closes the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _feed(self, steps: Iterator[Step | None], halt: _Halt, events: "queue.Queue[Event | _End]") -> None:
        """Runs in the feeding thread."""
        error: ApdrawError | None = None
        opened = contextlib.ExitStack()
        try:
            to_draw = opened.enter_context(contextlib.closing(read_ahead(self._unsettled(steps, halt, events.put))))
            first, more = _first(to_draw)
            if first:
                self._draw(first, to_draw, halt, events.put, more=more)
        except ApdrawError as failure:
            error = failure
        except KeyboardInterrupt:
            pass  # asked to stop while an engine was compiled
        except Exception as failure:
            if self._debug:
                traceback.print_exc()
            error = UnfitError(
                machine_fault(failure) or f"an error in apdraw, please report it: {failure!r}; see --debug"
            )
        finally:
            self._drawing = None
            opened.close()
            events.put(_End(error))

    def _unsettled(self, steps: Iterator[Step | None], halt: _Halt, tell: Tell) -> Iterator[Step | None]:
        """The steps that are to be drawn; tells what the others came to, and lets what is drawn go before them."""
        for step in steps:
            if halt():
                return
            if step is None or step.settled is None:
                yield step
                continue
            tell(step.settled)
            if self._drawing is not None and self._drawing.has_work:
                yield None

    def _draw(self, first: list[Step], rest: Iterator[Step | None], halt: _Halt, tell: Tell, *, more: bool) -> None:
        with contextlib.ExitStack() as opened:
            workers = self._expected_workers(few=not more)
            pool = self._start_pool(workers, halt, opened)  # they start while the engine opens
            engine = self._engine = self._engine or self._open_engine()
            if self._workers is None and workers > suitable_workers(engine.device):  # a GPU was expected
                pool.close()
                workers = suitable_workers(engine.device)
                pool = self._start_pool(workers, halt, opened)
            tell(EngineReady(engine, workers))
            self._drawing = _Drawing(engine, self._reader.recipe, self._output, pool, halt, tell)
            self._drawing.draw(chain(first, rest))

    def _expected_workers(self, *, few: bool) -> int:
        """The number of workers, as far as it can be told before the engine is open."""
        if self._workers is not None:
            return self._workers
        if few:
            return 0
        return suitable_workers("cuda:0" if find_gpus() else "cpu")

    def _start_pool(self, workers: int, halt: _Halt, opened: contextlib.ExitStack) -> Pool:
        pool: Pool
        if workers:
            pool = WorkerPool(
                _Work(self._reader),
                self._reader.check,
                workers,
                halt,
                limit=self._time_limit,
                quiet=not self._debug,
            )
        else:
            pool = ThisProcess(_Work(self._reader), self._reader.check, halt)
        pool.start()
        opened.callback(pool.close)
        return pool


class _Drawing:
    """Takes photos from their files through workers, the engine and workers again to the files of their drawings, once.

    Args:
        engine: draws the portraits.
        recipe: how pages and files are to look.
        output: the output folder.
        pool: the workers.
        halt: whether to end early; is set if engine or disk fail.
        tell: is given the outcome of each photo; from any thread.
    """

    def __init__(self, engine: Engine, recipe: Recipe, output: Storage, pool: Pool, halt: _Halt, tell: Tell) -> None:
        self._engine = engine
        self._recipe = recipe
        self._output = output
        self._pool = pool
        self._halt = halt
        self._tell = tell
        self._failure: Exception | None = None
        self._disk_failed = False
        self._encoders = pool if isinstance(pool, WorkerPool) else None
        self._undrawn = 0
        self._drawn: queue.SimpleQueue[DrawnPhoto] = queue.SimpleQueue()
        self._at_workers: dict[int, DrawnPhoto] = {}
        writers = REMOTE_WRITERS if output.flat else WRITERS
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="write")
        self._room = threading.BoundedSemaphore(max(2 * writers, engine.batch_size * engine.concurrency))
        self._threads = DrawingThreads(engine, self._hand_back, self._fail, halt)

    @property
    def has_work(self) -> bool:
        """Whether there is something to do that goes before further steps."""
        return not self._drawn.empty() or (self._encoders is not None and self._encoders.has_result)

    def draw(self, steps: Iterator[Step | None]) -> None:
        """Returns when all photos have their outcome, or it was ended early; what is drawn by then is written.

        Raises:
            UnfitError: engine, workers or disk failed; what was drawn until then has its outcome.
        """
        try:
            for task, result in self._pool.results(self._tasks(steps)):
                if isinstance(task, DrawnPhoto):
                    self._encoded(task, result)
                else:
                    self._read(task, result)
        except BaseException:
            self._halt.ended.set()
            raise
        finally:
            try:
                self._threads.finish()
                self._encode_the_rest()
            finally:  # what was handed to the writing threads is told of, whatever else fails
                self._writers.shutdown(wait=True)
        if self._failure is not None:
            raise self._failure

    def _tasks(self, steps: Iterator[Step | None]) -> Iterator[Task | None]:
        """What workers are to do next: None while there is nothing, but will be."""
        ended = False
        while not ended or (self._undrawn and self._encoders is not None):
            with contextlib.suppress(queue.Empty):
                drawn = self._drawn.get_nowait()
                self._undrawn -= 1
                self._at_workers[id(drawn)] = drawn
                yield drawn
                continue
            if ended:
                yield None
                continue
            try:
                step = next(steps)
            except StopIteration:
                ended = True
                continue
            if step is None and not self._drawn.empty():
                continue
            self._undrawn += step is not None
            yield step

    def _read(self, step: Step, result: Result | Loss) -> None:
        """Takes what has become of a photo's file."""
        match result:
            case Prepared():
                self._threads.put(PendingPhoto(step if step.data is None else replace(step, data=None), result))
            case Outcome() | Loss():
                self._undrawn -= 1
                self._tell(_lost(step, result, "read") if isinstance(result, Loss) else result)

    def _hand_back(self, photo: PendingPhoto[Step]) -> None:
        """Takes a photo that is drawn, from a drawing thread."""
        seconds = {**photo.prepared.seconds, "draw": photo.draw_seconds}
        drawings = [drawing for drawing in photo.drawings if drawing is not None]
        drawn = DrawnPhoto(photo.step, photo.prepared.without_photos(), drawings, self._engine.name, seconds)
        if self._encoders is None:
            self._hand_to_writer(drawn)
        else:
            self._drawn.put(drawn)
            self._encoders.wake()

    def _encoded(self, drawn: DrawnPhoto, result: Result | Loss) -> None:
        """Takes what has become of a photo's drawings."""
        del self._at_workers[id(drawn)]
        match result:
            case Pages():
                self._hand_to_writer(drawn, result)
            case Outcome():
                self._tell(result)
            case Loss():
                self._tell(_lost(drawn.step, result, "encode"))

    def _encode_the_rest(self) -> None:
        """Encodes in the writing threads what was drawn, but which the workers will not encode any more."""
        rest = list(self._at_workers.values())
        with contextlib.suppress(queue.Empty):
            while True:
                rest.append(self._drawn.get_nowait())
        for drawn in rest:
            self._hand_to_writer(drawn)

    def _hand_to_writer(self, drawn: DrawnPhoto, pages: Pages | None = None) -> None:
        self._room.acquire()
        self._writers.submit(self._write, drawn, pages)

    def _write(self, drawn: DrawnPhoto, pages: Pages | None = None) -> None:
        """Runs in the writing threads; encodes what nobody has."""
        try:
            if self._disk_failed:
                return
            found = pages or encode_pages(drawn, self._recipe)
            outcome = found if isinstance(found, Outcome) else write_pages(drawn, found, self._output)
        except ApdrawError as error:
            self._disk_failed = True
            self._fail(error)
        else:
            self._tell(outcome)
        finally:
            self._room.release()

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._halt.ended.set()


def _first(steps: Iterator[Step | None]) -> tuple[list[Step], bool]:
    """A few steps, once there are any, and whether there may be more."""
    first: list[Step] = []
    for step in steps:
        if step is not None:
            first.append(step)
            if len(first) > FEW_PHOTOS:
                return first, True
        elif first:
            return first, True
        else:
            time.sleep(POLL_SECONDS)
    return first, False


def _lost(step: Step, loss: Loss, verb: Literal["read", "encode"]) -> Outcome:
    """What becomes of a photo that no worker could read or encode, though it was tried twice."""
    match loss:
        case Loss.DIED:
            participle = {"read": "read", "encode": "encoded"}[verb]
            why = f"it killed the process that {participle} it, perhaps for want of memory"
            return failed(step, PhotoError("worker_died", why), {})
        case Loss.OVERDUE:
            remedy = "give it more time with --time-limit, and --retry-failed"
            return failed(step, PhotoError("time_limit", f"it takes too long to {verb}; {remedy}"), {})


def suitable_workers(device: str) -> int:
    """How many workers keep an engine on `device` busy: on a CPU it needs most of the cores itself."""
    cores = usable_cores()
    return max(1, cores // 4) if device == "cpu" else max(1, min(cores - 1, MOST_WORKERS))
