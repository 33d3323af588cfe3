"""A worker process as its parent sees it: started with two pipes, sent messages, killed if an answer is late."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from apdraw_cli.conversion.executors.shared_slots import Envelope, Message, Slot, Slots, read_answer, whole
from apdraw_cli.conversion.executors.worker import Answer, Order, ending_signals

SETTINGS: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "PYTHONWARNINGS": "ignore",
}
"""Environment variables of a worker."""

END_SECONDS: Final = 5.0
"""How long the end of a process or thread is waited for; a killed one may live on, while a file server is silent."""


class WorkerProcess:
    """A worker process, seen from its parent.

    Args:
        quiet: keep what it writes on standard error from the terminal.
        slots: memory that it shares; None if there is none.

    Raises:
        OSError: it cannot be started.

    Attributes:
        overdue: it was killed since it did not answer in time.
    """

    def __init__(self, quiet: bool, slots: Slots | None) -> None:
        # The path comes first of all, so that no module of the current folder is taken for one of Python's.
        fd = None if slots is None else slots.fd
        program = f"import sys; sys.path[:] = {sys.path!r}; from {Order.__module__} import main; main({fd})"
        with _blocked(ending_signals()):
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if quiet else None,
                env={**os.environ, **SETTINGS},
                pass_fds=() if fd is None else (fd,),
            )
        self._slots = slots
        self._lent: deque[Slot | None] = deque()
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("a worker without pipes")
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._lock = threading.Lock()
        self._unanswered = 0
        self._limit = math.inf
        self._seconds_left = math.inf
        self._lost = False
        self.overdue = False

    @property
    def gone(self) -> bool:
        """Whether it can be asked nothing more."""
        return self._lost or self.overdue or self._process.poll() is not None

    def send_order(self, order: bytes, limit: float) -> None:
        """Sends the pickle of an `Order`, as `send` sends a task."""
        self._send((bytes(Envelope()), order), None, limit)

    def send(self, task: Any, limit: float) -> None:
        """Sends a task, which is answered after those sent before; a loss shows when the answer is waited for.

        Args:
            task: what the order's function is called with; can be pickled.
            limit: seconds that its answer may take once those before it are there.

        Raises:
            MemoryError: there is too little memory to pickle it; nothing was sent.
        """
        if self._slots is None:
            self._send(whole(task), None, limit)
        else:
            slot = self._slots.lend()
            self._send(self._slots.task(task, slot), slot, limit)

    def receive(self) -> Answer | None:
        """Waits for the next answer; None if it dies first, or is killed since that is late."""
        try:
            answer: Answer = read_answer(self._stdout, self._lent[0])
        except Exception:  # half an answer may fail to be read in many ways
            self._lost = True
            self.kill()
            return None
        self._lent.popleft()
        with self._lock:
            self._unanswered -= 1
            self._seconds_left = self._limit
        return answer

    def wait_for_answer(self, seconds: float) -> None:
        """Counts time that has passed, and kills the worker if an answer is overdue."""
        with self._lock:
            if self._unanswered:
                self._seconds_left -= seconds
                if self._seconds_left <= 0:
                    self.overdue = True
                    self.kill()

    def _send(self, message: Message, slot: Slot | None, limit: float) -> None:
        with self._lock:
            self._limit = limit
            if not self._unanswered:
                self._seconds_left = limit
            self._unanswered += 1
        self._lent.append(slot)
        with contextlib.suppress(OSError):
            self._stdin.writelines(message)
            self._stdin.flush()

    def kill(self) -> None:
        """Kills the process; it may be dead already."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> None:
        """Kills the process and lets go of it."""
        self.kill()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):  # what could not be sent
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
            self._lent.clear()  # it writes there no more


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
