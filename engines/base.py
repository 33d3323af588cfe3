"""What every engine is: something that turns a batch of aligned portraits into drawings."""

from typing import Protocol

from engines.portrait import Image, PortraitBatch


class EngineError(Exception):
    """An engine or model that cannot be used here. One line: what failed, why, what to do."""


class Engine(Protocol):
    """Draws aligned portraits with one loaded model.

    `draw` may be called from `concurrency` threads at once; more calls than that only wait.

    Attributes:
        name: `openvino`, `onnxruntime`, `torch` or `tensorrt`.
        device: `cpu`, `cuda:0`, ...
        precision: what the generator computes in: `fp32`, `fp16` or `bf16`.
        batch_size: how many portraits a call should carry for the best throughput.
        concurrency: how many calls at once keep the device busy.
    """

    name: str
    device: str
    precision: str
    batch_size: int
    concurrency: int

    def draw(self, batch: PortraitBatch) -> Image:
        """Draws a batch.

        Returns:
            uint8 [B, 512, 512], 0 black to 255 white. A drawing does not depend on its batch.

        Raises:
            EngineError: the device failed (out of memory, lost); the message says what to do.
        """
        ...

    def close(self) -> None:
        """Frees the model; the engine draws no more."""
        ...
