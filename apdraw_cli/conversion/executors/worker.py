"""What a worker process runs: it reads tasks from its standard input and writes their answers to its standard output.

Both are pipes that it shares with its parent alone, so that the answers of others come through whatever happens to it,
and a half-written answer ends with the process. A message is a pickle after its `Envelope`. The first is an `Order`,
answered by a call of `Order.check`; each of the others is a task, answered by a call of `Order.function`. An answer is
an `Answer`.
"""

import os
import pickle
import queue
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from apdraw_cli.conversion.executors.malloc import keep_freed_memory
from apdraw_cli.conversion.executors.shared_slots import Envelope, Message, WorkerSlots, whole


@dataclass(frozen=True)
class Order:
    """What a worker is to do.

    Attributes:
        function: is called with each task.
        check: is called first.
        quiet: keep what libraries write on standard error from the terminal.
    """

    function: Callable[[Any], Any]
    check: Callable[[], None]
    quiet: bool


@dataclass(frozen=True)
class Answer:
    """What a call came to.

    Attributes:
        result: what it returned.
        error: what it raised; None if nothing.
    """

    result: Any = None
    error: Exception | None = None


def main(memory: int | None) -> None:
    """Works until the parent ends.

    Args:
        memory: file descriptor of the slots of memory shared with the parent; None if there are none.
    """
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN)
    messages, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)  # libraries write there
    slots = None if memory is None else WorkerSlots(memory)
    waiting: queue.SimpleQueue[tuple[Any, int | None]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(messages, slots, waiting), daemon=True).start()
    order: Order = waiting.get()[0]
    if order.quiet:
        os.dup2(nowhere, 2)
    warnings.simplefilter("ignore")
    keep_freed_memory()
    _send(answers, _called(None, None, order.check))
    while True:
        task, slot = waiting.get()
        _send(answers, _called(slots, slot, order.function, task))


def ending_signals() -> set[signal.Signals]:
    """The signals that end a command, which its workers leave to their parent."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    return {signal.Signals[name] for name in names if hasattr(signal, name)}


def _receive(messages: BinaryIO, slots: WorkerSlots | None, waiting: "queue.SimpleQueue[Any]") -> None:
    """Runs in a thread of its own, so that a worker ends with its parent, whatever it is at."""
    try:
        while True:
            envelope = Envelope.read(messages)
            arrays = slots.arrays(envelope.places) if slots is not None else []
            waiting.put((pickle.load(messages, buffers=arrays), envelope.slot))
    finally:
        os._exit(1)


def _called(slots: WorkerSlots | None, slot: int | None, function: Callable[..., Any], *arguments: Any) -> Message:
    """What to send of a call."""
    try:
        answer = Answer(function(*arguments))
        return whole(answer) if slots is None or slot is None else slots.answer(answer, slot)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # some errors can be written, but not read
            return whole(Answer(error=error))
        except Exception:
            return whole(Answer(error=RuntimeError(repr(error))))


def _send(answers: BinaryIO, message: Message) -> None:
    try:
        answers.writelines(message)
        answers.flush()
    except BrokenPipeError:
        sys.exit(1)
