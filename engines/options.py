"""An option is one field of a frozen dataclass: name, type, default, help and limits are said there and nowhere else.

The command line, its help, environment variables and TOML files are made of these fields; `check` refuses values that a
field does not allow, wherever they come from. It imports no library.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from engines.errors import OptionsError
from engines.registry import ENGINES
from engines.shipped import STYLES, shipped_model

PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8")
"""Number formats that engines compute in."""

FilePrecision = Literal["fp32", "fp16", "int8"]
"""Those that an ONNX file is exported in."""

LARGEST: Final = 2**62
"""No number of an option is as large."""

DEVICES: Final = re.compile(r"auto|cpu|cuda|cuda:\d+(,cuda:\d+)*")


def option(
    default: Any,
    help: str,  # noqa: A002  as typer calls it
    *,
    shown: str | None = None,
    names: tuple[str, ...] = (),
    panel: str | None = None,
    metavar: str | None = None,
    choices: tuple[str, ...] = (),
    min: float | None = None,  # noqa: A002
    max: float | None = None,  # noqa: A002
    above: float | None = None,
    below: float | None = None,
    parse: Callable[[Any], Any] | None = None,
    common: bool = False,
    free: bool = False,
) -> Any:
    """A field of an options dataclass.

    Args:
        default: its value where nothing is said.
        help: what it is, as a whole phrase, with its unit.
        shown: what the help shows as the default, where the value itself says too little.
        names: spellings on the command line, if they are not `--` and the field's name.
        panel: heading that the help lists it under.
        metavar: what the help calls its value.
        choices: the values allowed, where the type does not say.
        min: the least value.
        max: the largest value.
        above: a value that it must be over.
        below: a value that it must be under.
        parse: turns what was typed into the value.
        common: for options of training: shown by `--help`, not only by `--list-options`.
        free: for options of training: may change when a run goes on, since it alters neither networks nor losses.
    """
    about = {name: value for name, value in locals().items() if name != "default"}
    return dataclasses.field(default=default, metadata=about)


def spelled(name: str) -> str:
    """A field's name as users write it."""
    return name.replace("_", "-")


def described(group: type) -> dict[str, tuple["dataclasses.Field[Any]", Any]]:
    """Field and type of each option of a dataclass, by name."""
    hints = get_type_hints(group)
    return {field.name: (field, hints[field.name]) for field in dataclasses.fields(group) if "help" in field.metadata}


def choices_of(field: "dataclasses.Field[Any]", kind: Any) -> tuple[str, ...]:
    """The values that an option allows, if they are words to choose from."""
    parts = (kind, *get_args(kind)) if get_origin(kind) is not Literal else (kind,)
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    return tuple(field.metadata.get("choices") or words)


def check(options: Any) -> None:
    """Makes sure that every option of a dataclass has a value that its field allows; for `__post_init__`.

    Raises:
        OptionsError: one has not.
    """
    for name, (field, kind) in described(type(options)).items():
        _check(spelled(name), getattr(options, name), field, kind)


def _check(name: str, value: Any, field: "dataclasses.Field[Any]", kind: Any) -> None:
    parts = get_args(kind) if get_origin(kind) is not Literal and NoneType in get_args(kind) else (kind,)
    if value is None and NoneType in parts:
        return
    choices = choices_of(field, kind)
    if choices:
        if value not in choices:
            raise OptionsError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        return
    types = tuple(get_origin(part) or part for part in parts if part is not NoneType)
    fits = isinstance(value, types) and (not isinstance(value, bool) or bool in types)
    if not fits and not (float in types and type(value) is int):
        wanted = " or ".join(part.__name__ for part in types)
        raise OptionsError(f"{name} must be of the type {wanted}, not {value!r}")
    if isinstance(value, int | float) and not abs(value) < LARGEST:
        raise OptionsError(f"{name} is too large, or no number")
    limits = field.metadata
    if limits["above"] is not None and not value > limits["above"]:
        raise OptionsError(f"{name} must be over {limits['above']}, not {value}")
    if limits["below"] is not None and not value < limits["below"]:
        raise OptionsError(f"{name} must be under {limits['below']}, not {value}")
    if limits["min"] is not None and not value >= limits["min"]:
        raise OptionsError(f"{name} must not be under {limits['min']}, but is {value}")
    if limits["max"] is not None and not value <= limits["max"]:
        raise OptionsError(f"{name} must not be over {limits['max']}, but is {value}")


def make(groups: Mapping[str, type[Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    """Makes options dataclasses, by the names of `groups`, out of options by their own names.

    Raises:
        OptionsError: none of them has such an option, or it has a value that is not allowed.
    """
    unknown = set(options).difference(*(described(group) for group in groups.values()))
    if unknown:
        raise OptionsError(f"there is no option {', '.join(sorted(map(spelled, unknown)))}")
    return {
        name: group(**{option: options[option] for option in options.keys() & described(group).keys()})
        for name, group in groups.items()
    }


@dataclass(frozen=True)
class ModelOptions:
    """Which generator draws.

    Raises:
        OptionsError: a value that is not allowed, or values that contradict each other.
    """

    style: str = option(
        "fine",
        "How the models that come with apdraw draw. fine: with thin lines. bold: with thick lines and black areas, for "
        "stamps, vinyl and engraving.",
        choices=tuple(STYLES),
        panel="Drawing",
    )
    model: Path | str | None = option(
        None,
        "A generator of your own: a .onnx, .safetensors or .engine file; for convert it may be the URL of one.",
        metavar="PATH",
        parse=lambda given: given if "://" in str(given) else Path(given),
        shown="the one of --style that comes with apdraw",
        panel="Drawing",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.model is not None and self.style != "fine":
            raise OptionsError("a model of your own draws in its own style: leave out --style, or --model")

    @property
    def path(self) -> Path:
        """The generator's file."""
        return shipped_model(self.style) if self.model is None else Path(self.model)


@dataclass(frozen=True)
class EngineOptions:
    """What draws, and how.

    Raises:
        OptionsError: a value that is not allowed.
    """

    engine: str = option(
        "auto",
        "The library that computes drawings. auto: the fastest one that works here.",
        choices=("auto", *ENGINES),
        panel="Drawing",
    )
    device: str = option(
        "auto",
        "Where drawings are computed: auto (the first GPU, else the CPU), cpu, cuda (all GPUs), cuda:N, or several as "
        "in cuda:0,cuda:1.",
        panel="Drawing",
    )
    precision: str = option(
        "auto",
        "The number format that the generator computes in. auto: the fastest that does not change the drawing visibly.",
        choices=("auto", *PRECISIONS),
        panel="Drawing",
    )
    batch_size: int | None = option(
        None, "Portraits drawn at once.", min=1, shown="what suits the engine", panel="Drawing"
    )

    def __post_init__(self) -> None:
        check(self)
        if not DEVICES.fullmatch(self.device):
            raise OptionsError(f"device must be auto, cpu, cuda, cuda:N or cuda:N,cuda:M, not {self.device!r}")


@dataclass(frozen=True)
class BuildOptions:
    """What a TensorRT engine is built for, and how.

    Attributes:
        device: the GPU to build on, where there is one.

    Raises:
        OptionsError: a value that is not allowed.
    """

    flavor: str = option(
        "auto",
        "Which TensorRT builds. auto: the one that is installed and can build for those GPUs here.",
        choices=("auto", "tensorrt", "tensorrt-rtx"),
    )
    batch_size: int = option(16, "The largest batch, in portraits, and the one to be fast with.", min=1, max=1024)
    compute_capabilities: tuple[str, ...] = option(
        (),
        "Kinds of GPU to build for, as in 8.6,8.9, or given several times.",
        names=("--compute-capability",),
        metavar="N.N",
        shown="that of the GPU here",
        parse=lambda given: tuple(part.strip() for text in given for part in text.split(",")),
    )
    precision: Literal["fp32", "fp16"] | None = option(
        None,
        "The number format that it computes in; an .onnx file has to hold it.",
        shown="of .onnx: its own; else fp16",
    )
    workspace_mib: int | None = option(
        None, "GPU memory for intermediate results, in MiB.", names=("--workspace",), metavar="MIB", min=1, shown="all"
    )
    optimization_level: int | None = option(
        None, "From 0 (built fast) to 5 (draws fast).", min=0, max=5, shown="TensorRT's own"
    )
    timing_cache: Path | None = option(
        None, "File that keeps what TensorRT measures, to build faster next time; written anew."
    )
    device: str = "cuda:0"

    def __post_init__(self) -> None:
        check(self)
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"\d+\.\d", capability):
                raise OptionsError(f"{capability!r} is no compute capability, for example 8.9")
