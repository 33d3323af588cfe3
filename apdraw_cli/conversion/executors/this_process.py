"""Tasks run in a thread of this process, one after the other, where worker processes would take longer to start."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from apdraw_cli.conversion.executors.base import POLL_SECONDS
from apdraw_cli.conversion.executors.worker_process import END_SECONDS

Task = TypeVar("Task")

Result = TypeVar("Result")


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

    def results(self, tasks: Iterator[Task | None]) -> Iterator[tuple[Task, Result]]:
        """Runs the tasks; None in place of one means that there is none just now.

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
            if task is None:
                time.sleep(POLL_SECONDS)
                continue
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
