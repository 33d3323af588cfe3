"""Reads photos of a bucket before it is their turn, many at once, so that nobody waits for the network."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from apdraw_cli.conversion.decode import read_from
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.storage import is_url
from engines.errors import PhotoError

REQUESTS: Final = 24
"""Photos that are read at once, and so many more wait to be taken."""


def read_ahead(steps: Iterator[Step | None]) -> Generator[Step | None, None, None]:
    """Passes steps on in their order, those of a bucket with the photo's file.

    Args:
        steps: to be drawn; None where there is none just now.
    """
    waiting: deque[Future[Step]] = deque()
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="read-ahead") as pool:
        try:
            for step in steps:
                if step is not None and is_url(step.source.root):
                    waiting.append(pool.submit(_with_data, step))
                    if len(waiting) > 2 * REQUESTS or waiting[0].done():
                        yield waiting.popleft().result()
                else:
                    yield step if step is not None or not waiting else waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _with_data(step: Step) -> Step:
    """A step with its photo; without it where that cannot be read, so that who draws it finds out why."""
    try:
        return replace(step, data=read_from(step.source.storage, step.source.name))
    except PhotoError:
        return step
