"""What a training run is made with: defaults by stage, presets, a TOML file, and what was said on top (sec. 6)."""

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from engines.errors import OptionsError
from engines.regular_files import read_regular
from train.networks.config import WIDTHS, NormStatistics
from train.networks.regions import LocalParts

MOST_BYTES: Final = 2**20
"""Of a TOML file."""

LARGEST: Final = 2**62
"""No number of an option is as large."""

Stage = Literal["auxiliary", "local", "pretrain", "formal"]
Preset = Literal["paper", "no-local", "no-dt", "no-pretrain", "pix2pix"]
Precision = Literal["fp32", "bf16", "fp16"]
AugmentationName = Literal["paper", "robust", "none"]

STAGES: Final[Mapping[str, Mapping[str, Any]]] = {
    "auxiliary": {"epochs": 10, "lr": 1e-3, "batch_size": 4},
    "local": {
        "epochs": 100,
        "lr": 1e-3,
        "lr_decay": 0.5,
        "batch_size": 12,
        "mean_decay": 0.99,
        "tolerant_weight": 4.0,
        "distance_weight": 0.0,
        "local_adversarial_weight": 0.0,
    },
    "pretrain": {"epochs": 10, "distance_weight": 0.0},
    "formal": {"epochs": 300},
}
"""What a stage sets differently from `TrainOptions`; the paper pre-trains without L_DT."""

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "paper": {},
    "no-local": {"local_networks": False},
    "no-dt": {"distance_weight": 0.0},
    "no-pretrain": {"pretrained": False},
    "pix2pix": {"local_networks": False, "distance_weight": 0.0, "pretrained": False},
}
"""The paper's ablations (sec. 7.1) and its baseline; what each changes."""

FREE_ON_RESUME: Final = frozenset(
    {
        *("epochs", "steps", "workers", "device", "devices", "nodes", "compile"),
        *("log_every", "picture_every", "save_every", "keep", "name", "licence", "training_data"),
    }
)
"""Options that may change when a run goes on: they alter neither the networks nor the losses. How many devices there
are may change only if a step is made of as many pairs as before."""


POSITIVE: Final = (
    *("epochs", "steps", "batch_size", "lr", "devices", "nodes"),
    *(*WIDTHS, "discriminator_width", "detector_width", "tolerance"),
    *("log_every", "picture_every", "save_every", "keep"),
)
"""Options that must be over 0 where they are set."""


WEIGHTS: Final = (
    *("pixel_weight", "line_weight", "tolerant_weight", "distance_weight", "local_weight", "local_adversarial_weight"),
)
"""Options that say how much a term of the loss counts."""


@dataclass(frozen=True)
class TrainOptions:
    """A training run; the defaults are the paper's.

    Attributes:
        stage: `auxiliary` trains the line detectors of L_DT, `local` the local networks alone on crops of their
            regions, `pretrain` the GAN on two-tone drawings, `formal` on an artist's, from pre-trained weights.
        preset: the paper's method, one of its ablations, or Pix2Pix.
        epochs: times that every pair is seen.
        steps: batches to train on, in place of `epochs`.
        batch_size: pairs in a batch, on each device.
        lr: of Adam.
        lr_decay: share of the run, at its end, in which the learning rate falls to zero.
        width: channels of the first convolution of the global network; the others as in `GeneratorConfig`.
        discriminator_width: of the seven discriminators.
        detector_width: of the two line detectors.
        local_networks: whether there are local networks and discriminators.
        norm_statistics: see `GeneratorConfig`; `fusion_statistics` too.
        frozen_norms: whether norms with running statistics keep those that they start with, or if they have none
            measure them once, on the training portraits: for fine-tuning with batches of one.
        dropout: whether the generator has the dropout that the paper uses as noise.
        pretrained: whether formal training starts from pre-trained weights.
        pixel_weight: lambda_1, of L_1.
        line_weight: how much more L_1 and L_local count on thin lines; see `train.losses.pixel_loss`.
        tolerant_weight: how much a loss that lets lines lie a little beside their place counts beside L_1 and L_local;
            see `train.losses.tolerant_loss`; 0 leaves it out.
        tolerance: pixels, of that loss.
        distance_weight: lambda_2, of L_DT; 0 leaves it out.
        local_weight: lambda_3, of L_local.
        local_adversarial_weight: of each local discriminator in L_adv; the paper's 1, the authors' program's 0.25.
        mean_decay: of a running mean of the generator's weights, which is then kept in their place; 0 for none.
        regions: which local networks the stage `local` trains, names separated by commas (eye_left, eye_right, nose,
            mouth, hair, background), or all.
        augmentation: the paper's (rotation, scale, flip), `robust` (also shift, light, compression, ...), or none.
        precision: what is computed in; weights and losses stay in single precision.
        seed: of weights, order, augmentation and dropout.
        device: `auto`, `cpu` or `cuda`.
        devices: on each machine.
        nodes: machines.
        workers: processes that read pairs, on each device.
        compile: whether torch compiles the networks; takes minutes at the start, and a C++ compiler on a CPU.
        log_every: steps between lines of metrics.
        picture_every: steps between grids of photo, drawing and artist.
        save_every: steps between checkpoints.
        keep: how many checkpoints are kept.
        name: of the model, for its description.
        licence: of the weights, for their description.
        training_data: what they learn from, for their description.

    Raises:
        OptionsError: a value that means nothing.
    """

    stage: Stage = "formal"
    preset: Preset = "paper"
    epochs: int = 300
    steps: int | None = None
    batch_size: int = 1
    lr: float = 2e-4
    lr_decay: float = 0.0
    width: int = 64
    local_width: int | None = None
    region_width: int | None = None
    background_width: int | None = None
    fusion_width: int | None = None
    discriminator_width: int = 64
    detector_width: int = 16
    local_networks: bool = True
    norm_statistics: NormStatistics = "photo"
    fusion_statistics: NormStatistics | None = None
    frozen_norms: bool = False
    dropout: bool = True
    pretrained: bool = True
    pixel_weight: float = 100.0
    line_weight: float = 0.0
    tolerant_weight: float = 0.0
    tolerance: int = 1
    distance_weight: float = 0.1
    local_weight: float = 25.0
    local_adversarial_weight: float = 1.0
    mean_decay: float = 0.0
    regions: str = "all"
    augmentation: AugmentationName = "paper"
    precision: Precision = "fp32"
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 1
    compile: bool = False
    log_every: int = 10
    picture_every: int = 200
    save_every: int = 200
    keep: int = 3
    name: str = "apdraw"
    licence: str = ""
    training_data: str = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), field.type)
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionsError(f"{_shown(name)} must be over 0, not {value}")
        for name in (*WEIGHTS, "workers", "seed"):
            if not getattr(self, name) >= 0:
                raise OptionsError(f"{_shown(name)} must not be under 0, but is {getattr(self, name)}")
        if not 0 <= self.lr_decay <= 1:
            raise OptionsError(f"lr-decay is a share of the run, from 0 to 1, not {self.lr_decay}")
        if not 0 <= self.mean_decay < 1:
            raise OptionsError(f"mean-decay must be from 0 to under 1, not {self.mean_decay}")
        self.local_regions()
        if self.stage == "local" and not self.local_networks:
            raise OptionsError("the stage local trains local networks: leave out what takes them away")
        if self.device not in ("auto", "cpu", "cuda"):
            raise OptionsError(f"device must be auto, cpu or cuda, not {self.device!r}")
        if self.precision == "fp16" and self.device == "cpu":
            raise OptionsError("fp16 trains on GPUs only; on a CPU use bf16 or fp32")

    def local_regions(self) -> tuple[str, ...]:
        """The names of `regions`, in the order of `LocalParts`."""
        named = set(LocalParts._fields) if self.regions == "all" else {n.strip() for n in self.regions.split(",")}
        unknown = sorted(named - set(LocalParts._fields))
        if unknown:
            known = ", ".join(LocalParts._fields)
            raise OptionsError(f"regions must be all or some of {known}, not {', '.join(unknown) or 'none'}")
        return tuple(name for name in LocalParts._fields if name in named)


def resolve(given: Mapping[str, Any], config: Path | None = None) -> TrainOptions:
    """Puts options together; what comes later counts more: defaults, stage, preset, TOML file, what was given.

    Args:
        given: by name; None where nothing was said.
        config: a TOML file with the same names, with hyphens or underscores.

    Raises:
        OptionsError: an unknown name, or a value that cannot be used.
    """
    said = (read_config(config) if config else {}) | {name: value for name, value in given.items() if value is not None}
    stage, preset = said.get("stage", "formal"), said.get("preset", "paper")
    for name, value, known in (("stage", stage, STAGES), ("preset", preset, PRESETS)):
        if not isinstance(value, str) or value not in known:
            raise OptionsError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    return TrainOptions(**{**STAGES[stage], **PRESETS[preset], **said})


def read_config(path: Path) -> dict[str, Any]:
    """The options that a TOML file sets.

    Raises:
        OptionsError: unreadable, no TOML, or an unknown name.
    """
    try:
        values = tomllib.loads(read_regular(path, MOST_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise OptionsError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, or lists in lists in lists
        raise OptionsError(f"{path} is no TOML file: {error}") from error
    options = {name.replace("-", "_"): value for name, value in values.items()}
    known = {field.name for field in dataclasses.fields(TrainOptions)}
    unknown = sorted(options.keys() - known)
    if unknown:
        raise OptionsError(f"{path} sets unknown options: {', '.join(unknown)}; apdraw train --help lists them")
    return options


def to_toml(options: TrainOptions) -> str:
    """The options as a TOML file that `read_config` reads; those that are None are left out."""
    values = dataclasses.asdict(options)
    # A JSON string, number or boolean is the same in TOML.
    return "".join(f"{_shown(name)} = {json.dumps(value)}\n" for name, value in values.items() if value is not None)


def changed(saved: Mapping[str, Any], options: TrainOptions) -> str | None:
    """Why a run that was made with other options cannot go on with these, or None if it can."""
    now = dataclasses.asdict(options)
    for name, value in saved.items():
        if name in now and name not in FREE_ON_RESUME and now[name] != value:
            return f"{_shown(name)} was {value} so far, not {now[name]}"
    return None


def _check_type(name: str, value: Any, annotation: Any) -> None:
    parts = get_args(annotation) if NoneType in get_args(annotation) else (annotation,)
    if value is None and NoneType in parts:
        return
    choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    if choices:
        if value not in choices:
            raise OptionsError(f"{_shown(name)} must be one of {', '.join(choices)}, not {value!r}")
        return
    if type(value) not in parts and not (float in parts and type(value) is int):
        wanted = " or ".join(part.__name__ for part in parts if part is not NoneType)
        raise OptionsError(f"{_shown(name)} must be of the type {wanted}, not {value!r}")
    if isinstance(value, int | float) and not abs(value) < LARGEST:
        raise OptionsError(f"{_shown(name)} is too large, or no number")


def _shown(name: str) -> str:
    return name.replace("_", "-")
