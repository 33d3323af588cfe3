"""The worker pool outlives its workers, and leaves none behind."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pool_tasks import (
    asleep,
    dies,
    dies_at_first,
    double,
    ends_it,
    fails,
    fine,
    frozen,
    half_a_second,
    half_sent,
    killed_once,
    leave_a_trace,
    pid_after_a_while,
    pixels,
    takes_long,
    unfit,
)

from apdraw_cli.conversion.executors import crew
from apdraw_cli.conversion.executors.crew import Loss
from apdraw_cli.conversion.executors.process_pool import TASKS_PER_WORKER, WorkerPool
from engines.errors import UnfitError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes with signals")


def never() -> bool:
    return False


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that died as they started are started again without a wait that a test would notice."""
    monkeypatch.setattr(crew, "START_AGAIN_SECONDS", 0.01)


def wait_for_files(folder: Path, count: int) -> list[Path]:
    deadline = time.monotonic() + 60
    while len(found := sorted(folder.iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_results_of_all_tasks() -> None:
    pool = WorkerPool(double, fine, 2, never)
    assert dict(pool.results(iter(range(20)))) == {n: 2 * n for n in range(20)}


def test_a_killed_worker_costs_only_its_task() -> None:
    numbers = [1, 2, -3, 4, 5, 6]
    results = dict(WorkerPool(double, fine, 1, never).results(iter(numbers)))
    assert results == {n: Loss.DIED if n < 0 else 2 * n for n in numbers}


def test_a_task_whose_worker_was_killed_by_chance_is_done(tmp_path: Path) -> None:
    tasks = [str(tmp_path / str(n)) for n in range(3)]
    Path(tasks[0]).touch()
    Path(tasks[2]).touch()
    assert dict(WorkerPool(killed_once, fine, 1, never).results(iter(tasks))) == {t: t for t in tasks}


def test_a_worker_killed_while_it_sends_costs_nothing_but_a_task_that_does_it_twice(tmp_path: Path) -> None:
    numbers = [1, 2, 3, -4, 5, 6]
    results = dict(WorkerPool(partial(half_sent, tmp_path), fine, 2, never).results(iter(numbers)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["-4", "3", "6"]
    assert results == {n: Loss.DIED if n < 0 else 2 * n for n in numbers}


@pytest.mark.parametrize("silent", [frozen, asleep])
def test_a_silent_worker_is_replaced_and_a_task_that_silences_two_is_given_up(silent: Any, tmp_path: Path) -> None:
    numbers = [1, 0, -3, 4, 5]
    start = time.monotonic()
    pool = WorkerPool(partial(silent, tmp_path), fine, 2, never, limit=1.0)
    assert dict(pool.results(iter(numbers))) == {n: Loss.OVERDUE if n < 0 else 2 * n for n in numbers}
    assert time.monotonic() - start < 100


@pytest.mark.usefixtures("soon")
def test_workers_killed_as_they_start_are_started_again(tmp_path: Path) -> None:
    pool = WorkerPool(double, partial(dies_at_first, tmp_path, 3), 1, never)
    assert dict(pool.results(iter(range(3)))) == {0: 0, 1: 2, 2: 4}
    assert len(list(tmp_path.iterdir())) == 3


def test_a_worker_killed_while_it_waits_costs_nothing(tmp_path: Path) -> None:
    def tasks() -> Iterator[int]:
        yield 1
        (trace,) = wait_for_files(tmp_path, 1)
        time.sleep(0.5)
        os.kill(int(trace.name), signal.SIGKILL)
        time.sleep(0.5)
        yield 2

    pool = WorkerPool(double, partial(leave_a_trace, tmp_path), 1, never)
    assert dict(pool.results(tasks())) == {1: 2, 2: 4}


@pytest.mark.slow
def test_after_twenty_kills_all_tasks_are_accounted_for() -> None:
    done: list[int] = []
    killed = set()
    for number, pid in WorkerPool(pid_after_a_while, fine, 2, never, limit=30).results(iter(range(600))):
        done.append(number)
        if len(killed) < 20 and isinstance(pid, int) and pid not in killed and len(done) > 3 * len(killed):
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):  # its pool has ended
                os.kill(pid, signal.SIGKILL)
    assert sorted(done) == list(range(600))
    assert len(killed) == 20


BIG = 32_000_000
"""Bytes of a result: so many that a thread strikes within their sending on a busy machine, too."""

SMALLEST_PIPE = 4096


def sends_much(folder: Path, fate: signal.Signals, number: int) -> bytes:
    """A big result; every third task's worker is killed or frozen while it sends it, the first time."""
    mark = folder / str(number)
    with mark.open("a") as tries:
        tries.write("tried\n")
    if number % 3 == 0 and mark.stat().st_size == len("tried\n"):
        threading.Thread(target=strike_while_sending, args=(pipe_of_answers(), fate), daemon=True).start()
    return bytes([number]) * BIG


def pipe_of_answers() -> int:
    """The pipe that this worker writes to, made so small that sending takes a while."""
    import fcntl

    for descriptor in range(3, 20):
        with contextlib.suppress(OSError):
            writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
            if writes and stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)
                return descriptor
    raise AssertionError("a worker without a pipe")


def strike_while_sending(pipe: int, fate: signal.Signals) -> None:
    """Runs in a thread of a worker: waits until a part of the answer is in its pipe."""
    import fcntl
    import termios

    held = bytearray(4)
    while True:
        fcntl.ioctl(pipe, termios.FIONREAD, held)
        if int.from_bytes(held, sys.byteorder):
            os.kill(os.getpid(), fate)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into a pipe from its writing end")
@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_after_twenty_losses_of_workers_within_the_send_all_tasks_are_done(
    tmp_path: Path, fate: signal.Signals
) -> None:
    limit, longest, last = 10.0, 0.0, time.monotonic()
    pool = WorkerPool(partial(sends_much, tmp_path, fate), fine, 2, never, limit=limit)
    done = {}
    for number, result in pool.results(iter(range(60))):
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
        done[number] = isinstance(result, bytes) and result == bytes([number]) * BIG
    assert done == dict.fromkeys(range(60), True)
    tried = {number: (tmp_path / str(number)).read_text().count("tried") for number in range(0, 60, 3)}
    assert tried == dict.fromkeys(tried, 2)  # the first answer of each was lost, though a part of it was sent
    assert longest < 2 * limit + 60  # both tries, and workers that start on a busy machine


def test_the_time_of_a_task_begins_when_the_one_before_is_done() -> None:
    pool = WorkerPool(half_a_second, fine, 1, never, limit=0.9)
    assert dict(pool.results(iter(range(5)))) == {n: n for n in range(5)}


def test_tasks_are_shared_out_before_any_is_sent_ahead(tmp_path: Path) -> None:
    pool = WorkerPool(half_a_second, partial(leave_a_trace, tmp_path), 3, never)
    pool.start()
    wait_for_files(tmp_path, 3)
    time.sleep(0.5)  # their checks are answered
    start = time.monotonic()
    assert dict(pool.results(iter(range(3)))) == {n: n for n in range(3)}
    assert time.monotonic() - start < 0.95


def test_a_task_that_cannot_be_sent_for_want_of_memory_is_tried_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    send, refused = crew.WorkerProcess.send, []

    def short_of_memory(self: Any, task: Any, limit: float) -> None:
        if task < 0 or (task == 2 and not refused):
            refused.append(task)
            raise MemoryError
        send(self, task, limit)

    monkeypatch.setattr(crew.WorkerProcess, "send", short_of_memory)
    numbers = [1, 2, -3, 4]
    results = dict(WorkerPool(double, fine, 1, never).results(iter(numbers)))
    assert results == {n: Loss.DIED if n < 0 else 2 * n for n in numbers}
    assert sorted(refused) == [-3, -3, 2]


def test_an_error_costs_its_task_and_no_worker(tmp_path: Path) -> None:
    pool = WorkerPool(fails, partial(leave_a_trace, tmp_path), 1, never)
    assert dict(pool.results(iter([1, -2, 3, 4]))) == {1: 2, -2: Loss.DIED, 3: 6, 4: 8}


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "pipes"])
def test_arrays_come_as_they_were_and_stay_so(monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    if not shared:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    rows = [1, 5, 900, 3, 2000, 1000, *range(10, 20)]  # of which one is too large for a slot
    monkeypatch.setattr(crew, "SLOTS", 1)  # fewer than arrays that are kept
    kept = list(WorkerPool(pixels, fine, 2, never).results(iter(rows)))
    assert sorted(count for count, _ in kept) == sorted(rows)
    for count, found in kept:
        for array, expected in zip(found, pixels(count), strict=True):
            np.testing.assert_array_equal(array, expected)


def test_tasks_are_taken_up_as_they_are_needed() -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        while taken < 50:
            taken += 1
            yield taken

    results = WorkerPool(double, fine, 1, never).results(tasks())
    for done, _ in enumerate(results, 1):
        assert taken <= done + TASKS_PER_WORKER
    assert taken == 50


def test_workers_that_cannot_do_it_are_told() -> None:
    with pytest.raises(UnfitError, match="install something"):
        list(WorkerPool(double, unfit, 1, never).results(iter([1])))


@pytest.mark.usefixtures("soon")
def test_workers_that_die_at_once_are_told() -> None:
    with pytest.raises(UnfitError, match="--workers 0"):
        list(WorkerPool(double, dies, 1, never).results(iter([1])))


def test_what_no_task_can_help_ends_it() -> None:
    with pytest.raises(UnfitError, match="out of everything"):
        list(WorkerPool(ends_it, fine, 1, never).results(iter(range(9))))


def test_stopping_does_not_wait_for_workers(tmp_path: Path) -> None:
    pool = WorkerPool(partial(takes_long, tmp_path), fine, 1, lambda: any(tmp_path.iterdir()))
    start = time.monotonic()
    assert list(pool.results(iter(range(9)))) == []
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert time.monotonic() - start < 20


def test_workers_start_before_there_is_a_task(tmp_path: Path) -> None:
    pool = WorkerPool(killed_once, partial(leave_a_trace, tmp_path), 1, never)
    pool.start()
    (trace,) = wait_for_files(tmp_path, 1)
    assert dict(pool.results(iter([str(trace)]))) == {str(trace): str(trace)}
    assert list(tmp_path.iterdir()) == [trace]  # and no other worker was started
    pool.close()


def test_workers_that_get_no_task_end(tmp_path: Path) -> None:
    pool = WorkerPool(double, partial(leave_a_trace, tmp_path), 1, never)
    pool.start()
    (trace,) = wait_for_files(tmp_path, 1)
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(trace.name), 0)


def test_workers_that_cannot_start_are_told_when_they_are_needed() -> None:
    pool = WorkerPool(double, unfit, 1, never)
    pool.start()
    with pytest.raises(UnfitError, match="install something"):
        list(pool.results(iter([1])))
    pool.close()
    idle = WorkerPool(double, unfit, 1, never)
    idle.start()
    idle.close()


def test_workers_hear_no_signals_and_end_with_their_parent(tmp_path: Path) -> None:
    """Ctrl-C reaches all processes of a terminal; the workers must leave it to their parent."""
    (tmp_path / "pool_user.py").write_text(
        textwrap.dedent("""
            import os, sys, time
            from apdraw_cli.conversion.executors.process_pool import WorkerPool

            def work(number):
                print("lost output", flush=True)
                time.sleep(0.2)
                return os.getpid()

            def check():
                pass

            if __name__ == "__main__":
                pool = WorkerPool(work, check, 1, lambda: False)
                for _, pid in pool.results(iter(range(1000))):
                    print(pid, flush=True)
        """)
    )
    process = subprocess.Popen(
        [sys.executable, tmp_path / "pool_user.py"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
    )
    try:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        os.kill(worker, signal.SIGINT)
        os.kill(worker, signal.SIGTERM)
        assert [int(process.stdout.readline()) for _ in range(3)] == [worker] * 3
    finally:
        process.kill()
        process.communicate()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").exists() and " Z " in Path(f"/proc/{worker}/stat").read_text():
            return
        time.sleep(0.1)
    pytest.fail("the worker lives on without its parent")
