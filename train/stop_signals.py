"""SIGINT and SIGTERM while training: the running step is finished and saved first, by all processes of a run."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

GRACE_SECONDS: Final = 30
"""How long processes that read pairs go on after SIGTERM."""


class Interrupted(Exception):  # noqa: N818  # not an error: the user asked for it
    """The run was asked to stop, and saved a checkpoint first.

    Attributes:
        step: the step of that checkpoint.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects the signals that ask to stop in a list; a second Ctrl-C ends the process at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def outlive_stop_signals(worker: int) -> None:
    """Lets a process that reads pairs go on after Ctrl-C and SIGTERM, until the one that trains has saved and ends it.

    Whoever stops a whole job, as a cluster does, signals all its processes. After `GRACE_SECONDS` SIGTERM is obeyed:
    Python, too, ends its processes by it.

    Args:
        worker: its number, as `torch.utils.data.DataLoader` gives it to `worker_init_fn`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE_SECONDS))
