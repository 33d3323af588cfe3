"""Cluster executor: photos go in chunks to the workers of a Dask cluster, and what became of them comes back.

A worker does the whole way of a photo and writes its drawings (`cluster_worker.py`); photos, drawings and folders are
therefore where all machines find them. This process plans, and keeps the manifest. A chunk whose worker was lost is
done by another, photo by photo, so that one that kills workers is found: it is given up when two were lost with it.
"""

import contextlib
import hashlib
import queue
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from apdraw_cli.conversion.executors.base import EngineReady, Event
from apdraw_cli.conversion.executors.cluster_worker import Drawn, Order, different, draw_chunk, keep_model
from apdraw_cli.conversion.pipeline import failed
from apdraw_cli.conversion.plan import Step
from engines.cpu import usable_cores
from engines.errors import ApdrawError, PhotoError, UnfitError, UsageError, in_one_line
from engines.installed import pip_install

LOCAL: Final = "local"
"""In place of an address: a cluster of this machine alone, for as long as the command runs."""

CHUNK: Final = 8
"""Photos that go to a worker at once."""

CHUNKS_PER_THREAD: Final = 3
"""Chunks that are under way for each thread of the cluster, so that none waits for the next."""

FEWEST_CHUNKS: Final = 8
"""So many are under way at least, from which an adaptive cluster sees that it has to grow."""

CORES_PER_WORKER: Final = 8
"""Of a local cluster: an engine on a CPU keeps so many busy."""

LOOK_SECONDS: Final = 5.0
"""How often the size of the cluster is asked for."""

CONNECT_SECONDS: Final = 20
WAIT_SECONDS: Final = 0.5

MOST_ASKED: Final = 100
"""So often a worker may say that it has no model, from each of its threads."""

STOP_SECONDS: Final = 60.0
"""So long is waited for what is being drawn when all is to end."""

SAME: Final = ("apdraw", "numpy", "opencv-python-headless", "openvino")
"""Packages that a worker must have in the version that this process has."""

SAME_OF_ALL: Final = ("distributed", "dask")
"""Those that the scheduler must have so, too."""


@dataclass(frozen=True)
class _Chunk:
    """Photos that are drawn together.

    Attributes:
        name: name of the variable that says whether they were begun.
        steps: one for each.
        suspect: it is one photo that was in work when a worker was lost.
    """

    name: str
    steps: tuple[Step, ...]
    suspect: bool = False


class ClusterExecutor:
    """Draws photos on a Dask cluster.

    Args:
        address: address of the scheduler, as `tcp://host:8786`; a scheduler file, which ends in `.json`; or `local`.
        order: what the workers are to do.
    """

    def __init__(self, address: str, order: Order) -> None:
        if order.output.startswith("memory://"):
            raise UsageError("memory:// is the memory of one process: name a folder or bucket that a cluster can reach")
        self._address = address
        self._order = order
        self._client: Any = None
        self._cluster: Any = None

    def outcomes(self, steps: Iterator[Step | None], stopped: Callable[[], bool]) -> Iterator[Event]:
        """Draws photos; see `apdraw_cli.conversion.executors.base.Executor`.

        Raises:
            UnfitError: there is no cluster, it is lost, or its workers cannot draw.
        """
        run = _Run(self)
        try:
            yield from run.events(steps, stopped)
        finally:
            run.cancel()

    def close(self) -> None:
        """Leaves the cluster; a local one ends."""
        with contextlib.suppress(Exception):
            if self._client is not None:
                self._client.close(timeout=5)
            if self._cluster is not None:
                self._cluster.close(timeout=10)
        self._client = self._cluster = None

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return self._address

    @property
    def order(self) -> Order:
        """What the workers are to do."""
        return self._order

    def connected(self) -> Any:
        """The client of the cluster, after a look at what its workers have installed.

        Raises:
            UnfitError: there is none.
        """
        if self._client is not None:
            return self._client
        try:
            import dask
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise UnfitError(
                f"--cluster needs dask and distributed; install them with: {pip_install('cluster')}"
            ) from error
        import logging

        for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is told in a line
        dask.config.set({"distributed.comm.timeouts.connect": CONNECT_SECONDS})
        try:
            if self._address == LOCAL:
                self._cluster = LocalCluster(
                    n_workers=max(1, usable_cores() // CORES_PER_WORKER),
                    threads_per_worker=2,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
                self._client = Client(self._cluster)
            elif self._address.endswith(".json"):
                self._client = Client(scheduler_file=self._address, timeout=CONNECT_SECONDS)
            else:
                self._client = Client(self._address, timeout=CONNECT_SECONDS)
            versions = self._client.get_versions(packages=list(SAME))
        except ApdrawError:
            raise
        except Exception as error:
            raise UnfitError(
                f"no Dask scheduler answers at {self._address} ({in_one_line(error)}): start one, or check the address"
            ) from error
        check_versions(versions)
        return self._client


class _Run:
    """One conversion on a cluster."""

    def __init__(self, executor: ClusterExecutor) -> None:
        self._executor = executor
        self._client: Any = None
        self._name = secrets.token_hex(4)
        self._number = 0
        self._under_way: dict[Any, _Chunk] = {}
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._again: list[_Chunk] = []
        self._suspects: list[Step] = []
        self._sent: Counter[str] = Counter()
        self._threads, self._looked = 0, -LOOK_SECONDS
        self._model: bytes | None = None
        self._ready = False

    def events(self, steps: Iterator[Step | None], stopped: Callable[[], bool]) -> Iterator[Event]:
        """What becomes of the photos."""
        gathered: list[Step] = []
        more, halted = True, 0.0
        while more or gathered or self._again or self._suspects or self._under_way:
            if stopped():
                more, gathered, self._again, self._suspects = False, [], [], []
                halted = halted or time.monotonic()
                if time.monotonic() - halted > STOP_SECONDS:
                    return
            idle = False
            while more and not idle and len(self._under_way) + len(self._again) < self._room():
                try:
                    step = next(steps)
                except StopIteration:
                    more, step = False, None
                if step is None:
                    idle = more
                elif step.settled is not None:
                    yield step.settled
                    if stopped():
                        break
                else:
                    gathered.append(step)
                if gathered and (len(gathered) >= self._size() or not more or idle):
                    self._submit(self._chunk(tuple(gathered)))
                    gathered = []
            while self._again:
                self._submit(self._again.pop())
            if self._suspects and not any(chunk.suspect for chunk in self._under_way.values()):
                self._submit(self._chunk((self._suspects.pop(0),), suspect=True))  # alone, so that it is the one
            yield from self._settled(wait=bool(self._under_way))
            if idle or self._under_way:
                yield None
            if idle and not self._under_way:
                time.sleep(WAIT_SECONDS)

    def cancel(self) -> None:
        """Lets go of what is under way."""
        if self._under_way and self._client is not None:
            with contextlib.suppress(Exception):
                self._client.cancel(list(self._under_way))
        self._under_way.clear()

    def _size(self) -> int:
        """Photos of a chunk: few at first, so that all workers have some."""
        return min(CHUNK, 1 + self._number // 4)

    def _room(self) -> int:
        if self._client is None:
            return 1
        if time.monotonic() - self._looked > LOOK_SECONDS:
            with self._reported():
                self._threads = sum(self._client.nthreads().values())
            self._looked = time.monotonic()
        return max(FEWEST_CHUNKS, CHUNKS_PER_THREAD * self._threads)

    def _chunk(self, steps: tuple[Step, ...], *, suspect: bool = False) -> _Chunk:
        self._number += 1
        return _Chunk(f"apdraw-{self._name}-{self._number}", steps, suspect)

    def _submit(self, chunk: _Chunk) -> None:
        from distributed import Variable

        with self._reported():
            self._client = self._client or self._executor.connected()
            Variable(chunk.name, client=self._client).set(0)
            future = self._client.submit(
                draw_chunk,
                self._executor.order,
                chunk.steps,
                chunk.name,
                key=f"{chunk.name}-{secrets.token_hex(4)}",
                pure=False,
            )
            self._under_way[future] = chunk
            future.add_done_callback(self._finished.put)

    def _settled(self, *, wait: bool) -> Iterator[Event]:
        """What came back; waits a little for the first."""
        timeout = WAIT_SECONDS
        while wait:
            try:
                future = self._finished.get(timeout=timeout)
            except queue.Empty:
                if self._client is not None and self._client.status != "running":
                    raise self._lost() from None
                return
            timeout = 0.001
            chunk = self._under_way.pop(future, None)
            if chunk is not None:
                yield from self._came_back(future, chunk)
            wait = bool(self._under_way)

    def _came_back(self, future: Any, chunk: _Chunk) -> Iterator[Event]:
        from distributed import KilledWorker, Variable

        if future.status in ("lost", "cancelled"):
            raise self._lost()
        with self._reported():
            try:
                drawn = future.result(timeout=CONNECT_SECONDS)
            except KilledWorker:
                drawn = Drawn("lost", "")
            future.release()
            Variable(chunk.name, client=self._client).delete()
        match drawn.state:
            case "no_model":
                self._send_model(drawn.worker)
                self._again.append(self._chunk(chunk.steps, suspect=chunk.suspect))
            case "lost" if not chunk.suspect:
                self._suspects += chunk.steps
            case "lost":
                error = PhotoError("worker_died", "two workers of the cluster were lost while it was drawn")
                yield failed(chunk.steps[0], error, {})
            case "done":
                if drawn.engine is not None and not self._ready:
                    self._ready = True
                    yield EngineReady(drawn.engine, len(self._client.nthreads()))
                yield from drawn.outcomes

    def _send_model(self, worker: str) -> None:
        """Gives a worker the model."""
        order = self._executor.order
        self._sent[worker] += 1
        if self._sent[worker] > MOST_ASKED:
            raise UnfitError(f"the worker {worker} cannot keep the model: make room in its cache folder")
        if self._sent[worker] > 1:  # another of its threads asked at the same time
            return
        path = order.model.path
        if self._model is None:
            self._model = path.read_bytes()
        if hashlib.sha256(self._model).hexdigest() != order.model_file_sha256:
            raise UnfitError(f"{path} was changed while it was used: run the same command again")
        with self._reported():
            self._client.run(keep_model, path.name, order.model_file_sha256, self._model, workers=[worker])

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Tells what the cluster's library raises in a line."""
        try:
            yield
        except ApdrawError:
            raise
        except Exception as error:
            from distributed.comm import CommClosedError

            if (
                self._client is None
                or self._client.status != "running"
                or isinstance(error, CommClosedError | TimeoutError)
            ):
                raise self._lost() from error
            raise UnfitError(f"an error in a worker of the cluster: {in_one_line(error)}; see its log") from error

    def _lost(self) -> UnfitError:
        return UnfitError(
            f"the scheduler at {self._executor.address} is lost; what is drawn is kept: start it again, and run the "
            "same command"
        )


def check_versions(versions: Mapping[str, Any]) -> None:
    """Makes sure that scheduler and workers have what this process has.

    Args:
        versions: as `distributed.Client.get_versions` tells them.

    Raises:
        UnfitError: they have not.
    """
    here = versions["client"]["packages"]
    others = {**versions["workers"], "scheduler": versions["scheduler"]}
    for name, other in others.items():
        there = other["packages"]
        for package in SAME_OF_ALL + SAME * (name != "scheduler"):
            if there.get(package) != here.get(package):
                raise UnfitError(different(package, name, there.get(package), here.get(package)))
        pythons = [".".join(each["python"].split(".")[:2]) for each in (there, here)]
        if pythons[0] != pythons[1]:
            raise UnfitError(different("Python", name, *pythons))
