"""The line: photos to be drawn, through workers, engine and files, with bounded queues between them."""

import contextlib
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Final

from apdraw_cli.conversion.executors.batching import DrawingStage, PhotoInHand
from apdraw_cli.conversion.executors.malloc import keep_freed_memory
from apdraw_cli.conversion.executors.process_pool import ThisProcess, WorkerPool
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.outcome import Outcome, Status
from apdraw_cli.conversion.output import DrawingWriter
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.portraits import Extractor, PortraitMaker, PreparedPhoto
from engines.base import Engine, EngineError
from engines.errors import ApdrawError, PhotoError, UnfitError
from engines.tensorrt.cuda import find_gpus

FEW_PHOTOS: Final = 4
"""So many photos are prepared in this process, unless workers were asked for: starting those takes longer."""

MOST_WORKERS: Final = 32

WRITERS: Final = 4

Pool = WorkerPool[Step, str, PreparedPhoto] | ThisProcess[Step, str, PreparedPhoto]


@dataclass(frozen=True)
class Line:
    """What a line is made of.

    Attributes:
        open_engine: opens the engine; may raise EngineError.
        open_extractor: opens the face extractor, in the workers; can be pickled.
        face_options: for the extractor.
        workers: number of processes, 0 for none, None for what suits engine and machine.
        output: the output folder.
        file_format: of the drawings.
        recorded: whether the manifest knows a path below the output folder as a drawing.
        ready: is told the engine and the number of workers.
        settled: is told what became of each photo; from any thread.
        stop: ends the line early; what the engine is drawing is still written.
        debug: let through what libraries print in workers.
    """

    open_engine: Callable[[], Engine]
    open_extractor: Callable[[FaceOptions], Extractor]
    face_options: FaceOptions
    workers: int | None
    output: Path
    file_format: str
    recorded: Callable[[str], bool]
    ready: Callable[[Engine, int], None]
    settled: Callable[[Outcome], None]
    stop: threading.Event
    debug: bool = False

    def draw(self, steps: Iterator[Step]) -> None:
        """Draws photos; returns when all are settled, or the line was stopped.

        Raises:
            UnfitError: engine, workers or disk failed; what was drawn until then is settled.
        """
        keep_freed_memory()
        first = list(islice(steps, FEW_PHOTOS + 1))
        workers = self._workers_for_all_engines(len(first))
        with contextlib.ExitStack() as opened:
            pool = None if workers is None else self._pool(workers, opened)  # it starts while the engine opens
            engine = self._opened()
            opened.callback(engine.close)
            if workers is None or pool is None:
                workers = suitable_workers(engine.device)
                pool = self._pool(workers, opened)
            self.ready(engine, workers)
            _Run(self, engine).draw(chain(first, steps), pool)

    def _workers_for_all_engines(self, photos: int) -> int | None:
        """The number of workers, where that is known before the engine is."""
        if self.workers is not None:
            return self.workers
        if photos <= FEW_PHOTOS:
            return 0
        return None if find_gpus() else suitable_workers("cpu")

    def _pool(self, workers: int, opened: contextlib.ExitStack) -> Pool:
        maker = PortraitMaker(self.open_extractor, self.face_options)
        pool: Pool
        if workers:
            pool = WorkerPool(maker.prepare, maker.check, workers, self.stop.is_set, quiet=not self.debug)
        else:
            pool = ThisProcess(maker.prepare, maker.check, self.stop.is_set)
        pool.start()
        opened.callback(pool.close)
        return pool

    def _opened(self) -> Engine:
        try:
            return self.open_engine()
        except EngineError as error:
            raise UnfitError(str(error)) from error


class _Run:
    """One use of a line."""

    def __init__(self, line: Line, engine: Engine) -> None:
        self._line = line
        self._failure: Exception | None = None
        self._files = DrawingWriter(line.output, FORMATS[line.file_format], line.recorded)
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="write")
        self._room = threading.BoundedSemaphore(2 * WRITERS)
        self._stage = DrawingStage(engine, self._hand_to_writer, self._failed, line.stop.is_set)

    def draw(self, steps: Iterator[Step], pool: Pool) -> None:
        try:
            for step, prepared in pool.results((step, step.source.path) for step in steps):
                self._sort(step, prepared)
        except BaseException:
            self._line.stop.set()
            raise
        finally:
            self._stage.finish()
            self._writers.shutdown(wait=True)
        if isinstance(self._failure, ApdrawError):
            raise self._failure
        if self._failure is not None:
            reason = str(self._failure) or type(self._failure).__name__
            known = isinstance(self._failure, EngineError)
            raise UnfitError(reason if known else f"drawing failed: {reason}") from self._failure

    def _sort(self, step: Step, prepared: PreparedPhoto | None) -> None:
        """Hands portraits to the engine; settles photos that have none."""
        if prepared is None:
            died = PhotoError("worker_died", "it killed the process that read it, perhaps for want of memory")
            prepared = PreparedPhoto(error=died)
        elif not prepared.portraits and prepared.error is None:
            prepared = PreparedPhoto(seconds=prepared.seconds, error=PhotoError("no_face", "no face was found"))
        if prepared.error is None:
            self._stage.put(PhotoInHand(step, prepared))
            return
        status: Status = "no_face" if prepared.error.code == "no_face" else "failed"
        self._line.settled(
            Outcome(
                step.source,
                status,
                step.options,
                error=prepared.error,
                seconds=prepared.seconds,
                trace=prepared.trace,
            )
        )

    def _hand_to_writer(self, photo: PhotoInHand) -> None:
        self._room.acquire()
        self._writers.submit(self._write, photo)

    def _write(self, photo: PhotoInHand) -> None:
        step = photo.step
        seconds = {**photo.prepared.seconds, "draw": photo.draw_seconds}
        outputs: tuple[str, ...] = ()
        error, trace = None, ""
        try:
            drawings = [drawing for drawing in photo.drawings if drawing is not None]
            outputs = self._files.write(step.source.drawing, drawings, seconds)
            self._files.remove([old for old in step.replaced if old not in outputs])
        except PhotoError as failure:
            error = failure
        except ApdrawError as failure:
            self._failed(failure)
            return
        except Exception as failure:
            error = PhotoError("internal", f"an error in apdraw, please report it: {failure}")
            trace = traceback.format_exc()
        finally:
            self._room.release()
        self._line.settled(
            Outcome(
                step.source,
                "done" if error is None else "failed",
                step.options,
                outputs,
                photo.prepared.faces if error is None else (),
                error,
                seconds,
                trace=trace,
                recorded=error is None or error.code != "name_taken",
            )
        )

    def _failed(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._line.stop.set()


def suitable_workers(device: str) -> int:
    """How many workers keep an engine on `device` busy: on a CPU it needs most of the cores itself."""
    from joblib import cpu_count

    cores: int = cpu_count()
    return max(1, cores // 4) if device == "cpu" else max(1, min(cores - 1, MOST_WORKERS))
