"""What a command does to its own process, and a library must not do to another's: signals, warnings, memory."""

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType

from engines.errors import ExitCode


def tune_process() -> None:
    """Keeps freed memory, which saves time, and silences warnings that are no concern of the user's."""
    from apdraw_cli.conversion.executors.malloc import keep_freed_memory

    keep_freed_memory()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # what it complains of is told in a line, by photo
    warnings.filterwarnings("ignore", message="A worker stopped", category=UserWarning)  # one that has grown
    warnings.filterwarnings("ignore", module="PIL", category=UserWarning)  # about damaged metadata


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Yields an event that the first SIGINT, SIGTERM or SIGHUP sets; the second ends the process without clean-up.

    Signals that are ignored, as under nohup or in a shell's background job, stay ignored.
    """
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            sys.stderr.flush()
            os._exit(ExitCode.INTERRUPTED)
        stop.set()

    numbers = (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
    before = {number: signal.getsignal(number) for number in numbers}
    handled = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in handled:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in handled.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
