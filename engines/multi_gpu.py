"""Several GPUs as one engine: each has an engine of its own, and a batch goes to one that is free."""

from collections.abc import Sequence
from queue import SimpleQueue

from engines.base import Engine
from engines.errors import EngineError
from engines.portrait import Image, PortraitBatch


class MultiGpuEngine:
    """Engines of one kind on several GPUs as one. See `Engine`.

    A call goes to the engine that has been free for longest, so that a faster GPU draws more.

    Args:
        engines: at least one; closed together with this one.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)
        self.name = self._engines[0].name
        self.device = ",".join(engine.device for engine in self._engines)
        self.precision = self._engines[0].precision
        self.concurrency = sum(engine.concurrency for engine in self._engines)
        self._free: SimpleQueue[Engine | None] = SimpleQueue()
        for turn in range(max(engine.concurrency for engine in self._engines)):
            for engine in self._engines:
                if turn < engine.concurrency:
                    self._free.put(engine)

    @property
    def batch_size(self) -> int:
        """The largest of them: a GPU that had to go on with less takes a batch in parts, and the others stay busy."""
        return max(engine.batch_size for engine in self._engines)

    def draw(self, batch: PortraitBatch) -> Image:
        """Draws a batch; see `Engine.draw`."""
        engine = self._free.get()
        try:
            if engine is None:
                raise EngineError(f"the {self.name} engines on {self.device} are closed; open them again")
            return engine.draw(batch)
        finally:
            self._free.put(engine)

    def close(self) -> None:
        """Waits for the calls in flight and frees the engines."""
        for _ in range(self.concurrency):
            if self._free.get() is None:  # closed already
                break
        else:
            for engine in self._engines:
                engine.close()
        self._free.put(None)  # passed on from call to call
