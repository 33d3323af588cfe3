"""A pool of worker processes that goes on when one is killed, freezes or does not return from a task."""

import contextlib
import math
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from enum import Enum
from functools import partial
from typing import Any, Final, Generic, TypeVar

from apdraw_cli.conversion.executors.worker import Answer, Order, ending_signals
from engines.errors import ApdrawError, UnfitError

Task = TypeVar("Task")
Result = TypeVar("Result")

SETTINGS: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "PYTHONWARNINGS": "ignore",
}
"""Environment variables of a worker."""

TASKS_PER_WORKER: Final = 3
"""Tasks handed out for each worker, those that it works on included."""

START_SECONDS: Final = 300.0
"""A worker that is not ready after so long is taken for frozen."""

STARTS: Final = 5
"""So often in a row a worker may die as it starts."""

START_AGAIN_SECONDS: Final = 0.25
"""The wait before a worker that died as it started is started again; doubled each time."""

OFTEN: Final = 100
"""Memory is taken to be short if workers die, not by their tasks' fault, before so many more tasks are done."""

WATCH_SECONDS: Final = 1.0
"""How often the watchdog looks; more often if the limit is short."""

POLL_SECONDS: Final = 0.2

END_SECONDS: Final = 5.0
"""How long the end of a process or thread is waited for; a killed one may live on, while a file server is silent."""


class Loss(Enum):
    """Why a task has no result."""

    DIED = "the process that worked on it died"
    OVERDUE = "it did not return in time"


class WorkerPool(Generic[Task, Result]):
    """Runs a function on many tasks in worker processes; results come in any order.

    A worker that dies costs at most the task that it worked on, which is tried again in the only process there is then,
    since memory may have been short. A worker that is silent for longer than the limit, frozen or lost in a task, is
    killed; its task is tried once more. A task that was lost twice is given up.

    Args:
        function: what to run. It can be pickled, and raises nothing but ApdrawError, which ends it all.
        check: raises ApdrawError if workers cannot run it at all; is called first in each of them.
        workers: number of processes.
        stopped: asked now and then; True ends everything soon.
        limit: seconds that a task may take; 0 for any.
        quiet: keep what libraries write on standard error from the terminal.
    """

    def __init__(
        self,
        function: Callable[[Task], Result],
        check: Callable[[], None],
        workers: int,
        stopped: Callable[[], bool],
        *,
        limit: float = 0.0,
        quiet: bool = True,
    ) -> None:
        self._order = Order(function, check, quiet)
        self._workers = workers
        self._stopped = stopped
        self._limit = limit or math.inf
        self._started: _Crew[Task, Result] | None = None
        self._returned: deque[Task] = deque()

    def start(self) -> None:
        """Starts the workers in the background; without it `results` starts them."""
        self._started = self._crew(self._workers)

    def close(self) -> None:
        """Ends workers that were started, but never given a task."""
        crew, self._started = self._started, None
        if crew is not None:
            crew.close()

    def results(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Result | Loss]]:
        """Runs the tasks, taking them up as workers become free.

        Args:
            tasks: arguments of the function; can be pickled.

        Yields:
            A task and its result, or why it was given up.

        Raises:
            UnfitError: no worker can be kept alive.
            ApdrawError: what `check` or `function` raised.
        """
        done = OFTEN
        while not self._stopped():
            suspects: list[Task] = []
            done += yield from self._together(tasks, suspects)
            if not suspects:
                return
            found = yield from self._one_by_one(suspects)
            if not found:
                if done < OFTEN:
                    self._workers = max(1, self._workers // 2)
                done = 0

    def _together(
        self, tasks: Iterator[Task], suspects: list[Task]
    ) -> Generator[tuple[Task, Result | Loss], None, int]:
        """Yields results until all is done, or workers died; adds what those had in hand to `suspects`.

        Returns:
            How many results there were.
        """
        crew, self._started = self._started or self._crew(self._workers), None
        in_hand = done = 0
        late: list[Task] = []
        try:
            while not self._stopped():
                while not suspects and in_hand < self._workers * TASKS_PER_WORKER and not self._stopped():
                    task = self._returned.popleft() if self._returned else next(tasks, None)
                    if task is None:
                        break
                    crew.put(task)
                    in_hand += 1
                if not in_hand:
                    break
                event = crew.event()
                if event is None:
                    continue
                task, result = event
                if result is Loss.OVERDUE and not any(task is each for each in late):
                    late.append(task)
                    crew.put(task)
                    continue
                in_hand -= 1
                if result is Loss.DIED:
                    suspects.append(task)
                    withdrawn = crew.withdraw()
                    in_hand -= len(withdrawn)
                    self._returned.extend(withdrawn)
                else:
                    done += 1
                    yield task, result
            return done
        finally:
            crew.close()

    def _one_by_one(self, suspects: list[Task]) -> Generator[tuple[Task, Result | Loss], None, bool]:
        """Yields the results of tasks run alone; returns whether one of them lost its worker again."""
        found = False
        crew = self._crew(1)
        try:
            for task in suspects:
                crew.put(task)
                while (event := crew.event()) is None:
                    if self._stopped():
                        return True
                found = found or isinstance(event[1], Loss)
                yield event
            return found
        finally:
            crew.close()

    def _crew(self, workers: int) -> "_Crew[Task, Result]":
        return _Crew(self._order, workers, self._limit)


class _Crew(Generic[Task, Result]):
    """Worker processes, each with a thread that talks to it, and a watchdog.

    Args:
        order: what they are to do.
        workers: number of processes.
        limit: seconds that a task may take.
    """

    def __init__(self, order: Order, workers: int, limit: float) -> None:
        self._order = order
        self._limit = limit
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[tuple[Task, Result | Loss] | Exception | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._alive = workers
        self._threads = [threading.Thread(target=self._serve, name="worker", daemon=True) for _ in range(workers)]
        self._threads.append(threading.Thread(target=self._watch, name="watchdog", daemon=True))
        for thread in self._threads:
            thread.start()

    def put(self, task: Task) -> None:
        """Hands in a task."""
        self._tasks.put(task)

    def withdraw(self) -> list[Task]:
        """Takes back the tasks that no worker has begun."""
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
        if event is None:
            self._alive -= 1
            if not self._alive:
                raise UnfitError(
                    "the worker processes die as they start: there may be too little memory for them; "
                    "try a smaller --workers, or --workers 0"
                )
        return event

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

    def _serve(self) -> None:
        """Runs in the thread of each worker."""
        worker = None
        try:
            worker = self._start()
            while worker is not None and (task := self._tasks.get()) is not None and not self._ended.is_set():
                if worker.gone:
                    self._end(worker)
                    worker = self._start()
                if worker is None:
                    self._tasks.put(task)
                else:
                    self._events.put((task, self._run(worker, task)))
            self._events.put(None)
        except Exception as error:
            self._events.put(error)
        finally:
            if worker is not None:
                self._end(worker)

    def _run(self, worker: "_Worker", task: Task) -> Result | Loss:
        answer = worker.ask(pickle.dumps(task, pickle.HIGHEST_PROTOCOL), self._limit)
        if answer is None:
            return Loss.OVERDUE if worker.overdue else Loss.DIED
        if isinstance(answer.error, ApdrawError):
            raise answer.error
        if answer.error is not None:
            return Loss.DIED
        result: Result = answer.result
        return result

    def _start(self) -> "_Worker | None":
        """A worker that is ready; None if it dies again and again, or all is ended."""
        import cloudpickle

        order = cloudpickle.dumps(self._order)  # which pickles what a script defines, too
        for number in range(STARTS):
            if number and self._ended.wait(START_AGAIN_SECONDS * 2 ** (number - 1)):
                return None
            try:
                worker = _Worker(self._order.quiet)
            except OSError:  # too little memory, or too many processes or open files
                continue
            with self._lock:
                self._workers.append(worker)
            answer = None if self._ended.is_set() else worker.ask(order, START_SECONDS)
            if answer is None:
                self._end(worker)
            elif answer.error is None:
                return worker
            else:
                self._end(worker)
                raise answer.error
        return None

    def _end(self, worker: "_Worker") -> None:
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


class _Worker:
    """A worker process, seen from its parent.

    Args:
        quiet: keep what it writes on standard error from the terminal.

    Raises:
        OSError: it cannot be started.

    Attributes:
        overdue: it was killed since it did not answer in time.
    """

    def __init__(self, quiet: bool) -> None:
        # The path comes first of all, so that no module of the current folder is taken for one of Python's.
        program = f"import sys; sys.path[:] = {sys.path!r}; from {Order.__module__} import main; main()"
        with _blocked(ending_signals()):
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if quiet else None,
                env={**os.environ, **SETTINGS},
            )
        self._lock = threading.Lock()
        self._seconds_left: float | None = None
        self._lost = False
        self.overdue = False

    @property
    def gone(self) -> bool:
        """Whether it can be asked nothing more."""
        return self._lost or self.overdue or self._process.poll() is not None

    def ask(self, message: bytes, limit: float) -> Answer | None:
        """Sends a message and waits for the answer; None if it dies first, or is killed after `limit` seconds."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("a worker without pipes")
        with self._lock:
            self._seconds_left = limit
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
            answer: Answer = pickle.load(self._process.stdout)
        except Exception:  # half an answer may fail to be read in many ways
            self._lost = True
            self.kill()
            return None
        finally:
            with self._lock:
                self._seconds_left = None
        return answer

    def wait_for_answer(self, seconds: float) -> None:
        """Counts time that has passed, and kills the worker if an answer is overdue."""
        with self._lock:
            if self._seconds_left is not None:
                self._seconds_left -= seconds
                if self._seconds_left <= 0:
                    self.overdue = True
                    self.kill()

    def kill(self) -> None:
        """Kills the process; it may be dead already."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> None:
        """Kills the process and lets go of it."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what could not be sent
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)


class ThisProcess(Generic[Task, Result]):
    """Runs a function in this process, one task after the other, where a `WorkerPool` would take longer to start.

    The tasks run in a thread of their own, which is left alone with its task if it is stopped and that does not return.

    Args:
        function: what to run.
        check: raises ApdrawError if it cannot be run at all; is called first.
        stopped: asked before each task and now and then; True ends it.
    """

    def __init__(
        self, function: Callable[[Task], Result], check: Callable[[], None], stopped: Callable[[], bool]
    ) -> None:
        self._function = function
        self._check = check
        self._stopped = stopped
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._checked: Future[None] | None = None

    def start(self) -> None:
        """Calls `check` in the background; without it `results` calls it."""
        self._thread = threading.Thread(target=self._serve, name="read", daemon=True)
        self._thread.start()
        self._checked = self._call(self._check)

    def results(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Result]]:
        """Runs the tasks.

        Yields:
            A task and its result.

        Raises:
            ApdrawError: what `check` or `function` raised.
        """
        if self._thread is None:
            self.start()
        if self._checked is None or not self._wait(self._checked):
            return
        self._checked.result()
        for task in tasks:
            if self._stopped():
                return
            result = self._call(partial(self._function, task))
            if not self._wait(result):
                return
            yield task, result.result()

    def close(self) -> None:
        """Waits a little for what still runs."""
        self._calls.put(None)
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def _call(self, function: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        self._calls.put((future, function))
        return future

    def _wait(self, future: "Future[Any]") -> bool:
        """Waits for a result; False if all was stopped and it does not come: then the thread is left alone."""
        patience = END_SECONDS
        while patience > 0:
            with contextlib.suppress(TimeoutError):
                future.exception(POLL_SECONDS)
            if future.done():
                return True
            if self._stopped():
                patience -= POLL_SECONDS
        self._thread = None
        return False

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)


@contextlib.contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    """Processes that are started inside never get the signals."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
