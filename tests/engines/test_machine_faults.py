"""What is the machine's fault is told with a remedy, and nothing else is taken for it."""

import errno
import os
import threading

import pytest

from engines.machine_faults import is_want_of_memory, machine_fault


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "memory"),
        (RuntimeError("std::bad_alloc"), "memory"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "memory"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "ulimit -u"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "ulimit -n"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/disk"), "/full/disk: No space left"),
    ],
)
def test_the_machines_faults(error: Exception, told: str) -> None:
    fault = machine_fault(error)
    assert fault is not None
    assert told in fault


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("2"), FileNotFoundError(errno.ENOENT, "no file")])
def test_other_errors(error: Exception) -> None:
    assert machine_fault(error) is None
    assert not is_want_of_memory(error)


@pytest.mark.skipif(not hasattr(threading, "stack_size"), reason="cannot ask for too large a stack")
def test_what_python_says_of_a_thread_that_cannot_start() -> None:
    before = threading.stack_size(2**45)
    try:
        with pytest.raises(RuntimeError) as caught:
            threading.Thread(target=print).start()
    finally:
        threading.stack_size(before)
    assert machine_fault(caught.value) is not None
