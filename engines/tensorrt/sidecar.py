"""The sidecar of an engine file: JSON beside it that says what it was built from, and where it can run.

An engine file is machine code for one version of TensorRT, some kinds of GPU and one operating system. Whether it fits
is decided by its sidecar, before the file is deserialised.
"""

import dataclasses
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from engines.atomic_files import write_atomically
from engines.errors import EngineError, ModelFileError
from engines.model_info import sha256
from engines.regular_files import read_regular

SUFFIX: Final = ".engine"
"""Of the names of engine files."""

FORMAT_VERSION: Final = 1

FLAVORS: Final = ("tensorrt", "tensorrt-rtx")
"""TensorRT for data centres and workstations, and TensorRT for RTX. Neither runs the other's engines."""


@dataclass(frozen=True)
class Sidecar:
    """What is known about an engine file.

    Attributes:
        flavor: the flavor of TensorRT that built the engine, one of `FLAVORS`.
        version: the `__version__` of the TensorRT that built it.
        compute_capabilities: the compute capabilities of the GPUs that it runs on: `8.9`, ...
        platform: the system that it runs on, as in `this_platform`.
        onnx_sha256: checksum of the ONNX file that it was built from.
        engine_sha256: checksum of the engine file.
        batch_size: the largest batch it draws, and the one it was tuned for; from 1 on all sizes will do.
        precision: what its graph computes in: `fp32` or `fp16`.
        layers: the network's layers by the type of their first output: `FLOAT`, `HALF`, ...; of those, the
            convolutions again as `CONVOLUTION FLOAT`, ...
        options: how it was built, and how its trial went, for people to read.
        model: the metadata of the ONNX file.
        format_version: version of the sidecar's own format.
    """

    flavor: str
    version: str
    compute_capabilities: tuple[str, ...]
    platform: str
    onnx_sha256: str
    engine_sha256: str
    batch_size: int
    precision: str
    layers: dict[str, int]
    options: dict[str, str]
    model: dict[str, str]
    format_version: int = FORMAT_VERSION


def this_platform() -> str:
    """The operating system and processor of this machine: `linux-x86_64`, `windows-amd64`, ..."""
    return f"{platform.system()}-{platform.machine()}".lower()


def sidecar_path(engine_file: Path) -> Path:
    """The path of an engine file's sidecar: `OUT.engine.json` beside `OUT.engine`."""
    return engine_file.with_name(f"{engine_file.name}.json")


def runtime_cache_path(engine_file: Path) -> Path:
    """Where TensorRT for RTX keeps the kernels of an engine that it has compiled on a GPU: `OUT.engine.cache`."""
    return engine_file.with_name(f"{engine_file.name}.cache")


def write_sidecar(engine_file: Path, sidecar: Sidecar) -> None:
    """Writes the sidecar of an engine file, whole or not at all.

    Raises:
        FileWriteError: it cannot be written.
    """
    text = json.dumps(dataclasses.asdict(sidecar), indent=2, sort_keys=True)
    write_atomically(sidecar_path(engine_file), f"{text}\n".encode())


def read_sidecar(engine_file: Path) -> Sidecar:
    """Reads the sidecar of an engine file.

    Raises:
        ModelFileError: it is missing, is no sidecar, or is of a version that is not known here.
    """
    path = sidecar_path(engine_file)
    rebuild = f"rebuild with: {rebuild_command(engine_file)}"
    try:
        values = json.loads(read_regular(path))
    except FileNotFoundError:
        raise ModelFileError(
            f"there is no {path}, without which nobody knows where {engine_file.name} can run; {rebuild}"
        ) from None
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}; {rebuild}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not JSON, so {engine_file.name} cannot be used; {rebuild}") from error
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"{path} is of format version {version!r}, and this program reads {FORMAT_VERSION}; {rebuild}"
        )
    for name, kind in get_type_hints(Sidecar).items():
        if not _is(values.get(name), kind):
            raise ModelFileError(f"{path} is damaged: its {name!r} is missing or of the wrong kind; {rebuild}")
    known = {name: values[name] for name in get_type_hints(Sidecar)}
    return Sidecar(**{**known, "compute_capabilities": tuple(known["compute_capabilities"])})


def check_fits(
    sidecar: Sidecar, engine_file: Path, *, flavor: str, version: str, platform: str, compute_capability: str
) -> None:
    """Checks that an engine file is the one its sidecar tells of, and made for this machine.

    Args:
        sidecar: that of the engine.
        engine_file: the file itself.
        flavor: the flavor of TensorRT that is installed here.
        version: its `__version__`.
        platform: `this_platform()`.
        compute_capability: that of the GPU that is to draw, for example `8.9`.

    Raises:
        ModelFileError: the engine file cannot be read, or is another than the one the sidecar tells of.
        EngineError: it was built for another flavor or version of TensorRT, system or GPU.
    """
    rebuild = f"rebuild with: {rebuild_command(engine_file, flavor, sidecar.batch_size)}"
    if sha256(engine_file) != sidecar.engine_sha256:
        raise ModelFileError(
            f"{engine_file} is damaged, or not the engine that {sidecar_path(engine_file)} tells of; {rebuild}"
        )
    built_for, here = "", ""
    if sidecar.flavor != flavor:
        built_for, here = sidecar.flavor, f"{flavor} is what is installed here"
    elif sidecar.platform != platform:
        built_for, here = sidecar.platform, f"this is {platform}"
    elif sidecar.version != version:
        built_for, here = f"{flavor} {sidecar.version}", f"{version} is what is installed here"
    elif compute_capability not in sidecar.compute_capabilities:
        capabilities = ", ".join(sidecar.compute_capabilities)
        built_for, here = f"GPUs of compute capability {capabilities}", f"the one here has {compute_capability}"
    if built_for:
        raise EngineError(f"{engine_file} was built for {built_for}, and {here}; {rebuild}")


def rebuild_command(engine_file: Path, flavor: str | None = None, batch_size: int | None = None) -> str:
    """The command that builds an engine file anew; the model it is made from is the user's to name."""
    command = f"apdraw build-engine MODEL.onnx {engine_file}"
    command += f" --flavor {flavor}" if flavor else ""
    return command + (f" --batch-size {batch_size}" if batch_size else "")


def _is(value: Any, kind: Any) -> bool:
    """Whether a value out of a JSON file is what a field of `Sidecar` holds."""
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if get_origin(kind) is dict:
        values = get_args(kind)[1]
        return isinstance(value, dict) and all(_is(item, values) for item in value.values())
    return isinstance(value, kind) and not isinstance(value, bool)
