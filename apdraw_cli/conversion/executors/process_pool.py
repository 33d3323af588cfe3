"""A pool of worker processes that goes on when a worker is killed: by the system, or by a library that crashes."""

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from typing import Any, Final, Generic, TypeVar

from apdraw_cli.conversion.executors.malloc import keep_freed_memory
from engines.errors import ApdrawError, UnfitError

Task = TypeVar("Task")
Result = TypeVar("Result")

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
)

TASKS_PER_WORKER: Final = 3
"""Tasks handed out for each worker, those that it works on included."""

POLL_SECONDS: Final = 0.2


class WorkerPool(Generic[Task, Result]):
    """Runs a function on many tasks in worker processes; results come in any order.

    A worker that is killed costs at most the task that it worked on: everything handed out at that moment is tried
    again, one task after the other, so that the one that kills workers is found.

    Args:
        function: what to run. It can be pickled, and raises nothing but ApdrawError, which ends it all.
        check: raises ApdrawError if workers cannot run it at all; is called in one of them first.
        workers: number of processes.
        stopped: asked now and then; True ends everything soon.
        quiet: keep what libraries write on standard error from the terminal.
    """

    def __init__(
        self,
        function: Callable[[Task], Result],
        check: Callable[[], None],
        workers: int,
        stopped: Callable[[], bool],
        *,
        quiet: bool = True,
    ) -> None:
        self._function = function
        self._check = check
        self._workers = workers
        self._stopped = stopped
        self._quiet = quiet
        self._opening: Future[Any] | None = None

    def start(self) -> None:
        """Starts the workers in the background; without it `results` starts them, and waits."""
        starter = ThreadPoolExecutor(1, thread_name_prefix="start-workers")
        self._opening = starter.submit(self._open, self._workers)
        starter.shutdown(wait=False)

    def close(self) -> None:
        """Ends workers that were started, but never given a task."""
        opening, self._opening = self._opening, None
        if opening is not None:
            with contextlib.suppress(Exception):  # then there are none
                opening.result().shutdown(wait=True, kill_workers=True)

    def results(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Result | None]]:
        """Runs the tasks, taking them up as workers become free.

        Args:
            tasks: arguments of the function; can be pickled.

        Yields:
            A task and its result, or None if it killed its worker.

        Raises:
            UnfitError: no worker can be kept alive.
            ApdrawError: what `check` or `function` raised.
        """
        while not self._stopped() and (suspects := (yield from self._together(tasks))):
            found = yield from self._one_by_one(suspects)
            if not found:  # most likely they ran out of memory together
                self._workers = max(1, self._workers // 2)

    def _together(self, tasks: Iterator[Task]) -> Generator[tuple[Task, Result | None], None, list[Task]]:
        """Yields results until all is done, or the pool breaks; returns what was in hand then."""
        opening, self._opening = self._opening, None
        executor = self._open(self._workers) if opening is None else opening.result()
        in_hand: dict[Future[Result], Task] = {}
        finished: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
        refused: list[Task] = []
        try:
            while not self._stopped():
                while len(in_hand) < self._workers * TASKS_PER_WORKER and not self._stopped():
                    task = next(tasks, None)
                    if task is None:
                        break
                    refused.append(task)
                    future = executor.submit(self._function, task)
                    in_hand[future] = refused.pop()
                    future.add_done_callback(finished.put)
                if not in_hand:
                    break
                with contextlib.suppress(queue.Empty):
                    future = finished.get(timeout=POLL_SECONDS)
                    result = _result_of(future)
                    yield in_hand.pop(future), result
            return []
        except BrokenExecutor:
            for future, task in in_hand.items():
                if future.done() and future.exception() is None:
                    yield task, future.result()
                else:
                    refused.append(task)
            return refused
        finally:
            executor.shutdown(wait=True, kill_workers=True)

    def _one_by_one(self, suspects: list[Task]) -> Generator[tuple[Task, Result | None], None, bool]:
        """Yields the results of tasks run alone; returns whether one of them killed its worker."""
        executor = None
        found = False
        try:
            for task in suspects:
                executor = executor or self._open(1)
                try:
                    future = executor.submit(self._function, task)
                    while not future.done():
                        if self._stopped():
                            return True
                        with contextlib.suppress(TimeoutError):
                            future.exception(POLL_SECONDS)
                    result = _result_of(future)
                except BrokenExecutor:
                    found = True
                    executor.shutdown(wait=True, kill_workers=True)
                    executor = None
                    yield task, None
                else:
                    yield task, result
            return found
        finally:
            if executor is not None:
                executor.shutdown(wait=True, kill_workers=True)

    def _open(self, workers: int) -> Any:
        """A fresh pool whose workers were seen to live."""
        from loky import ProcessPoolExecutor

        for _ in range(2):
            with _deaf_to_signals():
                executor = ProcessPoolExecutor(
                    workers, initializer=_initialize_worker, initargs=(os.getpid(), self._quiet), env=ONE_THREAD
                )
                started = executor.submit(self._check)
            try:
                started.result()
            except BrokenExecutor:
                executor.shutdown(wait=True, kill_workers=True)
            except BaseException:
                executor.shutdown(wait=True, kill_workers=True)
                raise
            else:
                return executor
        raise UnfitError(
            "the worker processes die as they start: there may be too little memory for them; "
            "try a smaller --workers, or --workers 0"
        )


class ThisProcess(Generic[Task, Result]):
    """Runs a function in this process, one task after the other, where a `WorkerPool` would take longer to start.

    Args:
        function: what to run.
        check: raises ApdrawError if it cannot be run at all; is called first.
        stopped: asked before each task; True ends it.
    """

    def __init__(
        self, function: Callable[[Task], Result], check: Callable[[], None], stopped: Callable[[], bool]
    ) -> None:
        self._function = function
        self._check = check
        self._stopped = stopped
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="check")
        self._checked: Future[None] | None = None

    def start(self) -> None:
        """Calls `check` in the background; without it `results` calls it."""
        self._checked = self._starter.submit(self._check)

    def results(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Result | None]]:
        """Runs the tasks.

        Yields:
            A task and its result.

        Raises:
            ApdrawError: what `check` or `function` raised.
        """
        checked = self._checked or self._starter.submit(self._check)
        checked.result()
        for task in tasks:
            if self._stopped():
                return
            yield task, self._function(task)

    def close(self) -> None:
        """Waits for `check`."""
        self._starter.shutdown(wait=True)


def _result_of(future: "Future[Result]") -> Result | None:
    """The result of a task; None if it could not be sent back."""
    try:
        return future.result()
    except (ApdrawError, BrokenExecutor):
        raise
    except Exception:
        return None


@contextlib.contextmanager
def _deaf_to_signals() -> Iterator[None]:
    """Processes that are started inside never get the signals that end a command, nor warn of a killed process."""
    from multiprocessing import resource_tracker

    from loky.backend import resource_tracker as loky_tracker

    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        # First the two trackers, which unblock signals as they start; they are processes too, and outlive the pools.
        resource_tracker.ensure_running()
        loky_tracker.ensure_running()
        with _blocked(_ending_signals()):
            yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextlib.contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending_signals() -> set[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return {signal.Signals[name] for name in names if hasattr(signal, name)}


def _initialize_worker(parent: int, quiet: bool) -> None:
    """Prepares a worker process: deaf to signals, without output, and ending when its parent ends."""
    for number in _ending_signals():
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    keep_freed_memory()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    if quiet:
        os.dup2(nowhere, 2)
    warnings.simplefilter("ignore")


def _exit_with_parent(parent: int) -> None:
    if sys.platform == "win32":
        process = multiprocessing.parent_process()
        if process is not None:
            process.join()
    else:
        while os.getppid() == parent:
            time.sleep(1)
    os._exit(1)
