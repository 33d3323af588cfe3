"""A crew of worker processes: a thread for each sends it tasks ahead, and a watchdog kills those that are late.

A worker that dies is started again for the next task. What becomes of the task that it worked on, others decide
(`process_pool.py`, the HTTP service).
"""

import contextlib
import queue
import threading
import time
from collections import deque
from enum import Enum
from typing import Final, Generic, TypeVar

from apdraw_cli.conversion.executors.base import POLL_SECONDS
from apdraw_cli.conversion.executors.shared_slots import SLOTS, Slots
from apdraw_cli.conversion.executors.worker import Order
from apdraw_cli.conversion.executors.worker_process import END_SECONDS, WorkerProcess
from engines.errors import ApdrawError, UnfitError

Task = TypeVar("Task")

Result = TypeVar("Result")

SENT: Final = 2
"""Tasks sent to a worker, the one that it works on included, so that it need not wait for the next."""

START_SECONDS: Final = 300.0
"""A worker that is not ready after so long is taken for frozen."""

STARTS: Final = 5
"""So often in a row a worker may die as it starts."""

START_AGAIN_SECONDS: Final = 0.25
"""The wait before a worker that died as it started is started again; doubled each time."""

WATCH_SECONDS: Final = 1.0
"""How often the watchdog looks; more often if the limit is short."""


class Loss(Enum):
    """Why a task has no result."""

    DIED = "the process that worked on it died"
    OVERDUE = "it did not return in time"


class _Signal(Enum):
    """What is told beside results."""

    GONE = "a worker cannot be started again"
    WAKE = "there may be a task"


class Crew(Generic[Task, Result]):
    """Worker processes, each with a thread that talks to it, and a watchdog.

    Args:
        order: what they are to do.
        workers: number of processes.
        limit: seconds that a task may take.
        sent: tasks sent to each worker at once; all but the first wait there, whatever becomes of it.
    """

    def __init__(self, order: Order, workers: int, limit: float, sent: int = SENT) -> None:
        self._order = order
        self._limit = limit
        self._sent = sent
        self._idle = 0
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[tuple[Task, Result | Loss] | Exception | _Signal] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._workers: list[WorkerProcess] = []
        self._slots: Slots | None = None
        with contextlib.suppress(OSError):
            self._slots = Slots(SLOTS + 2 * SENT * workers)
        self._alive = workers
        self._threads = [threading.Thread(target=self._serve, name="worker", daemon=True) for _ in range(workers)]
        self._threads.append(threading.Thread(target=self._watch, name="watchdog", daemon=True))
        for thread in self._threads:
            thread.start()

    def put(self, task: Task) -> None:
        """Hands in a task."""
        self._tasks.put(task)

    def withdraw(self) -> list[Task]:
        """Takes back the tasks that were sent to no worker."""
        tasks = []
        with contextlib.suppress(queue.Empty):
            while (task := self._tasks.get_nowait()) is not None:
                tasks.append(task)
        return tasks

    def event(self) -> tuple[Task, Result | Loss] | None:
        """A task that is finished or lost; None if there is none for a while.

        Raises:
            UnfitError: there is no worker left.
            ApdrawError: what `check` or `function` raised.
        """
        try:
            event = self._events.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return None
        if isinstance(event, Exception):
            raise event
        if event is _Signal.GONE:
            self._alive -= 1
            if not self._alive:
                raise UnfitError(
                    "the worker processes die as they start: there may be too little memory for them; "
                    "try a smaller --workers, or --workers 0"
                )
        return None if isinstance(event, _Signal) else event

    @property
    def has_event(self) -> bool:
        """Whether `event` would not wait."""
        return not self._events.empty()

    def wake(self) -> None:
        """Ends a wait for an event; from any thread."""
        self._events.put(_Signal.WAKE)

    def close(self) -> None:
        """Kills the workers."""
        self._ended.set()
        for _ in self._threads:
            self._tasks.put(None)
        with self._lock:
            for worker in self._workers:
                worker.kill()
        deadline = time.monotonic() + END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._slots is not None and not any(thread.is_alive() for thread in self._threads):
            self._slots.close()

    def _serve(self) -> None:
        """Runs in the thread of each worker."""
        worker = None
        sent: deque[Task] = deque()
        try:
            worker = self._start()
            while worker is not None:
                while len(sent) < self._sent and (task := self._next(wait=not sent)) is not None:
                    if not sent and worker.gone:
                        self._end(worker)
                        worker = self._start()
                        if worker is None:
                            self._tasks.put(task)
                            break
                    try:
                        worker.send(task, self._limit)
                    except MemoryError:
                        self._events.put((task, Loss.DIED))
                        continue
                    sent.append(task)
                if worker is None or not sent:
                    break
                task = sent.popleft()
                result = self._result(worker)
                while sent and worker.gone and (isinstance(result, Loss) or worker.overdue):
                    self._tasks.put(sent.popleft())  # it was not begun
                self._events.put((task, result))
            self._events.put(_Signal.GONE)
        except Exception as error:
            self._events.put(error)
        finally:
            if worker is not None:
                self._end(worker)

    def _next(self, *, wait: bool) -> Task | None:
        """A task that nobody has taken; None if all is ended. Without a wait, None too where idle workers take it."""
        if self._ended.is_set():
            return None
        with self._lock:
            if not wait and self._tasks.qsize() <= self._idle:
                return None
            self._idle += wait
        try:
            return self._tasks.get(block=wait)
        except queue.Empty:
            return None
        finally:
            with self._lock:
                self._idle -= wait

    def _result(self, worker: WorkerProcess) -> Result | Loss:
        """What the first task comes to that was sent and has no result yet."""
        answer = worker.receive()
        if answer is None:
            return Loss.OVERDUE if worker.overdue else Loss.DIED
        if isinstance(answer.error, ApdrawError):
            raise answer.error
        if answer.error is not None:
            return Loss.DIED
        result: Result = answer.result
        return result

    def _start(self) -> WorkerProcess | None:
        """A worker that is ready; None if it dies again and again, or all is ended."""
        import cloudpickle

        order = cloudpickle.dumps(self._order)  # which pickles what a script defines, too
        for number in range(STARTS):
            if number and self._ended.wait(START_AGAIN_SECONDS * 2 ** (number - 1)):
                return None
            try:
                worker = WorkerProcess(self._order.quiet, self._slots)
            except OSError:  # too little memory, or too many processes or open files
                continue
            with self._lock:
                self._workers.append(worker)
            answer = None
            if not self._ended.is_set():
                worker.send_order(order, START_SECONDS)
                answer = worker.receive()
            if answer is None:
                self._end(worker)
            elif answer.error is None:
                return worker
            else:
                self._end(worker)
                raise answer.error
        return None

    def _end(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._workers.remove(worker)
        worker.end()

    def _watch(self) -> None:
        """Runs in the watchdog's thread."""
        pause = min(WATCH_SECONDS, self._limit / 4)
        before = time.monotonic()
        while not self._ended.wait(pause):
            now = time.monotonic()
            # A longer time has passed if this process was suspended, as its workers were.
            passed, before = min(now - before, 2 * pause), now
            with self._lock:
                for worker in self._workers:
                    worker.wait_for_answer(passed)
