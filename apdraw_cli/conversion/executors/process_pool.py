"""A pool of worker processes that goes on when one is killed, freezes or does not return from a task."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Final, Generic, TypeVar

from apdraw_cli.conversion.executors.crew import Crew, Loss
from apdraw_cli.conversion.executors.worker import Order

Task = TypeVar("Task")

Result = TypeVar("Result")

FEW_PHOTOS: Final = 4
"""So many photos are prepared in this process, unless workers were asked for: starting those takes longer."""

MOST_WORKERS: Final = 32
"""More are not started, unless they were asked for."""

TASKS_PER_WORKER: Final = 3
"""Tasks handed out for each worker, those that it works on included."""

OFTEN: Final = 100
"""Memory is taken to be short if workers die, not by their tasks' fault, before so many more tasks are done."""


class WorkerPool(Generic[Task, Result]):
    """Runs a function on many tasks in worker processes; results come in any order.

    A worker that dies costs at most the task that it worked on, which is tried again in the only process there is then,
    since memory may have been short. A worker that is silent for longer than the limit, frozen or lost in a task, is
    killed; its task is tried once more. A task that was lost twice is given up.

    Args:
        function: what to run. It can be pickled, and raises nothing but ApdrawError, which ends it all.
        check: raises ApdrawError if workers cannot run it at all; is called first in each of them.
        workers: number of processes.
        stopped: asked now and then; True ends everything soon.
        limit: seconds that a task may take; 0 for any.
        quiet: keep what libraries write on standard error from the terminal.
    """

    def __init__(
        self,
        function: Callable[[Task], Result],
        check: Callable[[], None],
        workers: int,
        stopped: Callable[[], bool],
        *,
        limit: float = 0.0,
        quiet: bool = True,
    ) -> None:
        self._order = Order(function, check, quiet)
        self._workers = workers
        self._stopped = stopped
        self._limit = limit or math.inf
        self._started: Crew[Task, Result] | None = None
        self._working: Crew[Task, Result] | None = None
        self._returned: deque[Task] = deque()

    def start(self) -> None:
        """Starts the workers in the background; without it `results` starts them."""
        self._started = self._crew(self._workers)

    def close(self) -> None:
        """Ends workers that were started, but never given a task."""
        crew, self._started = self._started, None
        if crew is not None:
            crew.close()

    @property
    def has_result(self) -> bool:
        """Whether there is something that `results` would yield at once."""
        crew = self._working
        return crew is not None and crew.has_event

    def wake(self) -> None:
        """Lets `results` ask for tasks at once, where it waits since there was none; from any thread."""
        crew = self._working
        if crew is not None:
            crew.wake()

    def results(self, tasks: Iterator[Task | None]) -> Iterator[tuple[Task, Result | Loss]]:
        """Runs the tasks, taking them up as workers become free.

        Args:
            tasks: arguments of the function; can be pickled. None: there is none just now.

        Yields:
            A task and its result, or why it was given up.

        Raises:
            UnfitError: no worker can be kept alive.
            ApdrawError: what `check` or `function` raised.
        """
        done = OFTEN
        while not self._stopped():
            suspects: list[Task] = []
            done += yield from self._together(tasks, suspects)
            if not suspects:
                return
            found = yield from self._one_by_one(suspects)
            if not found:
                if done < OFTEN:
                    self._workers = max(1, self._workers // 2)
                done = 0

    def _together(
        self, tasks: Iterator[Task | None], suspects: list[Task]
    ) -> Generator[tuple[Task, Result | Loss], None, int]:
        """Yields results until all is done, or workers died; adds what those had in hand to `suspects`.

        Returns:
            How many results there were.
        """
        crew, self._started = self._started or self._crew(self._workers), None
        self._working = crew
        in_hand = done = 0
        ended = False
        late: list[Task] = []
        try:
            while not self._stopped():
                while not suspects and in_hand < self._workers * TASKS_PER_WORKER and not self._stopped():
                    try:
                        task = self._returned.popleft() if self._returned else next(tasks)
                    except StopIteration:
                        ended = True
                        break
                    if task is None:
                        break
                    crew.put(task)
                    in_hand += 1
                if not in_hand and (ended or suspects):
                    break
                event = crew.event()
                if event is None:
                    continue
                task, result = event
                if result is Loss.OVERDUE and not any(task is each for each in late):
                    late.append(task)
                    crew.put(task)
                    continue
                in_hand -= 1
                late[:] = [each for each in late if each is not task]
                if result is Loss.DIED:
                    suspects.append(task)
                    withdrawn = crew.withdraw()
                    in_hand -= len(withdrawn)
                    self._returned.extend(withdrawn)
                else:
                    done += 1
                    yield task, result
            return done
        finally:
            self._working = None
            crew.close()

    def _one_by_one(self, suspects: list[Task]) -> Generator[tuple[Task, Result | Loss], None, bool]:
        """Yields the results of tasks run alone; returns whether one of them lost its worker again."""
        found = False
        crew = self._crew(1)
        try:
            for task in suspects:
                crew.put(task)
                while (event := crew.event()) is None:
                    if self._stopped():
                        return True
                found = found or isinstance(event[1], Loss)
                yield event
            return found
        finally:
            crew.close()

    def _crew(self, workers: int) -> "Crew[Task, Result]":
        return Crew(self._order, workers, self._limit)
