"""The `tensorrt` backend: finds out what TensorRT can do here, and opens engine files, compiling them where need be."""

import importlib.util
from pathlib import Path
from typing import Final

from engines import installed
from engines.base import Backend, CompiledFiles, EngineRequest, EngineStatus
from engines.errors import CudaError, EngineError
from engines.installed import Part
from engines.model_info import ModelInfo, model_info
from engines.tensorrt import cuda, engine_cache, library
from engines.tensorrt.cuda import Gpu
from engines.tensorrt.engine import NAME, TensorRTEngine
from engines.tensorrt.library import MODULES
from engines.tensorrt.sidecar import SUFFIX, check_fits, read_sidecar, this_platform

DRIVERS: Final = "https://www.nvidia.com/drivers"


def status(gpus: tuple[Gpu, ...]) -> EngineStatus:
    """Tells whether TensorRT and cuda-bindings are installed and there is a GPU; imports neither."""
    flavor = library.installed_flavor()
    version = None if flavor is None else f"{flavor} {library.installed_version(flavor)}"
    reason, remedy = None, None
    if not gpus:
        reason = "the NVIDIA driver shows no GPU here"
    elif flavor is None:
        reason, remedy = "neither tensorrt nor tensorrt_rtx is installed", library.INSTALL
    elif not _has_cuda_bindings():
        reason, remedy = "cuda-bindings is not installed", cuda.INSTALL
    if reason is not None:
        return EngineStatus(NAME, False, version, (), reason, remedy)
    return EngineStatus(NAME, True, version, tuple(f"cuda:{number}" for number in range(len(gpus))))


def open_engine(request: EngineRequest) -> TensorRTEngine:
    """Opens an engine file, or the one compiled from an ONNX model for this GPU, now or earlier.

    Raises:
        EngineError: TensorRT is not usable here, the engine cannot be built, or does not fit what is asked for.
        ModelFileError: the file is damaged, or no portrait generator.
    """
    model, precision, batch_size = request.model, request.precision, request.batch_size
    try:
        if model.suffix.lower() == ".onnx":
            if precision not in ("auto", request.info.precision):
                raise EngineError(
                    f"tensorrt cannot draw {model} in {precision}: its graph computes in {request.info.precision}; "
                    f"make one with: apdraw export MODEL.safetensors OUT.onnx --precision {precision}, "
                    f"and name it with --model"
                )
            assert request.gpu is not None
            model = engine_cache.engine_file_for(model, request.info, request.device, request.gpu, batch_size)
        return TensorRTEngine(model, device=request.device, precision=precision, batch_size=batch_size)
    except CudaError as error:
        raise EngineError(f"tensorrt cannot draw {model} on {request.device}: {error}") from error


def parts(gpus: tuple[Gpu, ...]) -> tuple[Part, ...]:
    """The two flavors of TensorRT, and the package through which CUDA is called."""
    here = [flavor for flavor, module in MODULES.items() if importlib.util.find_spec(module)]
    found = []
    for flavor, module in MODULES.items():
        if flavor in here:
            found.append(Part(module, library.installed_version(flavor), "builds engines and draws with them"))
        else:
            remedy = library.INSTALL if gpus and not here and flavor == "tensorrt-rtx" else None
            instead = f"{MODULES[here[0]]} is there instead" if here else "one of the two will do"
            found.append(Part(module, None, f"not installed; {instead}", remedy))
    return (*found, _cuda_bindings(bool(gpus)))


def read_info(engine_file: Path) -> ModelInfo:
    """What the model that an engine file was built from said about itself, out of the file's sidecar.

    Raises:
        ModelFileError: the sidecar is missing or damaged.
    """
    return model_info(read_sidecar(engine_file).model)


def model_sha256(engine_file: Path) -> str:
    """The checksum of the ONNX file that an engine file was built from, out of its sidecar.

    Raises:
        ModelFileError: the sidecar is missing or damaged.
    """
    return read_sidecar(engine_file).onnx_sha256


def usable_on(engine_file: Path, gpus: tuple[Gpu, ...]) -> str:
    """On which of these GPUs an engine file can draw: `cuda:0, cuda:1`.

    Raises:
        EngineError: on none of them; the message says why.
    """
    sidecar = read_sidecar(engine_file)
    flavor = library.installed_flavor(sidecar.flavor)
    version = sidecar.version if flavor is None else library.installed_version(flavor)
    fitting, failures = [], []
    for device, capability in [(f"cuda:{n}", gpu.compute_capability) for n, gpu in enumerate(gpus)] or [
        ("", sidecar.compute_capabilities[0])
    ]:
        try:
            check_fits(
                sidecar,
                engine_file,
                flavor=flavor or sidecar.flavor,
                version=version,
                platform=this_platform(),
                compute_capability=capability,
            )
            fitting.append(device)
        except EngineError as error:
            failures.append(error)
    if not fitting:
        raise failures[0]
    if flavor is None:
        raise EngineError(f"{engine_file} needs {sidecar.flavor} {sidecar.version}, which is not installed")
    if not gpus:
        kinds = ", ".join(sidecar.compute_capabilities)
        raise EngineError(
            f"{engine_file} is whole, but needs a GPU of compute capability {kinds}, and there is none here"
        )
    return ", ".join(fitting)


def _has_cuda_bindings() -> bool:
    try:
        return importlib.util.find_spec(cuda.RUNTIME) is not None
    except ModuleNotFoundError:  # not even its parent package
        return False


def _cuda_bindings(has_gpu: bool) -> Part:
    purpose = "the tensorrt engine draws with it"
    version = installed.version_of("cuda-bindings")
    if version is None:
        return Part("cuda-bindings", None, f"not installed; {purpose}", cuda.INSTALL if has_gpu else None)
    if not has_gpu:
        return Part("cuda-bindings", version, purpose)
    try:
        return Part("cuda-bindings", version, f"{purpose}; GPUs found: {cuda.device_count()}")
    except EngineError as error:
        reason = str(error).removesuffix("; see: apdraw doctor")
        return Part("cuda-bindings", version, reason, f"update the NVIDIA driver: {DRIVERS}")


BACKEND: Final = Backend(
    name=NAME,
    suffixes=(SUFFIX, ".onnx"),
    devices=("cuda",),
    precisions=("fp32", "fp16"),
    status=status,
    open=open_engine,
    parts=parts,
    compiled=CompiledFiles(SUFFIX, read_info, model_sha256, usable_on),
)
