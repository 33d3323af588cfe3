"""What runs in a worker of a cluster: chunks of photos go through a local executor that stays open between them.

So engine, models and processes are started once in the life of a worker, and where it runs several chunks at once, one
is read while another is drawn. Only functions are sent here, by name: workers have apdraw installed.
"""

import hashlib
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import platformdirs

from apdraw_cli import __version__
from apdraw_cli.conversion.executors.base import EngineReady
from apdraw_cli.conversion.executors.local import LocalExecutor
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.outcome import Outcome
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.portraits import Extractor
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.storage import is_url, open_storage
from engines.atomic_files import write_atomically
from engines.base import Engine
from engines.errors import ApdrawError, UnfitError
from engines.options import EngineOptions, ModelOptions
from engines.portrait import Image, PortraitBatch

ANSWER_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Order:
    """What the workers are to do, the same for all chunks of a run.

    Attributes:
        version: version of apdraw, where it was given.
        recipe: what the drawings are to look like.
        output: address of the output folder.
        model: which generator draws.
        model_file_sha256: checksum of its file.
        engine: what draws.
        open_engine: opens it.
        open_extractor: opens the face extractor.
        workers: processes that prepare photos and encode pages, beside each worker of the cluster; None for what suits
            its machine.
        time_limit: seconds that one of these may take for either.
    """

    version: str
    recipe: Recipe
    output: str
    model: ModelOptions
    model_file_sha256: str
    engine: EngineOptions
    open_engine: Callable[[EngineOptions, Path], Engine]
    open_extractor: Callable[[FaceOptions], Extractor]
    workers: int | None
    time_limit: float


@dataclass(frozen=True)
class Described:
    """An engine of another machine, as far as it can be told of."""

    name: str
    device: str
    precision: str
    concurrency: int
    batch_size: int

    def draw(self, batch: PortraitBatch) -> Image:
        """Is not possible from here."""
        raise UnfitError("this engine is on another machine")

    def close(self) -> None:
        """Does nothing: the engine goes on with its worker."""


@dataclass(frozen=True)
class Drawn:
    """What became of a chunk.

    Attributes:
        state: `done`; `lost`: a worker was lost with it before, and it was not tried again; `no_model`: the worker has
            not got the model.
        worker: address of the worker.
        outcomes: one for each photo, if it is done.
        engine: what drew them; None if nothing had to.
    """

    state: Literal["done", "lost", "no_model"]
    worker: str
    outcomes: tuple[Outcome, ...] = ()
    engine: Described | None = None


def draw_chunk(order: Order, steps: Sequence[Step], begun: str) -> Drawn:
    """Draws a few photos and writes the drawings; runs in a thread of a worker.

    Args:
        order: what to do.
        steps: the photos.
        begun: name of the variable of the cluster that says whether this chunk was begun before.

    Raises:
        ApdrawError: nothing can be drawn here.
    """
    from distributed import Variable, get_client, get_worker

    worker = str(get_worker().address)
    if order.version != __version__:
        raise UnfitError(different("apdraw", worker, __version__, order.version))
    before = Variable(begun, client=get_client())
    if before.get(timeout="30 s"):
        return Drawn("lost", worker)
    model = model_here(order)
    if model is None:
        return Drawn("no_model", worker)
    before.set(1)
    try:
        station = _station(order, model)
        return Drawn("done", worker, tuple(station.draw(steps)), station.engine)
    except ApdrawError as error:
        raise UnfitError(str(error)) from None  # some of them cannot be read back from a pickle


def different(what: str, worker: str, there: str | None, here: str | None) -> str:
    """That a worker has another version of something."""
    return f"the worker {worker} has {what} {there}, this command {here}: install the same version on all machines"


def model_here(order: Order) -> Path | None:
    """The model's file on this machine, by its content: the one that was named, or a copy; None if there is none."""
    named = None if isinstance(order.model.model, str) else order.model.path
    for path in filter(None, (named, _copy(order.model_file_sha256, order.model.path.name))):
        if path.is_file() and _sha256(path, path.stat().st_mtime_ns) == order.model_file_sha256:
            return path
    return None


def keep_model(name: str, sha256: str, data: bytes) -> None:
    """Keeps a model on this machine, for all runs that need the same."""
    copy = _copy(sha256, name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(copy, data)


def _copy(sha256: str, name: str) -> Path:
    return Path(platformdirs.user_cache_dir("apdraw", appauthor=False)) / "models" / sha256 / name


_checksums: dict[tuple[Path, int], str] = {}


def _sha256(path: Path, mtime_ns: int) -> str:
    if (path, mtime_ns) not in _checksums:
        with path.open("rb") as file:
            _checksums[path, mtime_ns] = hashlib.file_digest(file, "sha256").hexdigest()
    return _checksums[path, mtime_ns]


class Station:
    """A local executor that waits for photos.

    Args:
        order: what to do.
        model: the generator's file.
    """

    def __init__(self, order: Order, model: Path) -> None:
        self.engine: Described | None = None
        self._executor = LocalExecutor(
            order.recipe,
            open_storage(order.output, shared=True),
            lambda: order.open_engine(order.engine, model),
            order.open_extractor,
            workers=order.workers,
            time_limit=order.time_limit,
        )
        self._steps: queue.SimpleQueue[Step] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._told: defaultdict[str, list[queue.SimpleQueue[Outcome]]] = defaultdict(list)
        self._ended = threading.Event()
        self._error: ApdrawError | None = None
        self._thread = threading.Thread(target=self._run, name="station", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether it has nothing to draw."""
        with self._lock:
            return not self._told

    @property
    def ended(self) -> bool:
        """Whether it draws no more."""
        return not self._thread.is_alive()

    def draw(self, steps: Sequence[Step]) -> list[Outcome]:
        """Draws photos; may be called from several threads.

        Raises:
            ApdrawError: nothing can be drawn here.
        """
        told: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        with self._lock:
            for step in steps:
                self._told[step.source.name].append(told)
        for step in steps:
            self._steps.put(step)
        outcomes: list[Outcome] = []
        while len(outcomes) < len(steps):
            try:
                outcomes.append(told.get(timeout=ANSWER_SECONDS))
            except queue.Empty:
                if self.ended and told.empty():
                    raise self._error or UnfitError("the worker was closed") from None
        return outcomes

    def close(self) -> None:
        """Ends it, with its engine."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for event in self._executor.outcomes(self._waiting(), self._ended.is_set):
                if isinstance(event, EngineReady):
                    engine = event.engine
                    self.engine = Described(
                        engine.name, engine.device, engine.precision, engine.concurrency, engine.batch_size
                    )
                elif event is not None:
                    with self._lock:
                        waiting = self._told[event.source.name]
                        told = waiting.pop(0)
                        if not waiting:
                            del self._told[event.source.name]
                    told.put(event)
        except ApdrawError as error:
            self._error = error
        finally:
            self._executor.close()

    def _waiting(self) -> Iterator[Step | None]:
        while not self._ended.is_set():
            try:
                yield self._steps.get_nowait()
            except queue.Empty:
                yield None


_stations: dict[Order, Station] = {}
_opening: Any = threading.Lock()


def _station(order: Order, model: Path) -> Station:
    """The station of this process for an order; one for another order is closed, unless it still draws."""
    with _opening:
        for other, station in list(_stations.items()):
            if station.ended or (other != order and station.idle):
                station.close()
                del _stations[other]
        if order not in _stations:
            output = order.output
            if not is_url(output) and not Path(output).is_dir():
                raise UnfitError(
                    f"the folder {output} is not on all machines of the cluster: name one that they share, or a bucket"
                )
            _stations[order] = Station(order, model)
        return _stations[order]
