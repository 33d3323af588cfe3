"""Runs a deserialised engine on one GPU: `Lane`s, each with a stream and buffers of its own, share one `Program`."""

import contextlib
import logging
import re
import threading
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from engines.atomic_files import write_atomically
from engines.errors import CudaError, EngineError, FileWriteError, OutOfGpuMemoryError
from engines.portrait import Image
from engines.regular_files import read_regular
from engines.signature import INPUTS, OUTPUT, Port, check_signature
from engines.tensorrt import cuda
from engines.tensorrt.cuda import Buffer, Graph, Stream
from engines.tensorrt.library import log_of
from engines.tensorrt.sidecar import runtime_cache_path

_DTYPES: Final = {"UINT8": "uint8", "FLOAT": "float32"}


class Program:
    """A deserialised engine, and the log of TensorRT's messages about it.

    Args:
        flavor: the flavor of TensorRT, one of `engines.tensorrt.sidecar.FLAVORS`.
        library: its Python module.
        model: the engine file.
        cuda_graph: whether batches are to be handed over as CUDA graphs.

    Attributes:
        library: as given.
        captures: whether lanes are to capture their work in CUDA graphs.
    """

    def __init__(self, flavor: str, library: Any, model: Path, cuda_graph: bool) -> None:
        self.library = library
        # TensorRT for RTX captures graphs on its own if told to; for TensorRT the lanes do it.
        self._is_rtx = flavor == "tensorrt-rtx"
        self.captures = cuda_graph and not self._is_rtx
        self._captures_itself = cuda_graph and self._is_rtx
        self._kernels_file = runtime_cache_path(model)
        self._kernels_read = b""
        self._kernels: Any = None  # must outlive all contexts
        self._making = threading.Lock()  # TensorRT promises that contexts, but not engines, may be used at once
        self._log = log_of(library)
        self._runtime = self.checked(library.Runtime(self._log), "start its runtime")
        engine = self._runtime.deserialize_cuda_engine(read_regular(model))
        self._engine: Any = self.checked(engine, f"load {model}")
        inputs, outputs = self._ports()
        check_signature(model, inputs, outputs)

    def new_context(self) -> Any:
        """An execution context, to which memory for its batch size is still to be given."""
        # Its own memory would be that of the largest batch, whatever the batch.
        strategy = self.library.ExecutionContextAllocationStrategy.USER_MANAGED
        with self._making:
            given = self._runtime_config(strategy) if self._is_rtx else strategy
            return self.checked(self._engine.create_execution_context(given), "make an execution context")

    def _runtime_config(self, strategy: Any) -> Any:
        """How TensorRT for RTX is to run: its kernels are compiled here, before the first batch, and kept."""
        config = self.checked(self._engine.create_runtime_config(), "configure its runtime")
        config.set_execution_context_allocation_strategy(strategy)
        # LAZY, the default, draws with slower kernels while a thread of its own compiles better ones.
        config.dynamic_shapes_kernel_specialization_strategy = (
            self.library.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        if self._captures_itself:
            config.cuda_graph_strategy = self.library.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._kernels is None:
            self._kernels = self.checked(config.create_runtime_cache(), "make a cache for its kernels")
            with contextlib.suppress(OSError):
                self._kernels_read = read_regular(self._kernels_file)
            if not (self._kernels_read and self._kernels.deserialize(self._kernels_read)):
                logging.getLogger(f"apdraw.{__name__}").warning(
                    "compiling kernels for this GPU, which can take half a minute; they are kept in %s",
                    self._kernels_file,
                )
        self.checked(config.set_runtime_cache(self._kernels), "use a cache for its kernels")
        return config

    def keep_kernels(self) -> None:
        """Writes the kernels compiled so far beside the engine, for the next start; to be called after a warm-up."""
        if self._kernels is None:
            return
        content = bytes(self.checked(self._kernels.serialize(), "keep its kernels"))
        if content != self._kernels_read:
            try:
                write_atomically(self._kernels_file, content)
            except FileWriteError as error:
                logging.getLogger(f"apdraw.{__name__}").warning("%s; the next start will compile kernels again", error)
            self._kernels_read = content

    def scratch(self, context: Any) -> int:
        """How many bytes of GPU memory a context needs for the batch that it was told of."""
        size: int = self.checked(
            context.update_device_memory_size_for_shapes(), "tell how much memory it needs", zero=True
        )
        return max(size, 1)  # a context wants memory even where it needs none

    def checked(self, result: Any, what: str, *, zero: bool = False) -> Any:
        """A call's result, unless it tells of a failure: None or False, or with `zero` a 0 of which the log tells.

        Raises:
            OutOfGpuMemoryError: it failed for want of memory.
            EngineError: it failed for another reason, which TensorRT told its log.
        """
        if result is not None and result is not False and not (zero and result == 0):
            self._log.forget()
            return result
        said = " ".join(self._log.take())
        if zero and not said:
            return result
        said = said or "it did not say why"
        if re.search(r"out.?of.?memory", said, re.IGNORECASE):
            raise OutOfGpuMemoryError(f"TensorRT's attempt to {what}", "OutOfMemory", said)
        raise EngineError(f"it cannot {what}: {said}")

    def _ports(self) -> tuple[list[Port], list[Port]]:
        inputs: list[Port] = []
        outputs: list[Port] = []
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            dtype = self._engine.get_tensor_dtype(name).name
            sizes = tuple(None if size < 0 else int(size) for size in self._engine.get_tensor_shape(name))
            is_input = self._engine.get_tensor_mode(name) == self.library.TensorIOMode.INPUT
            (inputs if is_input else outputs).append(Port(name, _DTYPES.get(dtype, dtype), sizes))
        return inputs, outputs


class Lane:
    """Draws one batch at a time: a CUDA stream, an execution context, and buffers for input, output and scratch.

    Attributes:
        limit: the most portraits that it is to draw at once.
    """

    def __init__(self, program: Program, limit: int) -> None:
        self.limit = limit
        self._program = program
        self._size = 0
        self._owner = contextlib.ExitStack()
        self._stream: Stream | None = None
        self._context: Any = None
        self._graph: Graph | None = None

    def prepare(self, size: int) -> None:
        """Allocates what batches of `size` need and runs one, unless that is done already.

        Raises:
            OutOfGpuMemoryError: the GPU's memory does not hold it; what was allocated is freed by `close`.
        """
        if size == self._size:
            return
        self.close()
        checked = self._program.checked
        stream = self._stream = Stream(self._owner)
        self._inputs = {p.name: Buffer(self._owner, (size, *_fixed(p)), p.dtype) for p in INPUTS}
        self._output = Buffer(self._owner, (size, *_fixed(OUTPUT)), OUTPUT.dtype)
        context = self._context = self._program.new_context()
        checked(context.set_optimization_profile_async(0, int(stream)), "choose its profile")
        stream.wait()
        for name, buffer in self._inputs.items():
            checked(context.set_input_shape(name, buffer.host.shape), f"take {size} portraits at once")
        for name, buffer in (*self._inputs.items(), (OUTPUT.name, self._output)):
            checked(context.set_tensor_address(name, buffer.device), f"take the memory of {name}")
        scratch = self._program.scratch(context)
        context.set_device_memory(cuda.allocate(self._owner, scratch), scratch)
        # Kernels are made and memory is taken at the first run: better now than amid the user's photos.
        self._enqueue(stream)
        stream.wait()
        if self._program.captures:
            with stream.captured(self._owner) as graph:
                self._enqueue(stream)
            self._graph = graph
        self._size = size

    def draw(self, inputs: dict[str, npt.NDArray[Any]]) -> Image:
        """Draws up to as many portraits as it is prepared for.

        Returns:
            uint8 [B, 512, 512]; overwritten by the next call.
        """
        count = len(inputs[INPUTS[0].name])
        # The rest of the batch keeps earlier portraits, or zeros: valid input whose drawings are not returned.
        for name, array in inputs.items():
            self._inputs[name].host[:count] = array
        stream = self._stream
        if stream is None:
            raise EngineError("it was not made ready for a batch")
        try:
            if self._graph is None:
                self._enqueue(stream)
            else:
                self._graph.launch()
        except EngineError:
            with contextlib.suppress(CudaError):
                stream.wait()  # work in the queue still reads and writes the buffers
            raise
        stream.wait()
        drawing: Image = self._output.host[:count]
        return drawing

    def close(self) -> None:
        """Frees the stream, the context and all buffers; `prepare` allocates them again."""
        if self._stream is not None:
            with contextlib.suppress(CudaError):
                self._stream.wait()
        self._size = 0
        self._graph = None
        self._context = None
        self._stream = None
        self._owner.close()

    def _enqueue(self, stream: Stream) -> None:
        for buffer in self._inputs.values():
            stream.upload(buffer)
        self._program.checked(self._context.execute_async_v3(int(stream)), "draw")
        stream.download(self._output)


def _fixed(port: Port) -> tuple[int, ...]:
    return tuple(size for size in port.shape if size is not None)
