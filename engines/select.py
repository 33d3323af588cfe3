"""Chooses the engine that draws: the one asked for, or the fastest that can run here."""

import contextlib
import dataclasses
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from engines import onnxruntime_engine, openvino_engine, torch_engine
from engines.base import Engine, EngineStatus
from engines.cpu import has_bf16, has_int8
from engines.errors import CudaError, EngineError, ModelFileError, UnfitError
from engines.model_info import PRECISIONS, ModelInfo, model_info, read_metadata
from engines.multi_gpu import SeveralEngines
from engines.shipped import shipped_model
from engines.tensorrt import engine as tensorrt_engine
from engines.tensorrt import engine_cache as cache
from engines.tensorrt.cuda import Gpu, find_gpus
from engines.tensorrt.sidecar import read_sidecar

__all__ = ["ENGINES", "EngineStatus", "fast_on_cpu", "open_engine", "read_model", "shipped_model", "survey"]

ENGINES: Final = ("openvino", "onnxruntime", "torch", "tensorrt")
"""The names of the engines."""

_FASTEST_FIRST: Final = (
    ("tensorrt", "cuda"),
    ("onnxruntime", "cuda"),
    ("torch", "cuda"),
    ("openvino", "cpu"),
    ("onnxruntime", "cpu"),
    ("torch", "cpu"),
)

_STATUS: Final[dict[str, Callable[[tuple[Gpu, ...]], EngineStatus]]] = {
    "openvino": openvino_engine.status,
    "onnxruntime": onnxruntime_engine.status,
    "torch": torch_engine.status,
    "tensorrt": tensorrt_engine.status,
}

INT8_ENGINES: Final = ("openvino", "onnxruntime")
INT8_SUFFIX: Final = ".int8.onnx"

_SUFFIXES: Final = {
    "openvino": (".onnx",),
    "onnxruntime": (".onnx",),
    "torch": (".safetensors",),
    "tensorrt": (".engine", ".onnx"),
}


def read_model(model: Path) -> ModelInfo:
    """Reads what a model says about itself; a `.engine` file says it in its sidecar.

    Raises:
        ModelFileError: the file is missing, damaged, or no generator of this program.
    """
    if model.suffix.lower() == ".engine":
        return model_info(read_sidecar(model).model)
    return read_metadata(model)


def fast_on_cpu(info: ModelInfo) -> str:
    """The fast precision that OpenVINO draws a model in on this processor, and that keeps its drawings.

    bf16 goes before int8: where a processor has both, int8 takes up to a fifth less time, and bf16 is several times as
    near to fp32.
    """
    if has_bf16() and "bf16" in info.precisions:
        return "bf16"
    return "int8" if has_int8() else "fp32"


def survey() -> list[EngineStatus]:
    """What each engine can do on this machine, in the order of `ENGINES`; imports no torch."""
    gpus = find_gpus()
    found = {name: _STATUS[name](gpus) for name in ENGINES}
    order = _candidates("auto", "auto", gpus)
    picked = next((name for name, device in order if device in found[name].devices), None)
    return [dataclasses.replace(status, picked=name == picked) for name, status in found.items()]


def open_engine(
    model: Path,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    threads: int | None = None,
    load_module: Callable[[Path], Any] | None = None,
) -> Engine:
    """Opens a model in an engine. What is asked for by name is what is used, or an error.

    OpenVINO and ONNX Runtime draw `.onnx` models, torch draws `.safetensors` ones. Where the other kind is
    given, the file of the same stem beside it is used, if it was made of the same weights. TensorRT draws
    `.engine` files; from an `.onnx` model it builds one on first use and keeps it (`engines.tensorrt.engine_cache`).

    In INT8 is drawn what was exported so: the model itself, or `NAME.int8.onnx` beside `NAME.onnx`, if it was made of
    the same weights. `auto` takes that where OpenVINO draws and bf16 cannot be had (`fast_on_cpu`).

    Where `auto` cannot have the fastest engine for a GPU that is here, it says so in a warning.

    Args:
        model: a `.onnx`, `.safetensors` or `.engine` file.
        engine: `auto` or one of `ENGINES`.
        device: `auto` (the first GPU, else the CPU), `cpu`, `cuda` (all GPUs), `cuda:N`, or several of these:
            `cuda:0,cuda:1`. Several GPUs draw with an engine each.
        precision: `auto`, `fp32`, `fp16`, `bf16` or `int8`. `auto` takes what is known to keep this model's drawings.
        batch_size: portraits in a call, None for the engine's default.
        threads: CPU threads, None for the engine's default; TensorRT takes no notice.
        load_module: reads a `.safetensors` file for torch; see `engines.torch_engine.TorchEngine`.

    Raises:
        EngineError: the model or what was asked for cannot be used here; one line that says what to do.
    """
    _check_options(engine, precision, batch_size, threads)
    if engine == "auto" and model.suffix.lower() == ".engine":
        engine = "tensorrt"
    info = read_model(model)
    gpus = find_gpus()
    options = {"precision": precision, "batch_size": batch_size, "threads": threads}
    no_file: list[UnfitError] = []
    not_here: list[UnfitError] = []
    failed: list[UnfitError] = []
    passed_over: list[UnfitError] = []
    for name, place in _candidates(engine, _named_device(device, gpus), gpus):
        reasons = no_file
        try:
            file, file_info = _in_int8(name, place, precision, *_file_for(name, model, info))
            reasons = not_here
            _check_status(_STATUS[name](gpus), place)
            reasons = failed
            opened = _open(name, place, file, file_info, gpus, load_module, options)
        except UnfitError as error:  # also a file that cannot be written
            if isinstance(error, ModelFileError) and reasons is failed:
                raise
            reasons.append(error)
            if place != "cpu":
                passed_over.append(error)
            continue
        if passed_over:
            logging.getLogger(__name__).warning("drawing with %s on %s: %s", name, place, passed_over[0])
        return opened
    raise (failed + not_here + no_file)[0]


def _candidates(engine: str, device: str, gpus: tuple[Gpu, ...]) -> list[tuple[str, str]]:
    """Engine and device of everything that was asked for, the fastest first; at least one."""
    first = {"cpu": "cpu", "cuda": "cuda:0"}
    found = [
        (name, first[kind] if device == "auto" else device)
        for name, kind in _FASTEST_FIRST
        if engine in ("auto", name) and device.partition(":")[0] in ("auto", kind) and (gpus or kind == "cpu")
    ]
    return found or [(engine, "cuda:0" if engine == "tensorrt" and device == "auto" else device)]


def _file_for(engine: str, model: Path, info: ModelInfo) -> tuple[Path, ModelInfo]:
    """The model's file in a format that an engine draws: itself, or its twin beside it.

    Raises:
        EngineError: there is no such twin, or it holds other weights.
    """
    if model.suffix.lower() in _SUFFIXES[engine]:
        return model, info
    if model.suffix.lower() == ".engine":
        raise EngineError(
            f"{engine} cannot draw {model}: only tensorrt draws it; name the .onnx file it was built from"
        )
    wanted = _SUFFIXES[engine][-1]
    twin = model.with_suffix(wanted)
    if not twin.exists():
        remedy = (
            "give the .safetensors file that it was exported from"
            if engine == "torch"
            else f"make one with: apdraw export {model} {twin}"
        )
        raise EngineError(f"{engine} cannot draw {model}: it needs a {wanted} file, and there is no {twin}; {remedy}")
    twin_info = read_metadata(twin)
    if info.generator_sha256 is None or info.generator_sha256 != twin_info.generator_sha256:
        raise EngineError(
            f"{engine} cannot draw {model}: {twin} beside it was not made of the same weights; "
            f"name the file that you want, or export it again"
        )
    return twin, twin_info


def _in_int8(engine: str, device: str, precision: str, model: Path, info: ModelInfo) -> tuple[Path, ModelInfo]:
    """The file of the same weights in INT8, if that is what is to be drawn with; else the model as it is.

    Raises:
        EngineError: INT8 was asked for, and cannot be had here.
    """
    asked = "int8" in (precision, info.precision)
    fit = engine in INT8_ENGINES and device == "cpu" and has_int8()
    if asked and not fit:
        where = f"only {' and '.join(INT8_ENGINES)} do, on a CPU with VNNI"
        raise EngineError(f"{engine} cannot draw {model} in int8 on {device}: {where}; use --precision fp32")
    taken = fit and engine == "openvino" and precision == "auto" and fast_on_cpu(info) == "int8"
    if info.precision == "int8" or not (asked or taken):
        return model, info
    twin = model.with_suffix(INT8_SUFFIX)
    why = f"there is no {twin}"
    if twin.exists():
        twin_info = read_metadata(twin)
        if twin_info.precision == "int8" and twin_info.generator_sha256 == info.generator_sha256 is not None:
            return twin, twin_info
        why = f"{twin} was not made of the same weights"
        if not asked:
            logging.getLogger(__name__).warning("drawing in %s: %s; export it again", info.precision, why)
    if not asked:
        return model, info
    raise EngineError(
        f"{engine} cannot draw {model} in int8: {why}; make one with: apdraw export MODEL.safetensors {twin} "
        f"--precision int8 --calibration DATASET"
    )


def _check_status(status: EngineStatus, device: str) -> None:
    if {*device.split(",")} <= {*status.devices}:
        return
    why = status.reason or f"it draws on {' and '.join(status.devices)} only"
    remedy = f"install it with: {status.remedy}" if status.remedy else "choose another --engine or --device"
    raise EngineError(f"cannot draw with {status.name} on {device}: {why}; {remedy}")


def _open(
    engine: str,
    devices: str,
    file: Path,
    info: ModelInfo,
    gpus: tuple[Gpu, ...],
    load_module: Callable[[Path], Any] | None,
    options: dict[str, Any],
) -> Engine:
    """Opens a file in an engine on each device."""
    with contextlib.ExitStack() as opened:
        engines = []
        for device in devices.split(","):
            if engine == "tensorrt":
                one: Engine = _open_tensorrt(file, info, device, gpus, options)
            else:
                one = _open_one(engine, file, info, load_module, {"device": device, **options})
            opened.callback(one.close)
            engines.append(one)
        opened.pop_all()
    return engines[0] if len(engines) == 1 else SeveralEngines(engines)


def _open_one(
    engine: str, file: Path, info: ModelInfo, load_module: Callable[[Path], Any] | None, options: dict[str, Any]
) -> Engine:
    if engine == "openvino":
        return openvino_engine.OpenVinoEngine(file, info, **options)
    if engine == "onnxruntime":
        return onnxruntime_engine.OnnxRuntimeEngine(file, info, **options)
    if load_module is None:
        raise EngineError(f"torch cannot draw {file}: the calling program passed no `load_module`")
    return torch_engine.TorchEngine(file, info, load_module=load_module, **options)


def _open_tensorrt(
    file: Path, info: ModelInfo, device: str, gpus: tuple[Gpu, ...], options: dict[str, Any]
) -> tensorrt_engine.TensorRTEngine:
    precision, batch_size = options["precision"], options["batch_size"]
    try:
        if file.suffix.lower() == ".onnx":
            if precision not in ("auto", info.precision):
                raise EngineError(
                    f"tensorrt cannot draw {file} in {precision}: its graph computes in {info.precision}; make one "
                    f"with: apdraw export MODEL.safetensors OUT.onnx --precision {precision}, and name it with --model"
                )
            file = cache.engine_for(file, info, device, gpus[int(device.partition(":")[2])], batch_size)
        return tensorrt_engine.TensorRTEngine(file, device=device, precision=precision, batch_size=batch_size)
    except CudaError as error:
        raise EngineError(f"tensorrt cannot draw {file} on {device}: {error}") from error


def _check_options(engine: str, precision: str, batch_size: int | None, threads: int | None) -> None:
    for option, value, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in ("auto", *known):
            raise EngineError(f"there is no {option} {value!r}: choose auto, {', '.join(known)}")
    for option, number in (("batch size", batch_size), ("number of threads", threads)):
        if number is not None and number < 1:
            raise EngineError(f"the {option} cannot be {number}: it must be at least 1")


def _named_device(device: str, gpus: tuple[Gpu, ...]) -> str:
    """`auto`, `cpu`, or `cuda:N` of GPUs that are here, with commas between them."""
    if device in ("auto", "cpu"):
        return device
    if not re.fullmatch(r"cuda|cuda:\d+(,cuda:\d+)*", device):
        raise EngineError(f"there is no device {device!r}: choose auto, cpu, cuda, cuda:N or cuda:N,cuda:M")
    if not gpus:
        raise EngineError(f"cannot draw on {device}: the NVIDIA driver shows no GPU here; use --device cpu")
    here = [f"cuda:{number}" for number in range(len(gpus))]
    asked = list(dict.fromkeys(device.split(","))) if device != "cuda" else here
    for place in asked:
        if place not in here:
            known = ", ".join(f"{name} ({gpu.name})" for name, gpu in zip(here, gpus, strict=True))
            raise EngineError(f"cannot draw on {place}: the GPUs here are {known}; choose one of them")
    return ",".join(asked)
