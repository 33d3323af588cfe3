"""Tasks in a thread of this process: checked first, one after the other, and left alone when they do not return."""

import time

import pytest

from apdraw_cli.conversion.executors import this_process
from apdraw_cli.conversion.executors.this_process import ThisProcess
from engines.errors import UnfitError


def fine() -> None:
    pass


def unfit() -> None:
    raise UnfitError("install something")


def never() -> bool:
    return False


def slow(number: int) -> None:
    time.sleep(60)


@pytest.mark.parametrize("started", [True, False])
def test_it_checks_first_and_then_runs_task_by_task(started: bool) -> None:
    log: list[object] = []
    pool = ThisProcess(lambda number: log.append(number) or 2 * number, lambda: log.append("checked"), never)
    if started:
        pool.start()
    results = pool.results(iter(range(3)))
    assert next(results) == (0, 0)
    assert log == ["checked", 0]
    assert list(results) == [(1, 2), (2, 4)]
    pool.close()


def test_it_may_be_unfit_or_stopped() -> None:
    pool = ThisProcess(abs, unfit, never)
    pool.start()
    with pytest.raises(UnfitError, match="install something"):
        list(pool.results(iter([1])))
    pool.close()
    assert list(ThisProcess(abs, fine, lambda: True).results(iter([1]))) == []


def test_it_is_left_alone_with_a_task_that_does_not_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(this_process, "END_SECONDS", 0.5)
    start = time.monotonic()
    pool = ThisProcess(slow, fine, lambda: time.monotonic() > start + 0.1)
    assert list(pool.results(iter([1]))) == []
    pool.close()
    assert time.monotonic() - start < 20
