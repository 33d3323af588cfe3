"""Chooses the engine that draws: the one asked for, or the fastest that can run here."""

import dataclasses
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from engines import onnxruntime_engine, openvino_engine, torch_engine
from engines.base import Engine, EngineError, EngineStatus, ModelFileError
from engines.cuda import gpu_names
from engines.model import PRECISIONS, ModelInfo, read_metadata

__all__ = ["ENGINES", "EngineStatus", "open_engine", "shipped_model", "survey"]

ENGINES: Final = ("openvino", "onnxruntime", "torch")
"""The names of the engines."""

_FASTEST_FIRST: Final = (
    ("onnxruntime", "cuda"),
    ("torch", "cuda"),
    ("openvino", "cpu"),
    ("onnxruntime", "cpu"),
    ("torch", "cpu"),
)

_STATUS: Final = {
    "openvino": openvino_engine.status,
    "onnxruntime": onnxruntime_engine.status,
    "torch": torch_engine.status,
}


def shipped_model() -> Path:
    """The model that comes with the program; its `.safetensors` for torch lies beside it."""
    return Path(__file__).parent / "weights" / "apdraw.onnx"


def survey() -> list[EngineStatus]:
    """What each engine can do on this machine, in the order of `ENGINES`; imports no torch."""
    gpus = gpu_names()
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
    given, the file of the same stem beside it is used, if it was made of the same weights.

    Args:
        model: a `.onnx` or `.safetensors` file.
        engine: `auto` or one of `ENGINES`.
        device: `auto`, `cpu`, `cuda` (the first GPU) or `cuda:N`.
        precision: `auto`, `fp32`, `fp16` or `bf16`. `auto` takes what is known to keep this
            model's drawings.
        batch_size: portraits in a call, None for the engine's default.
        threads: CPU threads, None for the engine's default.
        load_module: reads a `.safetensors` file for torch; see `engines.torch_engine.TorchEngine`.

    Raises:
        EngineError: the model or what was asked for cannot be used here; one line that says what to do.
    """
    _check_options(engine, precision, batch_size, threads)
    info = read_metadata(model)
    gpus = gpu_names()
    choices = _choices(model, info, engine, _named_device(device, gpus), gpus)
    options = {"precision": precision, "batch_size": batch_size, "threads": threads}
    failures: list[EngineError] = []
    for choice in choices:
        try:
            opened = _open(choice, load_module, options)
        except ModelFileError:
            raise
        except EngineError as error:
            failures.append(error)
            continue
        if failures and choice.device == "cpu" and choices[0].device != "cpu":
            logging.getLogger(__name__).warning("drawing on the CPU: %s", failures[0])
        return opened
    raise failures[0]


@dataclasses.dataclass(frozen=True)
class _Choice:
    """An engine on a device, with the file it would draw with."""

    engine: str
    device: str
    file: Path
    info: ModelInfo


def _choices(model: Path, info: ModelInfo, engine: str, device: str, gpus: tuple[str, ...]) -> list[_Choice]:
    """The engines that should be able to draw a model here, the fastest first; at least one."""
    choices: list[_Choice] = []
    not_here: list[EngineError] = []
    no_file: list[EngineError] = []
    for name, place in _candidates(engine, device, gpus):
        try:
            file, file_info = _file_for(name, model, info)
        except EngineError as error:
            no_file.append(error)
            continue
        try:
            _check_status(_STATUS[name](gpus), place)
        except EngineError as error:
            not_here.append(error)
            continue
        choices.append(_Choice(name, place, file, file_info))
    if not choices:
        raise (not_here + no_file)[0]
    return choices


def _candidates(engine: str, device: str, gpus: tuple[str, ...]) -> list[tuple[str, str]]:
    """Engine and device of everything that was asked for, the fastest first; at least one."""
    first = {"cpu": "cpu", "cuda": "cuda:0"}
    found = [
        (name, first[kind] if device == "auto" else device)
        for name, kind in _FASTEST_FIRST
        if engine in ("auto", name) and device.partition(":")[0] in ("auto", kind) and (gpus or kind == "cpu")
    ]
    return found or [(engine, device)]


def _file_for(engine: str, model: Path, info: ModelInfo) -> tuple[Path, ModelInfo]:
    """The model's file in the format that an engine draws: itself, or its twin beside it.

    Raises:
        EngineError: there is no such twin, or it holds other weights.
    """
    wanted = ".safetensors" if engine == "torch" else ".onnx"
    if model.suffix.lower() == wanted:
        return model, info
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


def _check_status(status: EngineStatus, device: str) -> None:
    if device in status.devices:
        return
    why = status.reason or f"it draws on {' and '.join(status.devices)} only"
    remedy = f"install it with: {status.remedy}" if status.remedy else "choose another --engine or --device"
    raise EngineError(f"cannot draw with {status.name} on {device}: {why}; {remedy}")


def _open(choice: _Choice, load_module: Callable[[Path], Any] | None, options: dict[str, Any]) -> Engine:
    arguments = {"device": choice.device, **options}
    if choice.engine == "openvino":
        return openvino_engine.OpenVinoEngine(choice.file, choice.info, **arguments)
    if choice.engine == "onnxruntime":
        return onnxruntime_engine.OnnxRuntimeEngine(choice.file, choice.info, **arguments)
    if load_module is None:
        raise EngineError(f"torch cannot draw {choice.file}: the calling program passed no `load_module`")
    return torch_engine.TorchEngine(choice.file, choice.info, load_module=load_module, **arguments)


def _check_options(engine: str, precision: str, batch_size: int | None, threads: int | None) -> None:
    for option, value, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in ("auto", *known):
            raise EngineError(f"there is no {option} {value!r}: choose auto, {', '.join(known)}")
    for option, number in (("batch size", batch_size), ("number of threads", threads)):
        if number is not None and number < 1:
            raise EngineError(f"the {option} cannot be {number}: it must be at least 1")


def _named_device(device: str, gpus: tuple[str, ...]) -> str:
    """`auto`, `cpu` or `cuda:N` of a GPU that is here."""
    if device in ("auto", "cpu"):
        return device
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        raise EngineError(f"there is no device {device!r}: choose auto, cpu, cuda or cuda:N")
    number = int(match[1] or 0)
    if not gpus:
        raise EngineError(f"cannot draw on {device}: the NVIDIA driver shows no GPU here; use --device cpu")
    if number >= len(gpus):
        here = ", ".join(f"cuda:{index} ({name})" for index, name in enumerate(gpus))
        raise EngineError(f"cannot draw on {device}: the GPUs here are {here}; choose one of them")
    return f"cuda:{number}"
