"""Chooses the engine that draws: the one asked for, or the fastest that can run here."""

import contextlib
import dataclasses
import logging
import re
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from engines.base import Backend, CompiledFiles, Engine, EngineRequest, EngineStatus
from engines.cpu import has_bf16, has_int8
from engines.errors import EngineError, FileWriteError, ModelFileError, UnfitError
from engines.model_info import ModelInfo, read_metadata, sha256
from engines.multi_gpu import MultiGpuEngine
from engines.options import PRECISIONS
from engines.registry import ENGINES, backend, backends
from engines.shipped import shipped_model
from engines.tensorrt.cuda import Gpu, driver_fault, find_gpus
from engines.tensorrt.engine_cache import cache_folder
from engines.twin_file import whole_file

__all__ = ["ENGINES", "EngineStatus", "fast_on_cpu", "open_engine", "read_model", "shipped_model", "survey"]

TWINS: Final = {"int8": ".int8.onnx", "fp16": ".fp16.onnx"}
"""Suffixes, by precision, of a model's twins: files of the same weights beside `NAME.onnx` that compute in it."""

_KINDS: Final = {"cuda": "cuda:0", "cpu": "cpu"}
"""The kinds of device, the faster first, and the one of each that `auto` takes."""


def read_model(model: Path) -> ModelInfo:
    """Reads what a model says about itself; of a compiled file, what the model it was compiled from said.

    Raises:
        ModelFileError: the file is missing, damaged, or no generator of this program.
    """
    compiled = compiled_files(model)
    return read_metadata(model) if compiled is None else compiled.read_info(model)


def model_sha256(model: Path) -> str:
    """The checksum of a model's file; a compiled file counts as the model that it was compiled from.

    Raises:
        ModelFileError: it cannot be read.
    """
    compiled = compiled_files(model)
    return sha256(model) if compiled is None else compiled.model_sha256(model)


def compiled_files(model: Path) -> CompiledFiles | None:
    """The compiled files that a path is one of, going by its suffix; None if it is a model for any machine."""
    suffix = model.suffix.lower()
    return next((each.compiled for each in backends() if each.compiled and each.compiled.suffix == suffix), None)


def fast_on_cpu(info: ModelInfo) -> str:
    """The fast precision that OpenVINO draws a model in on this processor, and that keeps its drawings.

    bf16 goes before int8: where a processor has both, int8 takes up to a fifth less time, and bf16 is several times as
    near to fp32.
    """
    if has_bf16() and "bf16" in info.precisions:
        return "bf16"
    return "int8" if has_int8() else "fp32"


def survey() -> list[EngineStatus]:
    """What each backend can do on this machine, in the order of `ENGINES`; imports no torch."""
    gpus = find_gpus()
    found = {each.name: each.status(gpus) for each in backends()}
    order = _candidates(backends(), "auto", gpus)
    picked = next((each.name for each, device in order if device in found[each.name].devices), None)
    return [dataclasses.replace(status, picked=name == picked) for name, status in found.items()]


def open_engine(
    model: Path,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    load_module: Callable[..., Any] | None = None,
    stop: threading.Event | None = None,
) -> Engine:
    """Opens a model in an engine. What is asked for by name is what is used, or an error.

    OpenVINO and ONNX Runtime draw `.onnx` models, torch draws `.safetensors` ones. Where the other kind is
    given, the file of the same stem beside it is used, if it was made of the same weights. TensorRT draws
    `.engine` files; from an `.onnx` model it builds one on first use and keeps it (`engines.tensorrt.engine_cache`).

    In INT8, and on a GPU in FP16, ONNX models are drawn that were exported so: the model itself, or `NAME.int8.onnx` or
    `NAME.fp16.onnx` beside `NAME.onnx`, if it was made of the same weights. `auto` takes the one where OpenVINO draws
    and bf16 cannot be had (`fast_on_cpu`), the other on every GPU.

    Where `auto` cannot have the fastest engine for a GPU that is here, it says so in a warning.

    Args:
        model: a `.onnx`, `.safetensors` or `.engine` file.
        engine: `auto` or one of `ENGINES`.
        device: `auto` (the first GPU, else the CPU), `cpu`, `cuda` (all GPUs), `cuda:N`, or several of these:
            `cuda:0,cuda:1`. Several GPUs draw with an engine each.
        precision: `auto`, `fp32`, `fp16`, `bf16` or `int8`. `auto` takes what is known to keep this model's drawings.
        batch_size: portraits in a call, None for the engine's default.
        load_module: reads a `.safetensors` file for torch; see `engines.torch_engine.TorchEngine`.
        stop: ends the compilation of an engine once it is set, by KeyboardInterrupt.

    Raises:
        EngineError: the model or what was asked for cannot be used here; one line that says what to do.
    """
    _check_options(engine, precision, batch_size)
    info = read_model(model)
    gpus = find_gpus()
    asked_for = EngineRequest(
        model, info, precision=precision, batch_size=batch_size, load_module=load_module, stop=stop
    )
    if not gpus and device == "auto" and (fault := driver_fault()):
        logging.getLogger(f"apdraw.{__name__}").warning("drawing on the CPU: %s", fault)
    no_file: list[UnfitError] = []
    not_here: list[UnfitError] = []
    failed: list[UnfitError] = []
    passed_over: list[str] = []
    for each, devices in _candidates(_asked(engine, model), _named_device(device, gpus), gpus):
        reasons = no_file
        try:
            file, file_info = _twin(each, devices, precision, *_file_for(each, model, info))
            reasons = not_here
            _check_status(each.status(gpus), devices)
            reasons = failed
            opened = _open(each, dataclasses.replace(asked_for, model=file, info=file_info), devices, gpus)
        except UnfitError as error:  # also a file that cannot be written
            if isinstance(error, ModelFileError) and reasons is failed:
                raise
            _let_go(error)
            reasons.append(error)
            if devices != "cpu":
                passed_over.append(str(error))
            continue
        if passed_over:
            logging.getLogger(f"apdraw.{__name__}").warning(
                "drawing with %s on %s: %s", each.name, devices, passed_over[0]
            )
        return opened
    raise (failed + not_here + no_file)[0]


def _let_go(error: BaseException | None) -> None:
    """Clears the local variables that an error's traceback holds: a failed engine among them stays on the GPU."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _asked(engine: str, model: Path) -> tuple[Backend, ...]:
    """The backends to choose from: the one named, the only one that draws a compiled file, or all."""
    if engine != "auto":
        return (backend(engine),)
    compiled = compiled_files(model)
    return tuple(each for each in backends() if compiled is None or each.compiled is compiled)


def _candidates(asked: tuple[Backend, ...], device: str, gpus: tuple[Gpu, ...]) -> list[tuple[Backend, str]]:
    """Each backend with each kind of device that it may draw on, the fastest first; at least one pair.

    Args:
        asked: the backends to choose from, the fastest first.
        device: `auto`, or names of devices with commas between them.
        gpus: those that are here.
    """
    found = [
        (each, first if device == "auto" else device)
        for kind, first in _KINDS.items()
        for each in asked
        if kind in each.devices and device.partition(":")[0] in ("auto", kind) and (gpus or kind == "cpu")
    ]
    # What a backend says of a device that it does not draw on, or that is not here, is the error that users read.
    return found or [(asked[0], _KINDS[asked[0].devices[0]] if device == "auto" else device)]


def _file_for(backend: Backend, model: Path, info: ModelInfo) -> tuple[Path, ModelInfo]:
    """The model's file in a format that a backend draws: itself, or the file of that format beside it.

    Raises:
        EngineError: there is no such file, or it holds other weights.
    """
    if model.suffix.lower() in backend.suffixes:
        return (whole_file(model, _joined_files()) if model.suffix.lower() == ".onnx" else model), info
    if compiled_files(model):
        owner = next(each.name for each in backends() if each.compiled is compiled_files(model))
        raise EngineError(
            f"{backend.name} cannot draw {model}: only {owner} draws it; name the .onnx file it was built from"
        )
    wanted = backend.suffixes[-1]
    beside = model.with_suffix(wanted)
    if not beside.exists():
        remedy = (
            f"make one with: apdraw export {model} {beside}"
            if wanted == ".onnx"
            else f"give the {wanted} file that it was exported from"
        )
        raise EngineError(
            f"{backend.name} cannot draw {model}: it needs a {wanted} file, and there is no {beside}; {remedy}"
        )
    beside_info = read_metadata(beside)
    if not _same_weights(info, beside_info):
        raise EngineError(
            f"{backend.name} cannot draw {model}: {beside} beside it was not made of the same weights; "
            f"name the file that you want, or export it again"
        )
    return beside, beside_info


def _twin(backend: Backend, devices: str, precision: str, model: Path, info: ModelInfo) -> tuple[Path, ModelInfo]:
    """The file of the same weights in the precision that is to be drawn in; else the model as it is.

    Torch needs no other file to draw in FP16, but learns from it whether that keeps the drawings.

    Raises:
        EngineError: INT8, or FP16 on a GPU, was asked for, and cannot be had here.
    """
    on_cpu = devices == "cpu"
    fit = {
        "int8": "int8" in backend.precisions and on_cpu and has_int8(),
        "fp16": "fp16" in backend.precisions and not on_cpu and not compiled_files(model),
    }
    if "int8" in (precision, info.precision) and not fit["int8"]:
        able = " and ".join(each.name for each in backends() if "int8" in each.precisions)
        raise EngineError(
            f"{backend.name} cannot draw {model} in int8 on {devices}: only {able} do, on a CPU with VNNI; "
            f"use --precision fp32"
        )
    wanted = precision
    if precision == "auto":
        taken = {"int8": backend.int8_by_default and fit["int8"] and fast_on_cpu(info) == "int8", "fp16": fit["fp16"]}
        wanted = next((each for each in TWINS if taken[each]), "fp32")
    if info.precision in ("int8", wanted) or not fit.get(wanted):
        return model, info
    beside = model.with_suffix(TWINS[wanted])
    why = f"there is no {beside}"
    if beside.exists():
        beside_info = read_metadata(beside)
        if beside_info.precision == wanted and _same_weights(info, beside_info):
            if beside.suffix in backend.suffixes:
                try:
                    return whole_file(beside, _joined_files()), beside_info
                except FileWriteError as error:
                    if precision != "auto":
                        raise
                    logging.getLogger(f"apdraw.{__name__}").warning(
                        "drawing in %s: %s; name another folder in APDRAW_CACHE", info.precision, error
                    )
                    return model, info
            return model, dataclasses.replace(info, precisions=beside_info.precisions)
        why = f"{beside} was not made of the same weights"
        if precision == "auto":
            logging.getLogger(f"apdraw.{__name__}").warning("drawing in %s: %s; export it again", info.precision, why)
    if precision == "auto" or ".onnx" not in backend.suffixes:
        return model, info
    made = "" if wanted == "fp16" else " --calibration DATASET"
    raise EngineError(
        f"{backend.name} cannot draw {model} in {wanted}: {why}; make one with: "
        f"apdraw export MODEL.safetensors {beside} --precision {wanted}{made}"
    )


def _joined_files() -> Path:
    return cache_folder().parent / "models"


def _same_weights(one: ModelInfo, other: ModelInfo) -> bool:
    return one.generator_sha256 is not None and one.generator_sha256 == other.generator_sha256


def _check_status(status: EngineStatus, devices: str) -> None:
    if {*devices.split(",")} <= {*status.devices}:
        return
    why = status.reason or f"it draws on {' and '.join(status.devices)} only"
    remedy = f"install it with: {status.remedy}" if status.remedy else "choose another --engine or --device"
    raise EngineError(f"cannot draw with {status.name} on {devices}: {why}; {remedy}")


def _open(backend: Backend, request: EngineRequest, devices: str, gpus: tuple[Gpu, ...]) -> Engine:
    """Opens a file in an engine on each device."""
    with contextlib.ExitStack() as opened:
        engines = []
        for device in devices.split(","):
            gpu = None if device == "cpu" else gpus[int(device.partition(":")[2])]
            engines.append(backend.open(dataclasses.replace(request, device=device, gpu=gpu)))
            opened.callback(engines[-1].close)
        opened.pop_all()
    return engines[0] if len(engines) == 1 else MultiGpuEngine(engines)


def _check_options(engine: str, precision: str, batch_size: int | None) -> None:
    for option, value, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in ("auto", *known):
            raise EngineError(f"there is no {option} {value!r}: choose auto, {', '.join(known)}")
    if batch_size is not None and batch_size < 1:
        raise EngineError(f"the batch size cannot be {batch_size}: it must be at least 1")


def _named_device(device: str, gpus: tuple[Gpu, ...]) -> str:
    """`auto`, `cpu`, or `cuda:N` of GPUs that are here, with commas between them."""
    if device in ("auto", "cpu"):
        return device
    if not re.fullmatch(r"cuda|cuda:\d+(,cuda:\d+)*", device):
        raise EngineError(f"there is no device {device!r}: choose auto, cpu, cuda, cuda:N or cuda:N,cuda:M")
    if not gpus:
        raise EngineError(
            f"cannot draw on {device}: {driver_fault() or 'the NVIDIA driver shows no GPU here'}; use --device cpu"
        )
    here = [f"cuda:{number}" for number in range(len(gpus))]
    asked = list(dict.fromkeys(device.split(","))) if device != "cuda" else here
    for each in asked:
        if each not in here:
            known = ", ".join(f"{name} ({gpu.name})" for name, gpu in zip(here, gpus, strict=True))
            raise EngineError(f"cannot draw on {each}: the GPUs here are {known}; choose one of them")
    return ",".join(asked)
