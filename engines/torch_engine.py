"""The `torch` backend: runs the generator as it was trained, on a CPU or an NVIDIA GPU."""

import contextlib
import importlib.metadata
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from engines.base import CPU_BATCH_SIZE, GPU_BATCH_SIZE, Backend, EngineRequest, EngineStatus
from engines.errors import EngineError, first_line
from engines.installed import pip_install
from engines.machine_faults import machine_fault
from engines.model_info import ModelInfo
from engines.portrait import Image, PortraitBatch
from engines.signature import check_batch, check_drawing
from engines.tensorrt.cuda import Gpu

NAME: Final = "torch"
INSTALL_CUDA: Final = "python -m pip install --force-reinstall torch"


def status(gpus: tuple[Gpu, ...]) -> EngineStatus:
    """Tells whether PyTorch is installed and this build of it can use the GPUs; does not import it."""
    missing = [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        return EngineStatus(NAME, False, None, (), f"{' and '.join(missing)} not installed", pip_install("torch"))
    version = importlib.metadata.version("torch")
    if gpus and _cuda_version() is None:
        reason = "this build of torch has no CUDA"
        return EngineStatus(NAME, True, version, ("cpu",), reason, INSTALL_CUDA)
    return EngineStatus(NAME, True, version, (*(f"cuda:{number}" for number in range(len(gpus))), "cpu"))


def _cuda_version() -> str | None:
    """The CUDA version that torch was built with, from its own small version module."""
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return None
    spec = importlib.util.spec_from_file_location("torch_version", Path(torch.origin).with_name("version.py"))
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "cuda", None)


class TorchEngine:
    """A generator as a torch module. See `Engine`.

    Args:
        request: what to open. The precision is `fp32`, `bf16`, or on a GPU `fp16`; there `auto` is the first of fp16
            and bf16 that the model is known to keep its drawings in, else fp32; on a CPU it is fp32. `load_module` must
            return a module in evaluation mode that takes the inputs of the exported graph (`engines.signature.INPUTS`)
            as tensors and returns its output. For fp16 it is asked for one that computes in it by itself, in those
            layers that an exported graph in half precision does; bf16 is torch's autocast.

    Raises:
        EngineError: torch cannot load the model or use the device or precision, or there is no `load_module`.
    """

    name = NAME
    concurrency = 1

    def __init__(self, request: EngineRequest) -> None:
        model, device, load_module = request.model, request.device, request.load_module
        if load_module is None:
            raise EngineError(f"torch cannot draw {model}: the calling program passed no `load_module`")
        try:
            import torch
        except (ImportError, OSError) as error:
            raise EngineError(
                f"torch cannot be imported: {first_line(error)}; install it with: {pip_install('torch')}"
            ) from error
        on_cpu = device == "cpu"
        if not on_cpu and not torch.cuda.is_available():
            raise EngineError(f"torch cannot draw on {device}: it finds no usable GPU; see: apdraw doctor")
        self.device = device
        self.precision = _choose_precision(request.precision, request.info, on_cpu)
        self.batch_size = request.batch_size or (CPU_BATCH_SIZE if on_cpu else GPU_BATCH_SIZE)
        self._model = model
        self._turn = threading.Lock()
        try:
            module = load_module(model, half=True) if self.precision == "fp16" else load_module(model)
            self._module: Any = module.to(device).to(memory_format=torch.channels_last)
        except Exception as error:  # whatever the loader raises
            reason = (machine_fault(error) if on_cpu else None) or first_line(error)
            raise EngineError(f"torch cannot load {model}: {reason}") from error

    def draw(self, batch: PortraitBatch) -> Image:
        """Draws a batch; see `Engine.draw`."""
        import torch

        arrays = check_batch(batch)
        # np.require copies what is read-only: torch has no read-only tensors.
        tensors = [torch.from_numpy(np.require(array, requirements="W")) for array in arrays.values()]
        with self._turn:
            if self._module is None:
                raise EngineError(f"the torch engine with {self._model} is closed; open it again")
            try:
                with torch.inference_mode(), self._settings():
                    drawing: Image = self._module(*(t.to(self.device) for t in tensors)).cpu().numpy()
            except (RuntimeError, MemoryError) as error:
                reason = (machine_fault(error) if self.device == "cpu" else None) or first_line(error)
                raise EngineError(
                    f"torch failed on a batch of {len(batch)}: {reason}; try a smaller --batch-size"
                ) from error
        return check_drawing(self._model, drawing, len(batch))

    def close(self) -> None:
        """Waits for the call in flight and frees the model."""
        with self._turn:
            self._module = None

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """Torch's own settings for one call: they are the whole process's, so they are put back."""
        import torch

        convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
        float32 = convolutions.fp32_precision
        try:
            if self.device != "cpu":
                convolutions.fp32_precision = "ieee"  # TensorFloat-32 would keep 10 of the 23 bits
            kind = self.device.partition(":")[0]
            with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"):
                yield
        finally:
            if self.device != "cpu":
                convolutions.fp32_precision = float32


def _choose_precision(asked: str, info: ModelInfo, on_cpu: bool) -> str:
    import torch

    if asked == "fp16" and on_cpu:
        raise EngineError("torch cannot draw in fp16 on a CPU: use --precision fp32 or bf16")
    has_bf16 = on_cpu or torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "bf16" and not has_bf16:
        raise EngineError("torch cannot draw in bf16: this GPU does not compute in it; use --precision fp16 or fp32")
    if asked != "auto":
        return asked
    if not on_cpu and "fp16" in info.precisions:
        return "fp16"
    return "bf16" if not on_cpu and has_bf16 and "bf16" in info.precisions else "fp32"


BACKEND: Final = Backend(
    name=NAME,
    suffixes=(".safetensors",),
    devices=("cuda", "cpu"),
    precisions=("fp32", "fp16", "bf16"),
    status=status,
    open=TorchEngine,
)
