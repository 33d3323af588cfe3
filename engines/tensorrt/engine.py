"""Draws with an engine file of TensorRT or TensorRT for RTX on one NVIDIA GPU, with several batches in flight."""

import contextlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import numpy as np

from engines.errors import CudaError, EngineError, ModelFileError, OutOfGpuMemoryError, first_line
from engines.portrait import SIZE, Image, PortraitBatch
from engines.signature import check_batch
from engines.tensorrt import cuda
from engines.tensorrt.lane import Lane, Program
from engines.tensorrt.library import import_library, installed_flavor
from engines.tensorrt.sidecar import Sidecar, check_fits, read_sidecar, rebuild_command, this_platform

NAME: Final = "tensorrt"

LANES: Final = 2
"""Batches in flight: while one is copied in and out, the other keeps the GPU busy."""

_LIBRARY_ERRORS: Final = (RuntimeError, TypeError, ValueError, OSError, MemoryError)
"""What the bindings raise beside their own false results."""


class TensorRTEngine:
    """A generator compiled by TensorRT for one GPU. See `Engine`.

    A batch is padded to `batch_size`, so that every call has one shape. Where the GPU's memory does not hold two
    of them, the batch size is halved until it does; if that shows in the middle of the work, in that lane only.

    Args:
        model: the `.engine` file, with its sidecar beside it.
        device: `cuda:0`, ...
        precision: `auto`, or what the engine computes in.
        batch_size: None for the one the engine was built for; no more than that.
        cuda_graph: hand a batch to the GPU in one call. It spares the CPU a little work for each of the hundreds
            of kernels.

    Raises:
        EngineError: there is no such GPU, TensorRT is not installed, or the engine was not built for either.
        ModelFileError: the file is damaged, or no portrait generator.
    """

    name = NAME

    def __init__(
        self,
        model: Path,
        *,
        device: str,
        precision: str = "auto",
        batch_size: int | None = None,
        cuda_graph: bool = False,
    ) -> None:
        self._number = int(device.partition(":")[2])
        # Asked before anything of TensorRT is touched: without a GPU it may crash instead of telling so.
        count = cuda.device_count()
        if self._number >= count:
            raise EngineError(f"tensorrt cannot draw on {device}: CUDA finds {count} GPUs here; see: apdraw doctor")
        sidecar = read_sidecar(model)
        _check_options(model, sidecar, precision, batch_size)
        flavor = installed_flavor(sidecar.flavor)
        library = import_library(flavor)
        check_fits(
            sidecar,
            model,
            flavor=flavor,
            version=library.__version__,
            platform=this_platform(),
            compute_capability=cuda.compute_capability(self._number),
        )
        self.device = device
        self.precision = sidecar.precision
        self.batch_size = batch_size or sidecar.batch_size
        self.concurrency = LANES
        self._model = model
        self._halving = threading.Lock()
        self._warned = False
        cuda.call("cudaSetDevice", self._number)
        self._free: SimpleQueue[Lane | None] = SimpleQueue()
        self._lanes: list[Lane] = []
        try:
            program = Program(flavor, library, model, cuda_graph)
            self._lanes = [Lane(program, self.batch_size) for _ in range(LANES)]
            self._prepare_lanes()
            program.keep_kernels()
        except ModelFileError:
            raise
        except (EngineError, *_LIBRARY_ERRORS) as error:
            self._close_lanes()
            raise EngineError(f"tensorrt cannot draw {model} on {device}: {first_line(error)}") from error
        for lane in self._lanes:
            self._free.put(lane)

    def draw(self, batch: PortraitBatch) -> Image:
        """Draws a batch of any size; see `Engine.draw`."""
        inputs = check_batch(batch)
        drawing = np.empty((len(batch), SIZE, SIZE), np.uint8)
        lane = self._free.get()
        if lane is None:
            self._free.put(None)
            raise EngineError(f"the tensorrt engine with {self._model} is closed; open it again")
        try:
            cuda.call("cudaSetDevice", self._number)
            start = 0
            while start < len(batch):
                part = slice(start, start + lane.limit)
                try:
                    lane.prepare(lane.limit)
                    drawing[part] = lane.draw({name: array[part] for name, array in inputs.items()})
                except OutOfGpuMemoryError as error:
                    lane.close()
                    self._halve(lane.limit, (lane,), error)
                else:
                    start = part.stop
        except (EngineError, *_LIBRARY_ERRORS) as error:
            raise EngineError(
                f"tensorrt failed on {self.device} on a batch of {len(batch)}: {first_line(error)}"
            ) from error
        finally:
            self._free.put(lane)
        return drawing

    def close(self) -> None:
        """Waits for the calls in flight and frees the engine."""
        for _ in range(LANES):
            if self._free.get() is None:  # closed already
                break
        else:
            self._close_lanes()
        self._free.put(None)  # passed on from call to call

    def _prepare_lanes(self) -> None:
        """Makes all lanes ready for one batch size, a smaller one where memory is short."""
        while True:
            try:
                for lane in self._lanes:
                    lane.prepare(lane.limit)
            except OutOfGpuMemoryError as error:
                for lane in self._lanes:
                    lane.close()
                self._halve(self.batch_size, self._lanes, error)
            else:
                return

    def _halve(self, size: int, lanes: Sequence[Lane], error: OutOfGpuMemoryError) -> None:
        """Goes on in these lanes with smaller batches than `size`, for which memory was short."""
        with self._halving:
            if size == 1:
                raise EngineError(
                    "its memory does not hold one portrait; end other programs that use this GPU, "
                    "or choose another --device"
                ) from error
            for lane in lanes:
                lane.limit = size // 2
            self.batch_size = max(lane.limit for lane in self._lanes)
            if self._warned:
                return
            self._warned = True
        logging.getLogger(f"apdraw.{__name__}").warning(
            "the memory of %s does not hold %d portraits at once; drawing %d or fewer at once",
            *(self.device, size, size // 2),
        )

    def _close_lanes(self) -> None:
        with contextlib.suppress(CudaError):
            cuda.call("cudaSetDevice", self._number)
        for lane in self._lanes:
            lane.close()
        self._lanes.clear()


def _check_options(model: Path, sidecar: Sidecar, precision: str, batch_size: int | None) -> None:
    if precision not in ("auto", sidecar.precision):
        raise EngineError(
            f"tensorrt cannot draw {model} in {precision}: it computes in {sidecar.precision}; "
            f"use --precision {sidecar.precision}, or build an engine of a graph in {precision}"
        )
    if batch_size is not None and batch_size > sidecar.batch_size:
        raise EngineError(
            f"tensorrt cannot draw {batch_size} portraits at once with {model}: it was built for {sidecar.batch_size}; "
            f"rebuild with: {rebuild_command(model, sidecar.flavor, batch_size)}"
        )
