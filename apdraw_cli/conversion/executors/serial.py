"""Serial executor: the whole way of one photo after the other, in the calling thread.

It starts no thread and no process, and draws each photo's portraits alone. It is the plain reading of what other
executors do at once: they must write the same drawings.
"""

import time
from collections.abc import Callable, Iterator

from apdraw_cli.conversion.executors.base import POLL_SECONDS, EngineReady, Event
from apdraw_cli.conversion.options import FaceOptions
from apdraw_cli.conversion.pipeline import PhotoReader, convert_photo
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.portraits import Extractor
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.storage import Storage
from engines.base import Engine


class SerialExecutor:
    """Draws photos one after the other; the engine stays open until `close`.

    Args:
        recipe: what the drawings are to look like.
        output: the output folder.
        open_engine: opens the engine; is called when there is a photo to draw.
        open_extractor: opens the face extractor.
    """

    def __init__(
        self,
        recipe: Recipe,
        output: Storage,
        open_engine: Callable[[], Engine],
        open_extractor: Callable[[FaceOptions], Extractor],
    ) -> None:
        self._reader = PhotoReader(open_extractor, recipe)
        self._output = output
        self._open_engine = open_engine
        self._engine: Engine | None = None

    def outcomes(self, steps: Iterator[Step | None], stopped: Callable[[], bool]) -> Iterator[Event]:
        """Draws photos; see `apdraw_cli.conversion.executors.base.Executor`."""
        ready = False
        for step in steps:
            if stopped():
                return
            if step is None:
                time.sleep(POLL_SECONDS)
                yield None
                continue
            if step.settled is not None:
                yield step.settled
                continue
            engine = self._engine = self._engine or self._open_engine()
            if not ready:
                self._reader.check()
                yield EngineReady(engine, 0)
                ready = True
            yield convert_photo(step, self._reader, engine, self._output)

    def close(self) -> None:
        """Closes the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
