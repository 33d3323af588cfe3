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
from engines.tensorrt.trial import WrongEngineError, try_engine

DRIVERS: Final = "https://www.nvidia.com/drivers"


def status(gpus: tuple[Gpu, ...]) -> EngineStatus:
    """Tells on which GPUs TensorRT draws, given what is installed and what builds for them; imports no TensorRT."""
    flavors = [library.flavor_for(gpu.compute_capability) for gpu in gpus]
    here = [flavor for flavor in (*flavors, *MODULES) if library.is_installed(flavor)]
    version = f"{here[0]} {library.installed_version(here[0])}" if here else None
    if not gpus:
        return EngineStatus(NAME, False, version, (), cuda.driver_fault() or "the NVIDIA driver shows no GPU here")
    reason, remedy = None, None
    for gpu, flavor in zip(gpus, flavors, strict=True):
        if not library.is_installed(flavor):
            reason, remedy = f"{MODULES[flavor]} is not installed", library.install_command(flavor)
            if here:
                reason += f", and {MODULES[here[0]]} does not build for {gpu.name}"
            break
    devices = tuple(f"cuda:{number}" for number, flavor in enumerate(flavors) if library.is_installed(flavor))
    if devices and not _has_cuda_bindings():
        devices, reason, remedy = (), "cuda-bindings is not installed", cuda.INSTALL
    elif devices:
        try:
            cuda.device_count()
        except EngineError as error:
            devices, reason, remedy = (), f"{_reason(error)}; update the NVIDIA driver: {DRIVERS}", None
    return EngineStatus(NAME, bool(devices), version, devices, reason, remedy)


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
            model = engine_cache.engine_file_for(
                model, request.info, request.device, request.gpu, batch_size, request.stop
            )
        engine = TensorRTEngine(model, device=request.device, precision=precision, batch_size=batch_size)
        try:
            try_engine(engine, model)
        except WrongEngineError as error:
            engine.close()
            if model == request.model:
                raise
            engine_cache.discard(model)
            why = str(error).partition("; rebuild with: ")[0]
            raise EngineError(f"{why}, so it was thrown away; see: apdraw doctor") from error
        except BaseException:
            engine.close()
            raise
        return engine
    except CudaError as error:
        raise EngineError(f"tensorrt cannot draw {model} on {request.device}: {error}") from error


def parts(gpus: tuple[Gpu, ...]) -> tuple[Part, ...]:
    """The two flavors of TensorRT, and the package through which CUDA is called."""
    here = [flavor for flavor in MODULES if library.is_installed(flavor)]
    found = []
    for flavor, module in MODULES.items():
        wanting = [gpu.name for gpu in gpus if library.flavor_for(gpu.compute_capability) == flavor]
        if flavor in here:
            idle = bool(gpus) and not wanting
            use = "not used by the GPUs here" if idle else "builds engines and draws with them"
            found.append(Part(module, library.installed_version(flavor), use))
        elif wanting:
            told = f"not installed; {wanting[0]} draws with it"
            found.append(Part(module, None, told, library.install_command(flavor)))
        else:
            instead = f"{MODULES[here[0]]} is there instead" if here else "one of the two will do"
            found.append(Part(module, None, f"not installed; {instead}"))
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
    version = library.installed_version(flavor) if library.is_installed(flavor) else sidecar.version
    fitting, failures = [], []
    for device, capability in [(f"cuda:{n}", gpu.compute_capability) for n, gpu in enumerate(gpus)] or [
        ("", sidecar.compute_capabilities[0])
    ]:
        try:
            check_fits(
                sidecar,
                engine_file,
                flavor=flavor,
                version=version,
                platform=this_platform(),
                compute_capability=capability,
            )
            fitting.append(device)
        except EngineError as error:
            failures.append(error)
    if not fitting:
        raise failures[0]
    if not library.is_installed(flavor):
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


def _reason(error: EngineError) -> str:
    return str(error).removesuffix("; see: apdraw doctor")


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
        return Part("cuda-bindings", version, _reason(error), f"update the NVIDIA driver: {DRIVERS}")


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
